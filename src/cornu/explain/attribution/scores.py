"""A model's scores as a function, before a last softmax or sigmoid, which would flatten gradients."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.activations import linear
from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.explain.observe import Call, as_batch, calls, inputs_of, predicted, shapes_of_calls

# What hides from a gradient how much one class is preferred to all others.
_SQUASHING = ("softmax", "sigmoid", "log_softmax")


def without_activation(layer: Layer, names: tuple[str, ...] | None = _SQUASHING) -> Layer | None:
    """A copy of a layer without its activation, with the same weights.

    None if it has none, or one that is not among `names`; `names=None` means any.
    """
    activation = getattr(layer, "activation", None)
    if activation is None or (names and getattr(activation, "__name__", "") not in names):
        return None
    bare: Any = copy.copy(layer)
    bare.activation = linear
    return bare


class Scores:
    """A model's scores as a function: `score(x, target)`, before a last softmax or sigmoid.

    Args:
        model: a built model with one output of shape `(n, classes)`.
        x: a batch, for its shapes.

    Raises ValueError for another output.
    """

    def __init__(self, model, x):
        self.model = model
        found = shapes_of_calls(model, x)
        shape: tuple = getattr(found[-1].outputs, "shape", ())
        if len(shape) != 2:
            raise ValueError(
                f"Scores of classes are needed: an output of shape (n, classes). Model {model.name} gives "
                f"{shape or 'several outputs'}."
            )
        self.num_classes = shape[1]
        self.found = found
        # Which layer got each input.
        self.takers = [taker for _, taker in inputs_of(found)]
        last = next(c for c in reversed(found) if c.is_whole and isinstance(c.operation, Layer))
        self._last, self._bare = last.operation, without_activation(last.operation)

    def __call__(self, x, replace: Callable[[Call], Any] | None = None):
        """The scores of all classes; `replace` as for `calls`."""

        def change(call):
            outputs = call.outputs
            if self._bare is not None and call.operation is self._last:
                outputs = predicted(self._bare, *call.arguments.values(), **call.masks)
            return outputs if replace is None else replace(call._replace(outputs=outputs))

        return jnp.asarray(calls(self.model, x, change)[-1].outputs, jnp.float32)

    def of(self, scores, targets):
        """The score of each example's target."""
        return jnp.take_along_axis(scores, targets[:, None], axis=1)[:, 0]

    def targets(self, x, target) -> jax.Array:
        """The requested classes; default: each example's predicted one."""
        count = len(jax.tree.leaves(x)[0])
        if target is None:
            return jnp.argmax(self(x), axis=1)
        targets = np.broadcast_to(np.asarray(target), (count,))
        if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= self.num_classes:
            raise ValueError(
                f"`target` must be one class from 0 to {self.num_classes - 1}, or one for each example. "
                f"Received: target={target}"
            )
        return jnp.asarray(targets)


def ready(model, x, target):
    tensors = jax.tree.leaves(model._graph.inputs) if getattr(model, "_graph", None) else []
    whole = [t for t in tensors if not is_float(t.dtype)]
    if whole:
        raise ValueError(
            f"Model {model.name} takes {whole[0].dtype}, and integers have no gradient. Ask a "
            "model that begins behind the layer that looks them up."
        )
    x = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), as_batch(model, x))
    scores = Scores(model, x)
    return x, scores, scores.targets(x, target)


def compiled(function: Callable, x, scores: Scores, targets):
    return jax.tree.map(np.asarray, jax.jit(lambda x: function(scores, x, targets))(x))
