"""Terms of pooling: what a window holds."""

import math

import numpy as np

from cornu.explain.terms.base import Step, channels_last, show
from cornu.explain.terms.dispatch import terms_of
from cornu.explain.terms.patch import Patch, patch_of
from cornu.layers.adaptive_pooling import BaseAdaptivePooling
from cornu.layers.pooling import BaseGlobalMaxPooling, BaseGlobalPooling, BasePooling
from cornu.ops.adaptive_pooling import pixels_read


def _reduced(kind: str, numbers: np.ndarray) -> Step:
    shown = ", ".join(map(show, numbers[:9])) + (", …" if len(numbers) > 9 else "")
    if kind == "max":
        return Step("maximum", f"max({shown})", float(numbers.max()))
    if kind == "average":
        mean = float(numbers.mean())
        return Step("mean", f"({shown.replace(', ', ' + ')}) / {len(numbers)}", mean)
    root = math.sqrt(float((numbers**2).sum()))
    return Step("root of the sum of squares", f"sqrt of the squares of {shown}", root)


@terms_of.register
def _(layer: BasePooling, inputs, index):
    *position, channel = index
    patch = patch_of(layer, inputs, position).channels(channel, 1)
    # Padding is never chosen, and does not count.
    inside = np.broadcast_to(patch.inside, patch.values.shape)
    return patch.terms(None, [_reduced(layer.operation, patch.values[inside])])


@terms_of.register
def _(layer: BaseAdaptivePooling, inputs, index):
    *position, channel = index
    image = channels_last(layer, inputs)[0]
    ranges = [
        pixels_read(place, place, n, size)
        for place, n, size in zip(position, image.shape, layer.output_size, strict=False)
    ]
    values = image[tuple(slice(first, last + 1) for first, last in ranges)]
    origin, ones = tuple(first for first, _ in ranges), (1,) * layer.rank
    patch = Patch(values, np.ones((), bool), origin, ones).channels(channel, 1)
    return patch.terms(None, [_reduced(layer.operation, patch.values.ravel())])


@terms_of.register
def _(layer: BaseGlobalPooling, inputs, index):
    ones, zeros = (1,) * layer.rank, (0,) * layer.rank
    patch = Patch(channels_last(layer, inputs)[0], np.ones((), bool), zeros, ones)
    patch = patch.channels(index[-1], 1)
    kind = "max" if isinstance(layer, BaseGlobalMaxPooling) else "average"
    return patch.terms(None, [_reduced(kind, patch.values.ravel())])
