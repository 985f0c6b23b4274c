"""Weights in files: HDF5, laid out as Keras lays them out (`layers/conv2d/vars/0`), and safetensors."""

import errno
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from cornu.core import registry, tracking
from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.core.naming import to_snake_case
from cornu.core.random import SeedGenerator
from cornu.core.variable import Variable
from cornu.metrics import Metric
from cornu.optimizers import Optimizer
from cornu.saving import legacy, shards
from cornu.saving.atomic import replacing
from cornu.saving.checkpoint import Checkpoint, is_checkpoint
from cornu.saving.errors import FileFormatError, learning_rate_was_read, mismatch
from cornu.saving.once import saved_once
from cornu.saving.reading import explained, open_file, opened_weights
from cornu.saving.writing import new_hdf5


@saved_once
def save_weights(model, filepath, overwrite=True, max_shard_size=None, **kwargs) -> None:
    """Write a model's weights to a file.

    Args:
        model: the model.
        filepath: a name that ends in `.weights.h5`, which Keras reads as well (the state of the optimizer
            goes with the weights), or in `.safetensors`, where each weight has its path as a name. With
            another name that ends in `.h5` or `.hdf5` the file is one of Keras 2.
        overwrite: whether an existing file may be replaced.
        max_shard_size: in GB, for a name that ends in `.weights.json`: how large each of the files may be
            that the weights are divided into. They lie beside it, and it says which is in which.
        objects_to_skip: by keyword only, layers or an optimizer to leave out, not for `.safetensors`.

    A temporary file is written and then renamed, so that a crash leaves the old one whole.

    Raises ValueError for another ending or a model that is not built, FileExistsError, or OSError if the
    file cannot be written.

    Source: Keras: Weights-only saving & loading.
    """
    path = Path(filepath)
    _need_built(model, f"nothing to write to {path}")
    skipped = _skipped(kwargs)
    if max_shard_size is not None:
        _save_shards(model, path, overwrite, max_shard_size, skipped)
        return
    is_older = path.suffix in (".h5", ".hdf5") and not path.name.endswith(".weights.h5")
    if not is_older and not path.name.endswith((".weights.h5", ".safetensors")):
        raise ValueError(
            "The filename must end in `.weights.h5` or `.safetensors`. Received: "
            f"filepath={filepath}. (`model.save` writes the whole model to a `.keras` file.)"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    if is_older:
        _refuse_skipping(skipped)
        warnings.warn(
            f"`save_weights({str(filepath)!r})` is an old spelling, and writes the format of Keras 2; use "
            "a name that ends in `.weights.h5` instead.",
            stacklevel=4,
        )
        legacy.save_weights(model, path)
        return
    with replacing(path) as temporary:
        if path.suffix == ".h5":
            write_hdf5(model, temporary, skipped=skipped)
        else:
            _refuse_skipping(skipped)
            from safetensors import SafetensorError
            from safetensors.numpy import save_file

            named = {name: np.asarray(value) for name, _, value in _named_weights(model, True)}
            try:
                save_file(named, temporary, {"format": "cornu"})
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error


def _skipped(kwargs: dict) -> set[int]:
    """The ids of what the argument `objects_to_skip` names; nothing else may be among the arguments."""
    objects = kwargs.pop("objects_to_skip", None) or ()
    if kwargs:
        raise ValueError(f"Invalid keyword arguments: {kwargs}")
    return {id(each) for each in objects}


def _refuse_skipping(skipped: set[int]) -> None:
    if skipped:
        raise ValueError(
            "`objects_to_skip` is for `.weights.h5` and `.weights.json` files. To leave layers of other "
            "files out, load them into a model of the other layers."
        )


def _save_shards(model, path: Path, overwrite: bool, max_shard_size, skipped: set[int]) -> None:
    if not path.name.endswith((".weights.json", ".weights.h5")):
        raise ValueError(
            "The filename must end in `.weights.json` when `max_shard_size` is specified. "
            f"Received: filepath={path}"
        )
    if not max_shard_size > 0:
        raise ValueError(f"`max_shard_size` must be positive. Received: {max_shard_size}")
    path = shards.index_path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    entries = [
        (f"{where}vars", getattr(part, "name", None), key, array)
        for where, part in _walk(model, "", True, set(skipped))
        for key, array in own_state(part).items()
    ]
    shards.write(path, entries, max_shard_size * 1024**3, Store)


def load_weights(model, filepath, skip_mismatch=False, **kwargs) -> None:
    """Read weights from a file into a model.

    Args:
        model: the model.
        filepath: a `.weights.h5`, `.weights.json`, `.safetensors`, `.keras`, or older `.h5` file; or a
            folder of `callbacks.OrbaxCheckpoint`, whose last step is read, or the folder of one step.
        skip_mismatch: leave layers whose weights do not fit as they are, instead of raising.
        by_name: by keyword only, match layers by their names instead of by their order, as for transfer
            learning; layers that the file does not have stay as they are. Not for `.safetensors` and
            `.weights.json`.
        objects_to_skip: by keyword only, layers, or an optimizer, that stay as they are. For
            `.weights.h5` and `.weights.json`.

    Nothing is changed if something does not fit, unless `skip_mismatch` is true. A compiled model gets the
    state of the optimizer, and its learning rate, from a `.weights.h5` or `.keras` file that has them; a
    state that is not for this optimizer is left out, with a warning.

    Raises ValueError if the model is not built, FileNotFoundError, or FileFormatError (a ValueError) with
    the layer, what it expected and what the file has.

    Source: Keras: Weights-only saving & loading.
    """
    name = str(filepath)
    by_name = kwargs.pop("by_name", None)
    skipped = _skipped(kwargs)
    _need_built(model, f"nothing yet to load {name} into")
    if by_name and name.endswith((".safetensors", ".json")):
        raise ValueError(
            "`by_name` needs one file with layers, not `.safetensors` nor `.weights.json`."
        )
    if name.endswith(".safetensors"):
        _refuse_skipping(skipped)
        _load_safetensors(model, filepath, skip_mismatch)
        return
    if is_checkpoint(filepath):
        _refuse_skipping(skipped)
        if by_name:
            raise ValueError("`by_name` needs one file with layers, not a checkpoint.")
        Checkpoint(filepath).read_state(model, skip_mismatch)
        return
    if name.endswith(".json"):
        with shards.opened(filepath) as file, explained(filepath, "holds weights that do not fit"):
            read_state(model, file, name, skip_mismatch, with_optimizer=True, skipped=skipped)
        return
    with opened_weights(filepath) as file, explained(filepath, "holds weights that do not fit"):
        if by_name or not name.endswith(".weights.h5"):
            _refuse_skipping(skipped)
        if any(key.startswith("layer_names") for key in file.attrs) or "model_weights" in file:
            legacy.assign(legacy.pairs_of(model, file, name, skip_mismatch, by_name))
        elif by_name:
            _read_by_name(model, file, name, skip_mismatch)
        else:
            read_state(model, file, name, skip_mismatch, with_optimizer=True, skipped=skipped)


def _need_built(model, what: str) -> None:
    if not model.built:
        raise ValueError(
            f"The model '{model.name}' is not built: it has no weights, so there is {what}. Call it on "
            "data, or `build((None, …))`, first."
        )


def _load_safetensors(model, filepath, skip_mismatch: bool) -> None:
    from safetensors import SafetensorError, safe_open

    open_file(filepath).close()
    try:
        with safe_open(filepath, "np") as file:
            stored = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            loads = []
            for name, weight, _ in _named_weights(model):
                shape = tuple(stored[name].get_shape()) if name in stored else None
                if shape == weight.shape:
                    loads.append((weight, name))
                elif not skip_mismatch:
                    raise FileFormatError(mismatch(name, weight.shape, shape, filepath))
            for weight, name in loads:
                weight.assign(file.get_tensor(name))
        loaded = {id(weight) for weight, _ in loads}
        for layer in model._flatten_layers():
            if any(id(weight) in loaded for weight in layer._saved_weights()):
                layer._were_loaded()
    except SafetensorError as error:
        raise FileFormatError(f"{filepath} is not a readable safetensors file: {error}") from error


def _named_weights(model, with_values=False):
    """Each weight of the model: its name, as `layers/conv2d/kernel`, itself, what a file holds of it."""
    seen: set[str] = set()
    for path, part in _walk(model, "", False, set()):
        if isinstance(part, Layer):
            weights = part._saved_weights()
            values = part._saved_values() if with_values else weights
            for i, (weight, value) in enumerate(zip(weights, values, strict=True)):
                name = f"{path}{weight.name}"
                name = f"{name}_{i}" if name in seen else name
                seen.add(name)
                yield name, weight, value


class Store:
    """What `save_own_variables` fills, as a group of an HDF5 file."""

    def __init__(self, group):
        self._group = group

    def __setitem__(self, key: str, value) -> None:
        array = np.asarray(value)
        if array.dtype.kind not in "biufSV":
            raise TypeError(
                f"`save_own_variables` may keep numeric arrays only, but {key!r} is {array.dtype}. Write "
                "anything else to files, in `save_assets(folder)`."
            )
        dataset = self._group.create_dataset(key, data=array)
        if array.dtype.name == "bfloat16":
            # HDF5 has no such type; it is kept as two bytes with this note.
            dataset.attrs["dtype"] = "bfloat16"


def write_hdf5(model, filepath, with_optimizer=True, skipped=frozenset()) -> None:
    """Write everything that `model` consists of, and the state of its optimizer, to a new file."""
    parts = [part for _, part in _walk(model, "", with_optimizer, set(skipped))]
    own = {id(part): own_state(part) for part in parts if _has_hooks(part)}
    variables = [v for part in parts for v in getattr(part, "variables", [])]
    arrays = {id(v): v for state in own.values() for v in state.values()}
    unique = {id(v): v for v in variables}.values()
    # What optimizers within another keep is written twice.
    twice = [v for part in parts if isinstance(part, Optimizer) for v in part.variables]
    written = [*unique, *twice, *arrays.values()]
    num_bytes = sum(v.size * np.dtype(v.dtype).itemsize for v in written)
    with new_hdf5(filepath, num_bytes, len(parts) + len(written)) as file:
        write_state(model, file, with_optimizer, own, skipped)


def write_state(obj, group, with_optimizer=False, own=None, skipped=frozenset()) -> None:
    """Write everything that `obj` consists of into a group of an HDF5 file.

    `own` has, by their ids, the states of the parts that say themselves what they keep.
    """
    for path, part in _walk(obj, "", with_optimizer, set(skipped)):
        vars_group = group.require_group(f"{path}vars")
        if getattr(part, "name", None):
            vars_group.attrs["name"] = part.name
        store = Store(vars_group)
        if own is None or id(part) not in own:
            part.save_own_variables(store)
        else:
            for key, array in own[id(part)].items():
                store[key] = array


# Classes that keep state as their kind does; other classes with hooks decide that themselves.
_USUAL = (Layer, Optimizer, SeedGenerator, Metric)


def _has_hooks(part) -> bool:
    """Whether a user's class defines what is kept of a part."""
    return not any(
        isinstance(part, usual)
        and type(part).save_own_variables is usual.save_own_variables
        and type(part).load_own_variables is usual.load_own_variables
        for usual in _USUAL
    )


def own_state(part) -> dict[str, np.ndarray]:
    store: dict[str, Any] = {}
    part.save_own_variables(store)
    return {str(key): np.asarray(value) for key, value in store.items()}


def read_state(
    obj, group, filename: str, skip_mismatch=False, with_optimizer=False, skipped=frozenset()
) -> None:
    """Read what `write_state` wrote.

    All shapes are compared before anything is changed; only a part whose class has hooks of its own
    reads at once, as it may make the parts that come after it. `skipped` has the ids of parts that stay
    as they are.
    """
    loads = []

    def has_all(in_list: bool) -> bool:
        parts = _walk(obj, "", with_optimizer, set(skipped), in_list)
        return all(
            group.get(f"{p}vars") is not None for p, part in parts if isinstance(part, Layer)
        )

    # Otherwise it is of an earlier Cornu, perhaps.
    in_list = has_all(True) or not has_all(False)
    for path, part in _walk(obj, "", with_optimizer, set(skipped), in_list):
        stored = group.get(f"{path}vars")
        found = {} if stored is None else {key: stored[key] for key in stored}
        if not found and isinstance(part, SeedGenerator | Metric):
            # Keras does not write the state of its generators, nor older files that of metrics.
            continue
        if isinstance(part, Optimizer) and found:
            if _was_never_used(found):
                continue
            if not part.built and id(part) == id(getattr(obj, "optimizer", None)):
                _make_ready(part, found, obj, filename)
        if _has_hooks(part):
            problem = _read_own(part, found, filename, path)
        elif (problem := compare(part, found, filename, path)) is None:
            loads.append((part, found))
        if problem is None or skip_mismatch:
            continue
        if not isinstance(part, Optimizer):
            raise FileFormatError(problem)
        if found:
            warnings.warn(
                f"The state of the optimizer in {filename} cannot be used, so that it begins anew: "
                f"{problem}",
                stacklevel=4,
            )
    _assign(loads)


def _was_never_used(found: dict) -> bool:
    """Whether the state of an optimizer is that before its first step.

    Then it is no more than two scalars, and two more of an optimizer within it (`LossScaleOptimizer`).
    """
    scalars = len(found) <= 4 and all(array.shape == () for array in found.values())
    return scalars and "0" in found and int(found["0"].read()) == 0


def _make_ready(optimizer: Optimizer, found: dict, model, filename: str) -> None:
    """Create the state of an optimizer that has done no step yet, so that it can be loaded."""
    optimizer.build(model.trainable_variables)
    rate = optimizer._learning_rate
    index = next((i for i, v in enumerate(optimizer.variables) if v is rate), None)
    if len(found) != len(optimizer.variables) or index is None or str(index) not in found:
        return
    array = found[str(index)]
    if array.shape == () and (read := float(array.read())) != float(rate.numpy()):
        warnings.warn(learning_rate_was_read(read, float(rate.numpy()), filename), stacklevel=5)


def _read_own(part, found: dict, filename: str, path: str) -> str | None:
    """Let a part read its own arrays; returns a message if they do not fit, else None."""
    try:
        part.load_own_variables({key: array.read() for key, array in found.items()})
    except (FileFormatError, OSError):
        raise
    except Exception as error:
        name = getattr(part, "name", path)
        return (
            f"'{name}' ({type(part).__name__}) cannot load what {filename} holds for it "
            f"({', '.join(found) or 'nothing'}): {type(error).__name__}: {error}"
        )
    return None


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
        if _has_hooks(part):
            problem = _read_own(part, found, filename, path)
        elif (problem := compare(part, found, filename, path)) is None:
            loads.append((part, found))
        if problem is not None and not skip_mismatch:
            raise FileFormatError(problem)
    _assign(loads)


def _wanted(part) -> list[Variable]:
    """The variables that a part without hooks of its own writes, in order."""
    if isinstance(part, SeedGenerator):
        return [part.state]
    return part._saved_weights() if isinstance(part, Layer) else part.variables


def compare(part, found: dict, filename: str, path: str = "") -> str | None:
    """What is wrong with arrays for a part of a model; None if they fit."""
    wanted, name = _wanted(part), getattr(part, "name", path)
    if _has_bytes(found.values()) and not _has_bytes(wanted):
        return (
            f"'{name}' is quantized in {filename}, and not in the model. No configuration says it of a "
            "layer that another one makes: make the model, call it, quantize it in the same way, such as "
            "with model.quantize('int8'), and read the file with model.load_weights(...)."
        )
    if len(wanted) != len(found):
        return (
            f"'{name}' has {len(wanted)} arrays of weights, but {filename} holds {len(found)} for "
            "it. Was the file written by another model, or is this model not built yet? Layers "
            "that do not fit are left out with `skip_mismatch=True`."
        )
    for key, variable in zip(map(str, range(len(wanted))), wanted, strict=True):
        shape = getattr(found.get(key), "shape", None)
        if shape != variable.shape:
            return mismatch(f"{name}', array '{key}", variable.shape, shape, filename)
        if found[key].dtype.kind not in "biufV":
            return (
                f"'{name}', array {key}: {filename} holds {found[key].dtype}, which is not numeric."
            )
        if not is_float(variable.dtype) and found[key].dtype.kind == "f":
            return (
                f"'{name}', array {key} is {variable.dtype}, but {filename} holds {found[key].dtype}, "
                "whose fractions would be lost. Quantize the model after loading."
            )
    return None


def _has_bytes(arrays) -> bool:
    # What a forged file holds may be no array.
    return any(str(getattr(array, "dtype", None)) == "int8" for array in arrays)


def parts_of(model) -> list:
    """Everything that a model consists of, its optimizer as well, with the paths in its file."""
    return list(_walk(model, "", True, set()))


def _walk(obj, path: str, with_optimizer: bool, seen: set, in_list=True):
    """The parts of an object that have state of their own, each once, with their paths.

    Keras finds the layers of a subclassed model also by its property `layers`: those of them whose
    attributes sort after "layers" are saved in a list of this name, unless `in_list` is false.
    """
    if id(obj) in seen or (isinstance(obj, Optimizer) and not with_optimizer):
        return
    seen.add(id(obj))
    yield path, obj
    if isinstance(obj, Optimizer):
        # Keras has the state of these twice, as theirs and as that of the optimizer around them.
        for name in ("inner_optimizer", "optimizers"):
            inner = getattr(obj, name, None)
            yield from _walk_value(inner, f"{path}{name}/", with_optimizer, seen, in_list)
    if not isinstance(obj, Layer):
        return
    skipped = tracking.aside(type(obj))
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
    """The parts in a container, under names from their classes, as automatic names may differ later."""
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
    # Keras has a class of its own for models from a graph; a class of the user's may be called Model.
    if type(value) is registry.find("layer", "Model") and value._graph is not None:
        return "functional"
    return to_snake_case(type(value).__name__)


_SAVED = (Layer, SeedGenerator, Optimizer, Metric)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
