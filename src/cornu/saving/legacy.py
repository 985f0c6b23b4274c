"""Whole models, and weights, in the older `.h5` file format of Keras 2 and 3."""

import json
import warnings

import numpy as np

from cornu.core import registry
from cornu.core.layer import Layer
from cornu.core.variable import deferred_values
from cornu.saving import hdf5, reading
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError, mismatch
from cornu.saving.old_configs import modern
from cornu.saving.writing import KERAS_FORMAT_VERSION, new_hdf5


def save_model(model, path, include_optimizer=True) -> None:
    """Write a whole model to an `.h5` file; see `cornu.saving.save_model`."""
    config = reading.uncompiled(registry.describe(model, compiled=False))
    if config["class_name"] == "Model":
        config["class_name"] = "Functional"
    attributes = {
        "keras_version": KERAS_FORMAT_VERSION,
        "backend": "jax",
        "model_config": json.dumps(config),
    }
    groups = {}
    if include_optimizer and (training := _training_config(model)):
        attributes["training_config"] = json.dumps(training)
        groups["optimizer_weights"] = model.optimizer.variables
    _write(model, path, attributes, groups)


def save_weights(model, path) -> None:
    """Write a model's weights to an `.h5` file; see `cornu.saving.save_weights`."""
    _write(model, path, {}, {})


def _write(model, path, attributes: dict, groups: dict) -> None:
    groups = {
        **{f"model_weights/{layer.name}": _legacy_weights(layer) for layer in model.layers},
        f"model_weights/{_TOP}": model._own_weights(),
        **groups,
    }
    variables = [v for group in groups.values() for v in group]
    # Formats of 16 bits may become larger.
    num_bytes = sum(v.size * max(np.dtype(v.dtype).itemsize, 4) for v in variables)
    num_bytes += len(attributes.get("model_config", ""))
    with (
        replacing(path) as temporary,
        new_hdf5(temporary, num_bytes, 2 * len(variables)) as file,
    ):
        file.attrs.update(attributes)
        for name, group in groups.items():
            _write_group(file.create_group(name), group)
        weights = file.require_group("model_weights")
        weights.attrs.update(backend="jax", keras_version=KERAS_FORMAT_VERSION)
        _write_names(weights, "layer_names", [layer.name for layer in model.layers])


# Weights that a model has besides those of its layers.
_TOP = "top_level_model_weights"
# The most that fits into one attribute of an HDF5 file.
_MOST_BYTES = 64_512


def _legacy_weights(layer) -> list:
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _training_config(model) -> dict:
    # Not a subclass's own: readers call `compile` with these.
    given = model._described_compile()
    if not given:
        return given
    given["loss"] = _with_long_names(given["loss"])
    return {"optimizer_config": given.pop("optimizer"), **given}


def _with_long_names(loss):
    """Losses by the names that Keras can read from these files: not `mse`, for one."""
    if isinstance(loss, list | tuple):
        return [_with_long_names(entry) for entry in loss]
    if isinstance(loss, dict) and "class_name" not in loss:
        return {key: _with_long_names(entry) for key, entry in loss.items()}
    name = registry.serialize(registry.find("loss", loss)) if isinstance(loss, str) else loss
    return name if isinstance(name, str) else loss


def _write_group(group, variables: list) -> None:
    names: list[str] = []
    for variable in variables:
        name = variable.path
        while name in names:
            name += "_"
        names.append(name)
        array = np.asarray(variable)
        group.create_dataset(
            name, data=array.astype("float32") if array.dtype.kind == "V" else array
        )
    _write_names(group, "weight_names", names)


def _write_names(group, attribute: str, names: list[str]) -> None:
    array = np.asarray([name.encode() for name in names])
    chunks = max(-(-array.nbytes // _MOST_BYTES), 1)
    if chunks == 1:
        group.attrs[attribute] = array
        return
    for i, chunk in enumerate(np.array_split(array, chunks + 1)):
        group.attrs[f"{attribute}{i}"] = chunk


def load_model(filepath, custom_objects=None, compile=True):
    """Read a whole model from an `.h5` file; see `cornu.saving.load_model`."""
    with reading.open_file(filepath) as stream:
        if stream.read(8) != hdf5.SIGNATURE:
            raise FileFormatError(
                f"{filepath} is not a `.keras` file (a zip archive), nor an HDF5 file: it is damaged, or "
                "of another file format."
            )
        file = hdf5.File(stream, str(filepath))
        if "model_config" not in file.attrs:
            raise FileFormatError(
                f"{filepath} holds weights, but no model. Make the model, and use `load_weights`."
            )
        config = reading.parse(str(file.attrs["model_config"]), filepath)
        with (
            reading.explained(filepath, "holds a model that cannot be made"),
            deferred_values(reading.limits.bytes),
        ):
            model = reading.model_of(modern(config), custom_objects, filepath)
            pairs = pairs_by_order(model, file["model_weights"], str(filepath), False)
            if compile and "training_config" in file.attrs:
                training = reading.parse(str(file.attrs["training_config"]), filepath)
                with registry.custom_object_scope(custom_objects):
                    _compile(model, training)
                if model.compiled:
                    pairs += _optimizer_pairs(model, file, str(filepath))
            assign(pairs)
        return model


# ---- how a model was compiled


def _compile(model, training: dict) -> None:
    training = modern(training)
    given = {key: training[key] for key in _COMPILED if key in training}
    for key, kind in (("loss", "loss"), ("metrics", "metric"), ("weighted_metrics", "metric")):
        given[key] = _of_kind(given.get(key), kind)
    optimizer = registry.get("optimizer", training.get("optimizer_config")) or "rmsprop"
    model.compile_from_config({**given, "optimizer": optimizer})


def _of_kind(value, kind: str):
    """Make what is described in a structure: in these files, a loss and a metric may have one name."""
    if isinstance(value, list):
        return [_of_kind(entry, kind) for entry in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _of_kind(entry, kind) for key, entry in value.items()}
    return registry.deserialize(value, kind=kind) if isinstance(value, dict) else value


_COMPILED = (
    "loss",
    "loss_weights",
    "metrics",
    "weighted_metrics",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
    "auto_scale_loss",
)


# ---- weights


def pairs_of(model, file, filename: str, skip_mismatch: bool, by_name: bool) -> list:
    """Variables of the model, each with the array that the file has for it."""
    group = file.get("model_weights") or file
    pairs = pairs_by_name if by_name else pairs_by_order
    return pairs(model, group, filename, skip_mismatch)


def pairs_by_order(model, group, filename: str, skip_mismatch: bool) -> list:
    """Layers with weights are matched one after the other."""
    layers = [layer for layer in model.layers if layer.weights]
    stored = [
        (n, a) for n in _names(group, "layer_names") if (a := _arrays(group[n], "weight_names"))
    ]
    if len(stored) != len(layers):
        raise FileFormatError(
            f"The model has {len(layers)} layers with weights, but {filename} holds {len(stored)}: "
            f"{[name for name, _ in stored]}."
        )
    pairs: list = []
    for layer, (name, arrays) in zip(layers, stored, strict=True):
        pairs += _pairs(
            layer, arrays, f"{layer.name}' ('{name}' in the file)", filename, skip_mismatch
        )
    return pairs + _top_pairs(model, group, filename, skip_mismatch)


def pairs_by_name(model, group, filename: str, skip_mismatch: bool) -> list:
    """Layers are matched by name; those that the file does not have are left out."""
    names, pairs = set(_names(group, "layer_names")), []
    for layer in model.layers:
        if layer.name in names and (arrays := _arrays(group[layer.name], "weight_names")):
            pairs += _pairs(layer, arrays, layer.name, filename, skip_mismatch)
    return pairs


def _top_pairs(model, group, filename: str, skip_mismatch: bool) -> list:
    """The weights of the model itself, which older versions did not write."""
    stored = group.get(_TOP)
    arrays = [] if stored is None else _arrays(stored, "weight_names")
    return (
        _pair(model._own_weights(), arrays, model.name, filename, skip_mismatch) if arrays else []
    )


def assign(pairs: list) -> None:
    """Read the arrays into their variables, one after the other."""
    for variable, array in pairs:
        variable.assign(array.read())


def _pairs(layer: Layer, arrays: list, name: str, filename: str, skip_mismatch: bool) -> list:
    return _pair(_legacy_weights(layer), arrays, name, filename, skip_mismatch)


def _pair(weights: list, arrays: list, name: str, filename: str, skip_mismatch: bool) -> list:
    # The states of random generators are not in these files.
    weights = [w for w in weights if not w.path.endswith("seed_generator_state")]
    expected, found = [w.shape for w in weights], [a.shape for a in arrays]
    if expected == found:
        return list(zip(weights, arrays, strict=True))
    if skip_mismatch:
        return []
    if len(expected) != len(found):
        raise FileFormatError(
            f"'{name}' has {len(expected)} arrays of weights, but {filename} holds {len(found)} for it."
        )
    wrong = next(i for i, shape in enumerate(expected) if shape != found[i])
    raise FileFormatError(
        mismatch(f"{name}', array '{wrong}", expected[wrong], found[wrong], filename)
    )


def _optimizer_pairs(model, file, filename: str) -> list:
    group = file.get("optimizer_weights")
    arrays = _arrays(group, "weight_names") if group is not None else []
    variables = model.optimizer.variables
    if [a.shape for a in arrays] == [v.shape for v in variables]:
        return list(zip(variables, arrays, strict=True))
    if not all(array.shape == () for array in arrays):
        # Another version of Keras may have written other contents.
        warnings.warn(
            f"The state of the optimizer in {filename} cannot be used, so that it begins anew: it has "
            f"{len(arrays)} arrays, where {len(variables)} of other shapes were expected.",
            stacklevel=4,
        )
    return []


def _names(group, attribute: str) -> list[str]:
    if attribute in group.attrs:
        return list(group.attrs[attribute])
    # A list that was too long for one attribute is cut into several.
    chunks = sorted(
        (int(k[len(attribute) :]), v)
        for k, v in group.attrs.items()
        if k.startswith(attribute) and k[len(attribute) :].isdigit()
    )
    return [name for _, chunk in chunks for name in chunk]


def _arrays(group, attribute: str) -> list:
    found = [group[name] for name in _names(group, attribute)]
    if not all(isinstance(array, hdf5.Array) for array in found):
        raise FileFormatError(f"{group!r} names something that is no array.")
    return found
