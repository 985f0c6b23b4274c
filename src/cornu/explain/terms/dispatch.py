"""The terms of a value of any layer."""

import functools

from cornu.explain.terms.base import Terms
from cornu.explain.terms.linear import linear


@functools.singledispatch
def terms_of(layer, inputs, index: tuple[int, ...]) -> Terms:
    """The terms of one value.

    Args:
        layer: the layer.
        inputs: what it was called with: a batch of one example.
        index: the position and channel in the output: without the batch, the channel last.

    Raises NotImplementedError for a layer that is neither known nor linear.
    """
    return linear(layer, inputs, index)
