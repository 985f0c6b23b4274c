"""CIFAR-100: 32x32 colour photographs of a hundred kinds of things."""

from cornu.datasets.cifar import read_batches
from cornu.datasets.source import find_file

_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def load_data(label_mode="fine"):
    """The 60,000 photographs of CIFAR-100, as `(x_train, y_train), (x_test, y_test)`.

    Args:
        label_mode: `"fine"` for the 100 kinds, `"coarse"` for the 20 groups of five kinds.

    Returns:
        `x`: uint8 of shapes `(50000, 32, 32, 3)` and `(10000, 32, 32, 3)`, or channels first if that
        is `cornu.config.image_data_format()`. `y`: int64 of shapes `(50000, 1)` and `(10000, 1)`.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; Keras:
    CIFAR100 small images classification dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.cifar100.load_data()  # doctest: +SKIP
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(
            f'`label_mode` must be one of `"fine"`, `"coarse"`. Received: label_mode={label_mode}.'
        )
    path = find_file("cifar-100-python.tar.gz", _ORIGIN, _SHA256)
    folder = "cifar-100-python/"
    return read_batches(path, [f"{folder}train"], f"{folder}test", f"{label_mode}_labels")
