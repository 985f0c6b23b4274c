"""How good a model is: its answers for images whose classes are known."""

import dataclasses
import functools

import numpy as np

from cornu.cli import quality
from cornu.cli.data import Part
from cornu.cli.quality import THRESHOLD, of_labels

# For the figure of predictions: 4 rows of 6, of which so many at most are wrong.
_SHOWN, _SHOWN_WRONG = 24, 8


@dataclasses.dataclass
class Judgement:
    """A model's answers; `shown` are the indices of a few images kept in `images`.

    `y_true` is the class of each image, or, where an image may be of several, 0 and 1 for each class. `raw`
    is what the model itself answers; its logits divided by `temperature` give `probabilities`. From
    `thresholds` on, of each class, images of several classes are taken for it.
    """

    y_true: np.ndarray
    raw: np.ndarray
    shown: list[int]
    images: np.ndarray
    temperature: float = 1.0
    thresholds: list[float] | float = THRESHOLD

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        return quality.calibrated(self.raw, self.temperature)

    @property
    def y_pred(self):
        if self.is_multi_label:
            return (self.probabilities >= np.array(self.thresholds)).astype(self.y_true.dtype)
        return self.raw.argmax(-1)

    @property
    def calibration_error(self) -> float:
        return quality.calibration_error(self.y_true, self.probabilities)

    @property
    def is_multi_label(self) -> bool:
        return self.y_true.ndim == 2

    @property
    def num_wrong(self) -> int:
        """Of images of several classes, those with any class that is wrong."""
        is_wrong = self.y_pred != self.y_true
        return int((is_wrong.any(1) if self.is_multi_label else is_wrong).sum())

    @property
    def accuracy(self) -> float:
        return 1 - self.num_wrong / len(self.y_true)

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        if self.is_multi_label:
            chosen = np.where(self.y_true > 0, self.probabilities, 1 - self.probabilities)
            return float(-np.log(np.maximum(chosen, 1e-7)).mean())
        chosen = self.probabilities[np.arange(len(self.y_true)), self.y_true]
        return float(-np.log(np.maximum(chosen, 1e-7)).mean())

    def describe(self) -> str:
        if self.is_multi_label:
            found = of_labels(self.y_true, self.probabilities, self.thresholds)
            return (
                f"mean average precision {number(found['mean_average_precision'])}, F1 "
                f"{number(found['f1_macro'])} ({len(self.y_true):,} images, {self.num_wrong:,} with a "
                f"wrong class), loss {self.loss:.4f}"
            )
        return (
            f"{self.accuracy:.2%}".replace("%", " %")
            + f" ({len(self.y_true):,} images, {self.num_wrong:,} wrong), loss {self.loss:.4f}"
        )


def number(value: float | None) -> str:
    """As text; none without images of any class."""
    return "none" if value is None else f"{value:.4f}"


def judge(
    model,
    part: Part,
    batch_size: int,
    temperature: float = 1.0,
    thresholds: list[float] | float = THRESHOLD,
) -> Judgement:
    """Ask a model about all images of a part, in one pass, without keeping them."""
    labels, answers = [], []
    generator = np.random.default_rng(0)
    right, wrong = _Sample(_SHOWN, generator), _Sample(_SHOWN_WRONG, generator)
    seen = 0
    for x, y in part.batches(batch_size):
        probabilities = np.asarray(model.predict_on_batch(x))
        if probabilities.dtype.itemsize < 4:
            # NumPy's sums of 16 bits are of 16 bits.
            probabilities = probabilities.astype("float32")
        if y.ndim == 2:
            are_right = ((probabilities >= np.array(thresholds)) == (y > 0)).all(1)
        else:
            are_right = probabilities.argmax(-1) == y
        for row, is_right in enumerate(are_right):
            (right if is_right else wrong).offer(seen + row, x[row])
        seen += len(x)
        labels.append(y)
        answers.append(probabilities)
    shown = sorted([*wrong.kept, *right.kept[: _SHOWN - len(wrong.kept)]], key=lambda pair: pair[0])
    return Judgement(
        np.concatenate(labels),
        np.concatenate(answers),
        [index for index, _ in shown],
        np.stack([image for _, image in shown]),
        temperature,
        thresholds,
    )


class _Sample:
    """A few images of many that come one after the other, each with the same chance to be kept.

    Source: Vitter 1985, "Random sampling with a reservoir".
    """

    def __init__(self, size: int, generator):
        self.kept: list[tuple[int, np.ndarray]] = []
        self._size, self._generator, self._seen = size, generator, 0

    def offer(self, index: int, image) -> None:
        self._seen += 1
        if len(self.kept) < self._size:
            self.kept.append((index, np.array(image)))
            return
        slot = self._generator.integers(self._seen)
        if slot < self._size:
            self.kept[slot] = (index, np.array(image))
