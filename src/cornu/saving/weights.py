"""Weights in HDF5, laid out as Keras lays them out: `layers/conv2d/vars/0`."""

from pathlib import Path
from typing import Any

import numpy as np

from cornu.core.layer import Layer
from cornu.core.naming import to_snake_case
from cornu.core.random import SeedGenerator
from cornu.saving.atomic import replacing


def save_weights(model, filepath, overwrite=True) -> None:
    """Write a model's weights to a `.weights.h5` file, which Keras reads as well.

    The file is written beside its place and then renamed, so that a crash leaves the old one whole.

    Raises ValueError if the name does not end in `.weights.h5`, or the model has no weights yet.
    """
    path = Path(filepath)
    if not path.name.endswith(".weights.h5"):
        raise ValueError(
            "The filename must end in `.weights.h5`. Received: "
            f"filepath={filepath}. (`model.save` writes the whole model to a `.keras` file.)"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        write_state(model, file)


def load_weights(model, filepath, skip_mismatch=False) -> None:
    """Read weights from a `.weights.h5` file, or the weights out of a `.keras` file, into a model.

    Nothing is changed if something does not fit, unless `skip_mismatch` is true: then layers whose
    weights do not fit keep theirs.

    Raises FileNotFoundError, or ValueError with the layer, what it expected and what the file has.
    """
    import io
    import zipfile

    import h5py

    path = Path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    source: Any = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a readable HDF5 file: {error}") from error
    with file:
        read_state(model, file, str(path), skip_mismatch)


def write_state(obj, group, with_optimizer=False) -> None:
    """Write everything that `obj` consists of into an HDF5 group."""
    for path, part in _walk(obj, "", with_optimizer, set()):
        part.save_own_variables(group.require_group(f"{path}vars"))


def read_state(obj, group, filename: str, skip_mismatch=False, with_optimizer=False) -> None:
    """Read what `write_state` wrote; all shapes are compared before anything is changed."""
    loads = []
    for path, part in _walk(obj, "", with_optimizer, set()):
        wanted: dict[str, np.ndarray] = {}
        part.save_own_variables(wanted)
        name = getattr(part, "name", path)
        stored = group.get(f"{path}vars")
        if stored is None and isinstance(part, SeedGenerator):
            # Keras does not write the state of its generators.
            continue
        found = {} if stored is None else {key: stored[key] for key in stored}
        problem = _compare(wanted, found, name, filename)
        if problem and not skip_mismatch:
            raise ValueError(problem)
        if not problem and wanted:
            loads.append((part, found))
    for part, found in loads:
        part.load_own_variables({key: np.asarray(value) for key, value in found.items()})


def _compare(wanted, found, name, filename) -> str | None:
    if len(wanted) != len(found):
        return (
            f"'{name}' has {len(wanted)} arrays of weights, but {filename} holds {len(found)} for "
            "it. Was the file written by another model, or is this model not built yet? Layers "
            "that do not fit are left out with `skip_mismatch=True`."
        )
    for key, value in wanted.items():
        shape = tuple(found[key].shape) if key in found else None
        if shape != tuple(np.shape(value)):
            return (
                f"Shape mismatch in '{name}', array {key}: the model expects shape "
                f"{tuple(np.shape(value))}, but {filename} holds {shape}. Layers that do not fit are "
                "left out with `skip_mismatch=True`."
            )
    return None


def _walk(obj, path: str, with_optimizer: bool, seen: set):
    """The parts of a model that have state of their own, each once, with their places."""
    if id(obj) in seen:
        return
    seen.add(id(obj))
    yield path, obj
    for name, child in _children(obj, with_optimizer):
        if isinstance(child, list):
            yield from _walk_list(child, f"{path}{name}/", seen)
        else:
            yield from _walk(child, f"{path}{name}/", False, seen)


def _walk_list(entries: list, path: str, seen: set):
    used: dict[str, int] = {}
    for entry in entries:
        name = to_snake_case(type(entry).__name__)
        if name in used:
            used[name] += 1
            name = f"{name}_{used[name]}"
        else:
            used[name] = 0
        yield from _walk(entry, f"{path}{name}/", False, seen)


def _children(obj: Any, with_optimizer: bool):
    if isinstance(obj, SeedGenerator) or not hasattr(obj, "_not_members"):
        return
    if getattr(obj, "_graph", None) is not None or hasattr(obj, "_tensor_of"):
        yield "layers", obj.layers
    else:
        for name, value in sorted(vars(obj).items()):
            if name in obj._not_members:
                continue
            if isinstance(value, Layer | SeedGenerator):
                yield name, value
            elif isinstance(value, dict):
                yield name, [v for v in value.values() if isinstance(v, Layer | SeedGenerator)]
            elif isinstance(value, list | tuple):
                yield name, [v for v in value if isinstance(v, Layer | SeedGenerator)]
    if with_optimizer and getattr(obj, "optimizer", None) is not None:
        yield "optimizer", obj.optimizer
