"""Losses of whole images and sequences: overlap of regions, and CTC."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon, in_single
from cornu.losses.base import LossFunctionWrapper, prepare
from cornu.ops.ctc import ctc_loss


def _register(*names):
    return registry.register("loss", *names, module="keras.losses")


@_register("dice")
def dice(y_true, y_pred, axis=None):
    """`1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred))`."""
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    both = jnp.sum(y_true * y_pred, axis=axis)
    return 1 - 2.0 * both / (jnp.sum(y_true, axis=axis) + jnp.sum(y_pred, axis=axis) + epsilon())


@_register("tversky")
def tversky(y_true, y_pred, alpha=0.5, beta=0.5, axis=None):
    """One minus the Tversky index; `alpha` and `beta` weigh the two kinds of mistakes.

    Source: Salehi et al. 2017. As in Keras, `alpha` weighs what was missed.
    """
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    both = jnp.sum(y_true * y_pred, axis=axis)
    missed = jnp.sum((1 - y_pred) * y_true, axis=axis)
    extra = jnp.sum(y_pred * (1 - y_true), axis=axis)
    return 1 - both / (both + missed * alpha + extra * beta + epsilon())


@_register("ctc")
def ctc(y_true, y_pred):
    """Connectionist temporal classification: labels without times, 0 for "nothing".

    Args:
        y_true: integer labels, `(batch, max_labels)`, padded with 0.
        y_pred: logits, `(batch, times, classes)`.

    Source: Graves et al. 2006.
    """
    y_true, y_pred = as_array(y_true), in_single(y_pred)
    if y_true.ndim != 2:
        raise ValueError(
            "Targets `y_true` are expected to be a tensor of shape `(batch_size, max_length)` in "
            f"integer format. Received: y_true.shape={y_true.shape}"
        )
    if y_pred.ndim != 3:
        raise ValueError(
            "Logits `y_pred` are expected to be a tensor of shape `(batch_size, max_length, "
            f"num_classes)`. Received: y_pred.shape={y_pred.shape}"
        )
    lengths = jnp.sum(y_true != 0, axis=-1)
    steps = jnp.full(y_pred.shape[:1], y_pred.shape[1])
    return ctc_loss(y_true, y_pred, lengths, steps)


@_register("CTC")
class CTC(LossFunctionWrapper):
    """Connectionist temporal classification (Graves et al. 2006)."""

    def __init__(self, reduction="sum_over_batch_size", name="ctc", dtype=None):
        super().__init__(ctc, reduction, name, dtype)

    def call(self, y_true, y_pred):
        return ctc(y_true, y_pred)


@_register("Dice")
class Dice(LossFunctionWrapper):
    """One minus the Dice overlap over `axis` (all axes if None)."""

    def __init__(self, reduction="sum_over_batch_size", name="dice", axis=None, dtype=None):
        super().__init__(dice, reduction, name, dtype, axis=axis)
        self.axis = axis


@_register("Tversky")
class Tversky(LossFunctionWrapper):
    """One minus the Tversky index over `axis` (Salehi et al. 2017)."""

    def __init__(
        self,
        alpha=0.5,
        beta=0.5,
        reduction="sum_over_batch_size",
        name="tversky",
        axis=None,
        dtype=None,
    ):
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
        self.alpha, self.beta, self.axis = alpha, beta, axis
