"""Where the data sets' files come from: a folder of the user's, the cache, or the network."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cornu.utils.files import get_file

KERAS_ADDRESS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def local_file(name: str) -> Path | None:
    """The file of this name in `CORNU_DATA_DIR`, if that is set and holds one."""
    folder = os.environ.get("CORNU_DATA_DIR")
    if not folder:
        return None
    path = Path(folder).expanduser() / name
    return path if path.is_file() else None


def find_file(
    name: str, origin: str, file_hash: str | None, subfolder: str = "", cache: str = "datasets"
) -> Path:
    """The path of a published file, downloaded if neither `CORNU_DATA_DIR` nor the cache has it.

    `subfolder` is a folder within both, `cache` the part of the cache.

    A file in `CORNU_DATA_DIR` is the user's own and may be packed differently, so its hash is not
    compared.
    """
    if Path(name).name != name:
        raise ValueError(
            "Expected a file's name without folders; the folder is set by the environment variable "
            f"CORNU_DATA_DIR. Received: {name!r}"
        )
    if path := local_file(os.path.join(subfolder, name)):
        return path
    cache_subdir = os.path.join(cache, subfolder)
    try:
        return Path(get_file(name, origin, file_hash=file_hash, cache_subdir=cache_subdir))
    except (ConnectionError, ValueError) as error:
        wanted = os.path.join(subfolder, name)
        raise type(error)(
            f"{error} Or set the environment variable CORNU_DATA_DIR to a folder that holds {wanted}."
        ) from None


def read_npz(path, names: tuple[str, ...]) -> list[np.ndarray]:
    """The arrays of these names in an `.npz` file, which may hold numeric arrays only, no pickled objects.

    Raises:
        ValueError: if the file is damaged or lacks one of the arrays.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if missing := [name for name in names if name not in arrays]:
                raise ValueError(f"it has no array {missing[0]!r}, only {sorted(arrays)}")
            return [arrays[name] for name in names]
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, error) from error


def damaged(path, error) -> ValueError:
    """The error for a file that cannot be read."""
    return ValueError(
        f"Cannot read the data file {path}: {error}. If it is damaged, delete it: it is downloaded "
        "again, or put a good copy there."
    )
