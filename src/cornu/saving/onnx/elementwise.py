"""Elementwise operations."""

import numpy as np

from cornu.saving.onnx.builder import Builder, Unsupported, Value, converts, onnx_type

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
    if not full:
        return [b.text(v) for v in values]
    if all(v.name in b.arrays for v in full):
        return [v.name for v in values]
    return [_as_vector(b, v.name) for v in values]


def _as_vector(b: Builder, name: str) -> str:
    """A constant without leading sizes of 1, as tools expect a bias; the other operand has as many axes."""
    array = b.arrays.get(name)
    if array is None or array.ndim < 2 or array.shape[0] != 1:
        return name
    first = next((i for i, size in enumerate(array.shape) if size != 1), array.ndim - 1)
    return b.constant(array.reshape(array.shape[first:]))


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
    return b.node("Cast", b.text(x), to=onnx_type(e.params["new_dtype"]))
