"""`KerasFileEditor`: look into a file with weights, and change what it holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cornu.saving import hdf5
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError
from cornu.saving.reading import explained, limits, opened_archive, opened_weights
from cornu.saving.weights import Store, own_state, parts_of
from cornu.saving.writing import new_hdf5
from cornu.utils.messages import print_message


class KerasFileEditor:
    """A file with weights, to look into, to change, and to write to a new file.

    A file holds objects, which hold arrays and further objects: `layers/dense` has the arrays `0`, its
    kernel, and `1`, its bias. An object is named by its path, or by the last part of it if no
    other object is called so.

    Args:
        filepath: a `.keras` or `.weights.h5` file.

    Attributes:
        weights_dict: the objects, as dicts of dicts and of NumPy arrays; those without arrays are left out.
        config, metadata: what a `.keras` file holds beside the weights; None for a `.weights.h5` file.

    Layers within a layer that has weights of its own are there as well, which Keras leaves out.

    Raises ValueError for another file, FileNotFoundError, and FileFormatError (a ValueError) for a
    damaged one.

    Source: Keras: KerasFileEditor.

    >>> import cornu, os, tempfile
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(3, name="first")])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.weights.h5")
    >>> model.save_weights(path)
    >>> editor = cornu.saving.KerasFileEditor(path)
    >>> editor.rename_object("dense", "dense_1")
    >>> editor.summary()
    layers
      dense_1 (first)
        0: shape (2, 3), float32
        1: shape (3,), float32
    """

    def __init__(self, filepath):
        path = Path(filepath)
        if not path.name.endswith((".keras", ".weights.h5")):
            raise ValueError(
                "Invalid filename: expected a `.keras` or `.weights.h5` extension. Received: "
                f"filepath={filepath}"
            )
        self.filepath = str(filepath)
        self.config: dict | None = None
        self.metadata: dict | None = None
        # What objects were called, by their ids, with themselves, so that no other gets the id.
        self._names: dict[int, tuple[dict, str]] = {}
        if path.suffix == ".keras":
            with opened_archive(filepath) as (config, weights, archive):
                self.config, self.metadata = config, _metadata(archive, filepath)
                self.weights_dict = self._objects(weights)
        else:
            with opened_weights(filepath) as weights:
                self.weights_dict = self._objects(weights)

    def summary(self) -> None:
        """Print the objects, with the shapes and dtypes of their arrays."""
        print_message("\n".join(self._lines(self.weights_dict)))

    def compare(self, reference_model) -> dict[str, Any]:
        """Print where the file and a built model differ.

        Returns:
            A dict of `"status"`, which is `"success"` or `"error"`, `"error_count"`, and `"match_count"`,
            the number of weights of equal shape.
        """
        expected: dict[str, Any] = {}
        for where, part in parts_of(reference_model):
            here = expected
            for name in filter(None, where.split("/")):
                here = here.setdefault(name, {})
            here |= own_state(part)
        problems, matches = _differences(self.weights_dict, _without_empty(expected), "")
        for problem in problems:
            print_message(problem)
        print_message(
            f"{len(problems)} differences. The file does not fit the model."
            if problems
            else f"The file fits the model: {matches} weights match."
        )
        return {
            "status": "error" if problems else "success",
            "error_count": len(problems),
            "match_count": matches,
        }

    def rename_object(self, object_name, new_name) -> None:
        """Rename an object; `new_name` is the last part of its path.

        Raises ValueError if there is none, if its name is that of several, and if the new name is taken.
        """
        if "/" in new_name:
            raise ValueError(
                f"`new_name` is the last part of a path. Received: new_name={new_name!r}"
            )
        _check_name(new_name)
        parent, name = self._place_of(object_name)
        if new_name in parent and new_name != name:
            raise ValueError(f"There is an object {new_name!r} already, beside {object_name!r}.")
        parent[new_name] = parent.pop(name)

    def delete_object(self, object_name) -> None:
        """Remove an object, with all in it.

        Raises ValueError if there is none, or if its name is that of several.
        """
        parent, name = self._place_of(object_name)
        del parent[name]

    def add_object(self, object_path, weights) -> None:
        """Add an object, or replace one.

        Args:
            object_path: its path, `layers/dense_2`; what it lies in must be there.
            weights: dict from names, usually `"0"`, `"1"`, …, to arrays.
        """
        weights = _arrays(weights)
        *above, name = object_path.split("/")
        _check_name(name)
        parent = self.weights_dict
        for part in above:
            parent = self._entry(parent, part, object_path)
        parent[name] = weights

    def delete_weight(self, object_name, weight_name) -> None:
        """Remove one array of an object.

        Raises ValueError if there is none.
        """
        parent, name = self._place_of(object_name)
        self._entry(parent[name], weight_name, f"{object_name}/{weight_name}")
        del parent[name][weight_name]

    def add_weights(self, object_name, weights) -> None:
        """Add arrays to an object, or replace them; `weights` is a dict from names to arrays."""
        weights = _arrays(weights)
        parent, name = self._place_of(object_name)
        parent[name].update(weights)

    def save(self, filepath) -> None:
        """Write a `.weights.h5` file with what there is now.

        A temporary file is written and then renamed, so that a crash leaves an old one whole.

        Raises ValueError for another ending, OSError if the file cannot be written.
        """
        if not str(filepath).endswith(".weights.h5"):
            raise ValueError(
                "Invalid `filepath` argument: expected a `.weights.h5` extension. Received: "
                f"filepath={filepath}"
            )
        objects = list(_walk(self.weights_dict, ""))
        own = [_own_arrays(each) for _, each in objects]
        num_bytes = sum(array.nbytes for arrays in own for array in arrays.values())
        with (
            replacing(Path(filepath)) as temporary,
            new_hdf5(temporary, num_bytes, len(objects) + sum(map(len, own))) as file,
        ):
            for (path, each), arrays in zip(objects, own, strict=True):
                group = file.require_group(f"{path}vars")
                if id(each) in self._names:
                    group.attrs["name"] = self._names[id(each)][1]
                store = Store(group)
                for key, array in arrays.items():
                    store[key] = array

    def resave_weights(self, filepath) -> None:
        """The same as `save`."""
        self.save(filepath)

    def _objects(self, group: hdf5.Group) -> dict[str, Any]:
        """What a group of the file holds, without objects that hold no arrays."""
        found: dict[str, Any] = {}
        own = group.get("vars")
        if isinstance(own, hdf5.Group):
            if own.attrs.get("name"):
                self._names[id(found)] = (found, str(own.attrs["name"]))
            found.update({key: own[key].read() for key in own if isinstance(own[key], hdf5.Array)})
        for name in group:
            child = group[name]
            if name == "vars" or not isinstance(child, hdf5.Group):
                continue
            if name in found:
                raise FileFormatError(
                    f"{self.filepath} has an array and an object called {name!r}."
                )
            if inner := self._objects(child):
                found[name] = inner
        return found

    def _lines(self, entry: dict, indent="") -> Iterator[str]:
        for name, value in entry.items():
            if isinstance(value, dict):
                called = self._names.get(id(value), (value, name))[1]
                yield f"{indent}{name}" + (f" ({called})" if called != name else "")
                yield from self._lines(value, f"{indent}  ")
            else:
                yield f"{indent}{name}: shape {value.shape}, {value.dtype.name}"

    def _entry(self, parent: dict, name: str, path: str):
        if name not in parent:
            raise ValueError(
                f"Path {path!r} not found in {self.filepath}: there is no {name!r} among "
                f"{', '.join(parent) or 'nothing'}."
            )
        return parent[name]

    def _place_of(self, object_name: str) -> tuple[dict, str]:
        """What an object lies in, and its name there."""
        *above, name = object_name.split("/")
        if above:
            parent = self.weights_dict
            for part in above:
                parent = self._entry(parent, part, object_name)
            self._entry(parent, name, object_name)
            return parent, name
        found = [each for _, each in _walk(self.weights_dict, "") if name in each]
        if len(found) != 1:
            raise ValueError(
                f"The name {name!r} occurs {len(found)} times in {self.filepath}; "
                + ("name a whole path." if found else "`summary()` prints what there is.")
            )
        return found[0], name


def _metadata(archive, filepath) -> dict | None:
    name = "metadata.json"
    if name not in archive.namelist():
        return None
    with explained(filepath, "is damaged: its metadata cannot be read"):
        if archive.getinfo(name).file_size > limits.config_bytes:
            raise FileFormatError(f"{filepath}: its metadata are too large.")
        return json.loads(archive.read(name))


def _check_name(name: str) -> None:
    if name in ("", "vars"):
        raise ValueError(f"An object cannot be called {name!r}: files keep arrays under `vars`.")


def _arrays(weights) -> dict:
    if not isinstance(weights, dict):
        raise ValueError(
            "Argument `weights` should be a dict where keys are weight names (usually '0', '1', etc.) and "
            f"values are NumPy arrays. Received: type(weights)={type(weights)}"
        )
    return {
        name: _arrays(value) if isinstance(value, dict) else np.asarray(value)
        for name, value in weights.items()
    }


def _own_arrays(entry: dict) -> dict[str, np.ndarray]:
    return {name: value for name, value in entry.items() if not isinstance(value, dict)}


def _walk(entry: dict, path: str) -> Iterator[tuple[str, dict]]:
    """All objects, with what their paths begin with in the file."""
    yield path, entry
    for name, value in entry.items():
        if isinstance(value, dict):
            yield from _walk(value, f"{path}{name}/")


def _without_empty(entry: dict) -> dict:
    inner = {k: _without_empty(v) if isinstance(v, dict) else v for k, v in entry.items()}
    return {k: v for k, v in inner.items() if not (isinstance(v, dict) and not v)}


def _differences(stored: dict, expected: dict, path: str) -> tuple[list[str], int]:
    """What is in one and not in the other, or of another shape; and how many arrays match."""
    problems, matches = [], 0
    for name in dict.fromkeys([*expected, *stored]):
        where, mine, other = f"{path}{name}", stored.get(name), expected.get(name)
        if mine is None or other is None:
            has, lacks = ("model", "file") if mine is None else ("file", "model")
            problems.append(f"{where} is in the {has}, but not in the {lacks}.")
        elif isinstance(mine, dict) and isinstance(other, dict):
            inner, count = _differences(mine, other, f"{where}/")
            problems += inner
            matches += count
        elif isinstance(mine, dict) or isinstance(other, dict) or mine.shape != other.shape:
            shapes = [
                "an object" if isinstance(each, dict) else f"of shape {each.shape}"
                for each in (other, mine)
            ]
            problems.append(f"{where} is {shapes[0]} in the model, and {shapes[1]} in the file.")
        else:
            matches += 1
    return problems, matches
