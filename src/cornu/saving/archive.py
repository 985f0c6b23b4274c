"""`.keras` files: a zip of `metadata.json`, `config.json` and `model.weights.h5`."""

import datetime
import io
import json
import zipfile
from pathlib import Path

from cornu.core import registry
from cornu.saving.atomic import replacing
from cornu.saving.weights import read_state, write_state

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

    Raises ValueError for another ending, FileExistsError if `overwrite` is false.

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
    import h5py

    config = registry.serialize(model)
    compile_config = model.get_compile_config()
    if compile_config is not None:
        config["compile_config"] = compile_config
    metadata = {
        "keras_version": KERAS_FORMAT_VERSION,
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
    }
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        write_state(model, file, with_optimizer=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getbuffer())


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """Read the model that `save_model`, or Keras, wrote.

    Args:
        filepath: a `.keras` file.
        custom_objects: dict from names in the file to classes and functions of your own.
        compile: whether to compile as the saved model was.
        safe_mode: kept for Keras scripts; loading never runs code from a file, whatever it says.

    Raises FileNotFoundError, and ValueError if the file is no archive of a model or names
    something that is not registered.

    Source: Keras: load_model.
    """
    import h5py

    path = Path(filepath)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a `.keras` file (a zip archive): it is damaged, or of another format."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            weights = archive.read("model.weights.h5")
    except (KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or not a `.keras` file: {error}") from error
    model = registry.deserialize(config, custom_objects)
    if compile and config.get("compile_config"):
        with registry.custom_object_scope(custom_objects or {}):
            model.compile_from_config(config["compile_config"])
    with h5py.File(io.BytesIO(weights), "r") as file:
        has_optimizer = (
            model.optimizer is not None and "optimizer" in file and model.optimizer.built
        )
        read_state(model, file, str(path), with_optimizer=has_optimizer)
    return model
