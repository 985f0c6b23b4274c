"""A reader for the HDF5 files that Keras writes: groups, plain arrays, and attributes; nothing else.

HDF5 can do far more: links to other files, arrays that are put together from other files or kept outside,
filters that are loaded at run time, and a C library that trusts what it reads. This reader takes
none of it. It is in Python, so that no bytes can make it read or write where it should not; each
object is met once, so that no file can make it loop; and an array whose bytes are not in
the file is an error, whatever size it claims.

Source: HDF5 File Format Specification Version 3.0 (The HDF Group).
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from cornu.saving.errors import FileFormatError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# More than any model has, and few enough to be read in no time.
MOST_OBJECTS = 1_000_000
# Attributes hold configurations and lists of names.
MOST_ATTRIBUTE_BYTES = 64 * 1024**2
_UNDEFINED = 2**64 - 1


class Array:
    """An array in the file; its values are read when needed."""

    def __init__(self, file: "File", shape, dtype, address: int, attrs: dict, data: bytes | None):
        self._file, self._address, self._data = file, address, data
        self.shape, self.dtype, self.attrs = shape, dtype, attrs

    def read(self) -> np.ndarray:
        """All values, in one new array."""
        if self._data is not None:
            raw = np.frombuffer(self._data, self.dtype).copy()
        else:
            raw = np.empty(self.shape, self.dtype)
            self._file.read_into(self._address, raw.reshape(-1).view(np.uint8).data)
        raw = raw.reshape(self.shape)
        if raw.dtype == bool:
            # Any byte but zero is true.
            return raw.view(np.uint8) != 0
        return raw if raw.dtype.isnative else raw.astype(raw.dtype.newbyteorder("="))

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.read(), dtype)

    def __repr__(self):
        return f"<Array shape={self.shape}, dtype={self.dtype}>"


class Group:
    """A folder of arrays and groups, with attributes."""

    def __init__(self, file: "File", path: str, messages: list):
        self._file, self._path = file, path
        self._links = dict(file.links(messages, path))
        self.attrs = file.attributes(messages, path)
        self._known: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def keys(self):
        """The names in this group."""
        return self._links.keys()

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def __getitem__(self, path: str):
        found = self.get(path)
        if found is None:
            raise FileFormatError(f"{self._file.name} has no {path!r} in the group {self._path!r}.")
        return found

    def get(self, path: str):
        """The group or array of this name, or path with `/`; None if there is none."""
        here: Any = self
        for part in path.strip("/").split("/"):
            if not isinstance(here, Group) or part not in here._links:
                return None
            if part not in here._known:
                path = f"{here._path}{part}/"
                here._known[part] = self._file.make(here._links[part], path)
            here = here._known[part]
        return here


class File(Group):
    """An HDF5 file.

    Args:
        stream: a binary file, or another object with `seek` and `readinto`.
        name: what errors call it.
        start: where it begins in the stream.
        size: how many bytes it has; default: all to the end.

    Raises FileFormatError.
    """

    def __init__(self, stream, name: str, start: int = 0, size: int | None = None):
        self.name = name
        self._stream, self._start = stream, start
        self._size = stream.seek(0, 2) - start if size is None else size
        self._objects: set[int] = set()
        if self.read(0, 8) != SIGNATURE:
            raise FileFormatError(f"{name} is not an HDF5 file.")
        super().__init__(self, "/", self._messages(self._root()))

    # ---- bytes

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address of the file."""
        self._check(address, size)
        self._stream.seek(self._start + address)
        data = self._stream.read(size)
        if len(data) != size:
            raise self.error("ends too early")
        return data

    def read_into(self, address: int, view: memoryview) -> None:
        """Fill memory from an address of the file."""
        self._check(address, len(view))
        self._stream.seek(self._start + address)
        done = 0
        while done < len(view):
            count = self._stream.readinto(view[done:])
            if not count:
                raise self.error("ends too early")
            done += count

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self._size:
            raise self.error(
                f"is damaged: it has {self._size} bytes, and refers to {size} bytes at {address}"
            )

    def error(self, what: str) -> FileFormatError:
        """An error that names the file."""
        return FileFormatError(f"{self.name} {what}.")

    def _unpack(self, form: str, data: bytes, at: int = 0) -> tuple:
        try:
            return struct.unpack_from("<" + form, data, at)
        except struct.error as error:
            raise self.error("is damaged: a header is too short") from error

    # ---- objects

    def _root(self) -> int:
        head = self.read(0, min(self._size, 104))
        (version,) = self._unpack("B", head, 8)
        if version in (0, 1):
            offsets, lengths = self._unpack("BB", head, 13)
            base_at = 24 if version == 0 else 28
            (base,) = self._unpack("Q", head, base_at)
            (root,) = self._unpack("Q", head, base_at + 32 + 8)
        elif version in (2, 3):
            offsets, lengths = self._unpack("BB", head, 9)
            base, _, _, root = self._unpack("QQQQ", head, 12)
        else:
            raise self.error(f"has a superblock of the unknown version {version}")
        if (offsets, lengths, base) != (8, 8, 0):
            raise self.error("has addresses of another size than 8 bytes, or an offset")
        return root

    def make(self, address: int, path: str):
        """The group or array with its header at this address."""
        messages = self._messages(address)
        kinds = {kind for kind, _ in messages}
        if 0x07 in kinds:
            raise self.error(f"keeps the array {path!r} in another file, which is not allowed")
        if 0x08 in kinds:
            return self._array(messages, path)
        return Group(self, path, messages)

    def _messages(self, address: int) -> list[tuple[int, bytes]]:
        """The messages of an object's header, as (kind, data)."""
        if address in self._objects or len(self._objects) >= MOST_OBJECTS:
            raise self.error("is damaged: an object is linked several times, or there are too many")
        self._objects.add(address)
        head = self.read(address, 4)
        found: list[tuple[int, bytes]] = []
        if head == b"OHDR":
            version, flags = self._unpack("BB", self.read(address + 4, 2))
            start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            size = int.from_bytes(self.read(start, width), "little")
            blocks = [(start + width, size)]
            form, extra = "BHB", 2 if flags & 4 else 0
        else:
            version, _, _, _, size = self._unpack("BBHII", self.read(address, 12))
            if version != 1:
                raise self.error(f"is damaged: there is no object at {address}")
            blocks = [(address + 16, size)]
            form, extra = "HHB3x", 0
        width = struct.calcsize("<" + form)
        seen: set[int] = set()
        for start, size in blocks:
            if start in seen or size > MOST_ATTRIBUTE_BYTES:
                raise self.error("is damaged: a header contains a cycle, or is too large")
            seen.add(start)
            block, at = self.read(start, size), 0
            while at + width + extra <= len(block):
                kind, length, flags = self._unpack(form, block, at)
                at += width + extra
                data = block[at : at + length]
                at += length
                if kind == 0x10:
                    address, length = self._unpack("QQ", data)
                    # A block of the newer form has a signature before, and a checksum after.
                    inset = 4 if head == b"OHDR" else 0
                    blocks.append((address + inset, length - 2 * inset))
                elif kind in _USED and flags & 2:
                    raise self.error("has parts of headers that are shared, which is not supported")
                elif kind in _USED:
                    found.append((kind, data))
        return found

    # ---- groups

    def links(self, messages: list, path: str) -> Iterator[tuple[str, int]]:
        """Names in a group, and the addresses of the objects."""
        for kind, data in messages:
            if kind == 0x11:
                tree, heap = self._unpack("QQ", data)
                yield from self._old_links(tree, self._heap(heap), path)
            elif kind == 0x06:
                yield self._link(data, path)
            elif kind == 0x02:
                self._need_no_heap(data, 8, f"the names in the group {path!r}")

    def _need_no_heap(self, data: bytes, width: int, what: str) -> None:
        """Raise if links or attributes are kept in a fractal heap, which this reader does not support."""
        _, flags = self._unpack("BB", data)
        # Before the heap's address: the largest number given to a link or attribute, if they are numbered.
        (heap,) = self._unpack("Q", data, 2 + (width if flags & 1 else 0))
        if heap != _UNDEFINED:
            raise self.error(
                f"keeps {what} in a form that is not supported; write it anew with Keras, or with "
                "`h5py.File(…, libver='earliest')`"
            )

    def _old_links(self, tree: int, heap: bytes, path: str) -> Iterator[tuple[str, int]]:
        nodes: list[int] = [tree]
        seen: set[int] = set()
        while nodes:
            address = nodes.pop()
            if address in seen or len(seen) > MOST_OBJECTS:
                raise self.error("is damaged: a group contains a cycle")
            seen.add(address)
            head = self.read(address, 8)
            if head[:4] == b"TREE":
                _, _, count = self._unpack("BBH", head, 4)
                entries = self.read(address + 24, 16 * count + 8)
                nodes.extend(self._unpack("Q", entries, 16 * i + 8)[0] for i in range(count))
                continue
            if head[:4] != b"SNOD":
                raise self.error(f"is damaged: there is no list of names at {address}")
            (count,) = self._unpack("H", head, 6)
            symbols = self.read(address + 8, 40 * count)
            for i in range(count):
                name_at, header, kind = self._unpack("QQI", symbols, 40 * i)
                name = _text(
                    heap[name_at : heap.find(b"\0", name_at)] if name_at < len(heap) else b""
                )
                if kind == 2:
                    raise self._no_link(f"{path}{name}")
                yield name, header

    def _heap(self, address: int) -> bytes:
        head = self.read(address, 32)
        if head[:4] != b"HEAP":
            raise self.error(f"is damaged: there are no names at {address}")
        size, _, address = self._unpack("QQQ", head, 8)
        if size > MOST_ATTRIBUTE_BYTES:
            raise self.error("is damaged: a list of names is too large")
        return self.read(address, size)

    def _link(self, data: bytes, path: str) -> tuple[str, int]:
        _, flags = self._unpack("BB", data)
        at, kind = 2, 0
        if flags & 8:
            (kind,) = self._unpack("B", data, at)
            at += 1
        at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
        width = 1 << (flags & 3)
        length = int.from_bytes(data[at : at + width], "little")
        name = _text(data[at + width : at + width + length])
        if kind != 0:
            raise self._no_link(f"{path}{name}")
        return name, self._unpack("Q", data, at + width + length)[0]

    def _no_link(self, path: str) -> FileFormatError:
        return self.error(
            f"has a link at {path!r} that leads elsewhere (SoftLink or ExternalLink), which is not allowed"
        )

    # ---- arrays

    def _array(self, messages: list, path: str) -> Array:
        by_kind = dict(messages)
        if 0x0B in by_kind:
            raise self.error(
                f"keeps the array {path!r} compressed or filtered, which is not supported; write it "
                "anew without compression"
            )
        if 0x01 not in by_kind or 0x03 not in by_kind:
            raise self.error(f"is damaged: the array {path!r} has no shape or no type")
        shape, attrs = self._shape(by_kind[0x01]), self.attributes(messages, path)
        dtype = self._plain_type(by_kind[0x03], path)
        if attrs.get("dtype") == "bfloat16" and dtype.itemsize == 2:
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.kind == "V":
            raise self.error(f"holds {path!r}, whose values are of an unknown type")
        wanted = math.prod(shape) * dtype.itemsize
        data, address = None, 0
        layout = by_kind[0x08]
        version, kind = self._unpack("BB", layout)
        if version not in (3, 4) or kind not in (0, 1):
            raise self.error(
                f"keeps the array {path!r} chunked, externally, or virtually, which is not supported; "
                "write it anew as one contiguous array"
            )
        if kind == 0:
            (size,) = self._unpack("H", layout, 2)
            data = layout[4 : 4 + size]
            size = len(data)
        else:
            address, size = self._unpack("QQ", layout, 2)
        if wanted == 0:
            data = b""
        elif address == _UNDEFINED or size < wanted:
            raise self.error(
                f"claims that {path!r} has the shape {shape}, which takes {wanted} bytes, but holds "
                f"{0 if address == _UNDEFINED else size}"
            )
        elif data is None:
            self._check(address, wanted)
        else:
            data = data[:wanted]
        return Array(self, shape, dtype, address, attrs, data)

    def _shape(self, data: bytes) -> tuple[int, ...]:
        version, rank, _, kind = self._unpack("BBBB", data)
        if version not in (1, 2) or rank > 32 or (version == 2 and kind > 1):
            raise self.error("has an array without a plain shape")
        return self._unpack(f"{rank}Q", data, 8 if version == 1 else 4)

    def _plain_type(self, data: bytes, path: str) -> np.dtype:
        head, bits, _, _, size = self._unpack("BBBBI", data)
        kind = head & 15
        if kind == 8 and size == 1:
            # A truth value is an enumeration of one byte.
            return np.dtype(bool)
        order = ">" if bits & 1 else "<"
        if kind == 0 and size in (1, 2, 4, 8):
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
        if kind == 1 and size in (2, 4, 8):
            exponent = self._unpack("B", data, 13)[0]
            if exponent == 8 and size == 2:
                return np.dtype(ml_dtypes.bfloat16)
            if exponent == {2: 5, 4: 8, 8: 11}[size]:
                return np.dtype(f"{order}f{size}")
        if kind == 3 and 0 < size <= MOST_ATTRIBUTE_BYTES:
            return np.dtype(f"S{size}")
        if kind == 5 and size == 2:
            return np.dtype("V2")
        raise self.error(f"holds {path!r}, whose type is not plainly numeric")

    # ---- attributes

    def attributes(self, messages: list, path: str) -> dict[str, Any]:
        """Names and values: numbers, arrays, strings and lists of strings."""
        found = {}
        for kind, data in messages:
            if kind == 0x15:
                self._need_no_heap(data, 2, f"the attributes of {path!r}")
            elif kind == 0x0C:
                name, value = self._attribute(data, path)
                found[name] = value
        return found

    def _attribute(self, data: bytes, path: str) -> tuple[str, Any]:
        version, _, *sizes = self._unpack("BBHHH", data)
        if version not in (1, 2, 3):
            raise self.error(f"is damaged: {path!r} has an attribute of an unknown form")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(data[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        name = _text(parts[0])
        shape, raw = self._shape(parts[2]), data[at:]
        count = math.prod(shape)
        kind = parts[1][0] & 15 if parts[1] else -1
        if kind == 9:
            if self._unpack("BB", parts[1])[1] & 15 != 1 or 16 * count > len(raw):
                raise self.error(f"has an attribute {name!r} of {path!r} that is not plain")
            values: list = [self._string(raw[16 * i : 16 * i + 16]) for i in range(count)]
            return name, values if shape else values[0]
        dtype = self._plain_type(parts[1], f"{path}@{name}")
        if dtype.itemsize * count > len(raw):
            raise self.error(f"is damaged: the attribute {name!r} of {path!r} is too short")
        array = np.frombuffer(raw, dtype, count).reshape(shape)
        if dtype.kind == "S":
            strings = [_text(value) for value in array.ravel().tolist()]
            return name, strings if shape else strings[0]
        return name, array.tolist()

    def _string(self, reference: bytes) -> str:
        length, address, number = self._unpack("IQI", reference)
        if length == 0:
            return ""
        head = self.read(address, 16)
        (size,) = self._unpack("Q", head, 8)
        if head[:4] != b"GCOL" or size > MOST_ATTRIBUTE_BYTES:
            raise self.error(f"is damaged: there are no strings at {address}")
        heap, at = self.read(address, size), 16
        while at + 16 <= len(heap):
            index, _, _, width = self._unpack("HHIQ", heap, at)
            if index == number:
                return _text(heap[at + 16 : at + 16 + min(length, width)])
            if index == 0:
                break
            at += 16 + -(-width // 8) * 8
        raise self.error("is damaged: a string is not where it should be")


# Shape, link info, type, link, outside storage, layout, filters, attribute, names, attribute info.
_USED = frozenset({0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x11, 0x15})


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")
