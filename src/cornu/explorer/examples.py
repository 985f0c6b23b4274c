"""Inputs to choose from on the page."""

from typing import Any

import numpy as np

# Of one page of thumbnails, and of the longer side of one.
SHOWN, SIDE = 24, 48


class Examples:
    """Examples of a network's input, with their classes or numbers if these are known.

    Args:
        x: an array `(n, *shape)`, with channels last.
        y: the classes as integers, or the numbers that a model should give: `(n,)`, or None.
    """

    def __init__(self, x, y=None):
        self.x = np.asarray(x, np.float32)
        self.y = None if y is None else np.asarray(y).reshape(-1)
        if self.y is not None and np.array_equal(self.y, np.rint(self.y)):
            self.y = self.y.astype(int)
        if self.y is not None and len(self.y) != len(self.x):
            raise ValueError(
                f"There are {len(self.x)} examples, but {len(self.y)} classes or numbers."
            )
        self.range = [float(self.x.min()), float(self.x.max())] if self.x.size else None

    def border(self) -> float | None:
        """The mean of the outermost pixels of images, which is their background; None if there are none."""
        if self.x.ndim != 4 or not len(self) or min(self.x.shape[1:3]) < 3:
            return None
        some = self.x[:100, ..., :3]
        edges = [some[:, 0], some[:, -1], some[:, :, 0], some[:, :, -1]]
        return float(np.concatenate([edge.ravel() for edge in edges]).mean())

    @classmethod
    def none(cls) -> "Examples":
        """No examples."""
        return cls(np.zeros((0, 1)))

    def __len__(self) -> int:
        return len(self.x)

    def one(self, number: int) -> tuple[np.ndarray, int | float | None]:
        """An example and its class, or number."""
        if not 0 <= number < len(self):
            raise ValueError(f"There is no example {number}; there are {len(self)}.")
        return self.x[number], None if self.y is None else self.y[number].item()

    def thumbnails(self, start: int) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Thumbnails of some examples: a description, and float32 `(n, rows, columns, channels)`."""
        labels = None if self.y is None else self.y[start : start + SHOWN].tolist()
        shape, thumbnails = small(self.x[start : start + SHOWN])
        return {"shape": shape, "labels": labels}, [thumbnails]


def small(x: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Thumbnails `(n, rows, columns, channels)` of examples, of any rank.

    Every so many pixels, not a mean, which would show what no layer sees; of volumes the middle slice.
    """
    while x.ndim > 4:
        x = x[:, x.shape[1] // 2]
    if x.ndim == 4:
        step = -(-max(x.shape[1:3]) // SIDE)
        x = x[:, ::step, ::step]
    else:
        x = x.reshape(len(x), 1, x.shape[1], -1)
        x = x[:, :, :: -(-x.shape[2] // 256)]
    return list(x.shape), np.ascontiguousarray(x)
