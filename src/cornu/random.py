"""Random numbers from seeds: an integer always gives the same, a `SeedGenerator` new ones."""

import jax
import jax.numpy as jnp

from cornu.core.dtype import standardize_dtype
from cornu.core.random import SeedGenerator, draw_seed


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers of a normal distribution.

    >>> import cornu
    >>> cornu.random.normal((2, 3), seed=1).shape
    (2, 3)
    """
    dtype = standardize_dtype(dtype)
    return jax.random.normal(draw_seed(seed), tuple(shape), dtype) * stddev + mean


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers of a normal distribution, none farther than two standard deviations from the mean."""
    dtype = standardize_dtype(dtype)
    sample = jax.random.truncated_normal(draw_seed(seed), -2.0, 2.0, tuple(shape), dtype)
    return sample * stddev + mean


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Numbers spread evenly over `[minval, maxval)`.

    >>> import cornu
    >>> bool((cornu.random.uniform((5,), seed=1) < 1).all())
    True
    """
    dtype = standardize_dtype(dtype)
    return jax.random.uniform(draw_seed(seed), tuple(shape), dtype, minval=minval, maxval=maxval)


def randint(shape, minval, maxval, dtype="int32", seed=None):
    """Integers spread evenly over `[minval, maxval)`."""
    dtype = standardize_dtype(dtype)
    return jax.random.randint(draw_seed(seed), tuple(shape), minval, maxval, dtype)


def categorical(logits, num_samples, dtype="int32", seed=None):
    """Classes drawn with the probabilities `softmax(logits)`, `num_samples` for each row."""
    logits = jnp.asarray(logits)
    drawn = jax.random.categorical(
        draw_seed(seed), logits[:, None, :], shape=(logits.shape[0], num_samples)
    )
    return drawn.astype(dtype)


def shuffle(x, axis=0, seed=None):
    """The same entries in another order along an axis."""
    return jax.random.permutation(draw_seed(seed), jnp.asarray(x), axis)


def dropout(inputs, rate, noise_shape=None, seed=None):
    """Each number set to zero with probability `rate`, the others divided by `1 - rate`."""
    inputs = jnp.asarray(inputs)
    keep = jax.random.bernoulli(draw_seed(seed), 1 - rate, noise_shape or inputs.shape)
    return jnp.where(keep, inputs / (1 - rate), 0)


__all__ = [
    "SeedGenerator",
    "categorical",
    "dropout",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]
