"""Keras 1's `keras.initializations`: functions that make initial values of a shape."""

import warnings
from collections.abc import Callable

from cornu import initializers
from cornu.core.old_arguments import callers_level


def _function(name: str, today: str, scale: float | None = None, argument: str = "") -> Callable:
    def make(shape, *scales, name=None, dim_ordering=None, **more):
        if len(scales) + len(more) > 1 or more.keys() - {"scale"} or (scale is None and scales):
            raise TypeError(f"{made}: unexpected arguments {scales or more}")
        given = [*scales, *more.values(), scale][0]
        arguments = {} if given is None else {argument: given}
        if today == "RandomUniform":
            arguments["minval"] = -given
        warnings.warn(
            f"`keras.initializations.{made}` is an old spelling; use `keras.initializers.{today}` instead.",
            stacklevel=callers_level(),
        )
        return getattr(initializers, today)(**arguments)(shape)

    made = name
    make.__name__ = make.__qualname__ = name
    return make


glorot_normal = _function("glorot_normal", "GlorotNormal")
glorot_uniform = _function("glorot_uniform", "GlorotUniform")
he_normal = _function("he_normal", "HeNormal")
he_uniform = _function("he_uniform", "HeUniform")
identity = _function("identity", "Identity", 1.0, "gain")
lecun_uniform = _function("lecun_uniform", "LecunUniform")
normal = _function("normal", "RandomNormal", 0.05, "stddev")
one = _function("one", "Ones")
orthogonal = _function("orthogonal", "Orthogonal", 1.1, "gain")
uniform = _function("uniform", "RandomUniform", 0.05, "maxval")
zero = _function("zero", "Zeros")

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_uniform",
    "normal",
    "one",
    "orthogonal",
    "uniform",
    "zero",
]
