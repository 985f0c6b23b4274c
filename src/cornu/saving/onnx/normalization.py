"""Batch normalization by constants, and softmax."""

from cornu.saving.onnx.builder import Builder, converts


@converts("cornu_softmax")
def _softmax(b: Builder, e, x):
    return b.node("Softmax", b.text(x), axis=-1)


@converts("cornu_affine")
def _affine(b: Builder, e, x, center, scale, offset):
    name = b.node("Mul", b.node("Sub", b.text(x), b.text(center)), b.text(scale))
    return b.node("Add", name, b.text(offset))
