"""What `cornu` exports, and where it belongs.

The names are those of the imported package, not of its source: functions of `ops` are made from tables when
the package is loaded.
"""

import functools
import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cornu


def exported(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, its `__dir__`, or else what it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    if "__dir__" in vars(module):
        return [name for name in dir(module) if not name.startswith("_")]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


@functools.cache
def namespaces() -> list[ModuleType]:
    """`cornu` and all that is reached from it as `cornu.x.y`, except the subjects of `cornu.ops`."""
    found = [cornu]
    for module in found:
        if module is cornu or "__dir__" not in vars(module):
            names = sorted({*exported(module), *getattr(module, "_ON_USE", ())})
            values = [getattr(module, name) for name in names]
            found += [v for v in values if isinstance(v, ModuleType)]
    return found


@dataclass
class Entry:
    """Something public, and all names under which it can be had; the first is where it belongs."""

    value: Any
    names: list[str]

    @property
    def name(self) -> str:
        return self.names[0].rpartition(".")[2]

    @property
    def namespace(self) -> str:
        return self.names[0].rpartition(".")[0]


def _rank(value: Any, dotted: str) -> tuple:
    """Where something belongs: beside its module, under its own name, not in `cornu` itself."""
    namespace, _, name = dotted.rpartition(".")
    module = getattr(value, "__module__", "")
    inside = f"{module}.".startswith(f"{namespace}.") and namespace != "cornu"
    return (not inside, namespace == "cornu", name != getattr(value, "__name__", name), dotted)


@functools.cache
def entries() -> list[Entry]:
    """All public classes, functions and values, each once."""
    found: dict[int, Entry] = {}
    for namespace in namespaces():
        for name in exported(namespace):
            value = getattr(namespace, name)
            if not isinstance(value, ModuleType):
                dotted = f"{namespace.__name__}.{name}"
                found.setdefault(id(value), Entry(value, [])).names.append(dotted)
    for entry in list(found.values()):
        entry.names.sort(key=lambda dotted: _rank(entry.value, dotted))
        # What a function returns is described beside it.
        result = getattr(entry.value, "__annotations__", {}).get("return")
        if inspect.isclass(result) and result.__module__.startswith("cornu."):
            found.setdefault(id(result), Entry(result, [f"{entry.namespace}.{result.__name__}"]))
    return list(found.values())


@functools.cache
def public_classes() -> dict[type, str]:
    """The names of all public classes."""
    return {e.value: e.names[0] for e in entries() if inspect.isclass(e.value)}
