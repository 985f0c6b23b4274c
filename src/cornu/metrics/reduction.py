"""Sums and means."""

import jax.numpy as jnp

from cornu.core import masking, registry
from cornu.core.dtype import as_array, widened
from cornu.losses.base import Loss, broadcast_weights, same_rank
from cornu.metrics.base import Metric, ratio


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


def reduce_to_samplewise_values(values, sample_weight, reduce, dtype):
    """One weighted number for each sample, and the samples' weights (or None).

    Weights have the axes of the values, or the first of them: the other axes are reduced before
    the weights are applied, the rest behind the first one after that.
    """
    mask = masking.get_mask(values)
    values = as_array(values).astype(dtype)
    if sample_weight is not None:
        sample_weight = as_array(sample_weight).astype(dtype)
        if mask is not None:
            sample_weight = _both(sample_weight, mask, dtype)
        values, sample_weight = same_rank(values, sample_weight)
        if values.ndim > sample_weight.ndim:
            values = reduce(values, axis=tuple(range(sample_weight.ndim, values.ndim)))
        sample_weight = jnp.broadcast_to(sample_weight, values.shape)
        values = values * sample_weight
        if sample_weight.ndim > 1:
            sample_weight = reduce(sample_weight, axis=tuple(range(1, sample_weight.ndim)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)))
    return values, sample_weight


def _both(sample_weight, mask, dtype):
    mask = as_array(mask).astype(dtype)
    if sample_weight is None:
        return mask
    sample_weight, mask = broadcast_weights(as_array(sample_weight).astype(dtype), mask)
    return sample_weight * mask


@_register("Sum")
class Sum(Metric):
    """The weighted sum of all values.

    >>> import cornu
    >>> total = cornu.metrics.Sum()
    >>> total.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> float(total.result())
    4.0
    """

    def __init__(self, name="sum", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", self.dtype, name="total")

    def update_state(self, values, sample_weight=None):
        values, _ = reduce_to_samplewise_values(values, sample_weight, jnp.sum, self.dtype)
        self.total.assign_add(jnp.sum(values))

    def result(self):
        return self.total.value


@_register("Mean")
class Mean(Metric):
    """The weighted mean of all values: `sum(weight * value) / sum(weight)`, 0 if there are none.

    A sample's value is the mean over all axes but the first.

    >>> import cornu
    >>> mean = cornu.metrics.Mean()
    >>> mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> float(mean.result())
    2.0
    """

    def __init__(self, name="mean", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", self.dtype, name="total")
        self.count = self.add_variable((), "zeros", self.dtype, name="count")

    def update_state(self, values, sample_weight=None):
        values, weights = reduce_to_samplewise_values(values, sample_weight, jnp.mean, self.dtype)
        self.total.assign_add(jnp.sum(values))
        self.count.assign_add(values.size if weights is None else jnp.sum(weights))

    def result(self):
        return ratio(self.total.value, self.count.value)


@_register("MeanMetricWrapper")
class MeanMetricWrapper(Mean):
    """The weighted mean of a function of targets and predictions.

    Args:
        fn: function `(y_true, y_pred, **kwargs)` whose result has a value for each sample.
        **kwargs: what else to pass to `fn`.

    Positions that the mask of `y_pred` leaves out do not count.

    >>> import cornu
    >>> metric = cornu.metrics.MeanMetricWrapper(cornu.losses.huber, name="huber", delta=0.5)
    >>> float(metric([[0.0], [0.0]], [[1.0], [0.0]]))
    0.1875
    """

    def __init__(self, fn, name=None, dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype)
        if isinstance(fn, str):
            fn = registry.deserialize({"class_name": "function", "config": fn})
        self.fn = fn
        self._keywords = kwargs
        if self._direction is None and (
            isinstance(fn, Loss) or fn in registry.registered("loss").values()
        ):
            self._direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = masking.get_mask(y_pred)
        if mask is not None:
            sample_weight = _both(sample_weight, mask, self.dtype)
        values = self.fn(widened(y_true), as_array(y_pred), **self._keywords)
        super().update_state(values, sample_weight)

    def get_config(self) -> dict:
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config.update(registry.serialize(self._keywords))
        return config

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        # Whatever else is there is meant for the function.
        with registry.custom_object_scope(custom_objects):
            return cls(**registry.deserialize(config))


def mean_metric(class_name: str, function, direction: str, module: str, name: str | None = None):
    """The class, defined in `module`, for the mean of a function that has no further arguments."""
    default_name = name or function.__name__

    def __init__(self, name=default_name, dtype=None):
        MeanMetricWrapper.__init__(self, function, name=name, dtype=dtype)

    summary = (function.__doc__ or "").split("\n\n")[0].strip()
    members = {
        "__init__": __init__,
        "__module__": module,
        "__doc__": f"The mean over all samples of: {summary}",
        "_direction": direction,
    }
    return _register(class_name)(type(class_name, (MeanMetricWrapper,), members))
