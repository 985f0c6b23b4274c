"""Arguments of the wrong type are named, with what was given, before a constructor meets them."""

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers, losses, optimizers
from cornu.core.configurable import constructor_parameters

NEEDED = {
    "filters": 4,
    "kernel_size": 3,
    "units": 3,
    "input_dim": 4,
    "output_dim": 3,
    "rate": 0.1,
    "factor": 0.1,
    "target_shape": (4,),
    "dims": (1,),
    "height": 4,
    "width": 4,
    "height_factor": 0.1,
    "scale": 0.5,
    "stddev": 0.1,
    "axes": 1,
    "equation": "ab,bc->ac",
    "output_shape": (3,),
    "num_tokens": 4,
    "n": 2,
}
COUNTS = "filters units groups depth_multiplier input_dim output_dim".split()
SIZES = "kernel_size strides dilation_rate pool_size size cropping padding".split()
WRONG = {
    "flag": ["no", 2.5, None, [True]],
    "number": ["0.5", [0.5], True, float("nan"), {}],
    "count": ["8", 2.5, 0, None, (8,), True],
    "size": ["3", 2.5, -1, {}, (1, 2, 3, 4, 5)],
    "sequence": [2.5, "4", 4],
}


def cases():
    """Each argument of each layer whose type is plain, with values that it cannot have."""
    for name, cls in sorted(vars(layers).items()):
        if not (inspect.isclass(cls) and issubclass(cls, layers.Layer) and cls.__name__ == name):
            continue
        parameters = constructor_parameters(cls)
        needed = {n: v for n, v in NEEDED.items() if n in parameters}
        needed = {n: v for n, v in needed.items() if parameters[n].default is inspect._empty}
        missing = [
            n
            for n, p in parameters.items()
            if p.default is p.empty and n not in needed and p.kind is not p.VAR_KEYWORD
        ]
        if missing or name in ("Layer", "InputLayer", "GroupNormalization"):
            continue
        for argument, parameter in parameters.items():
            default = parameter.default
            if argument in COUNTS:
                kind = "count"
            elif argument in SIZES and not isinstance(default, str):
                kind = "size"
            elif argument in ("target_shape", "dims"):
                kind = "sequence"
            elif isinstance(default, bool):
                kind = "flag"
            elif isinstance(default, float) and argument not in ("offset",):
                kind = "number"
            else:
                continue
            for value in WRONG[kind]:
                if not (value is None and default is None):
                    yield cls, needed, argument, value


def test_every_argument_of_every_layer():
    found, count = [], 0
    for cls, needed, argument, value in cases():
        count += 1
        try:
            cls(**{**needed, argument: value})
        except ValueError as error:
            if argument not in str(error):
                found.append(f"{cls.__name__}({argument}={value!r}) is not named: {error}")
        except Exception as error:
            found.append(f"{cls.__name__}({argument}={value!r}): {error!r}")
        else:
            found.append(f"{cls.__name__}({argument}={value!r}) is accepted")
    assert count > 900
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: layers.Conv2D("8", 3),
            r"`filters`.*filters='8' .*write 8 without quotes.* In layer 'conv2d'",
        ),
        (lambda: layers.Conv2D(32 / 2, 3), r"filters=16\.0 \(a float; write 16, and // to divide"),
        (
            lambda: layers.Conv2D(8, "3"),
            r"`kernel_size` argument .*'3' \(a string; write 3 without",
        ),
        (lambda: layers.Dense("ten"), r"units='ten' \(a string\)"),
        (
            lambda: layers.Dense(3, use_bias="no"),
            "Dense: the argument `use_bias` must be True or False",
        ),
        (lambda: layers.Dense(3, activation={}), "Could not interpret activation identifier: {}"),
        (
            lambda: layers.BatchNormalization(axis="3"),
            "BatchNormalization: .*`axis` must be an integer",
        ),
        (lambda: layers.EinsumDense(3, (4,)), "EinsumDense: .*`equation` must be a string"),
        (
            lambda: layers.EinsumDense("ab,bc->ac", 2.5),
            "`output_shape` must be an integer or a tuple",
        ),
        (
            lambda: losses.BinaryCrossentropy(from_logits="yes"),
            "`from_logits` must be True or False",
        ),
        (lambda: losses.Huber("1"), r"Huber: .*`delta` must be a number\. Received: delta='1'"),
        (lambda: optimizers.SGD(0.1, momentum="0.9"), "SGD: .*`momentum` must be a number"),
        (lambda: optimizers.Adam(use_ema=2), "Adam: .*`use_ema` must be True or False"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_mistake():
    layers.Conv2D(np.int64(8), np.int32(3), use_bias=np.True_)
    layers.Dense(np.int64(8), use_bias=0)
    layers.ELU(np.float32(1)), layers.ELU(1), layers.ELU(jnp.float32(1))
    layers.Rescaling(1.0, [1.0, 2.0])
    losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.2])
    optimizers.SGD(cornu.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), weight_decay=None)

    class Own(layers.ELU):
        """Its own argument of that name means something else."""

        def __init__(self, alpha="high", **kwargs):
            super().__init__(2.0 if alpha == "high" else 1.0, **kwargs)

    assert Own("high").alpha == 2.0
