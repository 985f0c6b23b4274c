"""Elements kept in a file: arrays as NumPy's `.npy`, one after another, and an index at the end.

Reading runs nothing, and checks that the file is whole.
"""

import json
import os
import tempfile
from typing import Any

import numpy as np

from cornu.data.nodes import Node
from cornu.data.passes import Indexed, Stream

_MAGIC = b"cornu data set 1"


class CachedInFile(Node):
    """The elements of the first pass that was read to its end, in this process or an earlier one."""

    def __init__(self, parent: Node, filename: str):
        super().__init__(parent)
        self._path = filename + ".cache"

    def open(self):
        if os.path.exists(self._path):
            return _read(self._path)
        opened = self.parents[0].open()
        return Stream(self._write(opened.read()), opened.effects)

    def _write(self, elements):
        folder = os.path.dirname(os.path.abspath(self._path))
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(self._path))
        index = []
        try:
            with os.fdopen(handle, "wb") as file:
                for element in elements:
                    index.append(_put(file, element))
                    yield element
                at = file.tell()
                file.write(json.dumps(index).encode())
                file.write(at.to_bytes(8, "little") + _MAGIC)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)


def _put(file, element):
    """Write an element; returns where its arrays are, in a structure that JSON has."""
    if isinstance(element, dict):
        return {"dict": {key: _put(file, part) for key, part in element.items()}}
    if isinstance(element, tuple):
        return {"tuple": [_put(file, part) for part in element]}
    if element is None:
        return None
    at, array = file.tell(), np.asarray(element)
    if array.dtype.kind == "V":
        # Of a format that NumPy's files do not know, such as bfloat16.
        _save(file, array.view(f"u{array.dtype.itemsize}"))
        return {"array": at, "dtype": array.dtype.name}
    if array.dtype.kind not in "OSU":
        _save(file, array)
        return {"array": at}
    # Text: the bytes of all, and where each ends.
    texts = [element] if isinstance(element, str | bytes) else list(array.flat)
    coded = [text.encode() if isinstance(text, str) else text for text in texts]
    if not all(isinstance(text, bytes) for text in coded):
        raise TypeError("`cache` keeps arrays of numbers and of text in a file, no other objects.")
    _save(file, np.cumsum([len(text) for text in coded], dtype=np.int64))
    _save(file, np.frombuffer(b"".join(coded), np.uint8))
    kind = "bytes" if any(isinstance(text, bytes) for text in texts) else "text"
    shape = None if isinstance(element, str | bytes) else list(array.shape)
    return {kind: at, "shape": shape}


def _save(file, array: np.ndarray) -> None:
    np.lib.format.write_array(file, array, allow_pickle=False)


def _load(file) -> np.ndarray:
    return np.lib.format.read_array(file, allow_pickle=False)


def _get(file, place) -> Any:
    if place is None:
        return None
    if "dict" in place:
        return {key: _get(file, part) for key, part in place["dict"].items()}
    if "tuple" in place:
        return tuple(_get(file, part) for part in place["tuple"])
    if "array" in place:
        file.seek(place["array"])
        array = _load(file)
        return (array.view(place["dtype"]) if "dtype" in place else array)[()]
    file.seek(place["bytes"] if "bytes" in place else place["text"])
    ends, joined = _load(file), _load(file).tobytes()
    parts = [joined[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    texts: list = parts if "bytes" in place else [part.decode() for part in parts]
    if place["shape"] is None:
        return texts[0]
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape(place["shape"])


def _read(path: str) -> Indexed:
    try:
        with open(path, "rb") as file:
            file.seek(-8 - len(_MAGIC), os.SEEK_END)
            end = file.tell()
            at, magic = int.from_bytes(file.read(8), "little"), file.read()
            if magic != _MAGIC or at > end:
                raise ValueError("its end is missing")
            file.seek(at)
            index = json.loads(file.read(end - at))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The cache of a data set, {path}, cannot be read: {error}. Delete it."
        ) from error

    def get(i):
        with open(path, "rb") as file:
            return _get(file, index[i])

    return Indexed(len(index), get)
