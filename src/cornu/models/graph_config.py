"""A graph as a configuration, in the form that Keras writes, and back."""

import jax

from cornu.core import registry
from cornu.core.symbolic import KerasTensor, Node


def describe(model) -> dict:
    """The configuration of a model made from a graph."""
    graph = model._graph
    kept = {id(node) for node in graph.nodes}
    layers = []
    for operation in graph.operations:
        nodes = [node for node in operation._inbound_nodes if id(node) in kept]
        layers.append(
            {
                **registry.serialize(operation),
                "name": operation.name,
                "inbound_nodes": [_describe_node(n, kept) for n in nodes if not n.is_input],
            }
        )
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": _references(graph.inputs, kept),
        "output_layers": _references(graph.outputs, kept),
    }


def _reference(tensor: KerasTensor, kept: set[int]) -> list:
    operation, index, tensor_index = tensor._keras_history
    # Nodes of the same layer that belong to other models do not count.
    place = sum(id(node) in kept for node in operation._inbound_nodes[:index])
    return [operation.name, place, tensor_index]


def _references(structure, kept):
    if isinstance(structure, KerasTensor):
        return _reference(structure, kept)
    if isinstance(structure, dict):
        return {key: _references(value, kept) for key, value in structure.items()}
    return [_references(value, kept) for value in structure]


def _describe_node(node: Node, kept: set[int]) -> dict:
    def value(leaf):
        if isinstance(leaf, KerasTensor):
            config = {
                "shape": leaf.shape,
                "dtype": leaf.dtype,
                "keras_history": _reference(leaf, kept),
            }
            return {"class_name": "__keras_tensor__", "config": config}
        return registry.serialize(leaf)

    return {
        "args": jax.tree.map(value, node.args),
        "kwargs": jax.tree.map(value, node.kwargs),
    }


_DESCRIPTION = ("module", "class_name", "config", "registered_name", "build_config")


def rebuild(config: dict, made: dict | None = None):
    """The `(name, inputs, outputs)` of a described graph, of the layers in `made` if given.

    Raises ValueError if a layer refers to one that is not there, or the graph goes in a circle.
    """
    layers: dict = {}
    pending: list = []
    for entry in config["layers"]:
        name = entry["name"] if "name" in entry else entry["config"]["name"]
        if name in layers:
            raise ValueError(f"The configuration describes two layers named {name!r}.")
        if made is not None:
            layers[name] = made[name]
        else:
            description = {key: entry[key] for key in _DESCRIPTION if key in entry}
            layers[name] = registry.deserialize(description, kind="layer")
        pending.extend((layers[name], i, node) for i, node in enumerate(entry["inbound_nodes"]))

    def find(reference):
        name, index, tensor_index = reference
        if name not in layers:
            raise ValueError(f"The configuration refers to a layer {name!r} that is not in it.")
        nodes = layers[name]._inbound_nodes
        if index >= len(nodes):
            raise _NotYet
        return nodes[index].output_tensors[tensor_index]

    def restore(value):
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return find(value["config"]["keras_history"])
        if isinstance(value, dict) and "class_name" not in value:
            return {key: restore(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(restore(v) for v in value)
        return registry.deserialize(value)

    while pending:
        waiting = []
        for layer, index, node in pending:
            try:
                if len(layer._inbound_nodes) != index:
                    raise _NotYet
                args, kwargs = restore(list(node["args"])), restore(node["kwargs"])
            except _NotYet:
                waiting.append((layer, index, node))
                continue
            layer(*args, **kwargs)
        if len(waiting) == len(pending):
            names = sorted({layer.name for layer, _, _ in waiting})
            raise ValueError(f"The described graph goes in a circle, through {', '.join(names)}.")
        pending = waiting

    def structure(references):
        if isinstance(references, dict):
            return {key: structure(value) for key, value in references.items()}
        if len(references) == 3 and isinstance(references[0], str):
            try:
                return find(references)
            except _NotYet:
                raise ValueError(
                    f"The configuration refers to {references}, which is not called."
                ) from None
        return [structure(value) for value in references]

    return config.get("name"), structure(config["input_layers"]), structure(config["output_layers"])


class _NotYet(Exception):
    """A node's inputs are not there yet."""
