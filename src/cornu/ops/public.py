"""Functions of JAX under the names that Keras gives to them and to their parameters."""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core.operation import operation

# Parameters that hold an array; a list or a tuple given for one becomes an array.
_ARRAYS = frozenset(
    "x x1 x2 y a b q array bins condition indices inputs kernel sorted_sequence values weights".split()
)


def renamed(name: str, target: Callable, signature: inspect.Signature) -> Callable:
    """`target` with Keras' parameters: those without default by position, the others by name."""

    def function(*args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}{signature}: {error}") from None
        bound.apply_defaults()
        required, optional = [], {}
        for parameter, value in bound.arguments.items():
            if parameter in _ARRAYS and isinstance(value, (list, tuple)):
                value = jnp.asarray(value)
            elif parameter == "repeats" and isinstance(value, (list, tuple)):
                # Which the shape of the result depends on, and so no array of a trace.
                value = np.asarray(value) if name == "repeat" else value
            elif parameter == "axis" and isinstance(value, list):
                value = tuple(value)
            if signature.parameters[parameter].default is inspect.Parameter.empty:
                required.append(value)
            else:
                optional[parameter] = value
        return target(*required, **optional)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Keras' name for `{target.__module__}.{target.__name__}`."
    function.__signature__ = signature  # type: ignore[attr-defined]
    return operation(function)


def from_table(table: list, *modules: Any) -> dict[str, Callable]:
    """Operations from lines of `(a lambda with the signature, names)`.

    Each name is looked up in the modules, the first that has it; `name=other` gives another name.
    """
    found = {}
    for pattern, names in table:
        signature = inspect.signature(pattern)
        for entry in names.split():
            name, _, other = entry.partition("=")
            target = next(getattr(m, other or name) for m in modules if hasattr(m, other or name))
            found[name] = renamed(name, target, signature)
    return found
