"""What optimizers do to gradients and weights besides their own rule, as functions of arrays."""

import jax.numpy as jnp


def dense(grads) -> list:
    """The gradients, with whole matrices in place of those that JAX keeps sparse, as weights are whole."""
    return [g.todense() if hasattr(g, "todense") else g for g in grads]


def clip_by_norm(gradient, most):
    """The gradient, shortened if it is longer than `most`."""
    squares = jnp.sum(jnp.square(gradient))
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), squares)
    return gradient * most / jnp.maximum(norm, most)


def clip_by_global_norm(grads: list, most) -> list:
    """The gradients, shortened by the same factor if they are together longer than `most`."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in grads))
    scale = most * jnp.minimum(1.0 / norm, 1.0 / most)
    # Infinite and NaN gradients must not look like small ones.
    scale = scale + (norm - norm)
    return [g * scale for g in grads]


def decayed(value, decay, learning_rate):
    """A weight, moved towards zero by `decay * learning_rate`."""
    return value - value * decay * jnp.asarray(learning_rate, value.dtype)


def averaged(average, value, momentum):
    """The exponential moving average after one more value."""
    return momentum * average + (1 - momentum) * value
