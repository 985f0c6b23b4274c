"""One value of a layer's output as arithmetic: what the layer read, its weights, and how both combine.

One function for each kind of layer, chosen by its class. All arithmetic is in float64.
"""

# Each of these defines the terms of one family of layers.
from cornu.explain.terms import (  # noqa: F401
    activation,
    convolution,
    dense,
    merging,
    normalization,
    pooling,
    reshaping,
)
from cornu.explain.terms.base import Terms, channels_last, show
from cornu.explain.terms.dispatch import terms_of

__all__ = ["Terms", "channels_last", "show", "terms_of"]
