"""Reductions, and cumulative operations along an axis."""

import numpy as np

from cornu.saving.onnx.builder import Builder, converts, onnx_type

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
        name = b.node("Cast", name, to=onnx_type(np.int32))
    name = b.node(_REDUCTIONS[e.primitive.name], name, axes, keepdims=0)
    return b.node("Cast", name, to=onnx_type(bool)) if x.dtype == bool else name


@converts("argmax", "argmin")
def _argmax(b: Builder, e, x):
    kind = "ArgMax" if e.primitive.name == "argmax" else "ArgMin"
    name = b.node(kind, b.text(x), axis=e.params["axes"][0], keepdims=0)
    return b.node("Cast", name, to=onnx_type(e.params["index_dtype"]))


@converts("cumsum")
def _cumsum(b: Builder, e, x):
    reverse = int(e.params["reverse"])
    axis = b.constant(np.array(e.params["axis"], np.int64))
    return b.node("CumSum", b.text(x), axis, reverse=reverse)
