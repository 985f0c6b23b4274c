"""The cross-entropies, of each example."""

import functools
import warnings

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from cornu.core import masking
from cornu.core.dtype import as_array, epsilon, in_single, widened


def check_axis(axis) -> None:
    if isinstance(axis, bool):
        raise ValueError(
            f"`axis` must be of type `int`. Received: axis={axis} of type {type(axis)}"
        )


def clip_probabilities(probabilities):
    return jnp.clip(probabilities, epsilon(), 1.0 - epsilon())


def check_one_hot(y_true, y_pred, name: str) -> None:
    if y_pred.ndim < 1 or y_true.ndim < 1:
        raise ValueError(
            f"{name}: arguments `target` and `output` must be at least rank 1. Received: "
            f"target.shape={y_true.shape}, output.shape={y_pred.shape}"
        )
    if y_true.shape != y_pred.shape and (
        y_true.ndim != y_pred.ndim or y_true.shape[-1] != y_pred.shape[-1]
    ):
        raise ValueError(
            f"{name}: arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={y_true.shape}, output.shape={y_pred.shape}. For integer labels use "
            "'sparse_categorical_crossentropy', or make them one-hot with "
            f"utils.to_categorical(y, {y_pred.shape[-1]})."
        )
    if y_pred.shape[-1] == 1:
        warnings.warn(
            f"In loss {name}, expected y_pred.shape to be (batch_size, num_classes) with "
            f"num_classes > 1. Received: y_pred.shape={y_pred.shape}. Consider using "
            "'binary_crossentropy' if you only have 2 classes.",
            SyntaxWarning,
            stacklevel=4,
        )


def smooth_labels(y_true, label_smoothing, classes):
    return y_true * (1.0 - label_smoothing) + label_smoothing / classes


def log_probabilities(y_pred, from_logits: bool, axis: int):
    if from_logits:
        return jax.nn.log_softmax(y_pred, axis=axis)
    return jnp.log(clip_probabilities(y_pred / jnp.sum(y_pred, axis=axis, keepdims=True)))


# What JAX derives keeps each step of the above apart, in a dozen small loops of a training step.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _cross_entropy(y_true, y_pred, axis):
    return -jnp.sum(y_true * log_probabilities(y_pred, False, axis), axis=axis)


def _cross_entropy_jvp(axis, primals, tangents):
    y_true, y_pred = primals
    total = jnp.sum(y_pred, axis=axis, keepdims=True)
    share = y_pred / total
    moves = (share > epsilon()) & (share < 1.0 - epsilon())
    weights = jnp.where(moves, y_true, 0)
    slope = jnp.sum(weights, axis=axis, keepdims=True) - weights / jnp.where(moves, share, 1)
    result = _cross_entropy(y_true, y_pred, axis)
    by_label, by_prediction = tangents
    parts = []
    if not isinstance(by_prediction, SymbolicZero):
        parts.append(jnp.sum(slope / total * by_prediction, axis=axis))
    if not isinstance(by_label, SymbolicZero):
        parts.append(_cross_entropy(by_label, y_pred, axis))
    return result, sum(parts[1:], start=parts[0]) if parts else jnp.zeros_like(result)


_cross_entropy.defjvp(_cross_entropy_jvp, symbolic_zeros=True)


def categorical(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """`-sum(y_true * log(y_pred))` for one-hot labels."""
    check_axis(axis)
    y_pred = in_single(y_pred)
    y_true = as_array(y_true).astype(y_pred.dtype)
    check_one_hot(y_true, y_pred, "categorical_crossentropy")
    if label_smoothing:
        y_true = smooth_labels(y_true, label_smoothing, y_true.shape[-1])
    if not from_logits:
        return _cross_entropy(y_true, y_pred, axis)
    return -jnp.sum(y_true * log_probabilities(y_pred, True, axis), axis=axis)


def sparse_categorical(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """`-log(y_pred[y_true])` for integer labels."""
    check_axis(axis)
    y_true, y_pred = widened(y_true), in_single(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1:
        y_true = jnp.squeeze(y_true, axis)
    expected = list(y_pred.shape)
    expected.pop(axis)
    if list(y_true.shape) != expected:
        raise ValueError(
            "sparse_categorical_crossentropy: argument `output` must have rank (ndim) "
            "`target.ndim + 1`, and all axes but that of the classes equal. Received: "
            f"target.shape={y_true.shape}, output.shape={y_pred.shape}. For one-hot labels use "
            "'categorical_crossentropy'."
        )
    counts = None
    if ignore_class is not None:
        counts = y_true != jnp.asarray(ignore_class, y_true.dtype)
        y_true = jnp.where(counts, y_true, 0)
        y_pred = jnp.where(jnp.expand_dims(counts, axis), y_pred, 0)
    logs = log_probabilities(y_pred, from_logits, axis)
    labels = jax.nn.one_hot(
        y_true.astype(jnp.int32), y_pred.shape[axis], axis=axis, dtype=logs.dtype
    )
    losses = -jnp.sum(labels * logs, axis=axis)
    if counts is not None:
        losses = jnp.where(counts, losses, 0.0)
        masking.set_mask(losses, counts)
    return losses


def binary(y_true, y_pred, from_logits=False):
    """The binary cross-entropy of every single number."""
    if from_logits:
        yes, no = jax.nn.log_sigmoid(y_pred), jax.nn.log_sigmoid(-y_pred)
    else:
        y_pred = clip_probabilities(y_pred)
        yes, no = jnp.log(y_pred), jnp.log(1.0 - y_pred)
    return -(y_true * yes + (1.0 - y_true) * no)
