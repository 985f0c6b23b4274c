"""How often predictions are right."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array, floatx, is_discrete
from cornu.losses.base import same_rank
from cornu.metrics.reduction import MeanMetricWrapper, mean_metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


def accuracy(y_true, y_pred):
    """1 where prediction and target are equal."""
    y_true, y_pred = same_rank(as_array(y_true), as_array(y_pred))
    dtype = jnp.result_type(y_true, y_pred)
    if not is_discrete(dtype):
        # A float of 16 bits holds integers up to 2048 only.
        dtype = jnp.promote_types(dtype, jnp.float32)
    return (y_true.astype(dtype) == y_pred.astype(dtype)).astype(floatx())


@_register("binary_accuracy")
def binary_accuracy(y_true, y_pred, threshold=0.5):
    """1 where a prediction is above the threshold just if the target is 1.

    >>> import cornu
    >>> cornu.metrics.binary_accuracy([[1], [0]], [[0.9], [0.7]]).tolist()
    [[1.0], [0.0]]
    """
    y_true, y_pred = same_rank(as_array(y_true), as_array(y_pred))
    return (y_true == (y_pred > threshold).astype(y_true.dtype)).astype(floatx())


@_register("categorical_accuracy")
def categorical_accuracy(y_true, y_pred):
    """1 where the class with the largest prediction is that of the one-hot target.

    >>> import cornu
    >>> cornu.metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]]).tolist()
    [1.0, 0.0]
    """
    labels = jnp.argmax(as_array(y_true), axis=-1)
    predicted = jnp.argmax(as_array(y_pred), axis=-1)
    return (labels == predicted.reshape(labels.shape)).astype(floatx())


@_register("sparse_categorical_accuracy")
def sparse_categorical_accuracy(y_true, y_pred):
    """1 where the class with the largest prediction is the integer target.

    Targets are `(…)` or `(…, 1)`, predictions `(…, classes)`.

    >>> import cornu
    >>> cornu.metrics.sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]]).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = as_array(y_true), as_array(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    matches = (y_true == jnp.argmax(y_pred, axis=-1)).astype(floatx())
    return matches[..., 0] if matches.ndim > 1 and matches.shape[-1] == 1 else matches


def _in_top_k(labels, y_pred, k: int):
    """1 where fewer than `k` classes are predicted higher than the label's."""
    classes = labels.reshape(y_pred.shape[:-1])[..., None].astype(jnp.int32)
    truth = jnp.take_along_axis(y_pred, classes, axis=-1)
    truth = jnp.where(jnp.isnan(truth), -jnp.inf, truth)
    higher = jnp.sum(y_pred > truth, axis=-1)
    return (higher < k).astype(floatx()).reshape(labels.shape)


@_register("top_k_categorical_accuracy")
def top_k_categorical_accuracy(y_true, y_pred, k=5):
    """1 where the one-hot target is among the `k` largest predictions.

    >>> import cornu
    >>> cornu.metrics.top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    return _in_top_k(jnp.argmax(as_array(y_true), axis=-1), as_array(y_pred), k)


@_register("sparse_top_k_categorical_accuracy")
def sparse_top_k_categorical_accuracy(y_true, y_pred, k=5, from_sorted_ids=False):
    """1 where the integer target is among the `k` largest predictions.

    With `from_sorted_ids`, predictions are classes, the likeliest first.

    >>> import cornu
    >>> cornu.metrics.sparse_top_k_categorical_accuracy([2], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    y_true, y_pred = as_array(y_true), as_array(y_pred)
    if not from_sorted_ids:
        return _in_top_k(y_true, y_pred, k)
    labels = y_true.reshape(y_pred.shape[:-1])[..., None]
    found = jnp.any(labels.astype(y_pred.dtype) == y_pred[..., :k], axis=-1)
    return found.astype(floatx()).reshape(y_true.shape)


Accuracy = mean_metric("Accuracy", accuracy, "up", __name__)
CategoricalAccuracy = mean_metric("CategoricalAccuracy", categorical_accuracy, "up", __name__)
SparseCategoricalAccuracy = mean_metric(
    "SparseCategoricalAccuracy", sparse_categorical_accuracy, "up", __name__
)


@_register("BinaryAccuracy")
class BinaryAccuracy(MeanMetricWrapper):
    """How often a prediction is above the threshold just if the target is 1."""

    _direction = "up"

    def __init__(self, name="binary_accuracy", dtype=None, threshold=0.5):
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


@_register("TopKCategoricalAccuracy")
class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the one-hot target is among the `k` largest predictions."""

    _direction = "up"

    def __init__(self, k=5, name="top_k_categorical_accuracy", dtype=None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


@_register("SparseTopKCategoricalAccuracy")
class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the integer target is among the `k` largest predictions.

    With `from_sorted_ids`, predictions are classes, the likeliest first.
    """

    _direction = "up"

    def __init__(
        self, k=5, name="sparse_top_k_categorical_accuracy", dtype=None, from_sorted_ids=False
    ):
        super().__init__(
            sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids
        )
        self.k, self.from_sorted_ids = k, from_sorted_ids
