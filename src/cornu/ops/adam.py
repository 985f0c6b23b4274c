"""A step of the optimizer Adam, for which XLA would go through a weight three times."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

from cornu.core.kernels import Split, primitive


def averages(momentum, velocity, gradient, first, second):
    """Exponential averages of a gradient and of its square, in which the new one has these shares."""
    momentum = momentum + (gradient - momentum) * first
    return momentum, velocity + (jnp.square(gradient) - velocity) * second


def _adam(value, momentum, velocity, gradient, rate, *, first, second, epsilon):
    momentum, velocity = averages(momentum, velocity, gradient, first, second)
    return [value - momentum * rate / (jnp.sqrt(velocity) + epsilon), momentum, velocity]


_step = primitive(
    "adam",
    lambda value, *others, **how: [(value.shape, value.dtype)] * 3,
    _adam,
    lambda *operands, **how: {name: np.float32(number) for name, number in how.items()},
    batched=(),
    split=Split((None,) * 5, (None,) * 3),
    several=True,
    in_place=3,
)


def _jvp(primals, tangents, **how):
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    return jax.jvp(functools.partial(_adam, **how), tuple(primals), tangents)


ad.primitive_jvps[_step] = _jvp


def adam(value, momentum, velocity, gradient, rate, *, first, second, epsilon):
    """`value - rate * momentum / (sqrt(velocity) + epsilon)` with the new averages, and these.

    Args:
        value, momentum, velocity, gradient: of one shape.
        rate: scalar, the learning rate with the correction for the first steps.
        first, second: the gradient's share in its moving average and in that of its square.
        epsilon: number.
    """
    how = {"first": float(first), "second": float(second), "epsilon": float(epsilon)}
    step = _step.bind if value.dtype == jnp.float32 else _adam
    return step(value, momentum, velocity, gradient, rate, **how)
