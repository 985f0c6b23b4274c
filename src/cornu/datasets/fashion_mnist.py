"""Fashion-MNIST: 28x28 images of clothes."""

import gzip
import zlib

import numpy as np

from cornu.datasets.source import KERAS_ADDRESS, damaged, find_file

_ADDRESS = KERAS_ADDRESS
_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


def load_data():
    """The 70,000 images of Fashion-MNIST, as `(x_train, y_train), (x_test, y_test)`.

    The labels are 0 T-shirt/top, 1 Trouser, 2 Pullover, 3 Dress, 4 Coat, 5 Sandal, 6 Shirt,
    7 Sneaker, 8 Bag, 9 Ankle boot. The four files are looked for in the folder `fashion-mnist` of
    `CORNU_DATA_DIR` and of the cache.

    Returns:
        `x`: uint8 of shapes `(60000, 28, 28)` and `(10000, 28, 28)`, values 0 to 255.
        `y`: uint8 of shapes `(60000,)` and `(10000,)`, values 0 to 9.

    Source: Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST"; MIT licence; Keras: Fashion MNIST dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.fashion_mnist.load_data()  # doctest: +SKIP
    """
    x_train, y_train, x_test, y_test = (_read_idx(name) for name in _SHA256)
    return (x_train, y_train), (x_test, y_test)


def _read_idx(name: str) -> np.ndarray:
    """The array in a file of MNIST's IDX format: two zeros, type, rank, the axes' lengths, the bytes."""
    path = find_file(name, _ADDRESS + name, _SHA256[name], subfolder="fashion-mnist")
    try:
        data = gzip.decompress(path.read_bytes())
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("it is not in the IDX format with bytes")
        ndim = data[3]
        shape = np.frombuffer(data, ">u4", count=ndim, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape).copy()
    except (OSError, ValueError, IndexError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
