"""Regression metrics: how far predictions are from targets."""

import warnings

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array
from cornu.losses import cosine_similarity as cosine_loss
from cornu.losses import (
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from cornu.losses.base import broadcast_weights, same_rank
from cornu.metrics.base import Metric
from cornu.metrics.reduction import Mean, MeanMetricWrapper, mean_metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


_register("mean_squared_error", "mse", "MSE")(mean_squared_error)
_register("mean_absolute_error", "mae", "MAE")(mean_absolute_error)
_register("mean_absolute_percentage_error", "mape", "MAPE")(mean_absolute_percentage_error)
_register("mean_squared_logarithmic_error", "msle", "MSLE")(mean_squared_logarithmic_error)
_register("log_cosh")(log_cosh)
_register("huber")(huber)

MeanSquaredError = mean_metric("MeanSquaredError", mean_squared_error, "down", __name__)
MeanAbsoluteError = mean_metric("MeanAbsoluteError", mean_absolute_error, "down", __name__)
MeanAbsolutePercentageError = mean_metric(
    "MeanAbsolutePercentageError", mean_absolute_percentage_error, "down", __name__
)
MeanSquaredLogarithmicError = mean_metric(
    "MeanSquaredLogarithmicError", mean_squared_logarithmic_error, "down", __name__
)
LogCoshError = mean_metric("LogCoshError", log_cosh, "down", __name__, name="logcosh")


@_register("RootMeanSquaredError")
class RootMeanSquaredError(Mean):
    """`sqrt(mean((y_true - y_pred)^2))` over all samples.

    >>> import cornu
    >>> metric = cornu.metrics.RootMeanSquaredError()
    >>> float(metric([[0.0], [0.0]], [[1.0], [7.0]]))
    5.0
    """

    _direction = "down"

    def __init__(self, name="root_mean_squared_error", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _same_rank_arrays(y_true, y_pred, self.dtype)
        super().update_state(jnp.square(y_pred - y_true), sample_weight)

    def result(self):
        return jnp.sqrt(super().result())


def _same_rank_arrays(y_true, y_pred, dtype):
    return same_rank(as_array(y_true).astype(dtype), as_array(y_pred).astype(dtype))


def cosine_similarity(y_true, y_pred, axis=-1):
    """The cosine of the angle between targets and predictions along `axis`: 1 is best."""
    return -cosine_loss(y_true, y_pred, axis)


@_register("CosineSimilarity")
class CosineSimilarity(MeanMetricWrapper):
    """The mean cosine of the angle between targets and predictions along `axis`: 1 is best.

    The loss of that name has the other sign.

    >>> import cornu
    >>> metric = cornu.metrics.CosineSimilarity()
    >>> float(metric([[0.0, 1.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 1.0]]))
    0.5
    """

    _direction = "up"

    def __init__(self, name="cosine_similarity", dtype=None, axis=-1):
        super().__init__(cosine_similarity, name, dtype, axis=axis)
        self.axis = axis


@_register("R2Score")
class R2Score(Metric):
    """The share of the targets' variance that predictions explain, `1 - residual / total`.

    Args:
        class_aggregation: what becomes of the scores of the columns: `"uniform_average"`, their
            mean; `"variance_weighted_average"`, the mean weighted by the columns' variances; None,
            themselves.
        num_regressors: number of independent variables, for the adjusted score; 0 for the score as
            it is.

    Targets and predictions are `(batch, columns)`. The first batch fixes the number of columns.

    >>> import cornu
    >>> metric = cornu.metrics.R2Score()
    >>> round(float(metric([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])), 4)
    0.5714
    """

    _direction = "up"

    def __init__(
        self, class_aggregation="uniform_average", num_regressors=0, name="r2_score", dtype=None
    ):
        super().__init__(name=name, dtype=dtype)
        known = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in known:
            raise ValueError(
                f"Invalid value for argument `class_aggregation`. Expected one of {known}. "
                f"Received: class_aggregation={class_aggregation}"
            )
        if num_regressors < 0:
            raise ValueError(
                "Invalid value for argument `num_regressors`. Expected a value >= 0. Received: "
                f"num_regressors={num_regressors}"
            )
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        self.num_samples = self.add_variable((), "zeros", name="num_samples")
        self._built = False

    def _build(self, true_shape, pred_shape) -> None:
        if len(true_shape) != 2 or len(pred_shape) != 2:
            raise ValueError(
                "R2Score expects 2D inputs with shape (batch_size, output_dim). Received input "
                f"shapes: y_pred.shape={pred_shape} and y_true.shape={true_shape}."
            )
        columns = pred_shape[-1:]
        self.squared_sum = self.add_variable(columns, "zeros", name="squared_sum")
        self.sum = self.add_variable(columns, "zeros", name="sum")
        self.total_mse = self.add_variable(columns, "zeros", name="residual")
        self.count = self.add_variable(columns, "zeros", name="count")
        self._built = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _same_rank_arrays(y_true, y_pred, self.dtype)
        if not self._built:
            self._build(y_true.shape, y_pred.shape)
        weights = as_array(1 if sample_weight is None else sample_weight).astype(self.dtype)
        weights = jnp.broadcast_to(broadcast_weights(weights, y_true)[0], y_true.shape)
        self.sum.assign_add(jnp.sum(y_true * weights, axis=0))
        self.squared_sum.assign_add(jnp.sum(jnp.square(y_true) * weights, axis=0))
        self.total_mse.assign_add(jnp.sum(jnp.square(y_true - y_pred) * weights, axis=0))
        self.count.assign_add(jnp.sum(weights, axis=0))
        self.num_samples.assign_add(y_true.size)

    def result(self):
        total = self.squared_sum.value - jnp.square(self.sum.value) / self.count.value
        scores = 1 - self.total_mse.value / total
        scores = jnp.where(jnp.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = jnp.mean(scores)
        elif self.class_aggregation == "variance_weighted_average":
            scores = jnp.sum(total * scores) / jnp.sum(total)
        return self._adjusted(scores) if self.num_regressors else scores

    def _adjusted(self, score):
        samples = self.num_samples.value
        freedom = samples - self.num_regressors - 1
        if not isinstance(freedom, jax.core.Tracer) and freedom <= 0:
            warnings.warn(
                f"{self.name}: the adjusted R2 score needs more than num_regressors + 1 = "
                f"{self.num_regressors + 1} data points, but there were {int(samples)}. Falling "
                "back to standard R2 score.",
                stacklevel=3,
            )
        safe = jnp.where(freedom > 0, freedom, 1)
        return jnp.where(freedom > 0, 1 - (1 - score) * (samples - 1) / safe, score)
