"""What weights and gradients look like from epoch to epoch: histograms, changes, dead units."""

from collections import deque
from typing import Any

import numpy as np

from cornu.explorer.network import Network, length

# Of a histogram; epochs that are kept; weights that are followed; and numbers of one that are counted.
BINS, EPOCHS, WEIGHTS, MOST_COUNTED = 48, 50, 24, 2**18
# Examples over which gradients and dead units are taken, and numbers of all their outputs together.
BATCH, MOST_OUTPUTS = 64, 2**26


class Learning:
    """Rows, one for an epoch, about the weights of a network.

    Args:
        network: the network; its weights are those that it copied last.
        x, y: examples with channels last, and their classes, or None.
    """

    def __init__(self, network: Network, x, y):
        self.network = network
        count = max(1, min(BATCH, MOST_OUTPUTS // max(1, network.count_outputs())))
        self._x = None if x is None else np.asarray(x)[:count]
        self._y = None if y is None else np.asarray(y)[:count]
        self._before: dict[str, np.ndarray] = {}
        self.rows: deque[dict[str, Any]] = deque(maxlen=EPOCHS)

    def note(self, epoch: int) -> None:
        """Add the row of an epoch."""
        if self._x is None or not len(self._x):
            return
        weights, slopes, dead = self.network.learning(self._x, self._y)
        # Matrices and kernels say more than biases.
        chosen = [path for path, value in weights.items() if value.ndim > 1][:WEIGHTS]
        row: dict[str, Any] = {
            "epoch": epoch,
            # What changes are counted from; where epochs are short, some are left out.
            "since": self.rows[-1]["epoch"] if self.rows else None,
            "dead": dead,
            "weights": [],
        }
        for path in chosen:
            value, before = weights[path], self._before.get(path)
            size = 0.0 if before is None else length(before)
            change = length(value - before) / size if size and before is not None else None
            row["weights"].append(
                {
                    "name": path,
                    "values": histogram(value),
                    "gradients": histogram(slopes[path]) if path in slopes else None,
                    "change": change,
                }
            )
        self._before = {path: weights[path] for path in chosen}
        self.rows.append(row)


def histogram(values: np.ndarray) -> dict[str, Any]:
    """The range, counts in equal bins, and how many values are no numbers. Of many, every so many count."""
    values = values.ravel()[:: -(-values.size // MOST_COUNTED)]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    counts, _ = np.histogram(finite, BINS, (low, high) if low < high else (low - 0.5, low + 0.5))
    return {
        "low": low,
        "high": high,
        "counts": counts.tolist(),
        "not_finite": int(values.size - finite.size),
    }
