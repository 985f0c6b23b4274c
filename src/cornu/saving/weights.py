"""Weights in files: HDF5, laid out as Keras lays them out (`layers/conv2d/vars/0`), and safetensors."""

import errno
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from cornu.core import tracking
from cornu.core.layer import Layer
from cornu.core.naming import to_snake_case
from cornu.core.random import SeedGenerator
from cornu.core.variable import Variable
from cornu.metrics import Metric
from cornu.optimizers import Optimizer
from cornu.saving import legacy
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError, mismatch
from cornu.saving.reading import explained, open_file, opened_weights
from cornu.saving.writing import new_hdf5


def save_weights(model, filepath, overwrite=True) -> None:
    """Write a model's weights to a file.

    Args:
        model: the model.
        filepath: a name that ends in `.weights.h5`, which Keras reads as well (the state of the optimizer
            goes with the weights), or in `.safetensors`, where each weight has its path as a name.
        overwrite: whether an existing file may be replaced.

    The file is written beside its place and then renamed, so that a crash leaves the old one whole.

    Raises ValueError for another ending, FileExistsError, or OSError if the file cannot be written.

    Source: Keras: Weights-only saving & loading.
    """
    path = Path(filepath)
    if not path.name.endswith((".weights.h5", ".safetensors")):
        raise ValueError(
            "The filename must end in `.weights.h5` or `.safetensors`. Received: "
            f"filepath={filepath}. (`model.save` writes the whole model to a `.keras` file.)"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    with replacing(path) as temporary:
        if path.suffix == ".h5":
            write_hdf5(model, temporary)
        else:
            from safetensors import SafetensorError
            from safetensors.numpy import save_file

            named = {name: np.asarray(v) for name, v in _named_weights(model)}
            try:
                save_file(named, temporary, {"format": "cornu"})
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error


def load_weights(model, filepath, skip_mismatch=False, by_name=False) -> None:
    """Read weights from a file into a model.

    Args:
        model: the model.
        filepath: a `.weights.h5`, `.safetensors`, `.keras`, or older `.h5` file.
        skip_mismatch: leave layers whose weights do not fit as they are, instead of raising.
        by_name: match layers by their names instead of by their places, as for transfer learning;
            layers that the file does not have stay as they are. Not for `.safetensors`.

    Nothing is changed if something does not fit, unless `skip_mismatch` is true.

    Raises FileNotFoundError, or FileFormatError (a ValueError) with the layer, what it expected and what
    the file has.

    Source: Keras: Weights-only saving & loading.
    """
    name = str(filepath)
    if name.endswith(".safetensors"):
        if by_name:
            raise ValueError("`by_name` needs a file with layers, not `.safetensors`.")
        _load_safetensors(model, filepath, skip_mismatch)
        return
    with opened_weights(filepath) as file, explained(filepath, "holds weights that do not fit"):
        if any(key.startswith("layer_names") for key in file.attrs) or "model_weights" in file:
            legacy.assign(legacy.pairs_of(model, file, name, skip_mismatch, by_name))
        elif by_name:
            _read_by_name(model, file, name, skip_mismatch)
        else:
            read_state(model, file, name, skip_mismatch, with_optimizer=True)


def _load_safetensors(model, filepath, skip_mismatch: bool) -> None:
    from safetensors import SafetensorError, safe_open

    open_file(filepath).close()
    try:
        with safe_open(filepath, "np") as file:
            stored = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            loads = []
            for name, weight in _named_weights(model):
                shape = tuple(stored[name].get_shape()) if name in stored else None
                if shape == weight.shape:
                    loads.append((weight, name))
                elif not skip_mismatch:
                    raise FileFormatError(mismatch(name, weight.shape, shape, filepath))
            for weight, name in loads:
                weight.assign(file.get_tensor(name))
    except SafetensorError as error:
        raise FileFormatError(f"{filepath} is not a readable safetensors file: {error}") from error


def _named_weights(model):
    """Each weight of the model with its place and name: `layers/conv2d/kernel`."""
    seen: set[str] = set()
    for path, part in _walk(model, "", False, set()):
        if isinstance(part, Layer):
            for i, weight in enumerate(part._own_weights()):
                name = f"{path}{weight.name}"
                name = f"{name}_{i}" if name in seen else name
                seen.add(name)
                yield name, weight


class _Store:
    """What `save_own_variables` fills, as a group of an HDF5 file."""

    def __init__(self, group):
        self._group = group

    def __setitem__(self, key: str, value) -> None:
        array = np.asarray(value)
        dataset = self._group.create_dataset(key, data=array)
        if array.dtype.name == "bfloat16":
            # HDF5 has no such type; it is kept as two bytes with this note.
            dataset.attrs["dtype"] = "bfloat16"


def write_hdf5(model, filepath) -> None:
    """Write everything that `model` consists of, and the state of its optimizer, to a new file."""
    parts = [part for _, part in _walk(model, "", True, set())]
    variables = [v for part in parts for v in getattr(part, "variables", [])]
    unique = {id(v): v for v in variables}.values()
    num_bytes = sum(v.size * np.dtype(v.dtype).itemsize for v in unique)
    with new_hdf5(filepath, num_bytes, len(parts) + len(unique)) as file:
        write_state(model, file, with_optimizer=True)


def write_state(obj, group, with_optimizer=False) -> None:
    """Write everything that `obj` consists of into a group of an HDF5 file."""
    for path, part in _walk(obj, "", with_optimizer, set()):
        own = group.require_group(f"{path}vars")
        if getattr(part, "name", None):
            own.attrs["name"] = part.name
        part.save_own_variables(_Store(own))


def read_state(obj, group, filename: str, skip_mismatch=False, with_optimizer=False) -> None:
    """Read what `write_state` wrote; all shapes are compared before anything is changed."""
    loads = []
    parts = list(_walk(obj, "", with_optimizer, set()))
    if any(isinstance(part, Layer) and group.get(f"{path}vars") is None for path, part in parts):
        # Of an earlier Cornu, perhaps.
        others = list(_walk(obj, "", with_optimizer, set(), in_list=False))
        if all(
            group.get(f"{path}vars") is not None for path, part in others if isinstance(part, Layer)
        ):
            parts = others
    for path, part in parts:
        stored = group.get(f"{path}vars")
        found = {} if stored is None else {key: stored[key] for key in stored}
        if not found and isinstance(part, SeedGenerator | Metric):
            # Keras does not write the state of its generators, nor older files that of metrics.
            continue
        if isinstance(part, Optimizer) and len(found) != len(part.variables):
            # The weights are there without the optimizer's state, or it is that of another optimizer.
            continue
        if (problem := compare(part, found, filename, path)) is None:
            loads.append((part, found))
        elif not skip_mismatch:
            raise FileFormatError(problem)
    _assign(loads)


def _assign(loads: list) -> None:
    for part, found in loads:
        if found:
            part.load_own_variables({key: array.read() for key, array in found.items()})


def _read_by_name(model, group, filename: str, skip_mismatch: bool) -> None:
    """Read the layers that the file has under the same name."""
    by_name: dict[str, Any] = {}
    pending = [group]
    while pending:
        here = pending.pop()
        for name in here:
            child = here.get(name)
            if name == "vars" and child.attrs.get("name"):
                by_name.setdefault(str(child.attrs["name"]), child)
            elif hasattr(child, "keys"):
                pending.append(child)
    loads = []
    for path, part in _walk(model, "", False, set()):
        stored = by_name.get(getattr(part, "name", None) or "")
        if stored is None or not isinstance(part, Layer) or part is model:
            continue
        found = {key: stored[key] for key in stored}
        if (problem := compare(part, found, filename, path)) is None:
            loads.append((part, found))
        elif not skip_mismatch:
            raise FileFormatError(problem)
    _assign(loads)


def _wanted(part) -> dict[str, Any]:
    """What a part would write: its variables, whose values are not looked at, if it is one of the usual."""
    saves = type(part).save_own_variables
    if saves is Layer.save_own_variables:
        return {str(i): v for i, v in enumerate(part._own_weights())}
    if saves in (Optimizer.save_own_variables, Metric.save_own_variables):
        return {str(i): v for i, v in enumerate(part.variables)}
    if saves is SeedGenerator.save_own_variables:
        return {"0": part.state}
    wanted: dict[str, Any] = {}
    part.save_own_variables(wanted)
    return wanted


def compare(part, found: dict, filename: str, path: str = "") -> str | None:
    """What is wrong with arrays for a part of a model; None if they fit."""
    wanted, name = _wanted(part), getattr(part, "name", path)
    if len(wanted) != len(found):
        return (
            f"'{name}' has {len(wanted)} arrays of weights, but {filename} holds {len(found)} for "
            "it. Was the file written by another model, or is this model not built yet? Layers "
            "that do not fit are left out with `skip_mismatch=True`."
        )
    for key, value in wanted.items():
        expected = np.shape(value) if not isinstance(value, Variable) else value.shape
        shape = getattr(found.get(key), "shape", None)
        if shape != tuple(expected):
            return mismatch(f"{name}', array '{key}", expected, shape, filename)
        if found[key].dtype.kind not in "biufV":
            return f"'{name}', array {key}: {filename} holds {found[key].dtype} and not numbers."
    return None


def _walk(obj, path: str, with_optimizer: bool, seen: set, in_list=True):
    """The parts of an object that have state of their own, each once, with their places.

    Keras finds the layers of a subclassed model also by its property `layers`: those of them whose
    attributes come after that word lie in a list of this name, unless `in_list` is false.
    """
    if id(obj) in seen or (isinstance(obj, Optimizer) and not with_optimizer):
        return
    seen.add(id(obj))
    yield path, obj
    if not isinstance(obj, Layer):
        return
    skipped = obj._not_members
    attributes = dict(vars(obj))
    if (layers := getattr(obj, "_saved_layers", None)) is not None:
        skipped = skipped | {"_layers", "_operations"}
        yield from _walk_group(layers, f"{path}layers/", with_optimizer, seen, in_list)
    elif in_list and hasattr(obj, "_saved_layers"):
        attributes["layers"] = obj._sublayers()
    # Those that begin with an underscore come last, as in Keras.
    for name, value in sorted(attributes.items(), key=lambda item: (item[0][0] == "_", item[0])):
        if name not in skipped and not name.startswith("__"):
            yield from _walk_value(value, f"{path}{name}/", with_optimizer, seen, in_list)


def _walk_value(value, path: str, with_optimizer: bool, seen: set, in_list: bool):
    if isinstance(value, _SAVED):
        yield from _walk(value, path, with_optimizer, seen, in_list)
    elif id(value) not in seen and tracking.entries(value) is not None:
        seen.add(id(value))
        yield from _walk_group(value, path, with_optimizer, seen, in_list)


def _walk_group(group, path: str, with_optimizer: bool, seen: set, in_list: bool):
    """What a container holds, under names from the classes, as automatic names may differ the next time."""
    used: dict[str, int] = {}
    for name, value in tracking.entries(group) or ():
        if name is None and (isinstance(value, _SAVED) or tracking.entries(value) is not None):
            name = _name_of_class(value)
            used[name] = used.get(name, -1) + 1
            name = f"{name}_{used[name]}" if used[name] else name
        yield from _walk_value(value, f"{path}{name}/", with_optimizer, seen, in_list)


def _name_of_class(value) -> str:
    if isinstance(value, _CONTAINERS):
        return "container"
    name = to_snake_case(type(value).__name__)
    # Keras has a class of its own for models from a graph.
    return "functional" if name == "model" and getattr(value, "_graph", None) is not None else name


_SAVED = (Layer, SeedGenerator, Optimizer, Metric)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
