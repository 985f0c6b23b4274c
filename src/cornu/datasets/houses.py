"""What the two sets of houses have in common."""

import numpy as np

from cornu.datasets.source import find_file, read_npz


def check_split(test_split) -> None:
    """Raise ValueError unless it is a part of the data."""
    if not 0 <= test_split < 1:
        raise ValueError(
            f"`test_split` must be at least 0 and less than 1. Received: test_split={test_split}"
        )


def load_parts(path, origin: str, sha256: str, test_split, seed, count: int | None = None):
    """The rows of the file's arrays, or the first of them, in the random order of a seed, in two parts."""
    x, y = (array[:count] for array in read_npz(find_file(path, origin, sha256), ("x", "y")))
    order = np.arange(len(x))
    np.random.RandomState(seed).shuffle(order)
    x, y = x[order], y[order]
    cut = int(len(x) * (1 - test_split))
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])
