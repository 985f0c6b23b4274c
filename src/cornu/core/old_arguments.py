"""Arguments by the names that Keras 1 and 2 gave them.

A name is an old one where what is called has no argument of that name itself: a layer of the user's with an
argument `p` keeps it.
"""

import functools
import inspect
import reprlib
import sys
import types
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

# What constructors call an argument today; the first name that a class has counts.
_TODAY = {
    "L1.l": ("l1",),
    "L2.l": ("l2",),
    "MaxNorm.m": ("max_value",),
    "Model.input": ("inputs",),
    "Model.output": ("outputs",),
    "UpSampling1D.length": ("size",),
    "U_regularizer": ("recurrent_regularizer",),
    "W_constraint": ("kernel_constraint", "embeddings_constraint"),
    "W_regularizer": ("kernel_regularizer", "embeddings_regularizer"),
    "atrous_rate": ("dilation_rate",),
    "b_constraint": ("bias_constraint",),
    "b_regularizer": ("bias_regularizer",),
    "beta_init": ("beta_initializer",),
    "bias": ("use_bias",),
    "border_mode": ("padding",),
    "depthwise_init": ("depthwise_initializer",),
    "dim_ordering": ("data_format",),
    "dropout_U": ("recurrent_dropout",),
    "dropout_W": ("dropout",),
    "filter_length": ("kernel_size",),
    "forget_bias_init": ("unit_forget_bias",),
    "gamma_init": ("gamma_initializer",),
    "init": ("kernel_initializer", "embeddings_initializer", "alpha_initializer"),
    "inner_activation": ("recurrent_activation",),
    "inner_init": ("recurrent_initializer",),
    "nb_filter": ("filters",),
    "output_dim": ("units",),
    "p": ("rate",),
    "pointwise_init": ("pointwise_initializer",),
    "pool_length": ("pool_size",),
    "sigma": ("stddev",),
    "stride": ("strides",),
    "subsample": ("strides",),
    "subsample_length": ("strides",),
}
# The sides of a window one by one, in their order.
_SIDES = ("nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3")
# What may be left out: the classes that had it, the values that it may have, and why.
_IDLE = {
    "consume_less": (
        {"SimpleRNN", "LSTM", "GRU"},
        ("cpu", "mem", "gpu"),
        "a sequence is always one loop",
    ),
    "dropout": (
        {"Embedding"},
        (0,),
        "Dropout(rate, noise_shape=(None, None, 1)) after the layer leaves out whole words",
    ),
    "mode": ({"BatchNormalization"}, (0,), "channels are normalized one by one, which was mode 0"),
}
_VALUES: dict[str, dict[str, Any]] = {
    "dim_ordering": {"th": "channels_first", "tf": "channels_last", "default": None},
    "forget_bias_init": {"one": True, "zero": False},
}
_ALL = {name.rpartition(".")[2] for name in _TODAY} | {*_SIDES, *_IDLE}


def may_be_old(names: Collection[str]) -> bool:
    """Whether one of the names is in the table, whatever it means where it was given."""
    return not _ALL.isdisjoint(names)


def todays_name(owner: str, old: str, known: Collection[str]) -> str | None:
    """What a constructor calls an argument today, or None if `old` is no old name there.

    Args:
        owner: name of the class.
        known: arguments that the constructor takes.
    """
    if old in known:
        return None
    names = _TODAY.get(f"{owner}.{old}") or _TODAY.get(old) or ()
    if old in _SIDES:
        names = ("kernel_size",)
    return next((name for name in names if name in known), None)


def renamed(owner: str, args: tuple, kwargs: dict, known: Collection[str]) -> dict:
    """Keyword arguments of a constructor as they are called today.

    Args:
        owner: name of the class.
        args: what is given by position.
        known: arguments that the constructor takes, in order.

    Raises:
        TypeError: if an argument is given twice, under its old name and today's.
        ValueError: if nothing does the same today.
    """
    given = dict(zip(known, args, strict=False))
    today: dict[str, Any] = {}
    sides: dict[str, Any] = {}
    for old, value in kwargs.items():
        if old not in known and old in _IDLE and owner in _IDLE[old][0]:
            _, fitting, why = _IDLE[old]
            if value not in fitting:
                raise ValueError(f"{owner}: nothing does what `{old}={value!r}` did: {why}.")
            continue
        new = todays_name(owner, old, known) or old
        if new == old:
            today[old] = value
            continue
        if old.endswith("init") and isinstance(value, types.FunctionType):
            value = _initializer(value)
        if old in _SIDES:
            sides[old] = value
            if len(sides) > 1:
                continue
        elif old in _VALUES and isinstance(value, str):
            value = _VALUES[old].get(value, value)
        if new in given or new in kwargs or new in today:
            raise _given_twice(old, new, owner)
        today[new] = value
    if sides:
        today["kernel_size"] = tuple(sides[side] for side in _SIDES if side in sides)
    return today


def _initializer(function: Callable) -> Callable:
    """A function that makes initial values and takes a name, as one that takes none."""
    if "name" not in inspect.signature(function).parameters:
        return function

    @functools.wraps(function)
    def initializer(shape, dtype=None):
        return function(shape, name=None)

    return initializer


def _given_twice(old: str, new: str, owner: str) -> TypeError:
    return TypeError(
        f"{owner}: `{old}` is an old spelling of `{new}`, which is given as well. Leave `{old}` out."
    )


def callers_level() -> int:
    """The `stacklevel` for a warning by who calls this: the first line that is not Cornu's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "cornu":
        level, frame = level + 1, frame.f_back
    return level


def warn(old: tuple[str, tuple, dict], today: tuple[str, tuple, dict]) -> None:
    """Warn of a call, and show how it is written today.

    Args:
        old, today: the name that is called, positional and keyword arguments.
    """
    warnings.warn(
        f"`{_shown(*old)}` is an old spelling; use `{_shown(*today)}` instead.",
        stacklevel=callers_level(),
    )


def _shown(name: str, args: tuple, kwargs: dict) -> str:
    each = [_value(value) for value in args]
    each += [f"{key}={_value(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(each)})"


def _value(value) -> str:
    plain = value is None or isinstance(value, str | int | float | list | tuple)
    return reprlib.repr(value) if plain else "…"


def takes_old_arguments(
    idle: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
    fitting: Mapping[str, Any] | None = None,
    **today: str,
) -> Callable:
    """Decorator: a function takes keyword arguments by their old names as well, with a warning.

    Args:
        idle: names of those without effect, and why.
        refused: names of those that nothing can be made of, and what to do. `{value}` stands for the value.
        fitting: of a refused one, the value that has no effect.
        today: old names, and what they are called today.
    """
    idle, refused, fitting = idle or {}, refused or {}, fitting or {}
    old_ones = {*today, *idle, *refused}

    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            for name in sorted(old_ones.intersection(kwargs)):
                value = kwargs.pop(name)
                fits = name in fitting and value == fitting[name]
                if name in refused and not fits:
                    raise TypeError(f"`{name}` {refused[name].format(value=value)}")
                new = today.get(name)
                if new in kwargs:
                    raise _given_twice(name, new, function.__name__)
                why = idle.get(name) or f"{value!r} is the default"
                said = f"; use `{new}` instead" if new else f" without effect: {why}"
                warnings.warn(
                    f"The argument `{name}` is an old spelling{said}.", stacklevel=callers_level()
                )
                if new:
                    kwargs[new] = value
            return function(*args, **kwargs)

        return call

    return decorate
