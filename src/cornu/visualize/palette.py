"""The colours of all pictures, each with one meaning, as on the page of `cornu explore`."""

import functools

import numpy as np

# Text and lines; what is chosen; a quiet line.
INK, ACCENT, LINE = "#1a1c1e", "#00756a", "#868c93"

# From the most negative by zero to the most positive; equally far from zero, they are equally light.
_NEGATIVE = ("#470188", "#6732b2", "#8d65d8", "#b39aed", "#dbd1f8")
_POSITIVE = ("#f3d0b4", "#e29858", "#bb6802", "#824704", "#542c02")
ZERO = "#f7f7f7"
# Of bars and other areas.
PURPLE, ORANGE = _NEGATIVE[2], _POSITIVE[2]


@functools.cache
def signed():
    """Matplotlib's colour map from purple, which is negative, by zero to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = [*_NEGATIVE, ZERO, *_POSITIVE]
    return LinearSegmentedColormap.from_list("cornu", colours).with_extremes(bad="white")


def is_dark(value: float, scale: float) -> bool:
    """Whether the colour of a value needs white text on it."""
    return abs(value) > 0.6 * scale


def largest(values) -> float:
    """The end of a scale from minus to plus this; never 0."""
    values = np.abs(np.asarray(values, float))
    return max(float(np.max(values, where=np.isfinite(values), initial=0)), 1e-30)
