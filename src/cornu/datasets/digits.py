"""The 8x8 handwritten digits of the UCI repository, which come with the package."""

from pathlib import Path

import numpy as np

from cornu.datasets.source import read_npz


def load_data():
    """The 1,797 handwritten digits, 8x8 pixels, as `(x_train, y_train), (x_test, y_test)`.

    Each pixel counts the black dots, 0 to 16, in a 4x4 block of the scanned digit. The test set is
    every fifth image of the images sorted by label, so that each digit has the same share in both
    sets (1,437 and 360 images) and each writer is in both; within a set the images keep the order
    of the original file. The division is always the same.

    Returns:
        `x`: uint8 of shape `(n, 8, 8)`, values 0 to 16. `y`: uint8 of shape `(n,)`, values 0 to 9.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; its test part, as
    in scikit-learn.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.digits.load_data()
    >>> x_train.shape, x_test.shape
    ((1437, 8, 8), (360, 8, 8))
    """
    images, labels = read_npz(Path(__file__).with_name("digits.npz"), ("images", "labels"))
    is_test = np.zeros(len(labels), bool)
    is_test[np.argsort(labels, kind="stable")[::5]] = True
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])
