"""`DataLayer`: what layers that prepare data share."""

import sys

import jax
import numpy as np

from cornu.core.layer import Layer
from cornu.core.symbolic import KerasTensor
from cornu.core.variable import Variable


class DataLayer(Layer):
    """A layer that prepares data: in a data pipeline, one of `tf.data` too, as in a model."""

    # TensorFlow then does not try to rewrite the layer's source as operations of its own.
    autograph_info__ = True

    def __call__(self, *args, **kwargs):
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None and _is_in_graph(tensorflow, args):
            return _in_graph(tensorflow, self, args, kwargs)
        return super().__call__(*args, **kwargs)

    def convert_weight(self, weight):
        """The array that a weight holds; in Keras, one of the engine that the data pipeline runs on."""
        return weight.value if isinstance(weight, Variable) else weight


def _is_in_graph(tensorflow, args) -> bool:
    # Where TensorFlow is not installed, scripts see a small module of this name.
    is_symbolic = getattr(tensorflow, "is_symbolic_tensor", None)
    return is_symbolic is not None and any(map(is_symbolic, jax.tree.leaves(args)))


def _in_graph(tensorflow, layer, args: tuple, kwargs: dict):
    """The call as an operation in a graph of TensorFlow's, as the functions given to `tf.data` are."""
    leaves, structure = jax.tree.flatten(args)

    def symbol(tensor):
        return KerasTensor(tensor.shape.as_list(), dtype=tensor.dtype.name)

    symbols = jax.tree.unflatten(structure, list(map(symbol, leaves)))
    specs, outputs = jax.tree.flatten(layer.compute_output_spec(*symbols, **kwargs))

    def call(*arrays):
        results = layer(*jax.tree.unflatten(structure, arrays), **kwargs)
        return [
            np.asarray(leaf).astype(spec.dtype)
            for leaf, spec in zip(jax.tree.leaves(results), specs, strict=True)
        ]

    results = tensorflow.numpy_function(call, leaves, [spec.dtype for spec in specs])
    for result, spec in zip(results, specs, strict=True):
        result.set_shape(spec.shape)
    return jax.tree.unflatten(outputs, results)
