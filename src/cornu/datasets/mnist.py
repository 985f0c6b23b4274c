"""MNIST: 28x28 handwritten digits."""

from cornu.datasets.source import KERAS_ADDRESS, find_file, read_npz

_ORIGIN = KERAS_ADDRESS + "mnist.npz"
_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path="mnist.npz"):
    """The 70,000 handwritten digits of MNIST, as `(x_train, y_train), (x_test, y_test)`.

    Args:
        path: the file's name in `CORNU_DATA_DIR` or in the cache.

    Returns:
        `x`: uint8 of shapes `(60000, 28, 28)` and `(10000, 28, 28)`, values 0 (paper) to 255 (ink).
        `y`: uint8 of shapes `(60000,)` and `(10000,)`, values 0 to 9.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; licence
    CC BY-SA 3.0; Keras: MNIST digits classification dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.mnist.load_data()  # doctest: +SKIP
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    x_train, y_train, x_test, y_test = read_npz(find_file(path, _ORIGIN, _SHA256), names)
    return (x_train, y_train), (x_test, y_test)
