"""Lengths of vectors, whose gradients are 0, not NaN, where the vector is zero (as after relu).

Keras has NaN there, which then spreads to all weights.
"""

import jax
import jax.numpy as jnp

from cornu.core.dtype import at_least_single


def norm(x, order=None, axis=None):
    """`jnp.linalg.norm(x, order, axis, keepdims=True)`."""
    is_zero = jnp.all(x == 0, axis=axis, keepdims=True)
    found = jnp.linalg.norm(jnp.where(is_zero, 1, x), ord=order, axis=axis, keepdims=True)
    return jnp.where(is_zero, 0, found)


def to_unit_length(x, axes, most: float):
    """`x / sqrt(sum(x²))`, but no more than `most` times `x`; zero stays zero.

    Squares of 16 bits are summed in 32.
    """
    single = x.astype(at_least_single(x.dtype))
    square = jnp.sum(jnp.square(single), axes, keepdims=True)
    is_positive = square > 0
    factor = jnp.minimum(jax.lax.rsqrt(jnp.where(is_positive, square, 1)), most)
    # What is NaN stays so.
    return (single * jnp.where(is_positive | jnp.isnan(square), factor, 0)).astype(x.dtype)
