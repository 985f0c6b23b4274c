"""Few shapes of batches, so that prediction compiles few programs.

A batch that is smaller than the others is filled up with copies of its last example, and their
outputs are cut off again. This is done only for models in which no example can see another.
"""

import jax
import numpy as np

from cornu.core.layer import Layer


def examples_are_alone(model) -> bool:
    """Whether each output of a model surely depends on one example only, and is one of the batch.

    It is so for models made of Cornu's own layers that leave the batch axis alone.
    """
    graph = getattr(model, "_graph", None)
    if graph is None or not all(isinstance(o, Layer) for o in graph.operations):
        return False
    return all(
        examples_are_alone(layer) if hasattr(layer, "_graph") else _leaves_batch_alone(layer)
        for layer in graph.operations
    )


def _leaves_batch_alone(layer) -> bool:
    known = type(layer).__module__.startswith("cornu.layers.") and type(layer).__name__ != "Lambda"
    axis = getattr(layer, "axis", None)
    activation = getattr(layer, "activation", None)
    return (
        known
        and 0 not in (axis if isinstance(axis, list | tuple) else [axis])
        and (activation is None or activation.__module__ == "cornu.activations")
        and all(
            _leaves_batch_alone(inner) for inner in layer._flatten_layers() if inner is not layer
        )
    )


def in_buckets(function, batch_size: int | None):
    """The compiled step of prediction, `function`, for batches of any number of rows.

    No batch runs with fewer rows than those before it.

    Args:
        batch_size: how many rows a full batch has, if that is known. If not even the first is full,
            it gets the next power of two: a few examples should not wait for many.
    """
    size = 0

    def run(batch, source=None):
        nonlocal size
        count = len(jax.tree.leaves(batch)[0])
        if not size and batch_size is not None and count < batch_size:
            size = min(1 << (count - 1).bit_length(), batch_size)
        size = max(size, count)
        if size == count:
            return function(batch, source)
        outputs = function(jax.tree.map(lambda a: _repeat_last(a, size - count), batch), source)
        return jax.tree.map(lambda a: np.asarray(a)[:count], outputs)

    return run


def _repeat_last(array, times: int) -> np.ndarray:
    array = np.asarray(array)
    return np.concatenate([array, np.repeat(array[-1:], times, 0)])
