"""The arguments of a `call`: by name, as tensors, and their shapes."""

import inspect
from typing import Any

import jax
import numpy as np

from cornu.core import masking
from cornu.core.configurable import once_per_class
from cornu.core.dtype import check_real, is_sparse_of_jax
from cornu.core.symbolic import KerasTensor, known_sizes
from cornu.core.variable import Variable


@once_per_class
def call_parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class' `call`, without `self`."""
    return dict(list(inspect.signature(cls.call).parameters.items())[1:])


@once_per_class
def call_defaults(cls: Any) -> dict[str, Any]:
    """The default values of the parameters that have one."""
    return {name: p.default for name, p in call_parameters(cls).items() if p.default is not p.empty}


def accepts(layer, argument: str) -> bool:
    """Whether `call` has a parameter of this name."""
    return argument in call_parameters(type(layer))


def bind_call(layer, args: tuple, kwargs: dict) -> dict:
    """The arguments of a call by name. Masks and flags are not inputs."""
    parameters = call_parameters(type(layer))
    positional = [
        n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    bound = dict(zip(positional, args, strict=False))
    bound.update({f"arg{i}": a for i, a in enumerate(args[len(positional) :])})
    bound.update(kwargs)
    return {n: v for n, v in bound.items() if not is_mask(n)}


def masks_by_name(layer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments of a call with masks that were given by position, and what follows them, by name."""
    names = [
        n for n, p in call_parameters(type(layer)).items() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    first = next((i for i, name in enumerate(names[: len(args)]) if is_mask(name)), None)
    if first is None or len(args) > len(names):
        return args, kwargs
    twice = [name for name in names[first : len(args)] if name in kwargs]
    if twice:
        raise TypeError(
            f"{type(layer).__name__}.call() got multiple values for argument {twice[0]!r}"
        )
    return args[:first], {**dict(zip(names[first:], args[first:], strict=False)), **kwargs}


def is_mask(name: str) -> bool:
    """Whether an argument of this name takes a mask."""
    return name == "mask" or name.endswith("_mask")


def is_leaf(value) -> bool:
    """Whether a value counts as one leaf, although JAX may treat it as a structure."""
    return isinstance(value, KerasTensor | Variable) or is_sparse_of_jax(value)


def cast_tensor(value, dtype: str):
    """A tensor in another dtype, with its mask and its node in the graph."""
    if value.dtype == dtype:
        return value
    check_real(value, dtype)
    if isinstance(value, KerasTensor):
        cast: Any = KerasTensor(value.shape, dtype, sparse=value.sparse)
        cast._keras_history = value._keras_history
    else:
        cast = value.astype(dtype)
    mask = masking.get_mask(value)
    if mask is not None:
        masking.set_mask(cast, mask)
    return cast


def is_shape(value) -> bool:
    """Whether a value is one shape, and not a structure of several."""
    return isinstance(value, list | tuple) and all(
        size is None or isinstance(size, int | np.integer) for size in value
    )


def tuples(shape):
    """A shape, or a structure of shapes, that was read from a file: lists become tuples."""
    if is_shape(shape):
        return tuple(shape)
    if isinstance(shape, dict):
        return {key: tuples(s) for key, s in shape.items()}
    return [tuples(s) for s in shape] if isinstance(shape, list | tuple) else shape


def as_tuple(shape) -> tuple:
    """A shape, which may be given as one number."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


def shapes_of(arguments: dict) -> dict:
    """The shapes of those arguments of a call that are tensors; None for a size that is only tried."""
    return {
        name: jax.tree.map(lambda t: known_sizes(t.shape), value, is_leaf=is_leaf)
        for name, value in arguments.items()
        if holds_tensors(value)
    }


def with_variables(given: tuple, arguments: tuple) -> tuple:
    """The arguments of a call, with the given variables in place of their values."""
    variables = [
        leaf for leaf in jax.tree.leaves(given, is_leaf=is_leaf) if isinstance(leaf, Variable)
    ]
    if not variables:
        return arguments
    args, kwargs = given
    kwargs = {name: kwargs.get(name, value) for name, value in arguments[1].items()}
    return jax.tree.map(
        lambda own, value: own if isinstance(own, Variable) else value,
        (args, kwargs),
        arguments,
        is_leaf=is_leaf,
    )


def holds_tensors(value) -> bool:
    """Whether a value is a tensor, or a structure of nothing but tensors."""
    leaves = jax.tree.leaves(value, is_leaf=is_sparse_of_jax)
    return bool(leaves) and all(
        isinstance(leaf, jax.Array | KerasTensor) or is_sparse_of_jax(leaf) for leaf in leaves
    )
