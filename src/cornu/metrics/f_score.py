"""F-scores: precision and recall in one number."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon
from cornu.metrics.base import Metric


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


@_register("FBetaScore")
class FBetaScore(Metric):
    """`(1 + beta^2) * precision * recall / (beta^2 * precision + recall)`.

    Args:
        average: what becomes of the scores of the classes: None, themselves; `"micro"`, one score
            of all counts together; `"macro"`, their mean; `"weighted"`, their mean weighted by how
            often each class is true.
        beta: how many times as important recall is as precision.
        threshold: above it a prediction means yes; None: the largest of each sample does.

    Targets and predictions are `(batch, classes)`. The first batch fixes the number of classes.

    >>> import cornu
    >>> metric = cornu.metrics.FBetaScore(beta=2.0, threshold=0.5)
    >>> scores = metric([[1, 1], [1, 0], [1, 1]], [[0.2, 0.6], [0.7, 0.1], [0.8, 0.2]])
    >>> [round(float(score), 4) for score in scores]
    [0.7143, 0.5556]
    """

    _direction = "up"

    def __init__(self, average=None, beta=1.0, threshold=None, name="fbeta_score", dtype=None):
        super().__init__(name=name, dtype=dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                "Invalid `average` argument value. Expected one of: "
                f"{{None, 'micro', 'macro', 'weighted'}}. Received: average={average}"
            )
        if not isinstance(beta, float):
            raise ValueError(
                "Invalid `beta` argument value. It should be a Python float. Received: "
                f"beta={beta} of type '{type(beta)}'"
            )
        if beta <= 0.0:
            raise ValueError(
                f"Invalid `beta` argument value. It should be > 0. Received: beta={beta}"
            )
        if threshold is not None and not isinstance(threshold, float):
            raise ValueError(
                "Invalid `threshold` argument value. It should be a Python float. Received: "
                f"threshold={threshold} of type '{type(threshold)}'"
            )
        if threshold is not None and not 0.0 < threshold <= 1.0:
            raise ValueError(
                "Invalid `threshold` argument value. It should verify 0 < threshold <= 1. "
                f"Received: threshold={threshold}"
            )
        self.average, self.beta, self.threshold = average, beta, threshold
        self._built = False

    def _build(self, true_shape, pred_shape) -> None:
        if len(true_shape) != 2 or len(pred_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} expects 2D inputs with shape (batch_size, output_dim). "
                f"Received input shapes: y_pred.shape={pred_shape} and y_true.shape={true_shape}."
            )
        shape = () if self.average == "micro" else pred_shape[-1:]

        def add(name):
            return self.add_variable(shape, "zeros", self.dtype, name=name)

        self.true_positives = add("true_positives")
        self.false_positives = add("false_positives")
        self.false_negatives = add("false_negatives")
        self.intermediate_weights = add("intermediate_weights")
        self._built = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = as_array(y_true).astype(self.dtype)
        y_pred = as_array(y_pred).astype(self.dtype)
        if not self._built:
            self._build(y_true.shape, y_pred.shape)
        if self.threshold is None:
            largest = y_pred >= jnp.max(y_pred, axis=-1, keepdims=True)
            positive = largest & (jnp.abs(y_pred) > 1e-9)
        else:
            positive = y_pred > self.threshold
        positive = positive.astype(self.dtype)
        weights = jnp.ones(y_pred.shape[:1], self.dtype)
        if sample_weight is not None:
            weights = as_array(sample_weight).astype(self.dtype).reshape(weights.shape)
        axis = None if self.average == "micro" else 0

        def count(values):
            return jnp.sum(values * weights[:, None], axis=axis)

        self.true_positives.assign_add(count(positive * y_true))
        self.false_positives.assign_add(count(positive * (1 - y_true)))
        self.false_negatives.assign_add(count((1 - positive) * y_true))
        self.intermediate_weights.assign_add(count(y_true))

    def result(self):
        hits = self.true_positives.value
        precision = hits / (hits + self.false_positives.value + epsilon())
        recall = hits / (hits + self.false_negatives.value + epsilon())
        mean = precision * recall / (self.beta**2 * precision + recall + epsilon())
        scores = mean * (1 + self.beta**2)
        if self.average == "weighted":
            weights = self.intermediate_weights.value
            return jnp.sum(scores * weights / (jnp.sum(weights) + epsilon()))
        return scores if self.average is None else jnp.mean(scores)


@_register("F1Score")
class F1Score(FBetaScore):
    """The harmonic mean of precision and recall: an `FBetaScore` with `beta` 1.

    >>> import cornu
    >>> metric = cornu.metrics.F1Score(average="macro", threshold=0.5)
    >>> round(float(metric([[1, 1], [1, 0], [1, 1]], [[0.2, 0.6], [0.7, 0.1], [0.8, 0.2]])), 4)
    0.7333
    """

    def __init__(self, average=None, threshold=None, name="f1_score", dtype=None):
        super().__init__(average, 1.0, threshold, name, dtype)
