"""`settings.json`, in which a training run says what it is and how it ended."""

import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path

from cornu.cli.command import CommandError
from cornu.cli.parts import FITS

SETTINGS = "settings.json"
# The number of the form that is described here. A file without it is of the first.
FORM = 1


def read(file: Path) -> dict:
    """What a run has written about itself.

    Raises CommandError if the file is damaged, or of a form that only newer versions of Cornu know.
    """
    settings = object_in(file, "cornu train")
    form = settings.get("form", FORM)
    if not (type(form) is int and 0 < form <= FORM):
        raise CommandError(
            f"The run in {file.parent} was written by cornu {_version_of(settings)} in form {form!r}, "
            f"which this version, {_own_version()}, does not know. Use that version."
        )
    for name, (is_right, expected) in _FIELDS.items():
        value = settings.get(name)
        if value is not None and not is_right(value):
            raise CommandError(
                f"{file} is damaged, or not written by cornu train: {name} must be {expected}. Found: "
                f"{value!r}"
            )
    if settings.get("accuracy") is not None:
        missing = [name for name in _RESULTS if settings.get(name) is None]
        if missing:
            raise CommandError(
                f"{file} is damaged, or not written by cornu train: it has an accuracy, but no "
                f"{', '.join(missing)}."
            )
    return settings


def object_in(file: Path, writer: str) -> dict:
    """The JSON object in a file. Raises CommandError if there is none; `writer` makes such files."""
    try:
        found = json.loads(file.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no JSON object")
    except ValueError as error:
        raise CommandError(f"{file} is damaged, or not written by {writer}: {error}") from error
    return found


def read_beside(model_file: Path) -> dict:
    """The settings of the run that a model's file belongs to; empty for a model alone."""
    file = model_file.parent / SETTINGS
    return read(file) if file.is_file() else {}


def from_newer(settings: dict) -> str:
    """A sentence that says that a newer version of Cornu wrote a run; else empty."""
    version, own = _version_of(settings), _own_version()
    if _numbers(version) <= _numbers(own):
        return ""
    return f"The run was written by cornu {version}, which is newer than this one, {own}."


def _version_of(settings: dict) -> str:
    versions = settings.get("versions", {})
    return versions.get("cornu", "?") if _are_versions(versions) else "?"


def _own_version() -> str:
    return importlib.metadata.version("cornu")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _is_number(value) -> bool:
    return type(value) in (int, float)


def _are_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _are_shares(value) -> bool:
    return isinstance(value, list) and all(_is_number(v) and 0 <= v <= 1 for v in value)


def _is_image(value) -> bool:
    if not isinstance(value, dict) or "white" not in value:
        return False
    white, shape = value["white"], value.get("shape", [])
    return (
        (white is None or (_is_number(white) and 0 < white < float("inf")))
        and isinstance(shape, list)
        and all(type(size) is int and size > 0 for size in shape)
        and value.get("fit", "stretch") in list(FITS)
        and isinstance(value.get("is_multi_label", False), bool)
    )


def _are_versions(value) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


_FIELDS: dict[str, tuple[Callable, str]] = {
    "data": (lambda v: isinstance(v, str), "text"),
    "classes": (lambda v: _are_names(v) and len(set(v)) == len(v), "a list of different names"),
    "image": (
        _is_image,
        f"an object with shape, white (a number above 0, or null) and perhaps fit ({', '.join(FITS)})",
    ),
    "versions": (_are_versions, "an object of texts"),
    "temperature": (lambda v: _is_number(v) and 0 < v < float("inf"), "a number above 0"),
    "thresholds": (_are_shares, "a list of numbers from 0 to 1"),
    "accuracy": (lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    **{
        name: (lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1")
        for name in ("f1_macro", "f1_micro", "mean_average_precision")
    },
    "images": (lambda v: type(v) is int and v > 0, "a number of images"),
    "wrong": (lambda v: type(v) is int and v >= 0, "a number of images"),
    "best_epoch": (lambda v: type(v) is int and v > 0, "the number of an epoch"),
    "judged_on": (lambda v: v in ("test", "validation"), "test or validation"),
}
_RESULTS = ("images", "wrong", "best_epoch", "judged_on")
