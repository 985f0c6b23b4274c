"""Where on an input the output positions of a layer look."""

from typing import NamedTuple

import numpy as np

from cornu.explain.observe import inputs_of, spatial_axes, without_channels
from cornu.explain.receptive_field.trace import trace


class Centres(NamedTuple):
    """Where on an input the output positions of a layer look, along one axis.

    Attributes:
        positions: for each output position the centre of what it sees, which may be in the padding.
        before, after: the nearest input positions on both sides that none of them sees.
    """

    positions: np.ndarray
    before: float
    after: float


def centres_on_input(found, number: int, which: int) -> list[Centres] | None:
    """Where on an input the output positions of a call look.

    Where all of them see the same, such as everything, they are taken to be spread evenly over the input.

    Args:
        found: calls of a model; see `shapes_of_calls`.
        number: which call.
        which: which of the model's inputs.

    Returns:
        for each spatial axis a `Centres`; None if the input has other axes.
    """
    call, (start, taker) = found[number], inputs_of(found)[which]
    shape = call.outputs.shape[1:]
    sizes = without_channels(start.shape[1:], taker)
    spatial = spatial_axes(call.operation, len(shape))
    if len(spatial) != len(sizes):
        return None
    middle = [
        (size // 2, size // 2) if a in spatial else (0, size - 1) for a, size in enumerate(shape)
    ]
    memory: dict = {}
    axes = []
    for n, axis in enumerate(spatial):

        def ends(position, n=n, axis=axis) -> tuple[int, int]:
            box = (*middle[:axis], (int(position), int(position)), *middle[axis + 1 :])
            return trace(found, number, box, which=which, memory=memory)[n]

        last = shape[axis] - 1
        few = np.unique(np.clip([0, last // 2, last // 2 + 1, last], 0, last))
        seen = np.array([ends(position) for position in few])
        centres = seen.mean(1)[0] + np.arange(last + 1) * (np.ptp(seen.mean(1)) / max(last, 1))
        if not np.array_equal(centres[few], seen.mean(1)):
            # Such as behind a transposed convolution, of which neighbours see the same.
            centres = np.array([ends(position) for position in range(last + 1)]).mean(1)
        if centres[-1] > centres[0] and (np.diff(centres) >= 0).all():
            axes.append(Centres(centres, seen[0, 0] - 1, seen[-1, 1] + 1))
        else:
            evenly = (np.arange(last + 1) + 0.5) * sizes[n] / (last + 1) - 0.5
            axes.append(Centres(evenly, -np.inf, np.inf))
    return axes
