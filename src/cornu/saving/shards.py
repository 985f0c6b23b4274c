"""Weights in several HDF5 files of limited size, and an index that says what is where.

The index, `model.weights.json`, has a `"weight_map"` of groups to a file or several, and a `"total_size"`,
with groups such as `/layers/dense/vars`; the files lie beside it, as `model_00000.weights.h5`.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from cornu.saving import hdf5
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError
from cornu.saving.reading import limits, open_file
from cornu.saving.writing import new_hdf5


def index_path(path: Path) -> Path:
    """Where the index is for a name that ends in `.weights.json` or `.weights.h5`."""
    return path.with_suffix(".json")


def planned(entries: list, max_bytes: float) -> list[list]:
    """`(group, name, key, array)`s in order, divided so that the arrays of each part fit in `max_bytes`.

    Raises ValueError if one of them does not.
    """
    shards: list[list] = [[]]
    room = max_bytes
    for entry in entries:
        group, _, key, array = entry
        if array.nbytes > max_bytes:
            raise ValueError(
                f"Array {key} of {group} has {array.nbytes:,} bytes, which exceeds the maximum shard size "
                f"of {max_bytes:,.0f} bytes. Increase `max_shard_size`, which is in GB."
            )
        if array.nbytes > room:
            shards.append([])
            room = max_bytes
        shards[-1].append(entry)
        room -= array.nbytes
    return shards


def write(path: Path, entries: list, max_bytes: float, store) -> None:
    """Write arrays into shards, and then their index; `store` wraps a group of an HDF5 file."""
    shards = planned(entries, max_bytes)
    base = path.stem.replace(".weights", "")
    places: dict[str, list[str]] = {}
    # The index, which is entered first, is replaced last: until then the old one is valid.
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(replacing(path))
        for number, shard in enumerate(shards):
            name = f"{base}_{number:05}.weights.h5"
            file_path = stack.enter_context(replacing(path.with_name(name)))
            num_bytes = sum(array.nbytes for *_, array in shard)
            with new_hdf5(file_path, num_bytes, 2 * len(shard)) as file:
                for group, own_name, key, array in shard:
                    made = file.require_group(group)
                    if own_name:
                        made.attrs["name"] = own_name
                    store(made)[key] = array
                    files = places.setdefault(f"/{group}", [])
                    if name not in files:
                        files.append(name)
        total = sum(array.nbytes for *_, array in entries)
        weight_map = {g: files[0] if len(files) == 1 else files for g, files in places.items()}
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=4)
        index.write_text(text)


class Shards:
    """What the files of an index hold, as one HDF5 file that can be asked for groups by their paths."""

    attrs: dict[str, Any] = {}

    def __init__(self, path, stack: contextlib.ExitStack):
        self._path, self._stack = Path(path), stack
        self._files: dict[str, hdf5.File] = {}
        with open_file(path) as stream:
            text = stream.read(limits.config_bytes + 1)
        if len(text) > limits.config_bytes:
            raise FileFormatError(
                f"{path} is larger than an index may be (cornu.saving.limits.config_bytes)."
            )
        try:
            index = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{path} is not an index of weights: {error}") from None
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict):
            raise FileFormatError(
                f"{path} is not an index of weights: it has no object named 'weight_map'."
            )
        self._places = {
            group: [self._checked(name) for name in (files if isinstance(files, list) else [files])]
            for group, files in places.items()
        }

    def _checked(self, name) -> str:
        """A name of a file beside the index: it may not lead elsewhere."""
        plain = isinstance(name, str) and not set(name) & set("/\\:\0") and name.endswith(".h5")
        if not plain or (self._path.parent / name).is_symlink():
            raise FileFormatError(
                f"{self._path} names {name!r}, which is not the name of a `.h5` file beside it."
            )
        return name

    def __contains__(self, group: str) -> bool:
        return f"/{group}" in self._places

    def get(self, group: str) -> dict | None:
        """The arrays of a group from all files that it is in; None if it is in none."""
        files = self._places.get(f"/{group}")
        if files is None:
            return None
        found: dict[str, Any] = {}
        for name in files:
            part = self._file(name).get(group)
            if part is None:
                raise FileFormatError(
                    f"{self._path} says that {self._path.with_name(name)} holds '{group}', but it does "
                    "not."
                )
            found.update((key, part[key]) for key in part)
        return found

    def _file(self, name: str) -> hdf5.File:
        if name not in self._files:
            path = self._path.with_name(name)
            stream = self._stack.enter_context(open_file(path))
            self._files[name] = hdf5.File(stream, str(path))
        return self._files[name]


@contextlib.contextmanager
def opened(path):
    """The weights that an index names; see `Shards`."""
    with contextlib.ExitStack() as stack:
        yield Shards(path, stack)
