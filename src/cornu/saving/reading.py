"""How a model's file is opened: what it may require is checked before any object is made."""

import errno
import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornu.core import registry
from cornu.saving import hdf5
from cornu.saving.errors import FileFormatError, MissingFileError
from cornu.saving.old_configs import is_old, modern

# Endings of files that others write for pickled, TensorFlow's, PyTorch's and compiled models. They are
# named if the file is missing; one that is there is read by its content.
_OF_OTHERS = {".pkl", ".pickle", ".joblib", ".pb", ".ckpt", ".pt", ".pth", ".onnx", ".tflite"}
_NOT_OF_OTHERS = (
    " File format not supported: Cornu reads models from `.keras` and `.h5` files, and weights from "
    "`.weights.h5` and `.safetensors` files."
)


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 16 * 1024**3


@dataclass
class Limits:
    """What a file may require; change the limits in force in `cornu.saving.limits`.

    Args:
        config_bytes: size of the configuration.
        depth: how deep lists and objects may be nested.
        objects: number of layers and other objects described.
        bytes: size of all weights together, and of a file that is unpacked.

    >>> import cornu
    >>> cornu.saving.limits.depth
    100
    """

    config_bytes: int = 64 * 1024**2
    depth: int = 100
    objects: int = 100_000
    bytes: int = _memory()


limits = Limits()

_MEMBERS = ("config.json", "model.weights.h5")
# What badly formed bytes make of the parsers that read them, and configurations of constructors.
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def explained(path, what: str) -> Iterator[None]:
    """Within, every error that a file causes becomes a `FileFormatError` that names it."""
    try:
        yield
    except FileFormatError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # An impossible offset in the file.
        raise FileFormatError(f"{path} {what}: {error}") from error
    except _MISTAKES as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "it is nested too deep"
        raise FileFormatError(f"{path} {what}: {reason}") from error


def parse(text, path) -> Any:
    """A configuration from JSON, within the limits."""
    _check_size(len(text), path)
    with explained(path, "is damaged: its configuration is not JSON"):
        config = json.loads(text)
    check(config, path)
    return config


def check(config, path) -> None:
    """Raise FileFormatError if a configuration is nested deeper, or describes more, than allowed."""
    pending, objects = [(config, 1)], 0
    while pending:
        value, depth = pending.pop()
        if depth > limits.depth:
            raise FileFormatError(
                f"{path}: its configuration is nested more than {limits.depth} levels deep, the "
                "limit in cornu.saving.limits.depth."
            )
        if isinstance(value, dict):
            objects += "class_name" in value
            pending.extend((v, depth + 1) for v in value.values())
        elif isinstance(value, list):
            pending.extend((v, depth + 1) for v in value)
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise FileFormatError(f"{path}: its configuration has a number of more than 64 bits.")
    if objects > limits.objects:
        raise FileFormatError(
            f"{path}: it describes {objects} objects, more than cornu.saving.limits.objects = "
            f"{limits.objects}."
        )


def model_of(config: dict, custom_objects, filepath):
    """The model that a configuration describes; raises FileFormatError if it describes something else."""
    check(config, filepath)
    if is_old(config):
        config = modern(config)
    with registry.sharing():
        model = registry.deserialize(config, custom_objects, kind="layer")
    if not getattr(model, "_is_model", False):
        raise FileFormatError(f"{filepath}: it describes a {type(model).__name__} and not a model.")
    return model


Opened = tuple[dict, hdf5.File, zipfile.ZipFile | None]


def uncompiled(config):
    """A configuration without compile configurations, also of nested models."""
    if isinstance(config, dict):
        described = "class_name" in config
        return {
            key: uncompiled(value)
            for key, value in config.items()
            if not (described and key == "compile_config")
        }
    return [uncompiled(value) for value in config] if isinstance(config, list) else config


@contextmanager
def opened_archive(path) -> Iterator[Opened]:
    """The configuration and the weights of a `.keras` file, and the archive."""
    with open_file(path) as stream:
        with explained(path, "is damaged or not a `.keras` file"):
            archive = zipfile.ZipFile(stream)
            names = [info.filename for info in archive.infolist()]
        for name in _MEMBERS:
            if names.count(name) != 1:
                raise FileFormatError(
                    f"{path} is damaged or not a `.keras` file: it holds {name} {names.count(name)} "
                    "times, where once was expected."
                )
        with explained(path, "is damaged"):
            infos = [archive.getinfo(name) for name in _MEMBERS]
            _check_size(infos[0].file_size, path)
            text = archive.read(infos[0])
        config = _configuration(text, path)
        with _member(archive, infos[1], stream, path) as weights:
            yield config, weights, archive


@contextmanager
def opened_folder(path) -> Iterator[Opened]:
    """The configuration and the weights in a folder that has the files of a `.keras` file."""
    for name in _MEMBERS:
        if not (Path(path) / name).is_file():
            raise FileFormatError(
                f"The folder {path} holds no model: there is no {name} in it, nor a checkpoint of Orbax."
            )
    config_path, weights_path = (Path(path) / name for name in _MEMBERS)
    _check_size(config_path.stat().st_size, path)
    config = _configuration(config_path.read_bytes(), path)
    with open_file(weights_path) as stream:
        yield config, hdf5.File(stream, str(weights_path)), None


def _check_size(size: int, path) -> None:
    if size > limits.config_bytes:
        raise FileFormatError(
            f"{path}: its configuration has {size} bytes, more than "
            f"cornu.saving.limits.config_bytes = {limits.config_bytes}."
        )


def _configuration(text, path) -> dict:
    config = parse(text, path)
    if not isinstance(config, dict):
        raise FileFormatError(f"{path}: its configuration is not an object, but {config!r:.50}.")
    return config


@contextmanager
def opened_weights(path) -> Iterator[hdf5.File]:
    """The weights in a `.weights.h5`, `.h5` or `.keras` file, or a folder with the files of the last."""
    if Path(path).is_dir():
        with opened_folder(path) as (_, weights, _):
            yield weights
    elif is_archive(path):
        with opened_archive(path) as (_, weights, _):
            yield weights
    else:
        with open_file(path) as stream:
            yield hdf5.File(stream, str(path))


def is_archive(path) -> bool:
    """Whether a file begins as zip archives do."""
    with open_file(path) as stream:
        return stream.read(2) == b"PK"


def open_file(path):
    """Open for reading; raises MissingFileError with a message if it does not exist."""
    path = Path(path)
    if not path.exists():
        other = path.suffix.lower() in _OF_OTHERS
        raise MissingFileError(f"File not found: {path}.{_NOT_OF_OTHERS if other else ''}")
    if not path.is_file():
        raise FileFormatError(f"{path} is not a file.")
    return path.open("rb")


@contextmanager
def _member(archive, info, stream, path) -> Iterator[hdf5.File]:
    """A member of an archive as an HDF5 file: read within the archive if stored, else unpacked."""
    name = f"{info.filename} in {path}"
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        stream.seek(info.header_offset)
        head = stream.read(30)
        if len(head) != 30 or head[:4] != b"PK\3\4" or info.compress_size != info.file_size:
            raise FileFormatError(f"{path} is damaged: {info.filename} is not where it should be.")
        start = info.header_offset + 30 + sum(struct.unpack_from("<HH", head, 26))
        if start + info.file_size > stream.seek(0, io.SEEK_END):
            raise FileFormatError(f"{path} is damaged: {info.filename} ends too early.")
        yield hdf5.File(stream, name, start, info.file_size)
        return
    with tempfile.TemporaryFile() as unpacked:
        with explained(path, f"is damaged: {info.filename}"), archive.open(info) as source:
            done = 0
            while chunk := source.read(1024**2):
                done += len(chunk)
                if done > limits.bytes:
                    raise FileFormatError(
                        f"{path}: {info.filename} unpacks to more than cornu.saving.limits.bytes = "
                        f"{limits.bytes}."
                    )
                unpacked.write(chunk)
        unpacked.seek(0)
        yield hdf5.File(unpacked, name)
