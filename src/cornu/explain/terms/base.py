"""What one value is made of, and its description."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


class Step(NamedTuple):
    """A step after the products: what it is, how it is computed, and what comes out."""

    name: str
    formula: str
    value: float


@dataclass
class Terms:
    """What one value of an output is made of.

    Args:
        values: what the layer read: float64, `(*window, channels)` for a window, else of any shape.
        weights: what each of them was multiplied with, of the same shape; None if nothing was.
        inside: False where padding was read.
        steps: what was done then; the last step's value is the result.
        axes: names of the axes of `values`.
        origin: the input position of the first value along each spatial axis; negative in the padding.
        reach: distance in the input between neighbouring values along each spatial axis.
        first_channel: which channel of the input the first channel of `values` is.
    """

    values: np.ndarray
    weights: np.ndarray | None
    steps: list[Step]
    axes: tuple[str, ...]
    inside: np.ndarray = field(default_factory=lambda: np.ones((), bool))
    origin: tuple[int, ...] = ()
    reach: tuple[int, ...] = ()
    first_channel: int = 0

    def __post_init__(self):
        self.inside = np.broadcast_to(self.inside, self.values.shape)

    @property
    def products(self) -> np.ndarray:
        """Value times weight."""
        return self.values if self.weights is None else self.values * self.weights


SPATIAL = {1: ("step",), 2: ("row", "column"), 3: ("depth", "row", "column")}


def show(number: float) -> str:
    """A number in a few digits.

    >>> show(0.123456), show(-2.0), show(1e-9)
    ('0.1235', '-2', '1e-09')
    """
    return f"{float(number) + 0.0:.4g}"


def exact(number: float) -> str:
    """A number in as many digits as float32 has.

    >>> exact(0.1234567890)
    '0.1234568'
    """
    return f"{float(number) + 0.0:.7g}"


def channels_last(layer, array) -> np.ndarray:
    """One example (or a batch) of a layer's data as float64, with channels last."""
    array = np.asarray(jnp.asarray(array, jnp.float32), np.float64)
    if getattr(layer, "data_format", "channels_last") == "channels_first" and hasattr(
        layer, "rank"
    ):
        array = np.moveaxis(array, 1, -1)
    return array


def weights_of(variable) -> np.ndarray:
    """The values of a variable, or of an array in its place, as float64."""
    value = getattr(variable, "value", variable)
    return np.asarray(jnp.asarray(value, jnp.float32), np.float64)


def along(layer, inputs, index) -> tuple[np.ndarray, tuple]:
    """All values along a layer's axes at an index, and the index among them."""
    x = channels_last(layer, inputs)[0]
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    axes = sorted(a % (x.ndim + 1) - 1 for a in axes)
    values = x[tuple(slice(None) if a in axes else index[a] for a in range(x.ndim))]
    return values, tuple(index[a] for a in axes)
