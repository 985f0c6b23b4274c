"""The arguments of a call as the model's graph expects them."""

import warnings

import jax
import numpy as np

from cornu.core.dtype import check_real, floatx, is_float
from cornu.core.symbolic import KerasTensor, node_of


def standardized(model, inputs) -> list:
    """The inputs in the graph's order, dtype and rank."""
    graph = model._graph
    names = model.input_names
    if isinstance(inputs, dict) and not isinstance(graph.inputs, dict):
        missing = [name for name in names if name not in inputs]
        if missing:
            raise ValueError(
                f"Missing data for input '{missing[0]}'. You passed a data dictionary with keys "
                f"{list(inputs)}. Expected the following keys: {names}"
            )
        flat = [inputs[name] for name in names]
    elif isinstance(inputs, dict):
        missing = [key for key in graph.inputs if key not in inputs]
        if missing:
            raise ValueError(
                f"Missing data for input '{missing[0]}'. You passed a data dictionary with keys "
                f"{list(inputs)}. Expected the following keys: {list(graph.inputs)}"
            )
        more = [key for key in inputs if key not in graph.inputs]
        if more:
            warnings.warn(
                f"The structure of `inputs` doesn't match the expected structure: model '{model.name}' has "
                f"the inputs {list(graph.inputs)}, and of the data {more} are left out.",
                stacklevel=2,
            )
        inputs = {key: inputs[key] for key in graph.inputs}
        flat = leaves_and_none(inputs)
    else:
        flat = leaves_and_none(inputs)
    if len(flat) != len(names):
        raise ValueError(
            f"Model '{model.name}' expects {len(names)} input(s) ({', '.join(names)}), but it received "
            f"{len(flat)} input tensors, of shapes {[np.shape(v) for v in flat]}."
        )
    by_name = isinstance(inputs, dict) and not isinstance(graph.inputs, dict)
    if not by_name and _form(inputs) != _form(graph.inputs):
        _warn_of_structure(model, inputs)
    return [
        _fit(model, value, symbol, i)
        for i, (value, symbol) in enumerate(zip(flat, graph.flat_inputs, strict=True))
    ]


def _form(structure):
    """What has to agree between two structures: lists and tuples are the same, and leaves have no form."""
    if isinstance(structure, list | tuple):
        return [_form(each) for each in structure]
    if isinstance(structure, dict):
        return {key: _form(value) for key, value in structure.items()}
    return None


def _warn_of_structure(model, inputs) -> None:
    """Say that values go to the inputs in their order, as their structure does not say to which."""
    expected = model._graph.inputs
    if isinstance(expected, dict):
        what = f"a dict with the keys {list(expected)}"
    elif len(model.input_names) == 1:
        return  # One array and a list of it mean the same.
    else:
        what = str(_shown(expected, lambda tensor: tensor.name))
    said = (
        f"The structure of `inputs` doesn't match the expected structure of model '{model.name}'.\n"
        f"Expected: {what}\n"
        f"Received: {_shown(inputs, lambda value: f'array of shape {np.shape(value)}')}"
    )
    if (
        isinstance(expected, dict)
        and not isinstance(inputs, dict)
        and list(expected) != sorted(expected)
    ):
        raise ValueError(f"{said}\nWhich of them is which input is not clear. Pass a dict.")
    warnings.warn(f"{said}\nThey are taken in this order.", stacklevel=2)


def _shown(structure, shown):
    return jax.tree.map(
        lambda leaf: None if leaf is None else shown(leaf),
        structure,
        is_leaf=lambda leaf: leaf is None,
    )


def _fit(model, value, symbol: KerasTensor, index: int):
    if value is None:
        source = node_of(symbol).operation
        if not getattr(source, "optional", False):
            raise ValueError(
                f"Model '{model.name}': the input '{source.name}' is not optional, but None was "
                "passed. Pass an array, or make it with `Input(…, optional=True)`."
            )
        return None
    expected, shape = symbol.shape, tuple(value.shape)
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        value = value[..., None]
    elif len(shape) == len(expected) + 1 and shape[-1] == 1:
        value = value[..., 0]
    # The batch may have any size, as in Keras: a model remembers the one that it was built with.
    fits = len(value.shape) == len(expected) and (
        model._takes_other_sizes
        or all(e is None or s == e for s, e in zip(value.shape[1:], expected[1:], strict=True))
    )
    if not fits:
        raise ValueError(
            f'Input {index} of layer "{model.name}" is incompatible with the layer: expected '
            f"shape={expected}, found shape={shape}{_hint_of_shapes(expected, shape)}"
        )
    is_text = (
        not isinstance(value, jax.Array) and getattr(value, "dtype", np.dtype(int)).kind in "OSUT"
    )
    if is_text or symbol.dtype == "string":
        if is_text and symbol.dtype == "string":
            return value
        raise TypeError(
            f"Model '{model.name}': its input '{node_of(symbol).operation.name}' has dtype="
            f"{symbol.dtype!r}, and {'text' if is_text else f'an array of {value.dtype}'} was passed."
        )
    compute = jax.dtypes.canonicalize_dtype(symbol.dtype)
    # Mixed precision has already converted the floats; anything else becomes what the input is, and so do
    # floats for an input that has a dtype of its own.
    both_float = is_float(value.dtype) and is_float(compute) and symbol.dtype == floatx()
    if value.dtype == compute or both_float:
        return value
    check_real(value, compute)
    return value.astype(compute)


def leaves_and_none(structure) -> list:
    return jax.tree.leaves(structure, is_leaf=lambda leaf: leaf is None)


def _hint_of_shapes(expected: tuple, shape: tuple) -> str:
    """What is often forgotten."""
    if _fits(expected[1:], shape):
        meant = f" The shape of an `Input` is without the batch: Input({expected[2:]})?"
        return (
            ". The first axis is the batch: for one example pass x[None], which is a batch of one."
            + meant * (len(shape) == 2)
        )
    if _fits(expected[:-1], shape):
        return (
            f". The last axis is missing, the channels: for {expected[-1]} equal ones pass "
            f"np.repeat(x[..., None], {expected[-1]}, -1), or make the model's `Input` for one."
        )
    if len(expected) == len(shape) + 1 and _fits(expected[2:], shape[1:]):
        return f". The shape of an `Input` is without the batch: Input({expected[2:]})."
    if len(expected) == len(shape) == 4 and _fits((None, *expected[-1:], *expected[1:-1]), shape):
        return ". The channels come last: np.moveaxis(x, 1, -1)."
    return ""


def _fits(expected: tuple, shape: tuple) -> bool:
    return len(expected) == len(shape) and all(
        e is None or s is None or e == s for e, s in zip(expected, shape, strict=True)
    )
