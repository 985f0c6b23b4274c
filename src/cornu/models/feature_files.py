"""Arrays that took long to compute, in files that later runs find again."""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cornu.saving.atomic import replacing

# The most that the files of one folder may take; those that were not used for longest go first.
LIMIT = 10 * 2**30


def digest(*values) -> str:
    """A name for some arrays and texts that no others have: dtypes and shapes count."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            total.update(f"text {len(value)} {value}".encode())
            continue
        array = np.asarray(value)
        total.update(f"array {array.dtype.str} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def stored_rows(path: Path, count: int, shape: tuple, dtype, batches: Iterable) -> np.ndarray:
    """The array `(count, *shape)` of a file, memory-mapped; if there is none, it is written.

    `batches` are pairs of the numbers of some rows and the rows, all of them in any order.

    Raises OSError if the disk has no room for it, before the first batch is computed.
    """
    if not path.is_file():
        dtype = np.dtype(dtype)
        make_room(path.parent, count * int(np.prod(shape)) * dtype.itemsize)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *shape)})
            begin, size = file.tell(), int(np.prod(shape)) * dtype.itemsize
            file.flush()
            if hasattr(os, "posix_fallocate"):
                # A quota may be smaller than what is free, and others may fill the disk meanwhile.
                os.posix_fallocate(file.fileno(), 0, begin + count * size)
            for numbers, rows in batches:
                for number, row in zip(numbers, np.asarray(rows, dtype), strict=True):
                    file.seek(begin + int(number) * size)
                    file.write(row.tobytes())
    # The time of its last use.
    os.utime(path)
    return np.load(path, mmap_mode="r")


def make_room(folder: Path, needed: int) -> None:
    """Delete old files, if all would take too much. Raises OSError if a disk has too little room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"The folder {folder} for features cannot be made: {error.strerror}. {_CURE}",
        ) from error
    files = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = needed
    for path in files:
        total += path.stat().st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"The features take {needed / 2**20:,.1f} MiB, and {folder} has {free / 2**20:,.1f} MiB left. "
            f"{_CURE} Or use smaller pictures, fewer draws, or no epochs of the head."
        )


_CURE = "Let CORNU_HOME, or `features=`, name a folder on another disk."
