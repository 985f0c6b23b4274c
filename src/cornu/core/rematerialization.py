"""Computing again instead of remembering."""

import math
from collections.abc import Callable

import jax
import numpy as np

from cornu.core.context import context
from cornu.core.symbolic import any_symbolic
from cornu.core.variable import Scope, Variable, throwaway_scope


def remat(f: Callable) -> Callable:
    """A function whose intermediate results are computed again for its gradient, not kept in memory.

    Args:
        f: a layer, a method of one, or a function. Variables that it changes, such as the seed of a
            dropout, change once. A layer or method whose call builds something keeps all results; a
            function must call layers that are built.

    Source: Keras: remat; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".

    >>> import cornu, jax
    >>> layer = cornu.layers.Dense(2)
    >>> layer.build((None, 3))
    >>> cheap = cornu.remat(layer)
    >>> cheap(jax.numpy.ones((4, 3))).shape
    (4, 2)
    """
    owner = f if hasattr(f, "non_trainable_variables") else getattr(f, "__self__", None)

    def call(*args, **kwargs):
        if any_symbolic(args, kwargs):
            raise ValueError(
                "A function of `remat` takes arrays. Call it within `call` of a layer of your own, and use "
                "the layer in the model."
            )
        if any(not layer.built for layer in getattr(owner, "_flatten_layers", list)()):
            # The call that builds: what is built must outlive it.
            return f(*args, **kwargs)
        leaves, structure = jax.tree.flatten((args, kwargs))
        # What is no array, such as `training=True`, is not traced.
        traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]

        @jax.checkpoint
        def run(arrays):
            given = iter(arrays)
            filled = [next(given) if t else leaf for leaf, t in zip(leaves, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(structure, filled)
            scope = Scope([], [], takes_all=True)
            context.scopes.append(scope)
            try:
                result = f(*args, **kwargs)
            finally:
                context.scopes.pop()
            adding[:] = [layer for layer, _ in scope.losses]
            changed[:] = scope.taken.values()
            after = [scope.values[id(variable)] for variable in changed]
            return result, after, [value for _, value in scope.losses]

        # Of the trace: which layers add losses, and which variables get a new value.
        adding: list = []
        changed: list[Variable] = []
        result, after, losses = run([leaf for leaf, t in zip(leaves, traced, strict=True) if t])
        for variable, value in zip(changed, after, strict=True):
            variable.assign(value)
        for layer, value in zip(adding, losses, strict=True):
            layer.add_loss(value)
        return result

    return call


_MODES = ("full", "activations", "larger_than", "list_of_layers", None)


class RematScope:
    """Layers that are made within compute again for their gradients, instead of keeping, what they compute.

    Training then takes less memory and more time; its numbers stay the same, up to rounding.

    Args:
        mode: `"full"`, all layers; `"activations"`, the functions that layers have as their `activation`;
            `"larger_than"`, layers with more output numbers than the threshold; `"list_of_layers"`,
            those that are named; None for none, within another scope.
        output_size_threshold: how many numbers, the whole batch's, `"larger_than"` compares with.
        layer_names: names of layers.

    A layer within a layer is computed once more for each of them: use `"list_of_layers"` for the outer one.

    Source: Keras: RematScope; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".

    >>> import cornu
    >>> with cornu.RematScope(mode="list_of_layers", layer_names=["wide"]):
    ...     layer = cornu.layers.Dense(1000, "gelu", name="wide")
    """

    def __init__(self, mode="full", output_size_threshold=1024, layer_names=None):
        if mode not in _MODES:
            raise ValueError(
                f"Invalid mode. Expected one of {', '.join(map(repr, _MODES))}. Received: mode={mode!r}"
            )
        self.mode = mode
        self.output_size_threshold = output_size_threshold
        self.layer_names = layer_names or []
        self._before: list[RematScope | None] = []

    def __enter__(self):
        self._before.append(context.remat)
        context.remat = self
        return self

    def __exit__(self, *error):
        context.remat = self._before.pop()

    def applied(self, layer, call: Callable) -> Callable:
        """What a layer that was made within calls in place of `call`."""

        def chosen(*args, **kwargs):
            if not any(
                isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs))
            ):
                # No gradient is taken.
                return call(*args, **kwargs)
            if self.mode == "activations":
                return _with_cheap_activation(layer, call, args, kwargs)
            whole = (
                self.mode == "full"
                or (self.mode == "list_of_layers" and layer.name in self.layer_names)
                or (self.mode == "larger_than" and self._is_large(call, args, kwargs))
            )
            return (remat(call) if whole else call)(*args, **kwargs)

        return chosen

    def _is_large(self, call, args, kwargs) -> bool:
        with throwaway_scope():
            outputs = jax.eval_shape(lambda: call(*args, **kwargs))
        sizes = [math.prod(output.shape) for output in jax.tree.leaves(outputs)]
        return sum(sizes) > self.output_size_threshold


def _with_cheap_activation(layer, call, args, kwargs):
    activation = getattr(layer, "activation", None)
    if activation is None:
        return call(*args, **kwargs)
    layer.activation = remat(activation)
    try:
        return call(*args, **kwargs)
    finally:
        layer.activation = activation
