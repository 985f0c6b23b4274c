"""How good a model is: its answers for images whose classes are known."""

import dataclasses

import numpy as np

from cornu.cli.data import Part

# For the picture of predictions: 4 rows of 6, of which so many at most are wrong.
_SHOWN, _SHOWN_WRONG = 24, 8


@dataclasses.dataclass
class Judgement:
    """A model's answers; `shown` are the indices of a few images kept in `images`."""

    y_true: np.ndarray
    probabilities: np.ndarray
    shown: list[int]
    images: np.ndarray

    @property
    def y_pred(self):
        return self.probabilities.argmax(-1)

    @property
    def num_wrong(self) -> int:
        return int((self.y_pred != self.y_true).sum())

    @property
    def accuracy(self) -> float:
        return 1 - self.num_wrong / len(self.y_true)

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        chosen = self.probabilities[np.arange(len(self.y_true)), self.y_true]
        return float(-np.log(np.maximum(chosen, 1e-7)).mean())

    def describe(self) -> str:
        return (
            f"{self.accuracy:.2%}".replace("%", " %")
            + f" ({len(self.y_true):,} images, {self.num_wrong:,} wrong), loss {self.loss:.4f}"
        )


def judge(model, part: Part, batch_size: int) -> Judgement:
    """Ask a model about all images of a part, in one pass, without keeping them."""
    labels, answers = [], []
    right: dict[int, np.ndarray] = {}
    wrong: dict[int, np.ndarray] = {}
    seen = 0
    for x, y in part.batches(batch_size):
        probabilities = model.predict_on_batch(x)
        for row, is_right in enumerate(probabilities.argmax(-1) == y):
            kept, most = (right, _SHOWN) if is_right else (wrong, _SHOWN_WRONG)
            if len(kept) < most:
                kept[seen + row] = np.array(x[row])
        seen += len(x)
        labels.append(y)
        answers.append(probabilities)
    shown = {**dict(list(right.items())[: _SHOWN - len(wrong)]), **wrong}
    return Judgement(
        np.concatenate(labels),
        np.concatenate(answers),
        sorted(shown),
        np.stack([shown[index] for index in sorted(shown)]),
    )
