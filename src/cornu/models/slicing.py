"""A graph that begins in the middle of another."""

import jax

from cornu.core.symbolic import KerasTensor, node_of
from cornu.layers.input import Input, InputLayer
from cornu.models.graph import Graph


def begun_at_inputs(graph: Graph) -> Graph:
    """The graph, or one like it with an `Input` in place of each tensor that a layer made.

    The layer that made such a tensor is no part of it: it has no weights in the model.
    """
    if all(_is_input(tensor) for tensor in graph.flat_inputs):
        return graph
    flat = [
        tensor
        if _is_input(tensor)
        else Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in graph.flat_inputs
    ]
    inputs = jax.tree.unflatten(jax.tree.structure(graph.inputs), flat)
    return Graph(inputs, graph.run(flat))


def _is_input(tensor: KerasTensor) -> bool:
    return isinstance(node_of(tensor).operation, InputLayer)
