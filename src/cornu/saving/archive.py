"""Whole models in files: `.keras`, a zip of `metadata.json`, `config.json` and `model.weights.h5`."""

import datetime
import json
import shutil
import tempfile
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

from cornu.core.variable import deferred_values
from cornu.saving import assets, legacy
from cornu.saving.atomic import replacing, scratch
from cornu.saving.checkpoint import Checkpoint, is_checkpoint
from cornu.saving.configuration import configuration_text
from cornu.saving.once import saved_once
from cornu.saving.reading import (
    explained,
    is_archive,
    limits,
    model_of,
    opened_archive,
    opened_folder,
    uncompiled,
)
from cornu.saving.weights import read_state, write_hdf5
from cornu.saving.writing import KERAS_FORMAT_VERSION

_FORMATS = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}


@saved_once
def save_model(model, filepath, overwrite=True, zipped=None, **kwargs) -> None:
    """Write a model, its weights, and how it was compiled, to a file or a folder.

    A temporary file is written and then renamed, so that a crash leaves the old one whole.

    Args:
        model: the model.
        filepath: a name that ends in `.keras`; or in `.h5` or `.hdf5`, the older file format, which keeps
            neither the random generators' states nor what layers write to files of their own.
        overwrite: whether an existing file may be replaced.
        zipped: False for a folder instead of a `.keras` file, with the same files in it. Other files in
            it stay; its name may not end in `.keras`.
        include_optimizer: by keyword only, whether to write how the model was compiled, and the
            optimizer's state.
        save_format: by keyword only, for older scripts, `"keras"` or `"h5"`; it has to agree with the name.

    Raises ValueError for another ending, FileExistsError if `overwrite` is false, OSError if the file
    cannot be written.

    Source: Keras: Model saving & serialization APIs.
    """
    include_optimizer = kwargs.pop("include_optimizer", True)
    save_format = kwargs.pop("save_format", None)
    if kwargs:
        raise ValueError(f"The following argument(s) are not supported: {list(kwargs)}")
    path = Path(filepath)
    format = _FORMATS.get(path.suffix) if zipped is not False else "folder"
    if save_format and save_format != format:
        raise ValueError(
            "The `save_format` argument is deprecated: the name chooses the file format, by its ending "
            f"`.keras` or `.h5`. Received: filepath={filepath}, save_format={save_format!r}"
        )
    if format is None or (zipped and format != "keras"):
        raise ValueError(
            "Invalid filepath extension for saving. Please add a `.keras` extension for the whole "
            "model, `.h5` for the older format, or pass `zipped=False` to write a folder; "
            f"`save_weights` writes a `.weights.h5` file. Received: filepath={filepath}, "
            f"zipped={zipped}"
        )
    if format == "folder" and path.suffix in _FORMATS:
        raise ValueError(
            f"With `zipped=False` a folder is written, whose name should not end in `{path.suffix}`. "
            f"Received: filepath={filepath}"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already, and `overwrite` is False.")
    if not model.built:
        warnings.warn(
            f"The model '{model.name}' is written without weights: it is not built. Call it on data, or "
            "`build((None, …))`, first.",
            stacklevel=4,
        )
    if format == "h5":
        legacy.save_model(model, path, include_optimizer)
        return
    texts = {
        "metadata.json": json.dumps(
            {
                "keras_version": KERAS_FORMAT_VERSION,
                "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
            }
        ),
        "config.json": configuration_text(model, include_optimizer),
    }
    if format == "folder":
        _write_folder(model, path, texts, include_optimizer)
    else:
        _write_archive(model, path, texts, include_optimizer)


def _write_archive(model, path: Path, texts: dict, include_optimizer: bool) -> None:
    with replacing(path) as temporary, scratch(path) as weights, assets.written(model) as kept:
        write_hdf5(model, weights, include_optimizer)
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
            archive.write(weights, "model.weights.h5")
            for file, name in assets.files_in(kept):
                archive.write(file, name)


def _write_folder(model, path: Path, texts: dict, include_optimizer: bool) -> None:
    with _replacing_folder(path) as folder, assets.written(model) as kept:
        write_hdf5(model, folder / "model.weights.h5", include_optimizer)
        for name, text in texts.items():
            (folder / name).write_text(text)
        for file, name in assets.files_in(kept):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)


@contextmanager
def _replacing_folder(path: Path):
    """A temporary folder beside `path`, whose content replaces it at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as name:
        folder = Path(name) / "new"
        folder.mkdir()
        yield folder
        if not path.exists():
            folder.rename(path)
            return
        # The configuration comes last: without it, nobody takes the folder for a model.
        (path / "config.json").unlink(missing_ok=True)
        if (path / assets.FOLDER).exists():
            (path / assets.FOLDER).rename(Path(name) / "old")
        for new in sorted(folder.iterdir(), key=lambda file: file.name == "config.json"):
            new.replace(path / new.name)


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """Read the model that `save_model`, or Keras, wrote.

    Args:
        filepath: a `.keras` file, a folder that `zipped=False` made, a folder of
            `callbacks.OrbaxCheckpoint` (or of one step in it), or a whole model in the older `.h5`
            format of Keras 2 and 3.
        custom_objects: dict from names in the file to classes and functions of your own.
        compile: whether to compile as the saved model was.
        safe_mode: kept for Keras scripts; loading never runs code from a file, whatever its value.

    Raises FileNotFoundError, and FileFormatError (a ValueError) if the file is damaged, holds no model,
    names something that is not registered, or exceeds `cornu.saving.limits`.

    Source: Keras: load_model.
    """
    if is_checkpoint(filepath):
        return _load_checkpoint(filepath, custom_objects, compile)
    if Path(filepath).is_dir():
        opened = opened_folder(filepath)
    elif is_archive(filepath):
        opened = opened_archive(filepath)
    else:
        return legacy.load_model(filepath, custom_objects, compile)
    with opened as (config, weights, archive):
        config = config if compile else uncompiled(config)
        with (
            explained(filepath, "holds a model that cannot be made"),
            deferred_values(limits.bytes),
        ):
            model = model_of(config, custom_objects, filepath)
            read_state(model, weights, str(filepath), with_optimizer=model.optimizer is not None)
        if archive is None:
            assets.read(model, Path(filepath) / assets.FOLDER, filepath)
        else:
            assets.read_archive(model, archive, filepath)
        return model


def _load_checkpoint(filepath, custom_objects, compile):
    checkpoint = Checkpoint(filepath)
    config = checkpoint.configuration()
    with (
        explained(checkpoint.path, "holds a model that cannot be made"),
        deferred_values(limits.bytes),
    ):
        model = model_of(config if compile else uncompiled(config), custom_objects, filepath)
        checkpoint.read_state(model)
    with checkpoint.files() as folder:
        assets.read(model, folder, filepath)
    return model
