"""A model as an ONNX graph: the operations of its traced prediction, one after the other.

The prediction is traced for two numbers of examples. Both programs have the same operations; sizes that
differ between the two depend on the number of examples, and are worked out by the graph when it runs. What
does not depend on the input is computed now and becomes a constant.

Source: ONNX Operators, version 18 of the default set.
"""

import string
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np

from cornu.core.symbolic import struct

OPSET = 18
_PROBES = (6, 10)


class Unsupported(ValueError):
    """An operation that ONNX cannot say, or this module does not know."""


class Value(NamedTuple):
    """A result: its name, its sizes for both probes; a `small` one is still to be expanded to them."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    dtype: Any
    small: bool = False


class Builder:
    """Collects nodes and constants."""

    def __init__(self):
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self.nodes: list = []
        self.constants: list = []
        self._count = 0
        self.batch: str | None = None

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes) -> str:
        """Add a node; returns the name of its first result."""
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(self._helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def constant(self, value) -> str:
        """Add an array."""
        name = self.name()
        self.constants.append(self._numpy.from_array(np.asarray(value), name))
        return name

    def integers(self, numbers) -> str:
        return self.constant(np.array(list(numbers), np.int64))

    def shape(self, sizes) -> str:
        """A shape, of which sizes may depend on the number of examples."""
        if all(a == b for a, b in sizes):
            return self.integers(a for a, _ in sizes)
        parts = []
        for a, b in sizes:
            if a == b:
                parts.append(self.integers([a]))
                continue
            times = factor(a, b)
            count = self.batch or ""
            parts.append(count if times == 1 else self.node("Mul", count, self.integers([times])))
        return self.node("Concat", *parts, axis=0)

    def text(self, value: Value) -> str:
        """The name of a value of its full shape."""
        if not value.small:
            return value.name
        return self.node("Expand", value.name, self.shape(value.sizes))

    def reshaped(self, name: str, sizes) -> str:
        """A reshape; at most one size may depend on the number of examples."""
        moving = [i for i, (a, b) in enumerate(sizes) if a != b]
        if len(moving) > 1:
            return self.node("Reshape", name, self.shape(sizes))
        shape = self.integers(-1 if i in moving else a for i, (a, _) in enumerate(sizes))
        return self.node("Reshape", name, shape)


def factor(a: int, b: int) -> int:
    """How many times the number of examples a size is."""
    times, rest = divmod(a, _PROBES[0])
    if rest or times * _PROBES[1] != b:
        raise Unsupported("a size that is no multiple of the number of examples")
    return times


# ---- the converters: (builder, equation, values) -> names of results, or constants

CONVERTERS: dict[str, Callable] = {}


def converts(*names: str) -> Callable:
    def decorate(function):
        CONVERTERS.update(dict.fromkeys(names, function))
        return function

    return decorate


_UNARY = {
    "neg": "Neg",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "erf": "Erf",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "not": "Not",
    "cornu_relu": "Relu",
    "stop_gradient": "Identity",
    "copy": "Identity",
    "copy_p": "Identity",
    "optimization_barrier": "Identity",
}
_BINARY = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "max": "Max",
    "min": "Min",
    "and": "And",
    "or": "Or",
    "xor": "Xor",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
    "eq": "Equal",
}


@converts(*_UNARY)
def _unary(b: Builder, e, x):
    return b.node(_UNARY[e.primitive.name], b.text(x))


def _operands(b: Builder, e, *values: Value) -> list[str]:
    """Names of operands; those that are to be expanded are left to the operation, if another is full."""
    full = [v for v in values if not v.small]
    return [v.name if full else b.text(v) for v in values]


@converts(*_BINARY)
def _binary(b: Builder, e, x, y):
    kind = _BINARY[e.primitive.name]
    if kind == "Div" and np.issubdtype(x.dtype, np.integer):
        # Both round towards zero.
        return b.node(kind, *_operands(b, e, x, y))
    if kind in ("And", "Or", "Xor") and x.dtype != bool:
        raise Unsupported("arithmetic of bits")
    return b.node(kind, *_operands(b, e, x, y))


@converts("ne")
def _not_equal(b: Builder, e, x, y):
    return b.node("Not", b.node("Equal", *_operands(b, e, x, y)))


@converts("rem")
def _rem(b: Builder, e, x, y):
    return b.node("Mod", *_operands(b, e, x, y), fmod=1)


@converts("square")
def _square(b: Builder, e, x):
    return b.node("Mul", b.text(x), b.text(x))


@converts("integer_pow")
def _integer_pow(b: Builder, e, x):
    return b.node("Pow", b.text(x), b.constant(np.array(e.params["y"], x.dtype)))


@converts("rsqrt")
def _rsqrt(b: Builder, e, x):
    return b.node("Reciprocal", b.node("Sqrt", b.text(x)))


@converts("expm1")
def _expm1(b: Builder, e, x):
    return b.node("Sub", b.node("Exp", b.text(x)), b.constant(np.array(1, x.dtype)))


@converts("log1p")
def _log1p(b: Builder, e, x):
    return b.node("Log", b.node("Add", b.text(x), b.constant(np.array(1, x.dtype))))


@converts("exp2")
def _exp2(b: Builder, e, x):
    return b.node("Pow", b.constant(np.array(2, x.dtype)), b.text(x))


@converts("erfc")
def _erfc(b: Builder, e, x):
    return b.node("Sub", b.constant(np.array(1, x.dtype)), b.node("Erf", b.text(x)))


@converts("round")
def _round(b: Builder, e, x):
    if "EVEN" not in str(e.params["rounding_method"]):
        raise Unsupported("rounding away from zero")
    return b.node("Round", b.text(x))


@converts("is_finite")
def _is_finite(b: Builder, e, x):
    name = b.text(x)
    return b.node("Not", b.node("Or", b.node("IsInf", name), b.node("IsNaN", name)))


@converts("select_n")
def _select(b: Builder, e, which, *cases):
    if which.dtype != bool or len(cases) != 2:
        raise Unsupported("a choice between more than two")
    return b.node("Where", b.text(which), b.text(cases[1]), b.text(cases[0]))


@converts("clamp")
def _clamp(b: Builder, e, low, x, high):
    return b.node("Min", b.node("Max", b.text(x), b.text(low)), b.text(high))


@converts("convert_element_type")
def _cast(b: Builder, e, x):
    return b.node("Cast", b.text(x), to=_onnx_type(e.params["new_dtype"]))


@converts("reshape", "squeeze", "expand_dims")
def _reshape(b: Builder, e, x):
    return b.reshaped(b.text(x), e.sizes)


@converts("broadcast_in_dim")
def _broadcast(b: Builder, e, x):
    ones = [(1, 1)] * len(e.sizes)
    for axis, size in zip(e.params["broadcast_dimensions"], x.sizes, strict=True):
        ones[axis] = size
    name = b.text(x) if ones == list(x.sizes) else b.reshaped(b.text(x), ones)
    return Value(name, e.sizes, x.dtype, small=ones != list(e.sizes))


@converts("transpose")
def _transpose(b: Builder, e, x):
    return b.node("Transpose", b.text(x), perm=list(e.params["permutation"]))


@converts("concatenate")
def _concatenate(b: Builder, e, *xs):
    return b.node("Concat", *map(b.text, xs), axis=e.params["dimension"])


@converts("slice")
def _slice(b: Builder, e, x):
    starts, ends, axes, steps = [], [], [], []
    strides = e.params["strides"] or (1,) * len(x.sizes)
    for axis, (size, result) in enumerate(zip(x.sizes, e.sizes, strict=True)):
        if size == result:
            continue
        if size[0] != size[1]:
            raise Unsupported("a part of the examples")
        starts.append(e.params["start_indices"][axis])
        ends.append(e.params["limit_indices"][axis])
        axes.append(axis)
        steps.append(strides[axis])
    if not axes:
        return b.text(x)
    return b.node("Slice", b.text(x), *map(b.integers, (starts, ends, axes, steps)))


@converts("rev")
def _rev(b: Builder, e, x):
    axes = e.params["dimensions"]
    many = len(axes)
    parts = ([-1] * many, [-(2**62)] * many, axes, [-1] * many)
    return b.node("Slice", b.text(x), *map(b.integers, parts))


@converts("pad")
def _pad(b: Builder, e, x, value):
    before, after, between = zip(*e.params["padding_config"], strict=True)
    if any(between):
        raise Unsupported("padding between the elements")
    # Negative amounts cut off, which ONNX allows as well.
    return b.node("Pad", b.text(x), b.integers([*before, *after]), b.text(value), mode="constant")


_REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_and": "ReduceMin",
    "reduce_or": "ReduceMax",
}


@converts(*_REDUCTIONS)
def _reduce(b: Builder, e, x):
    name, axes = b.text(x), b.integers(e.params["axes"])
    if x.dtype == bool:
        name = b.node("Cast", name, to=_onnx_type(np.int32))
    name = b.node(_REDUCTIONS[e.primitive.name], name, axes, keepdims=0)
    return b.node("Cast", name, to=_onnx_type(bool)) if x.dtype == bool else name


@converts("argmax", "argmin")
def _argmax(b: Builder, e, x):
    kind = "ArgMax" if e.primitive.name == "argmax" else "ArgMin"
    name = b.node(kind, b.text(x), axis=e.params["axes"][0], keepdims=0)
    return b.node("Cast", name, to=_onnx_type(e.params["index_dtype"]))


@converts("cumsum")
def _cumsum(b: Builder, e, x):
    reverse = int(e.params["reverse"])
    axis = b.constant(np.array(e.params["axis"], np.int64))
    return b.node("CumSum", b.text(x), axis, reverse=reverse)


@converts("dot_general")
def _dot(b: Builder, e, x, y):
    (x_sum, y_sum), (x_batch, y_batch) = e.params["dimension_numbers"]
    letters = iter(string.ascii_lowercase)
    x_letters = [next(letters) for _ in x.sizes]
    y_letters = [next(letters) for _ in y.sizes]
    for i, j in (*zip(x_sum, y_sum, strict=True), *zip(x_batch, y_batch, strict=True)):
        y_letters[j] = x_letters[i]
    free = [x_letters[i] for i in range(len(x.sizes)) if i not in (*x_sum, *x_batch)]
    free += [y_letters[j] for j in range(len(y.sizes)) if j not in (*y_sum, *y_batch)]
    result = [x_letters[i] for i in x_batch] + free
    if not x_batch and x_sum == (len(x.sizes) - 1,) and y_sum == (0,) and len(y.sizes) == 2:
        return b.node("MatMul", b.text(x), b.text(y))
    equation = f"{''.join(x_letters)},{''.join(y_letters)}->{''.join(result)}"
    return b.node("Einsum", b.text(x), b.text(y), equation=equation)


@converts("gather")
def _gather(b: Builder, e, x, indices):
    numbers, taken = e.params["dimension_numbers"], e.params["slice_sizes"]
    axes = numbers.start_index_map
    rank, own = len(x.sizes), len(indices.sizes) - 1
    wanted = [1 if axis in axes else size for axis, (size, _) in enumerate(x.sizes)]
    places = tuple(range(axes[0])) + tuple(range(axes[0] + own, rank - 1 + own)) if axes else ()
    plain = (
        len(axes) == 1
        and numbers.collapsed_slice_dims == axes
        and not numbers.operand_batching_dims
    )
    if not plain or list(taken) != wanted or numbers.offset_dims != places:
        raise Unsupported("gathering of more than whole entries along one axis")
    which = b.reshaped(b.text(indices), indices.sizes[:-1])
    return b.node("Gather", b.text(x), which, axis=axes[0])


# ---- windows


def _first(rank: int) -> list[int]:
    return [0, rank + 1, *range(1, rank + 1)]


def _last(rank: int) -> list[int]:
    return [0, *range(2, rank + 2), 1]


def _windowed(geometry) -> dict:
    before, after = zip(*geometry.padding, strict=True)
    return {
        "kernel_shape": list(geometry.window),
        "strides": list(geometry.strides),
        "dilations": list(geometry.dilation),
        "pads": [*before, *after],
    }


@converts("cornu_convolution")
def _convolution(b: Builder, e, image, kernel):
    g = e.params["geometry"]
    rank = len(g.size)
    if not rank:
        return b.node("MatMul", b.text(image), b.text(kernel))
    if min(amount for pair in g.padding for amount in pair) < 0:
        raise Unsupported("a convolution that leaves out the edge of its image")
    image_name = b.node("Transpose", b.text(image), perm=_first(rank))
    weights = b.node("Transpose", b.text(kernel), perm=[rank + 1, rank, *range(rank)])
    name = b.node("Conv", image_name, weights, group=g.groups, **_windowed(g))
    return b.node("Transpose", name, perm=_last(rank))


@converts("cornu_input_gradient")
def _transposed(b: Builder, e, gradient, kernel):
    g = e.params["geometry"]
    rank, outputs = len(g.size), g.output
    if min(before for before, _ in g.padding) < 0:
        raise Unsupported("a convolution that leaves out the beginning of its image")
    g = g._replace(padding=tuple((before, max(after, 0)) for before, after in g.padding))
    # What is left at the end: ONNX adds less than a stride of it, the rest are zeros.
    more = [
        size - ((n - 1) * s + (w - 1) * d + 1 - before - after)
        for size, n, s, w, d, (before, after) in zip(
            g.size, outputs, g.strides, g.window, g.dilation, g.padding, strict=True
        )
    ]
    added = [min(n, s - 1) for n, s in zip(more, g.strides, strict=True)]
    name = b.node("Transpose", b.text(gradient), perm=_first(rank))
    weights = b.node("Transpose", b.text(kernel), perm=[rank + 1, rank, *range(rank)])
    how = {"output_padding": added, "group": g.groups, **_windowed(g)}
    name = b.node("ConvTranspose", name, weights, **how)
    if added != more:
        rest = [n - m for n, m in zip(more, added, strict=True)]
        name = b.node("Pad", name, b.integers([0] * (rank + 2) + [0, 0, *rest]), mode="constant")
    return b.node("Transpose", name, perm=_last(rank))


@converts("cornu_max_pool")
def _max_pool(b: Builder, e, x):
    g = e.params["geometry"]
    name = b.node("Transpose", b.text(x), perm=_first(len(g.size)))
    name = b.node("MaxPool", name, **_windowed(g))
    # The second result, which place has won, is for training.
    return [b.node("Transpose", name, perm=_last(len(g.size))), None]


@converts("cornu_sum_pool")
def _sum_pool(b: Builder, e, x):
    g = e.params["geometry"]
    if any(d != 1 for d in g.dilation):
        raise Unsupported("average pooling with dilation")
    how = {key: value for key, value in _windowed(g).items() if key != "dilations"}
    name = b.node("Transpose", b.text(x), perm=_first(len(g.size)))
    name = b.node("AveragePool", name, count_include_pad=1, **how)
    name = b.node("Mul", name, b.constant(np.array(np.prod(g.window), x.dtype)))
    return b.node("Transpose", name, perm=_last(len(g.size)))


@converts("cornu_softmax")
def _softmax(b: Builder, e, x):
    return b.node("Softmax", b.text(x), axis=-1)


@converts("cornu_affine")
def _affine(b: Builder, e, x, center, scale, offset):
    name = b.node("Mul", b.node("Sub", b.text(x), b.text(center)), b.text(scale))
    return b.node("Add", name, b.text(offset))


# ---- the program


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


def _inner(equation):
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in equation.params:
            inner = equation.params[key]
            return inner if hasattr(inner, "consts") else jex.ClosedJaxpr(inner, ())
    raise Unsupported(f"the call {equation.primitive.name}")


def _run(b: Builder, first, second, arguments: list) -> list:
    """The results of a program; `first` and `second` are it for the two numbers of examples."""
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
        if name in _INLINED:
            results = _run(b, _inner(one), _inner(two), values)
        elif all(isinstance(v, np.ndarray) for v in values) and _is_fixed(sizes):
            found = one.primitive.bind(*values, **one.params)
            results = found if one.primitive.multiple_results else [found]
            results = [np.asarray(r) for r in results]
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


def _onnx_type(dtype) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def onnx_model(function, specs: list, input_names: list[str], output_names: list[str], batch=None):
    """The ONNX model of a function of arrays.

    Args:
        function: takes the arrays in a list, returns arrays in a list.
        specs: for each input its shape without the examples, and its dtype.
        input_names, output_names: names in the graph.
        batch: number of examples; None for any.
    """
    from onnx import checker, helper

    b = Builder()
    counts = _PROBES if batch is None else (batch, batch)
    programs = [
        jax.make_jaxpr(function)([struct((n, *shape), dtype) for shape, dtype in specs])
        for n in counts
    ]
    inputs, arguments = [], []
    for name, (shape, dtype) in zip(input_names, specs, strict=True):
        sizes = (counts, *((n, n) for n in shape))
        arguments.append(Value(name, sizes, np.dtype(dtype)))
        inputs.append(
            helper.make_tensor_value_info(name, _onnx_type(dtype), [batch or "batch", *shape])
        )
    if batch is None:
        b.batch = b.node("Shape", input_names[0], start=0, end=1)
    results = [_value(b, r) for r in _run(b, programs[0], programs[1], arguments)]
    outputs = []
    for name, value in zip(output_names, results, strict=True):
        b.nodes.append(helper.make_node("Identity", [b.text(value)], [name]))
        shape = [a if a == c else "batch" if factor(a, c) == 1 else None for a, c in value.sizes]
        outputs.append(helper.make_tensor_value_info(name, _onnx_type(value.dtype), shape))
    graph = helper.make_graph(b.nodes, "cornu", inputs, outputs, b.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cornu", ir_version=10
    )
    checker.check_model(model)
    return model
