"""Several processes that compute together need the same model, data and settings: compared before `fit`.

Different ones would give numbers that nobody notices, or collectives that wait forever.
"""

import functools
import json
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from cornu.core import placement, processes
from cornu.core.process_group import Group
from cornu.data.position import random_state, set_random_state

# So many rows of the data, and numbers of a weight, are compared.
_ROWS, _NUMBERS = 16, 4096


def made_together(method: Callable) -> Callable:
    """For a method that all processes call together: while one is in it, none may stay elsewhere."""

    @functools.wraps(method)
    def call(*args, **kwargs):
        if processes.group() is None:
            return method(*args, **kwargs)
        with processes.call(method.__name__):
            return method(*args, **kwargs)

    return call


def check_model(model, what: str, **settings) -> None:
    """Raise ValueError in every process if a model, or how it is trained, is not the same in all."""
    group = processes.group()
    if group is None:
        return
    weights = {weight.path: f"{weight.shape} {weight.dtype}" for weight in model.weights}
    values = {
        "the model": type(model).__name__,
        **{name: json.loads(json.dumps(value, default=str)) for name, value in settings.items()},
        "the number of weights": len(weights),
        "the weights": zlib.crc32(json.dumps(weights).encode()),
    }
    try:
        group.same(what, values)
    except ValueError as error:
        if "the weights must" in str(error):
            # Every process is here: which ones differ is not known yet.
            group.same(what, {f"the weight {path!r}": found for path, found in weights.items()})
        raise
    group.same(what, {f"the values of {w.path!r}": _digest_of_weight(w) for w in model.weights})
    if model.optimizer is not None:
        config = json.dumps(model.optimizer.get_config(), default=str)
        group.same(what, {"the optimizer": f"{type(model.optimizer).__name__} {config}"})


def _digest_of_weight(weight) -> int | None:
    """A number for some of a weight's values; None if no process has all of them."""
    value = weight._value
    if not isinstance(value, jax.Array) or not value.is_fully_replicated:
        return None
    numbers = np.asarray(value.addressable_data(0)).ravel()
    step = max(len(numbers) // _NUMBERS, 1)
    return _digest(numbers[::step])


def check_data(what: str, parts: Any) -> None:
    """Raise ValueError in every process if the data are not the same in all.

    Of arrays, some rows are compared. Where each process brings its own rows, there have to be as many, of
    the same kind. What gives batches one by one is not looked at.
    """
    group = processes.group()
    if group is None:
        return
    own = placement.brings_own_rows(placement.distribution())
    values: dict[str, Any] = {}
    leaves, structure = jax.tree.flatten(parts)
    for number, leaf in enumerate(leaves):
        name = f"array {number + 1} of the data" if len(leaves) > 1 else "the data"
        shape = getattr(leaf, "shape", None)
        if shape is None or not hasattr(leaf, "dtype"):
            values[f"{name}: type"] = type(leaf).__name__
            continue
        values[f"{name}: number of rows"] = int(shape[0]) if shape else None
        values[f"{name}: shape of a row"] = list(shape[1:])
        values[f"{name}: dtype"] = str(leaf.dtype)
        if not own:
            values[f"{name}: contents"] = _digest_of_rows(leaf)
    group.same(what, {"the structure of the data": str(structure), **values})


def together(group: Group, batches: Iterable, what: str, size: Callable[[], int]) -> Iterator:
    """Batches, as long as every process has another one; they must have the same shapes.

    Where each process reads all of the data, they must be the same, too. The processes compare as many
    batches at a time as `size` says, with 0 for an end, which has to say the same in all of them.
    """
    own = placement.brings_own_rows(placement.distribution())
    iterator = iter(batches)
    read: list = []
    failure: BaseException | None = None
    while wanted := size():
        try:
            while failure is None and len(read) < wanted:
                read.append(next(iterator))
        except BaseException as error:
            # First the steps on what came before, which the others do, too.
            failure = error
        if not (read or failure is None or isinstance(failure, StopIteration)):
            raise failure
        ready = read[:wanted]
        count = group.common(what, [_look_of(batch, own) for batch in ready])
        if not count:
            break
        yield from ready[:count]
        del read[:count], ready
    if read:
        warnings.warn(
            "Another process has fewer batches than this one: all processes end the pass with its last "
            "one. Share the data out evenly.",
            stacklevel=5,
        )


def _look_of(batch, own: bool) -> dict[str, Any]:
    """What must be the same of a batch in all processes."""
    leaves = jax.tree.leaves(batch)
    values: dict[str, Any] = {"the shapes of a batch": [f"{np.shape(a)} {a.dtype}" for a in leaves]}
    if not own:
        values["the first row of a batch"] = [_digest(np.asarray(a[:1])) for a in leaves]
    return values


def _digest(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _digest_of_rows(array) -> int | None:
    if not array.shape or not array.shape[0] or hasattr(array, "toarray"):
        return None
    rows = np.unique(np.linspace(0, array.shape[0] - 1, _ROWS).astype(int))
    found = [np.asarray(array[int(row)]) for row in rows]
    if found[0].dtype == object:
        return zlib.crc32(repr([each.tolist() for each in found]).encode())
    return zlib.crc32(b"".join(np.ascontiguousarray(each).tobytes() for each in found))


def share_random_state() -> None:
    """Give every process the random numbers of process 0, which shuffle the data alike."""
    group = processes.group()
    if group is None:
        return
    set_random_state(group.first("the state of random numbers", random_state()))


def stops_for_signal(model) -> bool:
    """Whether a signal to one process ends the training in all.

    If it is to end in one of them for another reason, `stop_training` is set in all.
    """
    group = processes.group()
    if group is None or not group.stops("the end of an epoch", model.stop_training):
        return False
    if group.stop_reason() is None:
        model.stop_training = True
    return group.stop_reason() is not None
