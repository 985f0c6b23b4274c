"""What one window reads of an image."""

import functools
from typing import NamedTuple

import numpy as np

from cornu.explain.terms.base import SPATIAL, Step, Terms, channels_last
from cornu.layers.spatial import Spatial


class Patch(NamedTuple):
    """What a window reads: `values`, with zeros for padding, and where it is; see `Terms`."""

    values: np.ndarray
    inside: np.ndarray
    origin: tuple[int, ...]
    reach: tuple[int, ...]
    first_channel: int = 0

    def channels(self, first: int, count: int) -> "Patch":
        """Some of the channels."""
        return self._replace(values=self.values[..., first : first + count], first_channel=first)

    def terms(self, weights: np.ndarray | None, steps: list[Step]) -> Terms:
        """The terms of a value that is made of the whole patch."""
        axes = (*SPATIAL[len(self.origin)], "channel")
        return Terms(self.values, weights, steps, axes, *self[1:])


def patch_of(layer: Spatial, inputs, position) -> Patch:
    """What the window of an output position reads."""
    x, geometry = channels_last(layer, inputs)[0], layer.window(np.shape(inputs))
    positions = geometry.positions_read(position)
    each_inside = [(p >= 0) & (p < n) for p, n in zip(positions, geometry.size, strict=True)]
    inside = functools.reduce(np.logical_and.outer, each_inside)[..., None]
    clipped = [np.clip(p, 0, n - 1) for p, n in zip(positions, geometry.size, strict=True)]
    values = np.where(inside, x[np.ix_(*clipped)], 0.0)
    return Patch(values, inside, tuple(int(p[0]) for p in positions), geometry.dilation)
