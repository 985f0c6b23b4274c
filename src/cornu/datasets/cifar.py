"""The archives in which CIFAR-10 and CIFAR-100 are published: pickled dictionaries of arrays."""

import pickle
import tarfile

import numpy as np

from cornu.core.dtype import image_data_format
from cornu.datasets.source import damaged
from cornu.datasets.unpickling import ArrayUnpickler


def read_batches(path, train: list[str], test: str, label_key: str):
    """`(x_train, y_train), (x_test, y_test)` from the named members of the archive at `path`.

    Raises:
        ValueError: if the archive is damaged, or holds anything but arrays and plain containers.
    """
    try:
        with tarfile.open(path) as archive:
            batches = [_read_batch(archive, name, label_key) for name in [*train, test]]
    except (tarfile.TarError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise damaged(path, error) from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise damaged(path, f"a batch in it is not as expected ({error})") from error
    images, labels = zip(*batches[:-1], strict=True)
    return arrange(np.concatenate(images), np.concatenate(labels)), arrange(*batches[-1])


def arrange(images: np.ndarray, labels: np.ndarray):
    """Photographs with channels last, and labels, as Keras returns them."""
    if image_data_format() == "channels_first":
        images = images.transpose(0, 3, 1, 2)
    return images, labels.reshape(-1, 1)


def _read_batch(archive: tarfile.TarFile, name: str, label_key: str):
    content = archive.extractfile(name)
    if content is None:
        raise ValueError(f"{name} is not a file")
    batch = ArrayUnpickler(content, encoding="bytes").load()
    images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, np.array(batch[label_key.encode()])
