"""Several processes that compute together need the same model, data and settings: compared before `fit`.

Different ones would give numbers that nobody notices, or collectives that wait forever.
"""

import functools
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from cornu.core import placement, processes, registry
from cornu.core.process_group import Group
from cornu.data.position import random_state, set_random_state

# So many numbers of a weight are compared; of data in memory so many bytes, of others so many rows.
_NUMBERS, _BYTES, _ROWS = 4096, 2**26, 16


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
    weights = {w.path: f"{w.shape} {w.dtype}" for w in model.weights}
    layers = model._flatten_layers()
    values = {
        "the model": type(model).__name__,
        **{name: _plain(value) for name, value in settings.items()},
        "the number of layers": len(layers),
        "the number of weights": len(weights),
    }
    group.same(what, values)
    _compare(group, what, {f"the weight {path!r}": found for path, found in weights.items()})
    parts: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        # Without automatic numbers: a process may have made other layers before.
        path = re.sub(r"_\d+(?=/|$)", "", layer.path)
        parts |= _described(layer, f"the layer {path!r} ({number})")
    if model.optimizer is not None:
        parts |= _described(model.optimizer, "the optimizer")
    if what != "predict":
        compiled = _config(model.get_compile_config)
        compiled.pop("optimizer", None)
        parts |= {f"`{name}` of `compile`": _plain(value) for name, value in compiled.items()}
    _compare(group, what, parts)
    numbers = {
        f"values of {w.path!r} (their checksum)": _digest_of_weight(w) for w in model.weights
    }
    _compare(group, what, numbers, " " + _SAME_SEED)


_SAME_SEED = "Call `utils.set_random_seed` with the same number in all, or load the same file."
_SAME_DATA = (
    "Read and shuffle them alike in all; or, if each process shall bring its own rows, say "
    "`DataParallel(auto_shard_dataset=False)`."
)


def _compare(group: Group, what: str, values: dict[str, Any], hint: str = "") -> None:
    """As `group.same`, for many values: they are sent only if a checksum of all of them differs."""
    name = "a checksum"
    try:
        group.same(what, {name: zlib.crc32(json.dumps(values).encode())})
        return
    except ValueError as error:
        if f"{name} must be" not in str(error):
            raise
    # Every process is here.
    group.same(what, values, hint)


def _described(part, name: str) -> dict[str, Any]:
    """What can be told of a layer or an optimizer, each under a name of its own."""
    config = _config(part.get_config)
    # Names count where weights have them. Layers within it have an entry of their own: of them, how they
    # are connected.
    config.pop("name", None)
    within = config.pop("layers", None)
    if isinstance(within, list):
        config["graph"] = [each.get("inbound_nodes") for each in within if isinstance(each, dict)]
    found = {f"`{key}` of {name}": _plain(value) for key, value in config.items()}
    return {name: type(part).__name__, **found}


def _config(get: Callable) -> dict:
    """A configuration, or nothing: the user's own may not be told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dict(get())
        except Exception:
            return {}


def _plain(value):
    """A value for a message: plain, and without addresses and automatic numbers of this process."""
    try:
        value = registry.serialize(value)
    except TypeError:
        value = str(value)
    text = re.sub(r" at 0x[0-9a-f]+", "", json.dumps(value, default=str))
    text = re.sub(r'_\d+"', '"', text)
    return json.loads(text) if len(text) < 200 else f"{text[:100]}… {zlib.crc32(text.encode())}"


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

    Of large arrays, some rows are compared. Where each process brings its own rows, there have to be as
    many, of the same kind. What gives batches one by one is not looked at.
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
            values[f"{name}: contents (their checksum)"] = _digest_of_rows(leaf)
    group.same(
        what, {"the structure of the data": _structure(structure), **values}, f" {_SAME_DATA}"
    )


def _structure(structure) -> str:
    return str(structure).removeprefix("PyTreeDef(").removesuffix(")")


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
        count = group.common(what, [_look_of(batch, own) for batch in ready], f" {_SAME_DATA}")
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
        values["the first row of a batch (its checksums)"] = [
            _digest(np.asarray(a[:1])) for a in leaves
        ]
    return values


def _digest(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _digest_of_rows(array) -> int | None:
    if not array.shape or not array.shape[0] or hasattr(array, "toarray"):
        return None
    if type(array) is np.ndarray and array.dtype != object:
        return _digest(array[:: max(-(-array.nbytes // _BYTES), 1)])
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
