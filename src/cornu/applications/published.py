"""The weights that the authors of Keras publish: where each file lies, and what its hash is."""

from pathlib import Path
from typing import NamedTuple

from cornu.datasets.source import find_file

ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/"


class Published(NamedTuple):
    """A file of weights: its name in the cache, its address, and its MD5 or SHA-256 if that is known."""

    name: str
    address: str
    hash: str | None = None


def standard(folder: str, name: str, with_top: str, without_top: str):
    """How to find the files of one network, most of which are named alike; the hashes are given."""

    def published(request) -> Published:
        ending = "" if request.include_top else "_notop"
        file = f"{name}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
        return Published(
            file, f"{ADDRESS}{folder}/{file}", with_top if request.include_top else without_top
        )

    return published


def by_name(address: str, name: str, with_top: str, without_top: str):
    """The same for files that are called by the network's name alone."""

    def published(request) -> Published:
        file = f"{name}.h5" if request.include_top else f"{name}_notop.h5"
        return Published(file, address + file, with_top if request.include_top else without_top)

    return published


def find_weights(file: Published) -> Path:
    """The path of a file of weights, downloaded if it is not in the cache yet.

    Raises:
        ConnectionError: if the download fails; it says where to put the file by hand.
        ValueError: if what came is not the file that was published.
    """
    try:
        return find_file(file.name, file.address, file.hash, cache="models")
    except (ConnectionError, ValueError) as error:
        raise type(error)(
            f"{error} With `weights=None` the network starts from random numbers and needs no file."
        ) from None
