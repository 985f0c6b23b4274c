"""Copies of models, and models from text."""

from typing import Any

import jax

from cornu.core import registry
from cornu.core.configurable import is_ours
from cornu.core.symbolic import KerasTensor, node_of
from cornu.core.variable import deferred_values
from cornu.layers.input import Input, InputLayer
from cornu.metrics import Metric
from cornu.models.model import Model, has_own_constructor
from cornu.models.sequential import Sequential
from cornu.saving import reading


def clone_model(
    model, input_tensors=None, clone_function=None, call_function=None, recursive=False
):
    """A model of the same layers with weights of its own.

    A compiled model's clone is compiled in the same way.

    Args:
        model: a Sequential model, or one made from a graph; one of another class without functions.
        input_tensors: symbolic tensors for the clone to start from, in the structure of the model's
            inputs; new ones by default.
        clone_function: called on each layer but inputs instead of `layer.from_config(layer.get_config())`;
            what it returns replaces the layer.
        call_function: called as `call_function(layer, *args, **kwargs)` instead of the clone of each
            layer, to put others before or behind it; not for Sequential models.
        recursive: whether models within the model are cloned in this way, instead of by one call of
            `clone_function`.

    Raises ValueError for arguments that do not go with this model.

    Source: Keras: clone_model.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)])
    >>> cornu.models.clone_model(model).count_params()
    8
    """
    if call_function is not None and isinstance(model, Sequential):
        raise ValueError(
            f"`call_function` is not for Sequential models, such as '{model.name}': their layers are "
            "only listed. Give it a model made from a graph."
        )
    with classes_of(model):
        return Cloning(clone_function, call_function, recursive).clone(model, input_tensors)


def classes_of(model):
    """A scope in which the classes of a model's layers need not be registered."""
    own = {type(layer).__name__: type(layer) for layer in model._flatten_layers()}
    return registry.custom_object_scope(
        {name: cls for name, cls in own.items() if not is_ours(cls)}
    )


class Cloning:
    """One call of `clone_model`: a layer that is met several times has one clone."""

    def __init__(self, clone_function=None, call_function=None, recursive=False):
        self._clone_function, self._call_function = clone_function, call_function
        self._recursive = recursive
        self._clones: dict[int, Any] = {}

    def clone(self, model, input_tensors=None):
        if isinstance(model, Sequential):
            clone = self._sequential(model, input_tensors)
        elif model._graph is not None:
            clone = self._graph(model, input_tensors)
        else:
            given = {"clone_function": self._clone_function, "call_function": self._call_function}
            given["input_tensors"] = input_tensors
            if refused := [name for name, value in given.items() if value is not None]:
                raise ValueError(
                    f"{', '.join(refused)}: only for Sequential models and those made from a graph. "
                    f"What layers a {type(model).__name__} calls is not known."
                )
            clone = type(model).from_config(model.get_config())
            clone.build_from_config(model.get_build_config())
        _compile_as(clone, model)
        return clone

    def layer(self, layer):
        """The clone of a layer."""
        if id(layer) not in self._clones:
            is_known = isinstance(layer, Sequential) or getattr(layer, "_graph", None) is not None
            if self._recursive and isinstance(layer, Model) and is_known:
                clone = self.clone(layer)
            elif self._clone_function is not None and not isinstance(layer, InputLayer):
                clone = self._clone_function(layer)
            else:
                clone = type(layer).from_config(layer.get_config())
            self._clones[id(layer)] = clone
        return self._clones[id(layer)]

    def _sequential(self, model, input_tensors):
        start = model._layers[:1] if model._layers[1:] != model.layers[1:] else []
        layers = [self.layer(layer) for layer in [*start, *model.layers]]
        if input_tensors is not None:
            (tensor,) = _tensors(input_tensors, None, "one symbolic tensor")
            name = start[0].name if start else None
            layers = [InputLayer(input_tensor=tensor, name=name), *layers[len(start) :]]
        # What a subclass' constructor takes is not known.
        cls = type(model) if type(model).__init__ is Sequential.__init__ else Sequential
        clone = cls(layers, name=model.name, trainable=model.trainable)
        clone._takes_other_sizes = model._takes_other_sizes and input_tensors is None
        return clone

    def start(self, tensor: KerasTensor) -> KerasTensor:
        """What the clone of a graph has in place of a tensor that it begins with."""
        operation = node_of(tensor).operation
        if isinstance(operation, InputLayer):
            return self.layer(operation).output
        return Input(batch_shape=tensor.shape, dtype=tensor.dtype)

    def _graph(self, model, input_tensors):
        graph = model._graph
        if input_tensors is None:
            flat = [self.start(tensor) for tensor in graph.flat_inputs]
            input_tensors = jax.tree.unflatten(jax.tree.structure(graph.inputs), flat)
        else:
            flat = _tensors(
                input_tensors, graph.inputs, f"tensors in the structure of {graph.inputs}"
            )

        def call(operation, args, kwargs):
            clone = self.layer(operation)
            if self._call_function is None:
                return clone(*args, **kwargs)
            return self._call_function(clone, *args, **kwargs)

        outputs = graph.run(flat, call)
        cls = Model if has_own_constructor(type(model)) else type(model)
        return cls(input_tensors, outputs, name=model.name)


def _tensors(given, structure, expected: str) -> list[KerasTensor]:
    if isinstance(given, list | tuple) and len(given) == 1 and not isinstance(structure, list):
        (given,) = given
    flat = jax.tree.leaves(given)
    if not all(isinstance(tensor, KerasTensor) for tensor in flat):
        raise ValueError(f"`input_tensors` must be {expected}. Received: {given}")
    if _shape_of(given) != _shape_of(structure):
        raise ValueError(
            "`input_tensors` must have the same structure as model.input.\n"
            f"Reference structure: {structure}\nReceived structure: {given}"
        )
    return flat


def _shape_of(structure):
    """A structure without its leaves; tuples count as lists."""
    if isinstance(structure, dict):
        return {key: _shape_of(value) for key, value in structure.items()}
    return [_shape_of(part) for part in structure] if isinstance(structure, list | tuple) else None


def _compile_as(clone, model) -> None:
    """Compile a clone with an optimizer and metrics of its own."""
    if not model.compiled:
        return
    cls = type(model)
    if cls.compile is not Model.compile or cls.get_compile_config is not Model.get_compile_config:
        clone.compile_from_config(registry.serialize(model.get_compile_config()))
        return
    given = dict(model._compile_arguments)
    optimizer = given.pop("optimizer")
    clone.compile(
        # One of Optax has no configuration, and no state either.
        optimizer=getattr(optimizer, "transformation", None) or _copy(optimizer),
        **with_own_metrics(given),
    )
    if clone.built:
        clone.optimizer.build(clone.trainable_variables)


def with_own_metrics(arguments: dict) -> dict:
    """Arguments of `compile` with copies of the metrics."""
    return jax.tree.map(lambda leaf: _copy(leaf) if isinstance(leaf, Metric) else leaf, arguments)


def _copy(obj):
    return type(obj).from_config(obj.get_config())


def model_from_json(json_string: str, custom_objects=None):
    """The model, without weights, that `model.to_json()` described.

    Raises FileFormatError (a ValueError) if it describes no model, names something that is not registered,
    or exceeds `cornu.saving.limits`.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)])
    >>> cornu.models.model_from_json(model.to_json()).output_shape
    (None, 2)
    """
    config = reading.parse(json_string, _TEXT)
    with (
        reading.explained(_TEXT, "holds a model that cannot be made"),
        deferred_values(reading.limits.bytes),
    ):
        return reading.model_of(config, custom_objects, _TEXT)


# What errors call a configuration that came without a file.
_TEXT = "the JSON text"
