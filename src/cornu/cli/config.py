"""`config.toml`: the options of a training, which each run writes and `--config` reads."""

import difflib
import inspect
import json
import tomllib
import types
import typing
from pathlib import Path

import typer

from cornu.cli import run_settings
from cornu.cli.command import CommandError

# What is said anew for each run, as where it goes and what shows it.
OF_A_CALL = (
    *("config", "resume", "output", "overwrite", "log", "tensorboard", "explore", "port", "debug"),
    *("devices", "processes", "hosts", "coordinator", "process"),
)


def options_of(context: typer.Context, function, file: Path | None) -> tuple[dict, set[str]]:
    """The options of a training, and the names of those that were given.

    What the command line says counts, then what the file says, then the defaults.

    Args:
        context: the command's call.
        function: the command, whose annotations say what an option may be.
        file: a TOML file, or None.
    """
    # In the order of the help.
    names = [name for name in inspect.signature(function).parameters if name in context.params]
    found = {name: context.params[name] for name in names if name not in OF_A_CALL}
    given = {name for name in found if _is_given(context, name)}
    in_file = {} if file is None else read(file, function)
    return {**found, **in_file, **{name: found[name] for name in given}}, given | set(in_file)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def read(file: Path, function) -> dict:
    """The options in a file. Raises CommandError for a key that is none and a value that is none."""
    try:
        text = file.read_text("utf-8")
        found = tomllib.loads(text)
    except OSError as error:
        raise CommandError(f"Cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise CommandError(f"{file} is no TOML file: {error}") from error
    hints = typing.get_type_hints(function, include_extras=True)
    known = {n: hint for n, hint in hints.items() if n != "context" and n not in OF_A_CALL}
    return {key: _checked(key, value, known, file) for key, value in found.items()}


# Options of text that had no value in files of before, and what they meant.
_WERE_FLAGS = {"augment": "light"}


def _checked(key: str, value, known: dict, file: Path):
    if key in OF_A_CALL:
        option = key.replace("_", "-")
        raise CommandError(f"{file}: {key} is for the command line alone: write --{option} there.")
    if key not in known:
        near = difflib.get_close_matches(key.lower().replace("-", "_"), known, 1, 0.5)
        guess = f" Did you mean {near[0]}?" if near else f" Keys: {', '.join(known)}."
        newer = run_settings.from_newer(run_settings.read_beside(file))
        raise CommandError(f"{file}: there is no key {key!r}.{guess} {newer}".rstrip())
    if key in _WERE_FLAGS and type(value) is bool:
        return _WERE_FLAGS[key] if value else None
    annotation, option = typing.get_args(known[key])[:2]
    kinds = [each for each in _kinds(annotation) if each is not types.NoneType]
    what, allowed = _EXPECTED[kinds[0]]
    if type(value) not in allowed:
        raise CommandError(f"{file}: {key} must be {what}. Received: {value!r}")
    if type(value) is int and float in kinds:
        value = float(value)
    low, high = option.min, option.max
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise CommandError(f"{file}: {key} must be {limits}. Received: {value!r}")
    try:
        if option.parser is not None:
            return option.parser(str(value))
        return value if option.callback is None else option.callback(value)
    except typer.BadParameter as error:
        raise CommandError(f"{file}: {key}: {error.message}") from error


def _kinds(annotation) -> tuple:
    is_union = isinstance(annotation, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


_EXPECTED: dict = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (float, int)),
    str: ("text in quotes", (str,)),
    # A size.
    tuple: ('text in quotes, such as "64x96"', (str, int)),
}


def text_of(found: dict) -> str:
    """Options as a file for `--config`."""
    lines = [
        f"{key} = {_as_toml(value)}\n"
        for key, value in found.items()
        if value is not None and key not in OF_A_CALL
    ]
    return "# cornu train --config config.toml\n" + "".join(lines)


def _as_toml(value) -> str:
    if isinstance(value, tuple):
        value = "x".join(map(str, value))
    # Strings, numbers and truth values are written as in JSON, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
