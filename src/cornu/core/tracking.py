"""What an object is made of: the one search that weights, saving, freezing and copying ask.

A layer is made of what its attributes hold: layers, variables, seed generators and metrics, and those in
lists, tuples, sets, dicts and deques, and in the attributes of plain objects (a dataclass, say), however
deep. What a function has in its closure, or a class in its attributes, is not found.
"""

import collections
import functools
import inspect
import itertools
import operator
import sys
import types
from typing import Annotated, Any, TypeVar

from cornu.core.configurable import once_per_class

_numbers = itertools.count()

_T = TypeVar("_T")
_ASIDE = "no part of the object"
# A class of Cornu's declares `name: Aside[type]` for what it keeps and is not made of.
Aside = Annotated[_T, _ASIDE]


@once_per_class
def aside(cls: Any) -> frozenset[str]:
    """The attributes that a class and those it derives from declare as `Aside`."""
    return frozenset(
        name
        for base in cls.__mro__
        if base.__module__.partition(".")[0] == "cornu"
        for name, hint in inspect.get_annotations(base).items()
        if _ASIDE in getattr(hint, "__metadata__", ())
    )


class Tracked:
    """Whatever a layer can be made of: layers, variables, seed generators, metrics, optimizers."""

    # Which was made first. A set has no order of its own that the next process would repeat.
    _number: int

    def __new__(cls, *args, **kwargs):
        obj = super().__new__(cls)
        object.__setattr__(obj, "_number", next(_numbers))
        return obj


_LEAF, _PART, _SEQUENCE, _MAPPING, _SET, _METHOD, _PARTIAL, _OBJECT = range(8)

# Of the standard library, what holds other people's objects.
_OPEN = frozenset("abc argparse builtins collections enum types typing".split())
# Packages whose objects hold no layers, or much else besides. A class derived from one of
# theirs, such as a user's own loss, counts as theirs.
_CLOSED = (sys.stdlib_module_names - _OPEN) | frozenset(
    "cornu jax jaxlib numpy ml_dtypes scipy pandas PIL matplotlib h5py tensorflow torch keras".split()
)


@once_per_class
def _kind(cls: Any) -> int:
    """How a value of this class is looked into."""
    if issubclass(cls, Tracked) or (hasattr(cls, "update_state") and hasattr(cls, "variables")):
        return _PART
    for kind, classes in (
        (_SEQUENCE, list | tuple | collections.deque),
        (_MAPPING, dict | types.MappingProxyType),
        (_SET, set | frozenset),
        (_METHOD, types.MethodType),
        (_PARTIAL, functools.partial),
    ):
        if issubclass(cls, classes):
            return kind
    packages = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if packages == {"builtins"} or packages & _CLOSED or issubclass(cls, type):
        return _LEAF
    return _OBJECT


class _Slots:
    """The attributes that an object keeps in slots, as a dict keeps those of other objects."""

    def __init__(self, obj, names: list[str]):
        self._object, self._names = obj, names

    def items(self) -> list:
        """Names and values of those that are set."""
        return [(n, getattr(self._object, n)) for n in self._names if hasattr(self._object, n)]

    def values(self) -> "_Slots":
        """The values, looked up anew in each iteration."""
        return self

    def __iter__(self):
        return (value for _, value in self.items())

    def __len__(self):
        return len(self.items())


def _attributes(obj) -> list:
    """The dict of an object's attributes, and what it keeps in slots."""
    found = [vars(obj)] if hasattr(obj, "__dict__") else []
    names = []
    for cls in type(obj).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{cls.__name__.lstrip('_')}{name}"
            names.append(name)
    names = [name for name in names if name not in ("__dict__", "__weakref__")]
    return [*found, _Slots(obj, names)] if names else found


def entries(value, watch: list | None = None) -> list[tuple[str | None, Any]] | None:
    """What a container or plain object holds, each with its attribute's name; None for anything else.

    `watch` gets what will be different when this is.
    """
    kind = _kind(type(value))
    if kind in (_LEAF, _PART):
        return None
    if kind is _OBJECT:
        parts = _attributes(value)
        if watch is not None:
            watch.extend(parts)
        # A copy, because another thread may add one.
        return [entry for part in parts for entry in list(part.items())]
    if kind is _METHOD:
        return [(None, value.__self__)]
    if kind is _PARTIAL:
        return [(None, held) for held in (value.func, *value.args, *value.keywords.values())]
    if watch is not None and not isinstance(value, tuple | frozenset):
        watch.append(value)
    held = list(value.values() if kind is _MAPPING else value)
    if kind is _SET:
        held.sort(key=_age)
    return [(None, each) for each in held]


def _age(value) -> int:
    """Sorts what a set holds: by what was made first in it."""
    found: list = []
    _unpack(value, found, set(), None)
    return min((getattr(part, "_number", -1) for part in found), default=-1)


def parts(obj, watch: list | None = None) -> list:
    """The `Tracked` objects that attributes hold, in order, with containers and plain objects unpacked."""
    leave_out = aside(type(obj))
    found: list = []
    seen: set[int] = set()
    for name, value in list(obj.__dict__.items()):
        if name not in leave_out:
            _unpack(value, found, seen, watch)
    return found


def _unpack(value, found: list, seen: set[int], watch: list | None) -> None:
    kind = _kind(type(value))
    if kind is _PART:
        found.append(value)
    elif kind is not _LEAF and id(value) not in seen:
        seen.add(id(value))
        for _, entry in entries(value, watch) or ():
            _unpack(entry, found, seen, watch)


def unique(items) -> list:
    """The items without those that came before."""
    return list({id(item): item for item in items}.values())


class Walk:
    """What was found in a layer, to see whether it is still so."""

    def __init__(self, layer):
        layers = layer._flatten_layers()
        self._watched: list[Any] = [each.__dict__ for each in layers]
        self._variables: list[Any] = []
        self.metrics: list[Any] = []
        for each in layers:
            parts(each, self._watched)
            self._variables += each._own_weights()
            self.metrics += each._own_metrics()
        # What a compiled step was made for. A layer of a user's own may change its attributes as it runs.
        self.settings = [
            value
            for each in layers
            if type(each).__module__.partition(".")[0] == "cornu" and not hasattr(each, "optimizer")
            for name, value in each.__dict__.items()
            if name.startswith("_trainable") or not name.startswith("_")
        ]
        self._values = [w.values() if hasattr(w, "values") else w for w in self._watched]
        # What is compared is kept, so that no other object gets its address.
        self._kept = list(itertools.chain.from_iterable(self._values))
        self._rest = self._look()

    def _look(self) -> list:
        found: list[Any] = [*map(len, self._watched), *[v.trainable for v in self._variables]]
        found.extend(tuple(map(id, m.variables)) for m in self.metrics)
        return found

    def is_current(self) -> bool:
        """Whether every attribute, and every entry of a container, is still the same object."""
        # All loops are in C, as this is done for every prediction.
        values = itertools.chain.from_iterable(self._values)
        return self._look() == self._rest and all(map(operator.is_, values, self._kept))

    def __reduce__(self):
        # A copy of a layer is another layer: it is searched anew.
        return (type(None), ())
