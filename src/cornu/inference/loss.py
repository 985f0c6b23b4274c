"""What fewer bits change: outputs beside those in float32."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np


class PrecisionLoss(NamedTuple):
    """How far predictions in fewer bits are from those in float32.

    Attributes:
        examples: on how many it was measured.
        largest_difference, mean_difference: between numbers of the outputs.
        agreement: for which share of the examples the largest output is the same one; None where no output
            has two numbers.
        accuracy, accuracy_in_float32: with labels for `validation`, the share of right classes; None
            without.
    """

    examples: int
    largest_difference: float
    mean_difference: float
    agreement: float | None = None
    accuracy: float | None = None
    accuracy_in_float32: float | None = None

    def __str__(self):
        parts = []
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.2%}, {self.accuracy_in_float32:.2%} in float32")
        if self.agreement is not None:
            parts.append(f"the same class for {self.agreement:.2%}")
        parts.append(
            f"outputs differ by {self.mean_difference:.2g} on average, "
            f"{self.largest_difference:.2g} at most"
        )
        count = f"{self.examples:,} example{'s' if self.examples != 1 else ''}"
        return f"{'; '.join(parts)} (on {count})"


def measured(reduced: Callable, exact: Callable, batches: Iterable[tuple]) -> PrecisionLoss:
    """The loss over batches `(x, y)`, whose `y` are labels or None.

    Raises ValueError for labels that do not fit the outputs.
    """
    examples = numbers = compared = same = 0
    largest = total = 0.0
    right, judged = [0, 0], 0
    for x, y in batches:
        ours, theirs = (jax.tree.leaves(call(x)) for call in (reduced, exact))
        examples += len(jax.tree.leaves(x)[0])
        for a, b in zip(ours, theirs, strict=True):
            # Where both are infinite, or both NaN, nothing is lost.
            with np.errstate(invalid="ignore"):
                difference = np.abs(a - b)
            difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
            largest = float(np.maximum(largest, difference.max(initial=0)))
            total += float(difference.sum(dtype=np.float64))
            numbers += difference.size
            if a.ndim > 1 and a.shape[-1] > 1:
                agree = a.argmax(-1) == b.argmax(-1)
                same, compared = same + int(agree.sum()), compared + agree.size
        if y is not None:
            labels = _labels(y, ours)
            judged += labels.size
            for k, outputs in enumerate((ours, theirs)):
                right[k] += int((_classes(outputs[0]) == labels).sum())
    shares = [n / judged if judged else None for n in right]
    agreement = same / compared if compared else None
    return PrecisionLoss(examples, largest, total / max(1, numbers), agreement, *shares)


def _classes(outputs: np.ndarray) -> np.ndarray:
    return outputs[..., 0] > 0.5 if outputs.shape[-1] == 1 else outputs.argmax(-1)


def _labels(y, outputs: list) -> np.ndarray:
    """The class of each example: from numbers of classes, or from one-hot vectors."""
    leaves = jax.tree.leaves(y)
    if len(leaves) != 1 or len(outputs) != 1:
        raise ValueError(
            f"Accuracy is that of one output by one array of labels. Received: {len(outputs)} outputs and "
            f"{len(leaves)} arrays. Give `validation` the inputs alone."
        )
    labels, shape = np.asarray(leaves[0]), outputs[0].shape
    if labels.shape == shape and shape[-1] > 1:
        return labels.argmax(-1)
    if labels.shape == shape or labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != shape[:-1] or labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Labels must be numbers of classes, {shape[:-1]}, or one-hot vectors, {shape}. Received: "
            f"{labels.dtype} of shape {np.asarray(leaves[0]).shape}"
        )
    return labels
