"""Batch normalization by constants, and softmax."""

import numpy as np

from cornu.saving.onnx.builder import Builder, converts
from cornu.saving.onnx.windows import channels_first, channels_last


@converts("cornu_softmax")
def _softmax(b: Builder, e, x):
    return b.node("Softmax", b.text(x), axis=-1)


# With it, float32 loses 6e-6 of a standard deviation.
_MOST_SHIFT = 100


@converts("cornu_affine")
def _affine(b: Builder, e, x, center, scale, offset):
    """A node for which runtimes have a name, and which they fold into the convolution before it.

    They compute `x * scale + (offset - center * scale)`. Where the shift is large, that would cancel.
    """
    rank = len(x.sizes) - 2
    vectors = (center, scale, offset)
    numbers = [b.arrays[v.name] for v in vectors if v.name in b.arrays and len(v.sizes) == 1]
    if rank >= 1 and len(numbers) == 3 and np.abs(numbers[0] * numbers[1]).max() <= _MOST_SHIFT:
        one = b.constant(np.ones_like(numbers[0]))
        given = (channels_first(b, x), scale.name, offset.name, center.name, one)
        return channels_last(b, b.node("BatchNormalization", *given, epsilon=0.0), rank)
    name = b.node("Mul", b.node("Sub", b.text(x), b.text(center)), b.text(scale))
    return b.node("Add", name, b.text(offset))
