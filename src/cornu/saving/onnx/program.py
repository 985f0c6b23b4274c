"""A traced prediction, operation by operation, and the model around it."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np

from cornu.core.symbolic import struct
from cornu.ops import attention
from cornu.saving.onnx.builder import (
    CONVERTERS,
    PROBES,
    Builder,
    Unsupported,
    Value,
    factor,
    onnx_type,
)

OPSET = 18


class _Equation(NamedTuple):
    primitive: Any
    params: dict
    sizes: tuple


_INLINED = (
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "remat",
    "checkpoint",
)


# Operations in terms of others.
_IN_OTHERS = {
    "cornu_attention": lambda query, key, value, mask, scale: [
        attention.output_of(query, key, value, mask, scale)
    ],
}


def _inner(equation):
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in equation.params:
            inner = equation.params[key]
            return inner if hasattr(inner, "consts") else jex.ClosedJaxpr(inner, ())
    raise Unsupported(f"the call {equation.primitive.name}")


def _run(b: Builder, first, second, arguments: list) -> list[Any]:
    """The results of a program; `first` and `second` are the program traced for the two batch sizes."""
    known: dict = {}

    def read(atom):
        return np.asarray(atom.val) if isinstance(atom, jex.Literal) else known[atom]

    known.update(zip(first.jaxpr.constvars, map(np.asarray, first.consts), strict=True))
    known.update(zip(first.jaxpr.invars, arguments, strict=True))
    for one, two in zip(first.jaxpr.eqns, second.jaxpr.eqns, strict=True):
        values = [read(atom) for atom in one.invars]
        name = one.primitive.name
        sizes = [
            tuple(zip(v.aval.shape, w.aval.shape, strict=True))
            for v, w in zip(one.outvars, two.outvars, strict=True)
        ]
        if any(getattr(v.aval, "dtype", None) == jax.numpy.bfloat16 for v in one.outvars):
            raise Unsupported("numbers in bfloat16, for which runtimes lack operations")
        if name in _INLINED:
            results = _run(b, _inner(one), _inner(two), values)
        elif all(isinstance(v, np.ndarray) for v in values) and _is_fixed(sizes):
            found = one.primitive.bind(*values, **one.params)
            results = found if one.primitive.multiple_results else [found]
            results = [np.asarray(r) for r in results]
        elif name in _IN_OTHERS:
            form = functools.partial(_IN_OTHERS[name], **one.params)
            inner = [
                jax.make_jaxpr(form)(*(struct(v.aval.shape, v.aval.dtype) for v in each.invars))
                for each in (one, two)
            ]
            results = _run(b, inner[0], inner[1], values)
            # What is kept for a gradient.
            results += [None] * (len(one.outvars) - len(results))
        elif name in CONVERTERS:
            equation = _Equation(one.primitive, one.params, sizes[0])
            found = CONVERTERS[name](b, equation, *(_value(b, v) for v in values))
            found = found if isinstance(found, list) else [found]
            results = [
                Value(r, size, np.dtype(v.aval.dtype)) if isinstance(r, str) else r
                for r, size, v in zip(found, sizes, one.outvars, strict=True)
            ]
        else:
            raise Unsupported(f"the operation {name.removeprefix('cornu_')!r}")
        known.update(zip(one.outvars, results, strict=True))
    return [read(atom) for atom in first.jaxpr.outvars]


def _is_fixed(all_sizes: list) -> bool:
    return all(a == b for sizes in all_sizes for a, b in sizes)


def _value(b: Builder, value) -> Value:
    if isinstance(value, np.ndarray):
        sizes = tuple((n, n) for n in value.shape)
        return Value(b.constant(value), sizes, value.dtype)
    return value


def _distinct(names: list[str], taken: list[str]) -> list[str]:
    """The names, with a number where one is taken or comes before."""
    found: list[str] = []
    for name in names:
        is_free = name not in (*taken, *found)
        numbered = (f"{name}_{n}" for n in itertools.count(1))
        others = {*taken, *names, *found}
        found.append(name if is_free else next(new for new in numbered if new not in others))
    return found


def onnx_model(function, specs: list, input_names: list[str], output_names: list[str], batch=None):
    """The ONNX model of a function of arrays.

    Args:
        function: takes the arrays in a list, returns arrays in a list.
        specs: for each input its shape without the examples, and its dtype.
        input_names, output_names: names in the graph; an output whose name is taken gets a number.
        batch: number of examples; None for any.
    """
    from onnx import checker, helper

    b = Builder()
    counts = PROBES if batch is None else (batch, batch)
    programs = [
        jax.make_jaxpr(function)([struct((n, *shape), dtype) for shape, dtype in specs])
        for n in counts
    ]
    inputs, arguments = [], []
    for name, (shape, dtype) in zip(input_names, specs, strict=True):
        sizes = (counts, *((n, n) for n in shape))
        arguments.append(Value(name, sizes, np.dtype(dtype)))
        inputs.append(
            helper.make_tensor_value_info(name, onnx_type(dtype), [batch or "batch", *shape])
        )
    if batch is None:
        b.batch = b.node("Shape", input_names[0], start=0, end=1)
    results = [_value(b, r) for r in _run(b, programs[0], programs[1], arguments)]
    outputs = []
    for name, value in zip(_distinct(output_names, input_names), results, strict=True):
        b.nodes.append(helper.make_node("Identity", [b.text(value)], [name]))
        shape = [a if a == c else "batch" if factor(a, c) == 1 else None for a, c in value.sizes]
        outputs.append(helper.make_tensor_value_info(name, onnx_type(value.dtype), shape))
    read = {name for node in b.nodes for name in node.input}
    constants = [constant for constant in b.constants if constant.name in read]
    graph = helper.make_graph(b.nodes, "cornu", inputs, outputs, constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cornu", ir_version=10
    )
    checker.check_model(model)
    return model
