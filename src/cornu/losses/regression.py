"""Losses for regression. All reduce the last axis of arrays of one shape."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import epsilon
from cornu.losses.base import LossFunctionWrapper, loss_class, prepare


def _register(*names):
    return registry.register("loss", *names, module="keras.losses")


@_register("mean_squared_error", "mse", "MSE")
def mean_squared_error(y_true, y_pred):
    """`mean((y_true - y_pred)^2)`, the Euclidean loss.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.losses.mean_squared_error(jnp.array([[0.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.0]
    """
    y_true, y_pred = prepare(y_true, y_pred)
    return jnp.mean(jnp.square(y_true - y_pred), axis=-1)


@_register("mean_absolute_error", "mae", "MAE")
def mean_absolute_error(y_true, y_pred):
    """`mean(|y_true - y_pred|)`."""
    y_true, y_pred = prepare(y_true, y_pred)
    return jnp.mean(jnp.abs(y_true - y_pred), axis=-1)


@_register("mean_absolute_percentage_error", "mape", "MAPE")
def mean_absolute_percentage_error(y_true, y_pred):
    """`100 * mean(|(y_true - y_pred) / y_true|)`."""
    y_true, y_pred = prepare(y_true, y_pred)
    scale = jnp.maximum(jnp.abs(y_true), jnp.asarray(epsilon(), y_pred.dtype))
    return 100.0 * jnp.mean(jnp.abs((y_true - y_pred) / scale), axis=-1)


@_register("mean_squared_logarithmic_error", "msle", "MSLE")
def mean_squared_logarithmic_error(y_true, y_pred):
    """`mean((log(y_true + 1) - log(y_pred + 1))^2)`."""
    y_true, y_pred = prepare(y_true, y_pred)
    logs = [jnp.log(jnp.maximum(y, epsilon()) + 1.0) for y in (y_pred, y_true)]
    return jnp.mean(jnp.square(logs[0] - logs[1]), axis=-1)


@_register("cosine_similarity")
def cosine_similarity(y_true, y_pred, axis=-1):
    """Minus the cosine of the angle between targets and predictions: -1 is best."""
    y_true, y_pred = prepare(y_true, y_pred)
    return -jnp.sum(unit_length(y_true, axis) * unit_length(y_pred, axis), axis=axis)


def unit_length(x, axis):
    """Vectors along an axis divided by their length."""
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    # As Keras: vectors of nearly no length are not blown up.
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


@_register("huber")
def huber(y_true, y_pred, delta=1.0):
    """Half the squared error where it is at most `delta`, linear beyond it (Huber 1964)."""
    y_true, y_pred = prepare(y_true, y_pred)
    error = y_pred - y_true
    size = jnp.abs(error)
    inner, outer = 0.5 * jnp.square(error), delta * size - 0.5 * delta**2
    return jnp.mean(jnp.where(size <= delta, inner, outer), axis=-1)


@_register("log_cosh")
def log_cosh(y_true, y_pred):
    """`mean(log(cosh(y_pred - y_true)))`."""
    y_true, y_pred = prepare(y_true, y_pred)
    error = y_pred - y_true
    log2 = jnp.log(jnp.asarray(2.0, y_pred.dtype))
    return jnp.mean(error + jax.nn.softplus(-2.0 * error) - log2, axis=-1)


MeanSquaredError = loss_class("MeanSquaredError", mean_squared_error)
MeanAbsoluteError = loss_class("MeanAbsoluteError", mean_absolute_error)
MeanAbsolutePercentageError = loss_class(
    "MeanAbsolutePercentageError", mean_absolute_percentage_error
)
MeanSquaredLogarithmicError = loss_class(
    "MeanSquaredLogarithmicError", mean_squared_logarithmic_error
)
LogCosh = loss_class("LogCosh", log_cosh)


@_register("CosineSimilarity")
class CosineSimilarity(LossFunctionWrapper):
    """Minus the cosine of the angle between targets and predictions along `axis`."""

    def __init__(
        self, axis=-1, reduction="sum_over_batch_size", name="cosine_similarity", dtype=None
    ):
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)
        self.axis = axis


@_register("Huber")
class Huber(LossFunctionWrapper):
    """Half the squared error where it is at most `delta`, linear beyond it."""

    def __init__(self, delta=1.0, reduction="sum_over_batch_size", name="huber_loss", dtype=None):
        super().__init__(huber, reduction, name, dtype, delta=delta)
        self.delta = delta
