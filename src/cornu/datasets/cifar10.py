"""CIFAR-10: 32x32 colour photographs of ten kinds of things."""

import io
import tarfile
from typing import Any

import numpy as np

from cornu.datasets.cifar import arrange, read_batches
from cornu.datasets.source import damaged, find_file, local_file

_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_JPEG_ARCHIVE = "cifar10-jpeg.tar.gz"


def load_data():
    """The 60,000 photographs of CIFAR-10, as `(x_train, y_train), (x_test, y_test)`.

    The labels are 0 airplane, 1 automobile, 2 bird, 3 cat, 4 deer, 5 dog, 6 frog, 7 horse, 8 ship,
    9 truck.

    The file is `cifar-10-python.tar.gz`. If `CORNU_DATA_DIR` lacks it and holds
    `cifar10-jpeg.tar.gz` instead, an archive of the same photographs as
    `train/airplane/0000.jpg` and so on, that is read. JPEG coding loses detail: those pixels differ
    slightly from the original's, and the order of the photographs is another (the first of each
    class, the second of each class, and so on).

    Returns:
        `x`: uint8 of shapes `(50000, 32, 32, 3)` and `(10000, 32, 32, 3)`, or channels first if that
        is `cornu.config.image_data_format()`. `y`: uint8 of shapes `(50000, 1)` and `(10000, 1)`.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images"; Keras:
    CIFAR10 small images classification dataset.

    >>> import cornu
    >>> (x_train, y_train), (x_test, y_test) = cornu.datasets.cifar10.load_data()  # doctest: +SKIP
    """
    name = "cifar-10-python.tar.gz"
    if local_file(name) is None and (archive := local_file(_JPEG_ARCHIVE)):
        return _read_jpeg_archive(archive)
    path = find_file(name, _ORIGIN, _SHA256)
    folder = "cifar-10-batches-py/"
    train = [f"{folder}data_batch_{number}" for number in range(1, 6)]
    train_set, test_set = read_batches(path, train, f"{folder}test_batch", "labels")
    return _with_byte_labels(train_set), _with_byte_labels(test_set)


def _with_byte_labels(subset):
    images, labels = subset
    return images, labels.astype("uint8")


def _read_jpeg_archive(path):
    from PIL import Image

    images: dict[str, dict[tuple[str, str], np.ndarray]] = {"train": {}, "test": {}}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isreg():
                    subset, kind, name = member.name.split("/")[-3:]
                    opened: Any = archive.extractfile(member)
                    content = opened.read()
                    image = Image.open(io.BytesIO(content), formats=["JPEG"]).convert("RGB")
                    # Sorted by name first, so that the classes take turns: a part of the data,
                    # such as a validation split, then holds them all.
                    images[subset][name, kind] = np.asarray(image)
        kinds = sorted({kind for _, kind in images["train"]})
        for subset, found in images.items():
            if not found:
                raise ValueError(f"it holds no photographs in {subset}/")
        kinds = sorted({kind for _, kind in images["train"]})
        train_set, test_set = (
            arrange(
                np.stack([found[key] for key in sorted(found)]),
                np.array([kinds.index(kind) for _, kind in sorted(found)], "uint8"),
            )
            for found in images.values()
        )
        return train_set, test_set
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
        raise damaged(path, error) from error
