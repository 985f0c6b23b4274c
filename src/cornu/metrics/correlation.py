"""How closely predictions follow targets."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import epsilon
from cornu.losses.base import prepare
from cornu.metrics.reduction import MeanMetricWrapper


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


@_register("pearson_correlation")
def pearson_correlation(y_true, y_pred, axis=-1):
    """Covariance divided by both standard deviations, from -1 to 1, along `axis`.

    >>> import cornu
    >>> cornu.metrics.pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(4).tolist()
    [1.0]
    """
    y_true, y_pred = prepare(y_true, y_pred)
    scores = []
    for y in (y_true, y_pred):
        centred = y - jnp.mean(y, axis=axis, keepdims=True)
        scores.append(centred / jnp.std(centred, axis=axis, keepdims=True))
    return jnp.mean(scores[0] * scores[1], axis=axis)


@_register("concordance_correlation")
def concordance_correlation(y_true, y_pred, axis=-1):
    """`2 * covariance / (both variances + (difference of the means)^2)`, from -1 to 1.

    Source: Lin 1989, "A concordance correlation coefficient to evaluate reproducibility".

    >>> import cornu
    >>> cornu.metrics.concordance_correlation([[0.0, 2.0]], [[0.0, 2.0]]).round(4).tolist()
    [1.0]
    """
    y_true, y_pred = prepare(y_true, y_pred)
    true_mean = jnp.mean(y_true, axis=axis, keepdims=True)
    pred_mean = jnp.mean(y_pred, axis=axis, keepdims=True)
    spread = jnp.var(y_true, axis=axis, keepdims=True) + jnp.var(y_pred, axis=axis, keepdims=True)
    covariance = (y_true - true_mean) * (y_pred - pred_mean)
    return jnp.mean(
        2 * covariance / (spread + jnp.square(true_mean - pred_mean) + epsilon()), axis=axis
    )


@_register("PearsonCorrelation")
class PearsonCorrelation(MeanMetricWrapper):
    """The mean over all samples of the Pearson correlation along `axis`."""

    _direction = "up"

    def __init__(self, name="pearson_correlation", dtype=None, axis=-1):
        super().__init__(pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


@_register("ConcordanceCorrelation")
class ConcordanceCorrelation(MeanMetricWrapper):
    """The mean over all samples of the concordance correlation along `axis` (Lin 1989)."""

    _direction = "up"

    def __init__(self, name="concordance_correlation", dtype=None, axis=-1):
        super().__init__(concordance_correlation, name, dtype, axis=axis)
        self.axis = axis
