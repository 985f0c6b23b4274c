"""Terms of layers with several inputs."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from cornu.explain.terms.base import Step, Terms, show
from cornu.explain.terms.dispatch import terms_of
from cornu.explain.terms.linear import linear
from cornu.layers.dot import Dot
from cornu.layers.merging import Add, Average, Maximum, Merge, Minimum, Multiply, Subtract


def _picked(layer: Merge, inputs, index) -> np.ndarray:
    """The value of each input at an index of the output; sizes of one are broadcast."""
    found = []
    for x in inputs:
        x = np.asarray(jnp.asarray(x, jnp.float32), np.float64)[0]
        x = x.reshape((1,) * (len(index) - x.ndim) + x.shape)
        found.append(x[tuple(0 if n == 1 else i for i, n in zip(index, x.shape, strict=True))])
    return np.array(found)


_MERGES: dict[type, tuple[str, Callable]] = {
    Add: (" + ", np.sum),
    Subtract: (" - ", lambda n: n[0] - n[1]),
    Multiply: (" × ", np.prod),
    Average: (" + ", np.mean),
    Maximum: (", ", np.max),
    Minimum: (", ", np.min),
}


@terms_of.register
def _(layer: Merge, inputs, index):
    kind = next((cls for cls in _MERGES if isinstance(layer, cls)), None)
    if kind is None:
        return linear(layer, inputs, index)
    numbers = _picked(layer, inputs, index)
    between, function = _MERGES[kind]
    text = between.join(map(show, numbers))
    if kind is Average:
        text = f"({text}) / {len(numbers)}"
    elif kind in (Maximum, Minimum):
        text = f"{'max' if kind is Maximum else 'min'}({text})"
    step = Step(kind.__name__.lower(), text, float(function(numbers)))
    return Terms(numbers, None, [step], ("input",))


@terms_of.register
def _(layer: Dot, inputs, index):
    # Linear in each of its two inputs, and so in the first for the second as it is.
    first, second = inputs
    return linear(_With(layer, second), first, index)


class _With:
    """A layer of two inputs as one of the first."""

    def __init__(self, layer, second):
        self.layer, self.second, self.name = layer, second, layer.name

    def call(self, first):
        return self.layer.call([first, self.second])
