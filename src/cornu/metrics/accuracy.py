"""How often predictions are right."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.losses.base import same_rank
from cornu.metrics.reduction import MeanMetricWrapper, mean_metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


def accuracy(y_true, y_pred):
    """1 where prediction and target are equal."""
    y_true, y_pred = same_rank(jnp.asarray(y_true), jnp.asarray(y_pred))
    return (y_true.astype(y_pred.dtype) == y_pred).astype(jnp.float32)


@_register("binary_accuracy")
def binary_accuracy(y_true, y_pred, threshold=0.5):
    """1 where a prediction is above the threshold just if the target is 1.

    >>> import cornu
    >>> cornu.metrics.binary_accuracy([[1], [0]], [[0.9], [0.7]]).tolist()
    [[1.0], [0.0]]
    """
    y_true, y_pred = same_rank(jnp.asarray(y_true), jnp.asarray(y_pred))
    return (y_true.astype(jnp.float32) == (y_pred > threshold)).astype(jnp.float32)


@_register("categorical_accuracy")
def categorical_accuracy(y_true, y_pred):
    """1 where the class with the largest prediction is that of the one-hot target."""
    y_true = jnp.argmax(jnp.asarray(y_true), axis=-1)
    y_pred = jnp.asarray(y_pred)
    return (y_true == jnp.argmax(y_pred, axis=-1)).astype(y_pred.dtype)


@_register("sparse_categorical_accuracy")
def sparse_categorical_accuracy(y_true, y_pred):
    """1 where the class with the largest prediction is the integer target."""
    y_true, y_pred = jnp.asarray(y_true), jnp.asarray(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    return (y_true.astype(jnp.int32) == jnp.argmax(y_pred, axis=-1)).astype(y_pred.dtype)


def _in_top_k(labels, y_pred, k: int):
    """1 where fewer than `k` classes are predicted higher than the target."""
    truth = jnp.take_along_axis(y_pred, labels[..., None].astype(jnp.int32), axis=-1)
    higher = jnp.sum(y_pred > truth, axis=-1)
    finite = jnp.isfinite(truth[..., 0])
    return ((higher < k) & finite).astype(y_pred.dtype)


@_register("top_k_categorical_accuracy")
def top_k_categorical_accuracy(y_true, y_pred, k=5):
    """1 where the one-hot target is among the `k` largest predictions."""
    return _in_top_k(jnp.argmax(jnp.asarray(y_true), axis=-1), jnp.asarray(y_pred), k)


@_register("sparse_top_k_categorical_accuracy")
def sparse_top_k_categorical_accuracy(y_true, y_pred, k=5, from_sorted_ids=False):
    """1 where the integer target is among the `k` largest predictions.

    With `from_sorted_ids`, predictions are classes, the likeliest first.
    """
    y_true, y_pred = jnp.asarray(y_true), jnp.asarray(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if from_sorted_ids:
        found = y_pred[..., :k].astype(jnp.int32) == y_true[..., None].astype(jnp.int32)
        return jnp.any(found, axis=-1).astype(jnp.float32)
    return _in_top_k(y_true, y_pred, k)


Accuracy = mean_metric("Accuracy", accuracy)
CategoricalAccuracy = mean_metric("CategoricalAccuracy", categorical_accuracy)
SparseCategoricalAccuracy = mean_metric("SparseCategoricalAccuracy", sparse_categorical_accuracy)


@_register("BinaryAccuracy")
class BinaryAccuracy(MeanMetricWrapper):
    """How often a prediction is above the threshold just if the target is 1."""

    def __init__(self, name="binary_accuracy", dtype=None, threshold=0.5):
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(
                "Invalid value for argument `threshold`. Expected a value in interval (0, 1). "
                f"Received: threshold={threshold}"
            )
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


@_register("TopKCategoricalAccuracy")
class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the one-hot target is among the `k` largest predictions."""

    def __init__(self, k=5, name="top_k_categorical_accuracy", dtype=None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


@_register("SparseTopKCategoricalAccuracy")
class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the integer target is among the `k` largest predictions."""

    def __init__(
        self,
        k=5,
        name="sparse_top_k_categorical_accuracy",
        dtype=None,
        from_sorted_ids=False,
    ):
        super().__init__(
            sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids
        )
        self.k, self.from_sorted_ids = k, from_sorted_ids
