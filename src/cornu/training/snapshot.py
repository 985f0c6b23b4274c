"""All that a run of `fit` consists of at one moment, in a file: enough to go on as if nothing had happened.

The file is HDF5 with plain arrays: the values of all variables (weights, optimizer, metrics, generators of
random numbers), and a text (JSON) with the epoch and the step, the state of the global generators of random
numbers, where the data stand, and the plain attributes of the callbacks. Reading it runs nothing.
"""

import json
from typing import Any

import numpy as np

from cornu.core.random import shared_seed_generator
from cornu.core.variable import Variable
from cornu.data.position import random_state, set_random_state
from cornu.saving import hdf5
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError, mismatch
from cornu.saving.reading import explained, open_file
from cornu.saving.writing import new_hdf5

# A list longer than this is data, and no state of a callback.
MOST_PLAIN_VALUES = 1_000_000


class Run:
    """A run of `fit`, for what wants to keep it: `model._run` while it lasts."""

    def __init__(self, model, data, callbacks):
        self.model, self.data, self.callbacks = model, data, callbacks

    def variables(self) -> list[Variable]:
        """All that a step may change."""
        trainable, others = self.model._state_variables()
        found = [*trainable, *others, *self.model.metrics_variables]
        if self.model.optimizer is not None:
            found += self.model.optimizer.variables
        return [*found, shared_seed_generator().state]


def save(run: Run, path, epoch: int, step: int) -> None:
    """Write a run as it is before step `step` of epoch `epoch`.

    The file is written beside its place and then renamed.
    """
    arrays: list[np.ndarray] = []
    state = {
        "epoch": epoch,
        "step": step,
        "stop_training": bool(run.model.stop_training),
        "random": random_state(),
        "data": run.data.position(),
        "callbacks": [
            [type(callback).__name__, _plain_attributes(callback, arrays)]
            for callback in run.callbacks.callbacks
        ],
    }
    groups = {
        "state": [np.frombuffer(json.dumps(state).encode(), np.uint8)],
        "variables": [_storable(np.asarray(v)) for v in run.variables()],
        "arrays": arrays,
    }
    everything = [array for group in groups.values() for array in group]
    num_bytes = sum(array.nbytes for array in everything)
    with (
        replacing(path) as temporary,
        new_hdf5(temporary, num_bytes, len(everything) + len(groups)) as file,
    ):
        for name, group in groups.items():
            for i, array in enumerate(group):
                file[f"{name}/{i}"] = array


def _storable(array: np.ndarray) -> np.ndarray:
    """HDF5 has no bfloat16."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


class Snapshot:
    """What `save` wrote, read and checked against a run; nothing is changed yet.

    Raises FileFormatError if the file is damaged, or is that of another model.
    """

    def __init__(self, path, run: Run):
        self._run = run
        with open_file(path) as stream, explained(path, "is a damaged backup"):
            file = hdf5.File(stream, str(path))
            self._state = json.loads(file["state/0"].read().tobytes())
            self.epoch, self.step = int(self._state["epoch"]), int(self._state["step"])
            stored = file.get("variables") or {}
            variables = run.variables()
            if len(variables) != len(list(stored)):
                raise FileFormatError(
                    f"{path} is the backup of another model: it holds {len(list(stored))} variables, and "
                    f"this model has {len(variables)}. Delete the folder to start from the beginning."
                )
            self._values = []
            for i, variable in enumerate(variables):
                array = stored[str(i)]
                if array.shape != variable.shape:
                    raise FileFormatError(
                        mismatch(variable.path, variable.shape, array.shape, path)
                    )
                value = array.read()
                if variable.dtype == "bfloat16" and value.dtype == np.uint16:
                    value = value.view(np.asarray(variable.value[:0]).dtype)
                self._values.append((variable, value))
            arrays = file.get("arrays") or {}
            self._arrays = [arrays[str(i)].read() for i in range(len(list(arrays)))]
            self._callbacks = [
                (str(name), {str(k): self._restored(v) for k, v in attributes.items()})
                for name, attributes in self._state["callbacks"]
            ]

    def resume_data(self) -> None:
        """Put the data where they stood."""
        self._run.data.resume(self._state["data"], self.step)

    def apply(self) -> None:
        """Put everything else in its place."""
        run = self._run
        for variable, value in self._values:
            variable.assign(value)
        run.model.stop_training = bool(self._state["stop_training"])
        known = list(self._callbacks)
        for callback in run.callbacks.callbacks:
            # The first of a class is the first of that class, whatever other callbacks there are.
            names = [name for name, _ in known]
            if type(callback).__name__ in names:
                _, attributes = known.pop(names.index(type(callback).__name__))
                vars(callback).update({k: v for k, v in attributes.items() if k in vars(callback)})
        set_random_state(self._state["random"])

    def _restored(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._restored(v) for v in value]
        if isinstance(value, dict):
            if "__array__" in value:
                return self._arrays[value["__array__"]]
            if "__tuple__" in value:
                return tuple(self._restored(v) for v in value["__tuple__"])
            return {k: self._restored(v) for k, v in value.items()}
        return value


def _plain_attributes(callback, arrays: list) -> dict:
    found = {}
    for name, value in vars(callback).items():
        if name in ("_model", "params"):
            continue
        kept: list[np.ndarray] = []
        try:
            found[name] = _plain(value, kept, len(arrays))
        except TypeError:
            # An open file, another object, a function: those are made by the callback itself.
            continue
        arrays += kept
    return found


def _plain(value: Any, arrays: list, offset: int) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(value)
        return {"__array__": offset + len(arrays) - 1}
    if type(value) in (list, tuple) and len(value) <= MOST_PLAIN_VALUES:
        plain = [_plain(v, arrays, offset) for v in value]
        return plain if isinstance(value, list) else {"__tuple__": plain}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {key: _plain(v, arrays, offset) for key, v in value.items()}
    raise TypeError
