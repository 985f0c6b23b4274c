"""Flattening: a number is where it was in the maps."""

import numpy as np

from cornu.explain.observe import channel_axis
from cornu.explain.terms.base import Step, Terms
from cornu.explain.terms.dispatch import terms_of
from cornu.layers.reshaping import Flatten


@terms_of.register
def _(layer: Flatten, inputs, index):
    maps = np.moveaxis(np.asarray(inputs, np.float64), channel_axis(layer, inputs.ndim), -1)[0]
    value = float(maps.reshape(-1)[index[0]])
    *position, channel = map(int, np.unravel_index(index[0], maps.shape or (1,)))
    where = f"({', '.join(map(str, position))}), channel {channel}" if position else str(channel)
    steps = [Step("as it is", f"its input at {where}", value)]
    return Terms(np.array([value]), np.ones(1), steps, ("input",))
