"""A graph as a configuration, in the form that Keras writes, and back."""

import importlib
import inspect
from typing import Any

import jax

from cornu.core import registry
from cornu.core.call_arguments import call_defaults
from cornu.core.symbolic import FunctionOperation, KerasTensor, Node
from cornu.saving.old_configs import is_old, modern


def describe(model) -> dict:
    """The configuration of a model made from a graph."""
    graph = model._graph
    kept = {id(node) for node in graph.nodes}
    layers = []
    for operation in graph.operations:
        nodes = [node for node in operation._inbound_nodes if id(node) in kept]
        if isinstance(operation, FunctionOperation):
            layers.append(_describe_function(operation, nodes[0], kept))
            continue
        layers.append(
            {
                **registry.serialize(operation),
                "name": operation.name,
                "inbound_nodes": [
                    _describe_node(n.args, n.kwargs, kept) for n in nodes if not n.is_input
                ],
            }
        )
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": layers,
        "input_layers": _references(graph.inputs, kept),
        "output_layers": _references(graph.outputs, kept),
    }


def arguments_of_a_subclass(config: dict) -> dict:
    """What a subclass' `get_config` has put beside the graph."""
    graphs = ("name", "trainable", "layers", "input_layers", "output_layers", "dtype")
    return {name: registry.deserialize(v) for name, v in config.items() if name not in graphs}


def _reference(tensor: KerasTensor, kept: set[int]) -> list:
    operation, index, tensor_index = tensor._keras_history
    # Nodes of the same layer that belong to other models do not count.
    node_index = sum(id(node) in kept for node in operation._inbound_nodes[:index])
    return [operation.name, node_index, tensor_index]


def _references(structure, kept):
    if isinstance(structure, KerasTensor):
        return _reference(structure, kept)
    if isinstance(structure, dict):
        return {key: _references(value, kept) for key, value in structure.items()}
    references = [_references(value, kept) for value in structure]
    return tuple(references) if isinstance(structure, tuple) else references


# What Keras' classes for operations are called with; other arguments belong to their constructors.
_CALLED_WITH = frozenset(
    "x x1 x2 xs y a b array arrays condition condlist choicelist indices values sorted_sequence inputs "
    "kernel key fill_value constant_values operands variable updates start_indices weights "
    "depthwise_kernel pointwise_kernel data segment_ids targets predictions target output images "
    "coordinates points transform start_points end_points start stop initial_value bins shift q".split()
)
# Where it is the other way for one operation.
_EXCEPTIONS = frozenset(
    "squareplus.b roll.shift histogram.bins trapezoid.x bincount.weights resize.fill_value isclose.rtol "
    "isclose.atol arange.step select.default".split()
)
# Operations that Keras keeps in another module than Cornu.
_IN_MATH = frozenset(
    "erf erfc erfinv logsumexp rsqrt segment_max segment_min segment_prod segment_sum top_k in_top_k "
    "logdet".split()
)
_KEPT_IN = ("core", "numpy", "nn", "linalg", "image")


def keras_name(name: str) -> tuple[str, str]:
    """The module and the class that Keras has for an operation."""
    kept_in = "math" if name in _IN_MATH else None
    for part in _KEPT_IN:
        if kept_in is None and hasattr(importlib.import_module(f"cornu.ops.{part}"), name):
            kept_in = part
    return f"keras.src.ops.{kept_in or 'nn'}", "".join(map(str.capitalize, name.split("_")))


def _describe_function(operation: FunctionOperation, node: Node, kept: set[int]) -> dict:
    module, class_name = keras_name(operation.function_name)
    config: dict[str, Any] = {"name": operation.name}
    args: list = []
    bound = inspect.signature(operation.function).bind(*node.args, **node.kwargs)
    for name, parameter in bound.signature.parameters.items():
        value = bound.arguments.get(name, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(bound.arguments.get(name, ()))
        elif parameter.kind is parameter.VAR_KEYWORD:
            named = bound.arguments.get(name, {})
            config.update({key: registry.serialize(v) for key, v in named.items()})
        elif (name in _CALLED_WITH) != (f"{operation.function_name}.{name}" in _EXCEPTIONS):
            args.append(value)
        elif name in bound.arguments:
            config[name] = registry.serialize(value)
    while args and args[-1] is None:
        del args[-1]
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": class_name,
        "name": operation.name,
        "inbound_nodes": [_describe_node(tuple(args), {}, kept)],
    }


def _make_function(entry: dict) -> tuple[FunctionOperation, dict]:
    """The operation that an entry describes, and the arguments that its constructor has in Keras."""
    config = dict(entry["config"])
    name = config.pop("name", None)
    function = registry.find("op", entry["class_name"])
    arguments = {key: registry.deserialize(value) for key, value in config.items()}
    return FunctionOperation(function.__name__, function, name=name), arguments


def _describe_node(args: tuple, kwargs: dict, kept: set[int]) -> dict:
    def value(leaf):
        if isinstance(leaf, KerasTensor):
            config = {
                "shape": leaf.shape,
                "dtype": leaf.dtype,
                "keras_history": _reference(leaf, kept),
            }
            return {"class_name": "__keras_tensor__", "config": config}
        return registry.serialize(leaf)

    described = {"args": jax.tree.map(value, args), "kwargs": jax.tree.map(value, kwargs)}
    if isinstance(kwargs.get("training"), bool):
        # As a number, which means the same to Keras: see `_said_of_training`.
        described["kwargs"]["training"] = int(kwargs["training"])
    return described


def _said_of_training(layer, kwargs: dict) -> dict:
    """The named arguments of a described call with `training` only where the model's author gave it.

    Keras writes the default of a layer's `call` as if it had been given: False for Dropout, which drops
    in training all the same. Cornu writes what was given as 0 or 1.
    """
    value = kwargs.get("training")
    others = {name: each for name, each in kwargs.items() if name != "training"}
    if value is None or (
        isinstance(value, bool) and value is call_defaults(type(layer)).get("training")
    ):
        return others
    return {**others, "training": bool(value) if value in (0, 1) else value}


_DESCRIPTION = (
    "module",
    "class_name",
    "config",
    "registered_name",
    "build_config",
    "compile_config",
    "shared_object_id",
)


def _is_function(entry: dict) -> bool:
    return str(entry.get("module")).startswith("keras.src.ops.")


def rebuild(config: dict):
    """The `(name, inputs, outputs)` of a described graph.

    Raises ValueError if a layer refers to one that is not there, or the graph contains a cycle.
    """
    if is_old(config["layers"]):
        config = modern({"class_name": "Functional", "config": config})["config"]
    described = _Described(config["layers"])
    described.call_all()
    inputs, outputs = (
        described.structure(config[key]) for key in ("input_layers", "output_layers")
    )
    return config.get("name"), inputs, outputs


class _Described:
    """The layers of a described graph, and the calls of them that are still to be made."""

    def __init__(self, entries: list):
        self._layers: dict = {}
        # A layer that another model of the file has as well was called there already.
        self._called: dict[str, int] = {}
        self._pending: list = []
        for entry in entries:
            name = entry["name"] if "name" in entry else entry["config"]["name"]
            if name in self._layers:
                raise ValueError(f"The configuration describes two layers named {name!r}.")
            more: dict = {}
            if _is_function(entry):
                self._layers[name], more = _make_function(entry)
            else:
                description = {key: entry[key] for key in _DESCRIPTION if key in entry}
                self._layers[name] = registry.deserialize(description, kind="layer")
            nodes = self._layers[name]._inbound_nodes
            self._called[name] = 0 if nodes and nodes[0].is_input else len(nodes)
            for i, node in enumerate(entry["inbound_nodes"]):
                kwargs = {**more, **node["kwargs"]}
                self._pending.append((name, i, {"args": node["args"], "kwargs": kwargs}))

    def call_all(self) -> None:
        """Call the layers, each when its inputs are there."""
        while self._pending:
            waiting = [call for call in self._pending if not self._is_called(*call)]
            if len(waiting) == len(self._pending):
                names = sorted({name for name, _, _ in waiting})
                raise ValueError(
                    f"The described graph contains a cycle, through {', '.join(names)}."
                )
            self._pending = waiting

    def _is_called(self, name: str, index: int, node: dict) -> bool:
        layer = self._layers[name]
        if len(layer._inbound_nodes) - self._called[name] != index:
            return False
        try:
            args, kwargs = self._restore(list(node["args"])), self._restore(node["kwargs"])
        except _NotYet:
            return False
        layer(*args, **_said_of_training(layer, kwargs))
        return True

    def _find(self, reference):
        name, index, tensor_index = reference
        if name not in self._layers:
            raise ValueError(f"The configuration refers to a layer {name!r} that is not in it.")
        nodes = self._layers[name]._inbound_nodes[self._called[name] :]
        if index >= len(nodes):
            raise _NotYet
        return nodes[index].output_tensors[tensor_index]

    def _restore(self, value):
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return self._find(value["config"]["keras_history"])
        if isinstance(value, dict) and "class_name" not in value:
            return {key: self._restore(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._restore(v) for v in value)
        return registry.deserialize(value)

    def structure(self, references):
        """The symbolic tensors that a structure of references names."""
        if isinstance(references, dict):
            return {key: self.structure(value) for key, value in references.items()}
        if len(references) == 3 and isinstance(references[0], str):
            try:
                return self._find(references)
            except _NotYet:
                raise ValueError(
                    f"The configuration refers to {references}, which is not called."
                ) from None
        found = [self.structure(value) for value in references]
        return tuple(found) if isinstance(references, tuple) else found


class _NotYet(Exception):
    """A node's inputs are not there yet."""
