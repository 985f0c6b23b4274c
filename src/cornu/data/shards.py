"""Files that hold many items, which are read one by one, by number: tar, CSV, Parquet, ArrayRecord.

A shard has a `path`, a length, `shard[i]`, an element, and `name(i)`, which says where that stands. Any
thread may ask. Files of tar and CSV are opened for each reading, so that there may be thousands of them,
and a shard can be pickled.
"""

import csv
import glob
import os
import tarfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from cornu.core.optional import required

# Bytes of a CSV file that are searched for the ends of rows at a time.
_CHUNK = 1 << 24
# Rows that say what the columns of a CSV file hold.
_FIRST_ROWS = 100
# Groups of rows of Parquet files that are kept decoded.
_GROUPS = 4


def paths_of(files) -> list[str]:
    """The files that a path, a pattern, or a list of them names; of a pattern, sorted."""
    patterns = [files] if isinstance(files, str | os.PathLike) else list(files)
    found: list[str] = []
    for each in patterns:
        pattern = os.fspath(each)
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"No files match {pattern!r}.")
        found += matches
    return found


class TarShard:
    """The samples of a tar file: successive files whose names differ only in what follows the first dot.

    With `skips`, a file that is cut off has the samples before the last one that is there, and `problem`
    says so; else that is an error.
    """

    def __init__(self, path: str, skips: bool):
        self.path, self.problem = path, ""
        # Of each sample: its name, and its files' endings, with where their bytes begin and end.
        self._samples: list[tuple[str, dict[str, tuple[int, int]]]] = []
        if any(_bytes(path, 0, 6).startswith(magic) for magic in _COMPRESSED):
            raise ValueError(
                f"The tar file {path} is compressed, and its samples cannot be read one by one. Unpack it "
                "with gunzip or the like; pictures in it are compressed in themselves."
            )
        try:
            self._look()
        except (tarfile.TarError, OSError) as error:
            self.problem = f"{path} is cut off or damaged after {len(self)} samples: {error}."
            if not skips:
                raise OSError(f"{self.problem} {_SKIP_SHARD}") from error
            del self._samples[-1:]

    def _look(self) -> None:
        if os.path.getsize(self.path) == 0:
            raise tarfile.ReadError("it has no bytes, and a whole one has two blocks of zeros")
        with tarfile.open(self.path, "r:") as archive:
            for member in archive:
                # As WebDataset has it: folders belong to the name, and dots in them do not count.
                folder, _, file = member.name.rpartition("/")
                stem, _, ending = file.partition(".")
                if not member.isreg() or not stem or not ending:
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if not self._samples or self._samples[-1][0] != key:
                    self._samples.append((key, {}))
                place = member.offset_data, member.offset_data + member.size
                self._samples[-1][1][ending] = place
            end = archive.offset
        # A block of zeros. A file that ends before, between two members, is whole to tarfile.
        if _bytes(self.path, end, end + 512) != bytes(512):
            raise tarfile.ReadError("its end is missing")

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, i: int) -> str:
        return f"{self.path}, sample {self._samples[i][0]!r}"

    def __getitem__(self, i: int) -> dict:
        key, places = self._samples[i]
        first = min(begin for begin, _ in places.values())
        data = _bytes(self.path, first, max(end for _, end in places.values()))
        parts = {name: data[a - first : b - first] for name, (a, b) in places.items()}
        return {"__key__": key, **parts}


def _bytes(path: str, begin: int, end: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(begin)
        return file.read(end - begin)


class CsvShard:
    """The rows of a CSV file.

    Args:
        path: the file.
        columns: the names of all columns; None reads them in the first row.
        select: the names of those to read; None is all.
        types: for names of columns, `str` or a dtype of numbers; what is missing is seen from the first
            rows. It is filled up with that.
        delimiter: between two values.
    """

    def __init__(self, path: str, skips: bool, columns, select, types: dict, delimiter: str):
        self.path, self._delimiter, self.problem = path, delimiter, ""
        self._begins, self._ends, is_whole = _rows_of(path)
        if not is_whole:
            self.problem = f"{path} ends within a quoted value: it is cut off, or damaged."
            if not skips:
                raise OSError(f"{self.problem} {_SKIP_SHARD}")
        if columns is None:
            if not len(self):
                raise OSError(
                    f"{path} is empty; its first row should name the columns. {_SKIP_SHARD}"
                )
            columns = self._fields(0)
            self._begins, self._ends = self._begins[1:], self._ends[1:]
        self.columns = list(columns)
        missing = sorted({*(select or ()), *types} - set(self.columns))
        if missing:
            raise ValueError(f"{path} has no columns {missing}. It has {self.columns}.")
        self._chosen = [(i, c) for i, c in enumerate(self.columns) if select is None or c in select]
        unknown = [(i, column) for i, column in self._chosen if column not in types]
        rows = [self._fields(i) for i in range(min(len(self), _FIRST_ROWS) if unknown else 0)]
        rows = [row for row in rows if len(row) == len(self.columns)]
        if rows:
            types.update({column: _type_of([row[i] for row in rows]) for i, column in unknown})
        self._types = types

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, i: int) -> str:
        return f"{self.path}, row {i + 1}"

    def _fields(self, i: int) -> list[str]:
        data = _bytes(self.path, int(self._begins[i]), int(self._ends[i]))
        text = data.decode("utf-8-sig" if not self._begins[i] else "utf-8")
        return next(csv.reader(text.splitlines(keepends=True), delimiter=self._delimiter))

    def _row(self, i: int) -> list[str]:
        fields = self._fields(i)
        if len(fields) != len(self.columns):
            raise ValueError(
                f"Expected {len(self.columns)} values, {self.columns}. Received {len(fields)}: {fields}"
            )
        return fields

    def __getitem__(self, i: int) -> dict:
        row, element = self._row(i), {}
        for number, column in self._chosen:
            kind, text = self._types[column], row[number]
            try:
                element[column] = text if kind is str else np.dtype(kind).type(text)
            except (ValueError, OverflowError) as error:
                raise ValueError(
                    f"Column {column!r} holds {text!r}, which is no {np.dtype(kind).name}. The first "
                    "rows say what a column holds; `column_types` can say otherwise."
                ) from error
        return element


def _rows_of(path: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Where the rows of a CSV file begin and end, and whether its last quote is closed."""
    found, quoted, size = [np.zeros(1, np.int64)], 0, 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            data = np.frombuffer(chunk, np.uint8)
            ends, quotes = np.flatnonzero(data == ord("\n")), np.flatnonzero(data == ord('"'))
            # A quote within a quoted value is written twice.
            outside = (np.searchsorted(quotes, ends) + quoted) % 2 == 0
            found.append(ends[outside] + (size + 1))
            quoted, size = (quoted + len(quotes)) % 2, size + len(data)
    limits = np.concatenate(found)
    begins, ends = limits[:-1], limits[1:]
    # Empty lines are no rows.
    windows = len(ends) > 0 and _bytes(path, int(ends[0]) - 2, int(ends[0])) == b"\r\n"
    is_row = ends - begins > (2 if windows else 1)
    begins, ends = begins[is_row], ends[is_row]
    if limits[-1] < size and not quoted:
        begins, ends = np.append(begins, limits[-1]), np.append(ends, size)
    return begins, ends, not quoted


def _type_of(values: list[str]):
    """The type of a column: int64, float32, or text."""
    for kind in (np.int64, np.float32):
        try:
            for value in values:
                kind(value)
            return kind
        except (ValueError, OverflowError):
            pass
    return str


class ParquetShard:
    """The rows of a Parquet file, which are decoded in groups, as they were written."""

    problem = ""

    def __init__(self, path: str, columns, groups: "Groups"):
        self.path, self._columns, self._groups = path, columns, groups
        file = _parquet(path)
        self.columns = file.schema_arrow.names
        missing = sorted(set(columns or ()) - set(self.columns))
        if missing:
            raise ValueError(f"{path} has no columns {missing}. It has {self.columns}.")
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._begins = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        file.close()

    def __len__(self) -> int:
        return int(self._begins[-1])

    def name(self, i: int) -> str:
        return f"{self.path}, row {i + 1}"

    def _group(self, number: int) -> dict:
        file = _parquet(self.path)
        table = file.read_row_group(number, self._columns)
        file.close()
        return {name: _column(table.column(name)) for name in table.column_names}

    def __getitem__(self, i: int) -> dict:
        number = int(np.searchsorted(self._begins, i, "right")) - 1
        group = self._groups.get((self.path, number), lambda: self._group(number))
        row = i - self._begins[number]
        return {name: values[row] for name, values in group.items()}


class Groups:
    """The groups of rows that were decoded last."""

    def __init__(self):
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key, make: Callable):
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > _GROUPS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def __reduce__(self):
        return Groups, ()


def _parquet(path: str):
    parquet = required("pyarrow.parquet", "Dataset.from_parquet")
    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OSError(
            f"{path} is no Parquet file, or is cut off: {str(error).rstrip('.')}. {_SKIP_SHARD}"
        ) from error


def _column(column):
    """A column of Arrow's as an array of numbers, or as a list of text, bytes and arrays."""
    if column.null_count:
        raise ValueError(
            "A column has missing values (null), which no array of numbers has a place for."
        )
    kind = str(column.type)
    if "list" in kind:
        return [np.asarray(value) for value in column.to_pylist()]
    if "string" in kind or "binary" in kind:
        return column.to_pylist()
    return column.to_numpy()


class ArrayRecordShard:
    """The records of an ArrayRecord file, as bytes."""

    problem = ""

    def __init__(self, path: str):
        self.path, self._lock = path, threading.Lock()
        self._reader = self._open()
        self._count = self._reader.num_records()

    def _open(self):
        module = required(
            "array_record.python.array_record_module",
            "Dataset.from_array_record",
            package="array-record",
        )
        if not os.path.exists(self.path):
            raise FileNotFoundError(f"There is no file {self.path!r}.")
        reader = module.ArrayRecordReader(self.path)
        if not reader.ok():
            raise OSError(
                f"{self.path} is no ArrayRecord file, or is cut off: it has no index. {_SKIP_SHARD}"
            )
        return reader

    def __reduce__(self):
        return ArrayRecordShard, (self.path,)

    def __len__(self) -> int:
        return self._count

    def name(self, i: int) -> str:
        return f"{self.path}, record {i}"

    def __getitem__(self, i: int) -> bytes:
        with self._lock:
            return self._reader.read([i])[0]


_SKIP_SHARD = 'Replace it, or pass `on_error="skip"` to leave out what cannot be read.'
_COMPRESSED = b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"


def open_shards(files, make: Callable, on_error: str) -> list:
    """The shards that `make` makes of files; one that cannot be read is an error, or left out."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f'`on_error` must be "raise" or "skip". Received: on_error={on_error!r}')
    shards, problems = [], []
    for path in paths_of(files):
        try:
            shards.append(make(path))
        except FileNotFoundError:
            raise
        except OSError as error:
            if on_error == "raise":
                raise
            problems.append(str(error).removesuffix(_SKIP_SHARD).strip())
        else:
            problems += [shards[-1].problem] if shards[-1].problem else []
    if problems:
        more = f" And {len(problems) - 10} more." if len(problems) > 10 else ""
        warnings.warn(
            f"Of {len(problems)} files, the end or all is left out: {' '.join(problems[:10])}{more}",
            stacklevel=3,
        )
    return shards
