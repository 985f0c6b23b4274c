"""Sums and means."""

import jax.numpy as jnp

from cornu.core import masking, registry
from cornu.losses.base import broadcast_weights, same_rank
from cornu.metrics.base import Metric


def weighted(values, sample_weight, dtype):
    """Values times their weights, and the weights, one for each value (or None)."""
    mask = masking.get_mask(values)
    values = jnp.asarray(values).astype(dtype)
    if sample_weight is not None:
        sample_weight = jnp.asarray(sample_weight).astype(dtype)
    if mask is not None:
        mask = jnp.asarray(mask).astype(dtype)
        sample_weight = mask if sample_weight is None else _both(sample_weight, mask)
    if sample_weight is None:
        return values, None
    sample_weight, values = broadcast_weights(sample_weight, values)
    if values.ndim > 1 and values.ndim > sample_weight.ndim:
        values = jnp.mean(values, axis=tuple(range(sample_weight.ndim, values.ndim)))
    sample_weight = jnp.broadcast_to(sample_weight, values.shape)
    return values * sample_weight, sample_weight


def _both(sample_weight, mask):
    sample_weight, mask = broadcast_weights(sample_weight, mask)
    return sample_weight * mask


@registry.register("metric", "Sum", module="keras.metrics")
class Sum(Metric):
    """The weighted sum of all values."""

    def __init__(self, name="sum", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total")

    def update_state(self, values, sample_weight=None):
        values, _ = weighted(values, sample_weight, self.dtype)
        self.total.assign_add(jnp.sum(values))

    def result(self):
        return self.total.value


@registry.register("metric", "Mean", module="keras.metrics")
class Mean(Metric):
    """The weighted mean of all values.

    >>> import cornu
    >>> mean = cornu.metrics.Mean()
    >>> mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> float(mean.result())
    2.0
    """

    def __init__(self, name="mean", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total")
        self.count = self.add_weight(name="count")

    def update_state(self, values, sample_weight=None):
        values, weights = weighted(values, sample_weight, self.dtype)
        self.total.assign_add(jnp.sum(values))
        self.count.assign_add(values.size if weights is None else jnp.sum(weights))

    def result(self):
        count = self.count.value
        return jnp.where(count == 0, 0, self.total.value / jnp.where(count == 0, 1, count))


@registry.register("metric", "MeanMetricWrapper", module="keras.metrics")
class MeanMetricWrapper(Mean):
    """The mean of a function `(y_true, y_pred, **kwargs)`."""

    def __init__(self, fn, name=None, dtype=None, **kwargs):
        super().__init__(name=name or getattr(fn, "__name__", None), dtype=dtype)
        self.fn = fn
        self._keywords = kwargs

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = masking.get_mask(y_pred)
        y_true, y_pred = jnp.asarray(y_true), jnp.asarray(y_pred)
        values = self.fn(*same_rank(y_true, y_pred), **self._keywords)
        if sample_weight is not None and mask is not None:
            sample_weight = _both(
                jnp.asarray(sample_weight).astype(self.dtype), jnp.asarray(mask).astype(self.dtype)
            )
        elif mask is not None:
            sample_weight = mask
        super().update_state(values, sample_weight)

    def get_config(self) -> dict:
        config = super().get_config()
        if type(self) is MeanMetricWrapper:
            config.update({k: registry.serialize(v) for k, v in self._keywords.items()})
        return config


def mean_metric(class_name: str, function, default_name: str | None = None):
    """The class for the mean of a function that has no arguments."""
    metric_name = default_name or function.__name__

    def __init__(self, name=metric_name, dtype=None):
        MeanMetricWrapper.__init__(self, function, name=name, dtype=dtype)

    summary = (function.__doc__ or "").split("\n\n")[0].strip()
    cls = type(
        class_name,
        (MeanMetricWrapper,),
        {
            "__init__": __init__,
            "__module__": function.__module__,
            "__doc__": f"The mean over all samples of: {summary}",
        },
    )
    return registry.register("metric", class_name, module="keras.metrics")(cls)
