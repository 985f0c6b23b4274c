"""Which images are put aside for validation."""

import numpy as np

from cornu.cli.command import CommandError


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Whether each image is put aside for validation, a share of each class.

    Args:
        labels: the classes of the images, by number; or 0 and 1 for each class, of shape
            `(n, classes)`: then an image counts as one of its rarest class.
        share: how many, between 0 and 1. Of each class, at least one image stays.
        seed: the same images in the same order are split the same.
    """
    strata = rarest(labels) if labels.ndim == 2 else labels
    total = round(share * len(labels))
    if not 0 < total < len(labels):
        raise CommandError(
            f"--validation-split {share} of {len(labels)} images leaves {len(labels) - total} for "
            f"training and {total} for validation. Expected some for each."
        )
    values, counts = np.unique(strata, return_counts=True)
    exact = counts * total / len(labels)
    taken = np.floor(exact).astype(int)
    # What is left goes to those that lost most by rounding.
    taken[np.argsort(taken - exact, kind="stable")[: total - taken.sum()]] += 1
    random = np.random.default_rng(seed)
    is_chosen = np.zeros(len(labels), bool)
    for value, count in zip(values, np.minimum(taken, np.maximum(counts - 1, 0)), strict=True):
        is_chosen[random.permutation(np.flatnonzero(strata == value))[:count]] = True
    if not is_chosen.any():
        raise CommandError(
            f"--validation-split {share} leaves no image for validation, as each class keeps one to be "
            "learned from. Expected more images."
        )
    return is_chosen


def rarest(labels: np.ndarray) -> np.ndarray:
    """For each image the class of its that fewest images have; -1 for one without a class."""
    counts = labels.sum(0)
    found = np.where(labels > 0, counts, np.inf).argmin(1)
    return np.where(labels.any(1), found, -1)
