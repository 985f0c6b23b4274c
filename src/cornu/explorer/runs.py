"""Trainings whose curves are compared: histories of `fit`, and the files that runs have written."""

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Of one page; and bytes of a run's file.
MOST_RUNS, MOST_BYTES = 24, 16 * 2**20
HISTORY = "history.csv"
_PATH = str | os.PathLike


class Runs:
    """The curves of several trainings. Files are read again when they have changed.

    Args:
        given: a mapping of names to runs, a list of runs, one run, or None. A run is the `History` that
            `fit` returned, its `history` (a dict of lists), a folder of `cornu train`, or a .csv file with
            a column `epoch`, as `callbacks.CSVLogger` writes it.

    Raises ValueError for anything else, and for a file that is no such table.

    >>> from cornu.explorer.runs import Runs
    >>> [run["values"] for run in Runs({"slow": {"loss": [2.0, 1.5]}}).told()]
    [{'loss': [2.0, 1.5]}]
    """

    def __init__(self, given=None):
        self._runs = [_run(name, each) for name, each in _named(given)]
        if len(self._runs) > MOST_RUNS:
            raise ValueError(
                f"At most {MOST_RUNS} runs can be compared. Received: {len(self._runs)}."
            )

    def __len__(self) -> int:
        return len(self._runs)

    def told(self) -> list[dict[str, Any]]:
        """For each run its `name`, its `epochs` from 1 on, and `values`: a list for each curve."""
        return [run.told() for run in self._runs]


class _Kept:
    """Curves that do not change."""

    def __init__(self, name: str, epochs: list[int], values: dict[str, list[float]]):
        self._told = {"name": name, "epochs": epochs, "values": values}

    def told(self) -> dict[str, Any]:
        return self._told


class _Written:
    """The curves in a file, which may grow."""

    def __init__(self, name: str, path: Path):
        self._name, self._path = name, path
        self._last: tuple = self._stamp(), _read(name, path)

    def _stamp(self):
        found = self._path.stat() if self._path.is_file() else None
        return found and (found.st_mtime_ns, found.st_size)

    def told(self) -> dict[str, Any]:
        try:
            stamp = self._stamp()
            if stamp != self._last[0]:
                self._last = stamp, _read(self._name, self._path)
        except (OSError, ValueError):
            # It is being written, or gone; what was read last is still true of its epochs.
            pass
        return self._last[1].told()


def _named(given) -> list[tuple[str, Any]]:
    if given is None:
        return []
    if isinstance(given, Mapping) and not _is_history(given):
        return [(str(name), run) for name, run in given.items()]
    if not isinstance(given, list | tuple):
        given = [given]
    return [
        (str(run) if isinstance(run, _PATH) else f"run {n}", run) for n, run in enumerate(given, 1)
    ]


def _is_history(given) -> bool:
    """Whether a mapping holds lists of numbers, and not runs."""
    return bool(given) and all(
        isinstance(each, list | tuple)
        and all(isinstance(v, int | float | np.number | None) for v in each)
        for each in given.values()
    )


def _run(name: str, given) -> _Kept | _Written:
    if isinstance(given, _PATH):
        path = Path(given)
        return _Written(name, path / HISTORY if path.is_dir() else path)
    history = getattr(given, "history", given)
    if not isinstance(history, Mapping) or not _is_history(history):
        raise ValueError(
            "A run to compare is a `History`, its dict of lists, a folder of `cornu train`, or a .csv "
            + f"file. Received: {name}={given!r}"[:400]
        )
    columns = {str(key): [_number(v) for v in values] for key, values in history.items()}
    epochs = sorted({at for key in columns for at in _epochs_of(given, key, columns)})
    places = {at: n for n, at in enumerate(epochs)}
    values = {}
    for key, column in columns.items():
        # Validation may be rarer than epochs.
        values[key] = [math.nan] * len(epochs)
        for at, value in zip(_epochs_of(given, key, columns), column, strict=True):
            values[key][places[at]] = value
    return _Kept(name, [at + 1 for at in epochs], values)


def _epochs_of(given, key: str, columns) -> list[int]:
    """The numbers of the epochs, from 0, of a history's values."""
    own = getattr(given, "epochs_of", None)
    return own(key) if own is not None else list(range(len(columns[key])))


def _read(name: str, path: Path) -> _Kept:
    wanted = f"Expected a table with a column epoch: {HISTORY} of `cornu train`, or what CSVLogger writes."
    if not path.is_file():
        raise ValueError(f"There is no {path} to compare. {wanted}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is too large to be the curves of a run. {wanted}")
    try:
        text = path.read_text("utf-8")
        separator = ";" if ";" in text.partition("\n")[0] else ","
        table = csv.DictReader(text.splitlines(), delimiter=separator, strict=True)
        rows, names = list(table), list(table.fieldnames or [])
        names.remove("epoch")
        epochs = [int(row["epoch"]) for row in rows]
        values = {key: [_number(row[key]) for row in rows] for key in names if key != "seconds"}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} is damaged, or no history of a training. {wanted}") from error
    # CSVLogger counts from 0.
    first = 1 if epochs and min(epochs) == 0 else 0
    return _Kept(name, [at + first for at in epochs], values)


def _number(value) -> float:
    return math.nan if value in (None, "", "NA") else float(value)
