"""The gradient maps of all layers beside the feature maps: `backpropagation`."""

from dataclasses import dataclass

import jax
import numpy as np

from cornu.core.layer import Layer
from cornu.explain.backward.run import run
from cornu.explain.terms.base import channels_last


@dataclass(repr=False)
class Backpropagation:
    """What each layer made of one example, and how the loss changes with it.

    Attributes:
        input: the example, or None for several inputs.
        input_gradient: how the loss changes with each of its numbers; None for integers.
        maps: of each layer, its output, the channels last.
        gradients: of each layer, the derivative of the loss by that.
        loss: the loss of the batch.
    """

    input: np.ndarray | None
    input_gradient: np.ndarray | None
    maps: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    loss: float

    def __repr__(self) -> str:
        return f"<Backpropagation through {len(self.maps)} layers, from a loss of {self.loss:.4g}>"

    def plot(self, path=None):
        """A figure of both directions: see `visualize.plot_backpropagation`."""
        from cornu.visualize.backward import plot_backpropagation

        return plot_backpropagation(self, path=path)


def backpropagation(model, x, y, *, sample_weight=None, example=0) -> Backpropagation:
    """The way forward and the way back: of each layer, its feature maps and the loss' gradients by them.

    Args:
        model: a compiled model.
        x, y, sample_weight: a batch, or one example if the model's input shape is known. The loss is
            that of the whole batch.
        example: which of the batch.

    Returns:
        a `Backpropagation`; `visualize.plot_backpropagation` draws it. A layer that is called again has
        `:1` after its name, and so on.

    Raises ValueError if the model is not compiled, or there is no such example.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((6, 6, 1)), cornu.layers.Conv2D(2, 3, name="conv")])
    >>> model.compile("sgd", "mse")
    >>> done = cornu.explain.backpropagation(model, np.ones((6, 6, 1)), np.zeros((4, 4, 2)))
    >>> done.maps["conv"].shape, done.gradients["conv"].shape
    ((4, 4, 2), (4, 4, 2))
    """
    done = run(model, x, y, sample_weight)
    inputs = jax.tree.leaves(done.inputs)
    if not -len(inputs[0]) <= example < len(inputs[0]):
        raise ValueError(f"There is no example {example} in a batch of {len(inputs[0])}.")
    example %= len(inputs[0])
    maps: dict[str, np.ndarray] = {}
    gradients: dict[str, np.ndarray] = {}
    for number, call in enumerate(done.found):
        found = done.gradients.get(number)
        if found is None or not isinstance(call.operation, Layer) or len(found) != len(inputs[0]):
            continue
        again = sum(name.partition(":")[0] == call.name for name in maps)
        name = f"{call.name}:{again}" if again else call.name
        maps[name] = channels_last(call.operation, call.outputs)[example]
        gradients[name] = channels_last(call.operation, found)[example]
    alone = len(inputs) == 1
    first = done.by_inputs[0] if alone else None
    return Backpropagation(
        np.asarray(inputs[0][example], np.float64) if alone else None,
        None if first is None else np.asarray(first[example], np.float64),
        maps,
        gradients,
        done.loss,
    )
