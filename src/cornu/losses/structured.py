"""Losses of whole images and sequences: overlap of regions, and CTC."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon, in_single
from cornu.losses.base import LossFunctionWrapper, prepare


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
    labels = y_true.astype(jnp.int32)
    batch, count = labels.shape
    lengths = jnp.sum(labels != 0, axis=-1)
    # The labels with a blank before, between and behind them.
    states = jnp.zeros((batch, 2 * count + 1), jnp.int32).at[:, 1::2].set(labels)
    logs = jax.nn.log_softmax(y_pred, axis=-1)
    emitted = jnp.take_along_axis(
        logs, jnp.broadcast_to(states[:, None, :], (batch, logs.shape[1], states.shape[1])), axis=-1
    )
    # A blank may be skipped between two labels that differ.
    before = jnp.pad(states, ((0, 0), (2, 0)))[:, :-2]
    may_skip = (states != 0) & (states != before)
    impossible = jnp.asarray(-1e5, logs.dtype)
    start = jnp.full(states.shape, impossible).at[:, :2].set(emitted[:, 0, :2])

    def shifted(scores, steps):
        return jnp.pad(scores, ((0, 0), (steps, 0)), constant_values=-1e5)[:, :-steps]

    def advance(scores, now):
        skipped = jnp.where(may_skip, shifted(scores, 2), impossible)
        total = jnp.logaddexp(jnp.logaddexp(scores, shifted(scores, 1)), skipped)
        return total + now, None

    final, _ = jax.lax.scan(advance, start, jnp.moveaxis(emitted[:, 1:], 1, 0))
    last = jnp.take_along_axis(final, 2 * lengths[:, None], axis=1)[:, 0]
    previous = jnp.take_along_axis(final, jnp.maximum(2 * lengths - 1, 0)[:, None], axis=1)[:, 0]
    previous = jnp.where(lengths > 0, previous, impossible)
    return -jnp.logaddexp(last, previous)


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
