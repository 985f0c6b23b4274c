"""Computing again instead of remembering."""

from collections.abc import Callable

import jax
import numpy as np

from cornu.core.symbolic import any_symbolic
from cornu.core.variable import functional


def remat(f: Callable) -> Callable:
    """A function whose intermediate results are computed again for its gradient, not kept in memory.

    Args:
        f: a layer, a method of one, or a function. A function must not change variables that no layer of
            this call owns; what a layer changes, such as the seed of its dropout, it changes once. A call
            that builds a layer keeps all results.

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
        variables = list(getattr(owner, "non_trainable_variables", ()))

        @jax.checkpoint
        def run(values, arrays):
            given = iter(arrays)
            filled = [next(given) if t else leaf for leaf, t in zip(leaves, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(structure, filled)
            return functional(f, variables)(values, *args, **kwargs)

        before = [variable._stored() for variable in variables]
        result, after = run(before, [leaf for leaf, t in zip(leaves, traced, strict=True) if t])
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return result

    return call
