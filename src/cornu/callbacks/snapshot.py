"""The whole state of a run of `fit` in a file: enough to resume as if nothing had happened.

The file is HDF5 with plain arrays: the values of all variables (weights, optimizer, metrics, generators of
random numbers), and a text (JSON) with the epoch and the step, the state of the global generators of random
numbers, the position in the data, and the state of the callbacks. Reading it runs nothing.

State is what has changed since `fit` began. What the program sets (arguments of callbacks, the learning
rate, the size of batches) is not part of it: a run goes on with what the program sets now.
"""

import hashlib
import inspect
import json
import warnings
from typing import Any

import numpy as np

from cornu.core import processes
from cornu.core.configurable import once_per_class
from cornu.core.random import restore_shared_state, shared_state
from cornu.core.variable import Variable
from cornu.data.position import random_state, set_random_state
from cornu.saving import hdf5
from cornu.saving.atomic import replacing
from cornu.saving.errors import FileFormatError, mismatch
from cornu.saving.reading import explained, open_file
from cornu.saving.writing import new_hdf5
from cornu.training.old_spellings import Logs

# A list longer than this is data, and no state of a callback.
MOST_PLAIN_VALUES = 1_000_000


class KeptRun:
    """A run of `fit` with what it takes to see its state: all that has changed since it began."""

    def __init__(self, run):
        self.run, self.model, self.data, self.callbacks = run, run.model, run.data, run.callbacks
        # What the program sets: digests of the callbacks' attributes, and the learning rate.
        self.begin = [_digests(callback) for callback in run.callbacks.callbacks]
        rate = self.learning_rate()
        self.first_rate = None if rate is None else float(rate.numpy())

    def learning_rate(self) -> Variable | None:
        """The variable that holds the learning rate, if there is one."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        rate = getattr(optimizer, "_learning_rate", None)
        return rate if isinstance(rate, Variable) else None

    def variables(self) -> list[Variable]:
        """All that a step may change."""
        trainable, others = self.model._state_variables()
        found = [*trainable, *others, *self.model.metrics_variables]
        if self.model.optimizer is not None:
            found += self.model.optimizer.variables
        return found


def save(run: KeptRun, path, epoch: int, step: int) -> None:
    """Write a run as it is before step `step` of epoch `epoch`.

    A temporary file is written and then renamed. Of several processes, each calls this, and process 0
    writes.
    """
    arrays: list[np.ndarray] = []
    shared = shared_state()
    state = {
        "epoch": epoch,
        "step": step,
        "stop_training": bool(run.model.stop_training),
        "random": random_state(),
        "data": run.data.position(),
        "validation": None if run.run.validation is None else run.run.validation.position(),
        "batches": run.data.num_batches,
        "learning_rate": run.first_rate,
        "callbacks": [
            [type(callback).__name__, _changed_attributes(callback, begin, arrays), begin]
            for callback, begin in zip(run.callbacks.callbacks, run.begin, strict=False)
        ],
    }
    groups = {
        "state": [np.frombuffer(json.dumps(state).encode(), np.uint8)],
        "variables": [_storable(np.asarray(v)) for v in run.variables()],
        # Not made for this: its seed would be drawn from the generators whose states are in `state`.
        "shared_seed": [] if shared is None else [np.asarray(shared)],
        "arrays": arrays,
    }
    if not processes.is_first():
        # The variables that are spread over processes have been gathered.
        return
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

    def __init__(self, path, run: KeptRun):
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
            shared = file.get("shared_seed")
            self._shared_seed = None if shared is None else shared["0"].read()
            arrays = file.get("arrays") or {}
            self._arrays = [arrays[str(i)].read() for i in range(len(list(arrays)))]
            self._callbacks = [
                (str(name), {str(k): self._restored(v) for k, v in attributes.items()}, dict(begin))
                for name, attributes, begin in self._state["callbacks"]
            ]

    def resume_data(self) -> None:
        """Move the data to their saved position."""
        if self.step and self._state["batches"] != self._run.data.num_batches:
            warnings.warn(
                f"An epoch had {self._state['batches']} batches when the backup was written, and has "
                f"{self._run.data.num_batches} now, so epoch {self.epoch + 1} begins at its first batch.",
                stacklevel=2,
            )
            self.step = 0
        else:
            self._run.data.resume(self._state["data"], self.step)
        validation, position = self._run.run.validation, self._state["validation"]
        if validation is not None and position is not None:
            validation.resume(position, 0)

    def apply(self) -> None:
        """Restore everything else."""
        run = self._run
        rate = run.learning_rate()
        for variable, value in self._values:
            if variable is rate and self._state["learning_rate"] != run.first_rate:
                # The program sets another one than before.
                continue
            variable.assign(value)
        run.model.stop_training = bool(self._state["stop_training"])
        known = list(self._callbacks)
        for callback, begin in zip(run.callbacks.callbacks, run.begin, strict=False):
            # The first of a class is the first of that class, whatever other callbacks there are.
            names = [name for name, _, _ in known]
            if type(callback).__name__ in names:
                _, attributes, old = known.pop(names.index(type(callback).__name__))
                for name, value in attributes.items():
                    if _is_state(callback, name, begin.get(name) == old.get(name)):
                        vars(callback)[name] = value
        restore_shared_state(self._shared_seed)
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


@once_per_class
def _arguments(cls: type) -> tuple[frozenset, frozenset]:
    """The names of the constructor's arguments in Cornu's classes, and in the user's."""
    own: set[str] = set()
    users: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            names = list(inspect.signature(vars(base)["__init__"]).parameters)[1:]
            (own if base.__module__.startswith("cornu.") else users).update(names)
    return frozenset(own), frozenset(users)


def _is_state(callback, name: str, is_said_again: bool) -> bool:
    """Whether a backup may set an attribute. It never sets where to write, whoever has edited it."""
    if name not in vars(callback) or name in ("_model", "params"):
        return False
    own, users = _arguments(type(callback))
    is_text = isinstance(vars(callback)[name], str)
    if name in own or (is_text and type(callback).__module__.startswith("cornu.")):
        return False
    # A user's counter may begin with an argument, and go on as long as that is the same.
    return name not in users or (is_said_again and not is_text)


def _attributes(callback):
    """The plain attributes, each with its arrays."""
    for name, value in vars(callback).items():
        if name not in ("_model", "params"):
            kept: list[np.ndarray] = []
            try:
                yield name, _plain(value, kept), kept
            except TypeError:
                # An open file, another object, a function: those are made by the callback itself.
                continue


def _digest(plain: Any, kept: list[np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(plain).encode())
    for array in kept:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _digests(callback) -> dict[str, str]:
    return {name: _digest(plain, kept) for name, plain, kept in _attributes(callback)}


def _changed_attributes(callback, begin: dict[str, str], arrays: list) -> dict:
    """What has changed since `fit` began."""
    found = {}
    for name, plain, kept in _attributes(callback):
        if begin.get(name) != _digest(plain, kept):
            found[name] = _plain(vars(callback)[name], arrays)
    return found


def _plain(value: Any, arrays: list) -> Any:
    """The value for JSON; its arrays are added to `arrays`. Raises TypeError if it is not plain."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(value)
        return {"__array__": len(arrays) - 1}
    if type(value) in (list, tuple) and len(value) <= MOST_PLAIN_VALUES:
        plain = [_plain(v, arrays) for v in value]
        return plain if isinstance(value, list) else {"__tuple__": plain}
    if type(value) in (dict, Logs) and all(isinstance(key, str) for key in value):
        return {key: _plain(v, arrays) for key, v in value.items()}
    raise TypeError
