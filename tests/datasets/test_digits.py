import os
import re
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import cornu.datasets.digits as digits


def test_the_digits_are_the_uci_digits():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    original = load_digits()
    assert x_train.shape == (1437, 8, 8) and x_test.shape == (360, 8, 8)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}

    # Walking through the original, each image is the next one of the training or the test set.
    train, test = (
        iter(list(zip(x, y, strict=True))) for x, y in ((x_train, y_train), (x_test, y_test))
    )
    next_train, next_test = next(train), next(test)
    for image, label in zip(original.images, original.target, strict=True):
        if next_train is not None and np.array_equal(next_train[0], image):
            assert next_train[1] == label
            next_train = next(train, None)
        else:
            np.testing.assert_array_equal(next_test[0], image)
            assert next_test[1] == label
            next_test = next(test, None)
    assert next_train is next_test is None


def test_each_digit_has_the_same_share_in_both_sets():
    (_, y_train), (_, y_test) = digits.load_data()
    train, test = np.bincount(y_train), np.bincount(y_test)
    assert np.all(np.abs(test - (train + test) / 5) <= 1)


def test_the_division_is_always_the_same():
    one, other = digits.load_data(), digits.load_data()
    np.testing.assert_array_equal(one[1][0], other[1][0])
    one[0][0][:] = 0
    assert digits.load_data()[0][0].any()


def test_the_file_is_small_and_its_licence_is_beside_it():
    folder = Path(digits.__file__).parent
    assert os.path.getsize(folder / "digits.npz") < 60_000
    text = (folder / "digits.LICENSE.txt").read_text()
    assert re.search("CC BY 4.0", text) and re.search("UCI Machine Learning Repository", text)
