"""Right and wrong yes-or-no predictions, counted at one or many thresholds."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon
from cornu.losses.base import broadcast_weights, same_rank
from cornu.metrics.base import Metric, ratio

_NEVER = -1e10


def _register(*names):
    return registry.register("metric", *names, module="keras.metrics")


def count_outcomes(y_true, y_pred, thresholds, sample_weight=None, multi_label=False):
    """Weighted counts of right and wrong predictions at each threshold.

    A prediction above a threshold means yes. Time and memory grow with the predictions, not with
    their product with the thresholds: each is put into the bin between two thresholds once.

    Returns:
        dict of `true_positives`, `false_positives`, `true_negatives` and `false_negatives`, each
        `(thresholds,)`, or with `multi_label` `(thresholds, labels)`.
    """
    one = jnp.ones((), y_pred.dtype)
    weights = jnp.broadcast_to(one if sample_weight is None else sample_weight, y_pred.shape)
    truth = y_true.astype(bool)
    labels = y_pred.shape[-1] if multi_label else 1
    y_pred, truth, weights = (x.reshape(-1, labels) for x in (y_pred, truth, weights))

    order = np.argsort(thresholds, kind="stable")
    levels = jnp.asarray(np.asarray(thresholds)[order], y_pred.dtype)
    # How many thresholds a prediction is above; NaN is above none.
    bins = jnp.searchsorted(levels, y_pred, side="left", method="scan_unrolled")
    bins = jnp.where(jnp.isnan(y_pred), 0, bins)
    columns = jnp.broadcast_to(jnp.arange(labels), bins.shape)
    empty = jnp.zeros((len(order) + 1, labels, 2), weights.dtype)
    sides = jnp.stack([jnp.where(truth, weights, 0), jnp.where(truth, 0, weights)], axis=-1)
    histogram = empty.at[bins, columns].add(sides)

    back = np.argsort(order)
    below = jnp.cumsum(histogram, axis=0)[:-1][back]
    above = jnp.cumsum(histogram[::-1], axis=0)[::-1][1:][back]
    counts = {
        "true_positives": above[..., 0],
        "false_positives": above[..., 1],
        "true_negatives": below[..., 1],
        "false_negatives": below[..., 0],
    }
    return counts if multi_label else {name: count[:, 0] for name, count in counts.items()}


def evenly_spaced(thresholds) -> bool:
    """Whether thresholds divide 0 to 1 into equal parts."""
    count = len(thresholds)
    return count > 2 and np.allclose(thresholds, np.linspace(0, 1, count), atol=epsilon())


def _only_top_k(y_pred, k: int):
    _, indices = jax.lax.top_k(y_pred, k)
    nothing = jnp.zeros(y_pred.shape, bool)
    kept = jnp.put_along_axis(nothing, indices, True, axis=-1, inplace=False)
    return jnp.where(kept, y_pred, _NEVER)


class ThresholdMetric(Metric):
    """What metrics share that count right and wrong predictions at thresholds.

    Args:
        thresholds: a number from 0 to 1, or a list of such; 0.5 by default. With a list the result
            has a value for each.
        top_k: if given, only the `k` largest predictions of each sample can mean yes, and they all
            do if no `thresholds` are given.
        class_id: if given, only this class is counted; targets and predictions are
            `(batch, classes)`.
        num_thresholds: how many thresholds to spread over 0 to 1.

    Targets are 0 or 1, predictions from 0 to 1, of one shape.
    """

    thresholds: list[float]
    # As in Keras, if thresholds are evenly spaced, predictions below 0 and above 1 are 0 and 1.
    _clip: bool
    # Outcome to variable; a subclass makes them.
    _counters: dict
    top_k: int | None = None
    class_id: int | None = None

    def _add_counters(self, *outcomes: str, shape=None) -> None:
        shape = shape or (len(self.thresholds),)
        self._counters = {o: self.add_variable(shape, "zeros", name=o) for o in outcomes}
        vars(self).update(self._counters)

    def update_state(self, y_true, y_pred, sample_weight=None):
        self._count(as_array(y_true), as_array(y_pred), sample_weight)

    def _count(self, y_true, y_pred, sample_weight, label_weights=None, multi_label=False) -> None:
        dtype = next(iter(self._counters.values())).dtype
        y_pred, y_true = same_rank(y_pred.astype(dtype), y_true.astype(dtype))
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"{self.name}: `y_true` and `y_pred` must have the same shape. Received: "
                f"y_true.shape={y_true.shape}, y_pred.shape={y_pred.shape}. If targets are classes, "
                "make them one-hot with `utils.to_categorical`."
            )
        if self.top_k is not None:
            y_pred = _only_top_k(y_pred, self.top_k)
        if self.class_id is not None:
            if y_pred.ndim == 1:
                raise ValueError(
                    "When class_id is provided, y_pred must be a 2D array with shape "
                    f"(num_samples, num_classes), found shape: {y_pred.shape} (in {self.name})"
                )
            y_true, y_pred = (y[..., self.class_id, None] for y in (y_true, y_pred))
        if self._clip:
            y_pred = jnp.clip(y_pred, 0.0, 1.0)
        if sample_weight is not None:
            sample_weight = as_array(sample_weight).astype(dtype)
            sample_weight, y_pred = broadcast_weights(sample_weight, y_pred)
            y_true = y_true.reshape(y_pred.shape)
        if label_weights is not None:
            label_weights = jnp.broadcast_to(jnp.asarray(label_weights, dtype), y_pred.shape)
            if sample_weight is not None:
                label_weights = label_weights * jnp.broadcast_to(sample_weight, y_pred.shape)
            sample_weight = label_weights
        counts = count_outcomes(y_true, y_pred, self.thresholds, sample_weight, multi_label)
        for outcome, variable in self._counters.items():
            variable.assign_add(counts[outcome])

    def _ratio(self, part: str, rest: str):
        part, rest = getattr(self, part).value, getattr(self, rest).value
        return ratio(part, part + rest)


def _check_thresholds(thresholds, default: float) -> list[float]:
    if thresholds is None:
        return [default]
    thresholds = list(thresholds) if isinstance(thresholds, list | tuple) else [thresholds]
    invalid = [t for t in thresholds if t is None or not 0 <= t <= 1]
    if invalid:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {invalid}")
    return thresholds


class _OneOutcome(ThresholdMetric):
    """The weighted number of one kind of outcome."""

    _outcome: str

    def __init__(self, thresholds=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.thresholds = _check_thresholds(thresholds, 0.5)
        self._clip = evenly_spaced(self.thresholds)
        self.accumulator = self.add_variable((len(self.thresholds),), "zeros", name="accumulator")
        self._counters = {self._outcome: self.accumulator}

    def result(self):
        counts = self.accumulator.value
        return counts[0] if len(self.thresholds) == 1 else counts

    def get_config(self) -> dict:
        return {**super().get_config(), "thresholds": self.init_thresholds}


@_register("TruePositives")
class TruePositives(_OneOutcome):
    """The weighted number of predictions that rightly mean yes.

    >>> import cornu
    >>> metric = cornu.metrics.TruePositives()
    >>> float(metric([0, 1, 1, 1], [0.0, 1.0, 0.3, 0.8]))
    2.0
    """

    _outcome = "true_positives"


@_register("FalsePositives")
class FalsePositives(_OneOutcome):
    """The weighted number of predictions that wrongly mean yes."""

    _outcome = "false_positives"


@_register("TrueNegatives")
class TrueNegatives(_OneOutcome):
    """The weighted number of predictions that rightly mean no."""

    _outcome = "true_negatives"


@_register("FalseNegatives")
class FalseNegatives(_OneOutcome):
    """The weighted number of predictions that wrongly mean no."""

    _outcome = "false_negatives"


class _Share(ThresholdMetric):
    """The share of true positives in themselves and one other kind of outcome."""

    _direction = "up"
    _other: str

    def __init__(self, thresholds=None, top_k=None, class_id=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.thresholds = _check_thresholds(thresholds, 0.5 if top_k is None else _NEVER)
        self._clip = evenly_spaced(self.thresholds)
        self.top_k, self.class_id = top_k, class_id
        self._add_counters("true_positives", self._other)

    def result(self):
        shares = self._ratio("true_positives", self._other)
        return shares[0] if len(self.thresholds) == 1 else shares

    def get_config(self) -> dict:
        return {**super().get_config(), "thresholds": self.init_thresholds}


@_register("Precision")
class Precision(_Share):
    """How many of the predictions that mean yes are right: `TP / (TP + FP)`.

    >>> import cornu
    >>> metric = cornu.metrics.Precision()
    >>> round(float(metric([0, 1, 1, 1], [0.9, 1.0, 0.3, 0.8])), 4)
    0.6667
    """

    _other = "false_positives"


@_register("Recall")
class Recall(_Share):
    """How many of the true samples are found: `TP / (TP + FN)`.

    >>> import cornu
    >>> metric = cornu.metrics.Recall()
    >>> round(float(metric([0, 1, 1, 1], [0.9, 1.0, 0.3, 0.8])), 4)
    0.6667
    """

    _other = "false_negatives"


class _BestUnderConstraint(ThresholdMetric):
    """The best of one share over the thresholds at which another one is large enough."""

    _direction = "up"
    # Each share by its part and its rest.
    _constrained: tuple[str, str]
    _wanted: tuple[str, str]

    def __init__(self, argument, value, num_thresholds, class_id, name, dtype):
        super().__init__(name=name, dtype=dtype)
        if not 0 <= value <= 1:
            raise ValueError(
                f"Argument `{argument}` must be in the range [0, 1]. Received: {argument}={value}"
            )
        if num_thresholds <= 0:
            raise ValueError(
                "Argument `num_thresholds` must be an integer > 0. Received: "
                f"num_thresholds={num_thresholds}"
            )
        self.value, self.num_thresholds, self.class_id = value, num_thresholds, class_id
        setattr(self, argument, value)
        self._clip = num_thresholds > 1
        self.thresholds = np.linspace(0, 1, num_thresholds).tolist() if self._clip else [0.5]
        self._add_counters("true_positives", "false_positives", "true_negatives", "false_negatives")

    def result(self):
        feasible = self._ratio(*self._constrained) >= self.value
        return jnp.max(jnp.where(feasible, self._ratio(*self._wanted), 0))


_SENSITIVITY = ("true_positives", "false_negatives")
_SPECIFICITY = ("true_negatives", "false_positives")
_PRECISION = ("true_positives", "false_positives")


@_register("SensitivityAtSpecificity")
class SensitivityAtSpecificity(_BestUnderConstraint):
    """The best `TP / (TP + FN)` where `TN / (TN + FP)` is at least `specificity`.

    >>> import cornu
    >>> metric = cornu.metrics.SensitivityAtSpecificity(0.5)
    >>> float(metric([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    _constrained, _wanted = _SPECIFICITY, _SENSITIVITY

    def __init__(self, specificity, num_thresholds=200, class_id=None, name=None, dtype=None):
        super().__init__("specificity", specificity, num_thresholds, class_id, name, dtype)


@_register("SpecificityAtSensitivity")
class SpecificityAtSensitivity(_BestUnderConstraint):
    """The best `TN / (TN + FP)` where `TP / (TP + FN)` is at least `sensitivity`."""

    _constrained, _wanted = _SENSITIVITY, _SPECIFICITY

    def __init__(self, sensitivity, num_thresholds=200, class_id=None, name=None, dtype=None):
        super().__init__("sensitivity", sensitivity, num_thresholds, class_id, name, dtype)


@_register("PrecisionAtRecall")
class PrecisionAtRecall(_BestUnderConstraint):
    """The best `TP / (TP + FP)` where `TP / (TP + FN)` is at least `recall`."""

    _constrained, _wanted = _SENSITIVITY, _PRECISION

    def __init__(self, recall, num_thresholds=200, class_id=None, name=None, dtype=None):
        super().__init__("recall", recall, num_thresholds, class_id, name, dtype)


@_register("RecallAtPrecision")
class RecallAtPrecision(_BestUnderConstraint):
    """The best `TP / (TP + FN)` where `TP / (TP + FP)` is at least `precision`."""

    _constrained, _wanted = _PRECISION, _SENSITIVITY

    def __init__(self, precision, num_thresholds=200, class_id=None, name=None, dtype=None):
        super().__init__("precision", precision, num_thresholds, class_id, name, dtype)
