"""What all losses share: ranks, weights, masks and reduction."""

import math

import jax.numpy as jnp

from cornu.core import masking, registry
from cornu.core.configurable import Configurable
from cornu.core.dtype import as_array, epsilon, in_single, standardize_dtype, widened

REDUCTIONS = ("sum_over_batch_size", "sum", None, "none", "mean", "mean_with_sample_weight")


def same_rank(a, b, expand_rank_1=True):
    """Give two arrays the same rank, if a last axis of size one is all that is between them."""
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[..., None]) if b.ndim == 1 and expand_rank_1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[..., None], b) if a.ndim == 1 and expand_rank_1 else (a, b[..., 0])
    return a, b


def prepare(y_true, y_pred, align=True):
    """Arrays of one dtype and of one rank."""
    y_pred = in_single(y_pred)
    y_true = as_array(y_true).astype(y_pred.dtype)
    return same_rank(y_true, y_pred) if align else (y_true, y_pred)


def broadcast_weights(weights, values):
    """Weights with as many axes as the values: axes that are missing are added behind."""
    weights, values = same_rank(weights, values)
    if weights.ndim < values.ndim and weights.shape == values.shape[: weights.ndim]:
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    elif weights.ndim < values.ndim:
        weights = weights.reshape((1,) * (values.ndim - weights.ndim) + weights.shape)
    return weights, values


def reduce_values(values, sample_weight=None, mask=None, reduction="sum_over_batch_size"):
    """Weight losses and reduce them as `reduction` names."""
    averages = reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight")
    if mask is not None:
        mask = as_array(mask).astype(values.dtype)
        if averages and reduction != "mean_with_sample_weight":
            # The mean is over all positions, so those that count get the share of the others.
            mask = mask * (math.prod(mask.shape) / (jnp.sum(mask) + epsilon()))
        if sample_weight is None:
            sample_weight = mask
        else:
            sample_weight = as_array(sample_weight).astype(values.dtype)
            sample_weight, mask = broadcast_weights(sample_weight, mask)
            sample_weight = sample_weight * mask
    if sample_weight is not None:
        sample_weight = as_array(sample_weight).astype(values.dtype)
        sample_weight, values = broadcast_weights(sample_weight, values)
        values = values * sample_weight
    if reduction in (None, "none") or values.shape in ((), (0,)):
        return values
    total = jnp.sum(values)
    if not averages:
        return total
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        divisor = jnp.sum(sample_weight)
        safe = jnp.where(divisor == 0, 1, divisor)
        return jnp.where(divisor == 0, 0, total / safe)
    return total / values.size


class Loss(Configurable):
    """A number to minimize, computed from targets and predictions.

    Args:
        name: what it is called in logs.
        reduction: what becomes of the losses of single positions: `"sum_over_batch_size"` (or
            `"mean"`), their mean; `"sum"`; `"mean_with_sample_weight"`, their sum divided by the
            sum of the weights; None (or `"none"`), themselves.
        dtype: dtype of the predictions that `call` gets, and of the loss; `floatx()` by default. Between
            them, what needs more than 16 bits is computed in 32.

    A subclass defines `call(y_true, y_pred)`, which returns the losses of single positions (one
    axis less than the predictions).

    Source: Keras: Losses.

    >>> import cornu, jax.numpy as jnp
    >>> loss = cornu.losses.MeanSquaredError()
    >>> float(loss(jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 1.0]])))
    2.0
    """

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: "
                f"reduction={reduction}"
            )
        self.name = name or registry.to_snake_case(type(self).__name__)
        self.reduction = reduction
        self._has_dtype = dtype is not None
        self._dtype = standardize_dtype(getattr(dtype, "compute_dtype", dtype))

    @property
    def dtype(self) -> str:
        """The dtype of the predictions as `call` gets them, and of the loss if one was asked for."""
        return self._dtype

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss; `sample_weight` is broadcast over the positions of each sample."""
        mask = masking.get_mask(y_pred)
        y_pred = as_array(y_pred).astype(self.dtype)
        y_true = widened(y_true)
        if jnp.issubdtype(y_true.dtype, jnp.floating) or y_true.dtype == bool:
            y_true = y_true.astype(self.dtype)
        losses = self.call(y_true, y_pred)
        own = masking.get_mask(losses)
        if own is not None:
            mask = own if mask is None else jnp.logical_and(mask, own)
        loss = reduce_values(losses, sample_weight, mask, self.reduction)
        return loss.astype(self.dtype) if self._has_dtype else loss

    def call(self, y_true, y_pred):
        """The losses of single positions."""
        raise NotImplementedError(f"Loss {type(self).__name__} does not define `call`.")

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "dtype"]


registry.register("loss", "Loss", module="keras.losses")(Loss)


@registry.register("loss", "LossFunctionWrapper", module="keras.losses")
class LossFunctionWrapper(Loss):
    """A `Loss` that calls a function `(y_true, y_pred, **kwargs)`."""

    def __init__(self, fn, reduction="sum_over_batch_size", name=None, dtype=None, **kwargs):
        super().__init__(
            name=name or getattr(fn, "__name__", None), reduction=reduction, dtype=dtype
        )
        self.fn = fn
        self._keywords = kwargs

    def call(self, y_true, y_pred):
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._keywords)

    def get_config(self) -> dict:
        config = super().get_config()
        if type(self) is LossFunctionWrapper:
            config.update({k: registry.serialize(v) for k, v in self._keywords.items()})
        return config

    def __repr__(self):
        return f"<{type(self).__name__}({self.fn}, kwargs={self._keywords})>"


def loss_class(name: str, function):
    """The class for a loss function that has no arguments."""

    def __init__(self, reduction="sum_over_batch_size", name=function.__name__, dtype=None):
        LossFunctionWrapper.__init__(self, function, reduction=reduction, name=name, dtype=dtype)

    summary = (function.__doc__ or "").split("\n\n")[0].strip()
    cls = type(
        name,
        (LossFunctionWrapper,),
        {
            "__init__": __init__,
            "__module__": function.__module__,
            "__doc__": f"{summary}\n\nThe arguments are those of `Loss`.",
        },
    )
    return registry.register("loss", name, module="keras.losses")(cls)
