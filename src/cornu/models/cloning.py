"""Copies of models, and models from text."""

from cornu.core.symbolic import FunctionOperation
from cornu.core.variable import deferred_values
from cornu.layers.input import InputLayer
from cornu.models import graph_config


def clone_model(model, input_tensors=None, clone_function=None):
    """A model of the same layers with weights of its own.

    Args:
        model: a Sequential model, or one made from a graph.
        input_tensors: not supported: call the clone on them instead.
        clone_function: called on each layer instead of `layer.from_config(layer.get_config())`.

    Source: Keras: clone_model.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)])
    >>> cornu.models.clone_model(model).count_params()
    8
    """
    if input_tensors is not None:
        raise ValueError("`input_tensors` is not supported: call the clone on them instead.")
    config = model.get_config()
    if clone_function is None:
        return type(model).from_config(config)
    clones = {
        layer.name: type(layer).from_config(layer.get_config())
        if isinstance(layer, InputLayer | FunctionOperation)
        else clone_function(layer)
        for layer in (model._graph.operations if model._graph is not None else model.layers)
    }
    if "input_layers" not in config:
        return type(model)([clones[layer.name] for layer in model.layers], name=model.name)
    name, inputs, outputs = graph_config.rebuild(config, made=clones)
    return type(model)(inputs, outputs, name=name)


def model_from_json(json_string: str, custom_objects=None):
    """The model, without weights, that `model.to_json()` described.

    Raises FileFormatError (a ValueError) if it describes no model, names something that is not registered,
    or asks for more than `cornu.saving.limits` allows.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(2)])
    >>> cornu.models.model_from_json(model.to_json()).output_shape
    (None, 2)
    """
    from cornu.saving import reading

    config = reading.parse(json_string, _TEXT)
    with (
        reading.explained(_TEXT, "holds a model that cannot be made"),
        deferred_values(reading.limits.bytes),
    ):
        return reading.model_of(config, custom_objects, _TEXT)


# What errors call a configuration that came without a file.
_TEXT = "the JSON text"
