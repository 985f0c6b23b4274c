"""Whole models in files: `.keras`, a zip of `metadata.json`, `config.json` and `model.weights.h5`."""

import datetime
import json
import zipfile
from pathlib import Path

from cornu.core import registry
from cornu.core.variable import deferred_values
from cornu.saving import legacy
from cornu.saving.atomic import replacing, scratch
from cornu.saving.reading import explained, is_archive, limits, model_of, opened_archive
from cornu.saving.weights import read_state, write_hdf5

# What the format is, for readers that look at the version: that of Keras which it follows.
KERAS_FORMAT_VERSION = "3.15.0"


def save_model(model, filepath, overwrite=True, zipped=None) -> None:
    """Write a model, its weights, and how it was compiled, to a `.keras` file.

    The file is written beside its place and then renamed, so that a crash leaves the old one whole.

    Args:
        model: the model.
        filepath: a name that ends in `.keras`.
        overwrite: whether an existing file may be replaced.
        zipped: kept for Keras scripts; the file is always one zip archive.

    Raises ValueError for another ending, FileExistsError if `overwrite` is false, OSError if the file
    cannot be written.

    Source: Keras: Model saving & serialization APIs.
    """
    path = Path(filepath)
    if path.suffix != ".keras":
        raise ValueError(
            "Invalid filepath extension for saving. Please add a `.keras` extension for the whole "
            f"model, or use `save_weights` for a `.weights.h5` file. Received: filepath={filepath}"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    config = registry.serialize(model)
    metadata = {
        "keras_version": KERAS_FORMAT_VERSION,
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
    }
    with replacing(path) as temporary, scratch(path) as weights:
        write_hdf5(model, weights)
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr("metadata.json", json.dumps(metadata))
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights, "model.weights.h5")


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """Read the model that `save_model`, or Keras, wrote.

    Args:
        filepath: a `.keras` file, or a whole model in the older `.h5` format of Keras 2 and 3.
        custom_objects: dict from names in the file to classes and functions of your own.
        compile: whether to compile as the saved model was.
        safe_mode: kept for Keras scripts; loading never runs code from a file, whatever it says.

    Raises FileNotFoundError, and FileFormatError (a ValueError) if the file is damaged, holds no model,
    names something that is not registered, or asks for more than `cornu.saving.limits` allows.

    Source: Keras: load_model.
    """
    if not is_archive(filepath):
        return legacy.load_model(filepath, custom_objects, compile)
    with opened_archive(filepath) as (config, weights):
        with (
            explained(filepath, "holds a model that cannot be made"),
            deferred_values(limits.bytes),
        ):
            model = _make(config, custom_objects, compile, filepath)
            read_state(model, weights, str(filepath), with_optimizer=model.optimizer is not None)
        return model


def _make(config: dict, custom_objects, compile: bool, filepath):
    return model_of(config if compile else _uncompiled(config), custom_objects, filepath)


def _uncompiled(config):
    """A configuration without what it says of compiling, of the models in it as well."""
    if isinstance(config, dict):
        described = "class_name" in config
        return {
            key: _uncompiled(value)
            for key, value in config.items()
            if not (described and key == "compile_config")
        }
    return [_uncompiled(value) for value in config] if isinstance(config, list) else config
