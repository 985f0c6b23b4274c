"""New HDF5 files, which are either whole or an error, even when the disk is full."""

import io
import os
from contextlib import contextmanager

# The version of Keras whose file formats are followed, for readers that check it.
KERAS_FORMAT_VERSION = "3.15.0"


@contextmanager
def new_hdf5(filepath, num_bytes: int, num_objects: int):
    """A new HDF5 file with space reserved for `num_bytes` of arrays in `num_objects` objects.

    The HDF5 library does not survive a full disk: it may end the process. So the space is reserved
    before it begins, with an OSError if there is too little.
    """
    import h5py

    with open(filepath, "w+b", buffering=0) as stream:
        if hasattr(os, "posix_fallocate"):
            room = num_bytes + 8192 * num_objects + 1024**2
            os.posix_fallocate(stream.fileno(), 0, room)
        growing = _Growing(stream)
        with h5py.File(growing, "w") as file:
            yield file
        # What was not needed is given back.
        stream.truncate(growing.size)


class _Growing(io.RawIOBase):
    """A file that looks empty at first, though room for it is there already."""

    def __init__(self, stream):
        super().__init__()
        self._stream, self.size = stream, 0

    def readable(self) -> bool:
        return True

    writable = seekable = readable

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(self.size + offset if whence == 2 else offset, whence % 2)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer) -> int:
        return self._stream.readinto(buffer)

    def write(self, data) -> int:
        done = 0
        view = memoryview(data).cast("B")
        while done < len(view):
            done += self._stream.write(view[done:])
        self.size = max(self.size, self._stream.tell())
        return done

    def truncate(self, size: int | None = None) -> int:
        self.size = self.tell() if size is None else size
        return self.size
