"""Area under a curve of right and wrong predictions over all thresholds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon
from cornu.metrics.base import ratio
from cornu.metrics.confusion import ThresholdMetric, evenly_spaced

_CURVES = {"roc": "ROC", "pr": "PR", "prgain": "PRGAIN"}
_METHODS = ("interpolation", "majoring", "minoring")


@registry.register("metric", "AUC", module="keras.metrics")
class AUC(ThresholdMetric):
    """The area under the ROC or precision-recall curve, from sums over thresholds.

    Args:
        num_thresholds: how many thresholds to spread over 0 to 1; more are more exact.
        curve: `"ROC"`, true-positive rate over false-positive rate; `"PR"`, precision over recall;
            `"PRGAIN"`, precision gain over recall gain (Flach and Kull 2015).
        summation_method: `"interpolation"`, trapezoids (for `"PR"` the interpolation of Davis and
            Goadrich 2006); `"minoring"` and `"majoring"`, rectangles below and above the curve.
        thresholds: your own thresholds from 0 to 1, instead of `num_thresholds`; one below 0 and
            one above 1 are added.
        multi_label: whether to average the areas of the labels of `(batch, labels)` data, instead
            of counting all labels together.
        num_labels: how many labels there are; needed before the first batch only.
        label_weights: how much each label counts.
        from_logits: whether a sigmoid has still to be applied to predictions.

    >>> import cornu
    >>> metric = cornu.metrics.AUC(num_thresholds=3)
    >>> float(metric([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]))
    0.75
    """

    _direction = "up"

    def __init__(
        self,
        num_thresholds=200,
        curve="ROC",
        summation_method="interpolation",
        name=None,
        dtype=None,
        thresholds=None,
        multi_label=False,
        num_labels=None,
        label_weights=None,
        from_logits=False,
    ):
        super().__init__(name=name, dtype=dtype)
        if str(curve).lower() not in _CURVES:
            raise ValueError(
                f'Invalid AUC curve value: "{curve}". Expected values are ["PR", "ROC", "PRGAIN"]'
            )
        if str(summation_method).lower() not in _METHODS:
            raise ValueError(
                f'Invalid AUC summation method value: "{summation_method}". Expected values are '
                '["interpolation", "majoring", "minoring"]'
            )
        self._own_thresholds = thresholds is not None
        if thresholds is None:
            if num_thresholds <= 1:
                raise ValueError(
                    "Argument `num_thresholds` must be an integer > 1. Received: "
                    f"num_thresholds={num_thresholds}"
                )
            inner = np.linspace(0, 1, num_thresholds)[1:-1].tolist()
            self._clip = True
        else:
            inner = sorted(thresholds)
            self._clip = evenly_spaced([0.0, *inner, 1.0])
        # So that a prediction of 0 means yes at the first one, and one of 1 means no at the last.
        self.thresholds = [0.0 - epsilon(), *inner, 1.0 + epsilon()]
        self.num_thresholds = len(self.thresholds)
        self.curve = _CURVES[str(curve).lower()]
        self.summation_method = str(summation_method).lower()
        self.multi_label, self.num_labels = multi_label, num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights)
        self.from_logits = from_logits
        self._built = False
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        if not multi_label:
            self._build(())
        elif num_labels:
            self._build((num_labels,))

    true_positives: Any
    false_positives: Any
    true_negatives: Any
    false_negatives: Any

    def _build(self, labels: tuple[int, ...]) -> None:
        self._add_counters(
            *("true_positives", "false_positives", "true_negatives", "false_negatives"),
            shape=(self.num_thresholds, *labels),
        )
        self._built = True

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = as_array(y_true), as_array(y_pred)
        if self.multi_label and y_pred.ndim != 2:
            raise ValueError(
                f"`y_pred` must have rank 2 when `multi_label=True`. Found rank {y_pred.ndim}. Full "
                f"shape received for `y_pred`: {y_pred.shape}"
            )
        if not self._built:
            self._build(y_pred.shape[1:])
        if self.from_logits:
            y_pred = jax.nn.sigmoid(y_pred)
        # With `multi_label` they weigh areas, not counts.
        label_weights = None if self.multi_label else self.label_weights
        self._count(y_true, y_pred, sample_weight, label_weights, self.multi_label)

    def result(self):
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self.interpolate_pr_auc()
        x, y = self._curve()
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2
        elif self.summation_method == "minoring":
            heights = jnp.minimum(y[:-1], y[1:])
        else:
            heights = jnp.maximum(y[:-1], y[1:])
        return self._average((x[:-1] - x[1:]) * heights)

    def _curve(self):
        recall = self._ratio("true_positives", "false_negatives")
        if self.curve == "ROC":
            return self._ratio("false_positives", "true_negatives"), recall
        if self.curve == "PR":
            return recall, self._ratio("true_positives", "false_positives")
        hits, odds = self.true_positives.value, self._odds()
        precision_gain = 1 - odds * ratio(self.false_positives.value, hits)
        recall_gain = 1 - odds * ratio(self.false_negatives.value, hits)
        return (
            jnp.maximum(jnp.where(hits == 0, 0, recall_gain), 0),
            jnp.where(hits == 0, 1, precision_gain),
        )

    def _odds(self):
        return ratio(
            self.true_positives.value + self.false_negatives.value,
            self.true_negatives.value + self.false_positives.value,
        )

    def interpolate_pr_auc(self):
        """The area under the precision-recall curve if true positives grow linearly with positives.

        So it is between any two thresholds. Source: Davis and Goadrich 2006.
        """
        hits = self.true_positives.value
        positives = hits + self.false_positives.value
        more_hits, more = hits[:-1] - hits[1:], positives[:-1] - positives[1:]
        slope = ratio(more_hits, jnp.maximum(more, 0))
        intercept = hits[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        growth = jnp.where(both, ratio(positives[:-1], positives[1:]), 1)
        true = hits[1:] + self.false_negatives.value[1:]
        areas = slope * (more_hits + intercept * jnp.log(growth))
        return self._average(ratio(areas, jnp.maximum(true, 0)))

    def _average(self, areas):
        by_label = jnp.sum(areas, axis=0)
        if not self.multi_label:
            return by_label
        if self.label_weights is None:
            return jnp.mean(by_label)
        weights = jnp.asarray(self.label_weights, by_label.dtype)
        return ratio(jnp.sum(by_label * weights), jnp.sum(weights))

    def get_config(self) -> dict:
        config = super().get_config()
        del config["thresholds"]
        if self._own_thresholds:
            config["thresholds"] = self.thresholds[1:-1]
        return config
