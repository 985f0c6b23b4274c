"""Convolution and pooling. ONNX has channels first, and the primitives have them last."""

import numpy as np

from cornu.ops.windows import Geometry
from cornu.saving.onnx.builder import Builder, Unsupported, Value, converts


def channels_first(b: Builder, x: Value) -> str:
    rank = len(x.sizes) - 2
    return b.node("Transpose", b.text(x), perm=[0, rank + 1, *range(1, rank + 1)])


def channels_last(b: Builder, name: str, rank: int) -> str:
    return b.node("Transpose", name, perm=[0, *range(2, rank + 2), 1])


def _weights(b: Builder, kernel: Value) -> str:
    rank = len(kernel.sizes) - 2
    return b.node("Transpose", b.text(kernel), perm=[rank + 1, rank, *range(rank)])


def _attributes(geometry: Geometry) -> dict:
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
    given = channels_first(b, image), _weights(b, kernel)
    return channels_last(b, b.node("Conv", *given, group=g.groups, **_attributes(g)), rank)


@converts("cornu_input_gradient")
def _transposed_convolution(b: Builder, e, gradient, kernel):
    g = e.params["geometry"]
    rank, outputs = len(g.size), g.output
    if min(before for before, _ in g.padding) < 0:
        raise Unsupported("a convolution that leaves out the beginning of its image")
    g = g._replace(padding=tuple((before, max(after, 0)) for before, after in g.padding))
    # What is left at the end: ONNX adds less than a stride of it, the rest are zeros.
    more = [
        size - ((n - 1) * s + extent - before - after)
        for size, n, s, extent, (before, after) in zip(
            g.size, outputs, g.strides, g.extent, g.padding, strict=True
        )
    ]
    added = [min(n, s - 1) for n, s in zip(more, g.strides, strict=True)]
    how = {"output_padding": added, "group": g.groups, **_attributes(g)}
    name = b.node("ConvTranspose", channels_first(b, gradient), _weights(b, kernel), **how)
    if added != more:
        rest = [n - m for n, m in zip(more, added, strict=True)]
        name = b.node("Pad", name, b.integers([0] * (rank + 2) + [0, 0, *rest]), mode="constant")
    return channels_last(b, name, rank)


@converts("cornu_max_pool")
def _max_pool(b: Builder, e, x):
    g = e.params["geometry"]
    name = b.node("MaxPool", channels_first(b, x), **_attributes(g))
    # The second result, the argmax, is for training.
    return [channels_last(b, name, len(g.size)), None]


@converts("reduce_window_max")
def _max_pool_of_any_window(b: Builder, e, x):
    """What the layers compute with windows of one or very many pixels, and of integers."""
    p = e.params
    window, strides, padding = (p[k] for k in ("window_dimensions", "window_strides", "padding"))
    rank = len(x.sizes) - 2
    ones = (1,) * len(x.sizes)
    of_others = [w for w in (0, -1) if (window[w], strides[w], padding[w]) != (1, 1, (0, 0))]
    if rank < 1 or of_others or (p["base_dilation"], p["window_dilation"]) != (ones, ones):
        raise Unsupported("a largest number of windows other than a pooling layer's")
    if np.dtype(x.dtype).kind != "f":
        raise Unsupported(f"max-pooling of {x.dtype}")
    before, after = zip(*padding[1:-1], strict=True)
    how = {"kernel_shape": window[1:-1], "strides": strides[1:-1], "pads": [*before, *after]}
    return channels_last(b, b.node("MaxPool", channels_first(b, x), **how), rank)


@converts("cornu_sum_pool")
def _sum_pool(b: Builder, e, x):
    g = e.params["geometry"]
    if any(d != 1 for d in g.dilation):
        raise Unsupported("average pooling with dilation")
    how = {key: value for key, value in _attributes(g).items() if key != "dilations"}
    name = b.node("AveragePool", channels_first(b, x), count_include_pad=1, **how)
    name = b.node("Mul", name, b.constant(np.array(np.prod(g.window), x.dtype)))
    return channels_last(b, name, len(g.size))
