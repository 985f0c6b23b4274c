"""Arguments of the wrong type are found before a constructor runs.

What type an argument has is known from its default, and, without one, from its name. Only arguments of
Cornu's own constructors are looked at; the constructors check what needs more than the type.
"""

import inspect
from numbers import Integral, Real
from typing import Any

import numpy as np

# Numbers by their default that may be something else as well: schedules, arrays, one for each class.
_MORE_THAN_NUMBERS = {"learning_rate", "offset", "value", "CategoricalFocalCrossentropy.alpha"}
# What may be None although its default is a number.
_OR_NONE = {"rms_rate", "weight_decay", "negative_slope", "threshold", "max_value", "seed"}
# Sizes or numbers of axes: several of them, or one or several.
_SEVERAL = {"target_shape", "dims"}
_ONE_OR_SEVERAL = {"axis", "shared_axes", "noise_shape", "EinsumDense.output_shape"}
_TEXT = {"equation"}
# Constructors that check these themselves.
_CHECKED = {"LayerNormalization.axis", "UnitNormalization.axis", "l1", "l2"}
_CHECKED |= {"factor", "x_factor", "y_factor", "addition_factor", "threshold_factor", "sigma"}
_CHECKED |= {"RandomElasticTransform.scale", "RandomErasing.scale"}

_kinds: dict[type, dict[str, str]] = {}


def _find_kinds(cls: type) -> dict[str, str]:
    kinds: dict[str, str] = {}
    names: set[str] = set()
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is None or base is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        if base.__module__.startswith("cornu."):
            for parameter in parameters:
                if parameter.name not in names:
                    kind = _kind_of(base.__name__, parameter)
                    kinds.update({parameter.name: kind} if kind else {})
        names.update(parameter.name for parameter in parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return kinds


def _kind_of(owner: str, parameter: inspect.Parameter) -> str | None:
    def is_in(names: set[str]) -> bool:
        return parameter.name in names or f"{owner}.{parameter.name}" in names

    if is_in(_CHECKED):
        return None
    for kind, among in (("sequence", _SEVERAL), ("axes", _ONE_OR_SEVERAL), ("text", _TEXT)):
        if is_in(among):
            return kind
    if isinstance(parameter.default, bool):
        return "flag"
    if isinstance(parameter.default, float) and not is_in(_MORE_THAN_NUMBERS):
        return "number"
    return None


def check_arguments(cls: type, given: dict[str, Any]) -> None:
    """Raise ValueError, naming the class and the argument, if one is of a type that it cannot have."""
    if cls not in _kinds:
        _kinds[cls] = _find_kinds(cls)
    kinds = _kinds[cls]
    for name, value in given.items():
        expected = _mistake(kinds[name], name, value) if name in kinds else None
        if expected:
            raise ValueError(
                f"{cls.__name__}: the argument `{name}` must be {expected}. Received: "
                f"{described(name, value)}"
            )


def _mistake(kind: str, name: str, value) -> str | None:
    """What the argument should be, if it is not."""
    if kind == "flag":
        fits = isinstance(value, bool | np.bool_) or (
            isinstance(value, Integral) and value in (0, 1)
        )
        # Of Sequential(layer, layer).
        hint = " (several layers come in a list: [a, b])" * hasattr(value, "get_weights")
        return None if fits else f"True or False{hint}"
    if kind == "number":
        if value is None and name in _OR_NONE:
            return None
        fits = isinstance(value, Real | np.number) and not isinstance(value, bool)
        if not fits and getattr(value, "shape", None) == () and not isinstance(value, np.generic):
            # An array of JAX's, or a variable.
            return None
        return None if fits and value == value else "a number"
    if kind == "text":
        return None if isinstance(value, str) else "a string"
    if kind == "sequence":
        return None if isinstance(value, list | tuple | np.ndarray) else "a tuple of integers"
    return "an integer or a tuple of integers" if isinstance(value, str | float | dict) else None


def described(name: str, value) -> str:
    """An argument as it was given, with its type where that is the mistake."""
    text = f"{name}={value!r}"
    if isinstance(value, str):
        is_number = value.strip().lstrip("+-").replace(".", "", 1).isdigit()
        return f"{text} (a string" + (f"; write {value} without quotes)." if is_number else ").")
    if isinstance(value, float) and value.is_integer():
        return f"{text} (a float; write {int(value)}, and // to divide whole numbers)."
    return f"{text} (of type {type(value).__name__})."
