"""`Sequential`: a model that is a list of layers."""

from typing import Any

import jax
import numpy as np

from cornu.core import registry
from cornu.core.call_arguments import accepts, is_shape
from cornu.core.layer import Layer
from cornu.core.naming import name_scope
from cornu.core.symbolic import KerasTensor, known_batch
from cornu.core.tracking import Aside
from cornu.layers.input import Input, InputLayer
from cornu.models.host_part import has_text
from cornu.models.model import Model


@registry.register("layer", "Sequential", module="keras.models")
class Sequential(Model):
    """A model that calls its layers one after the other.

    Args:
        layers: the layers, or none to `add` them later. The first may be an `Input(shape)`;
            without one the weights are made when the first data come.
        name: default: `sequential`, `sequential_1` …

    Source: Keras: The Sequential class.

    >>> import cornu
    >>> model = cornu.Sequential([
    ...     cornu.Input((28, 28, 1)),
    ...     cornu.layers.Conv2D(32, 5, activation="relu"),
    ...     cornu.layers.MaxPooling2D(),
    ... ])
    >>> model.output_shape, model.count_params()
    ((None, 12, 12, 32), 832)
    """

    # The layers are in `_layers`.
    _tensor_of: Aside[dict[int, KerasTensor]]

    def __init__(self, layers=None, trainable=True, name=None):
        super().__init__(trainable=trainable, name=name)
        self._layers: list[Any] = []
        self._tensor_of = {}
        for layer in layers or []:
            self._append(layer)
        self._rebuild()

    def add(self, layer, rebuild=True) -> None:
        """Put a layer behind the others.

        Raises ValueError if it is no layer, or if a layer has its name already.
        """
        self._append(layer)
        if rebuild:
            self._rebuild()

    def pop(self, rebuild=True):
        """Take the last layer off and return it."""
        layer = self._layers.pop()
        self._tensor_of.pop(id(layer), None)
        self._graph = None
        self.built = False
        if rebuild:
            self._rebuild()
        return layer

    def _append(self, layer) -> None:
        if isinstance(layer, KerasTensor) and layer._keras_history is not None:
            layer = layer._keras_history.operation
        if not isinstance(layer, Layer):
            raise ValueError(
                "Only instances of `keras.Layer` can be added to a Sequential model. Received: "
                f"{layer} (of type {type(layer)}){_hint_of_layers(layer)}"
            )
        if any(layer.name == other.name for other in self._layers):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                "argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._layers:
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape; "
                "an `Input` can only be its first layer."
                if isinstance(self._layers[0], InputLayer)
                else f"An `Input` can only be the first layer of the Sequential model '{self.name}'."
            )
        shape = getattr(layer, "_declared_input_shape", None)
        if not self._layers and shape is not None:
            self._layers.append(InputLayer(batch_shape=shape))
        elif not self._layers and isinstance(layer, Model) and layer._graph is not None:
            first = layer.inputs
            if len(first) == 1:
                self._layers.append(InputLayer(batch_shape=first[0].shape, dtype=first[0].dtype))
                self._takes_other_sizes = layer._takes_other_sizes
        elif isinstance(layer, InputLayer):
            self._takes_other_sizes = False
        self._layers.append(layer)

    def _rebuild(self) -> None:
        """Run the symbolic input through the layers, as far as there is one."""
        if self._layers and isinstance(self._layers[0], InputLayer) and len(self._layers) > 1:
            self._chain(self._layers[0].output)

    def _chain(self, inputs: KerasTensor) -> None:
        x = inputs
        for layer in self.layers:
            # A layer that was called when it was added is not called again: that would leave a
            # second node behind.
            if id(layer) not in self._tensor_of:
                with name_scope(self.name, owner=self):
                    self._tensor_of[id(layer)] = layer(x)
            x = self._tensor_of[id(layer)]
        self._set_graph(inputs, x)

    def build(self, input_shape=None):
        """Make the weights for inputs of this shape (with the batch; None for any size).

        For a list or a dict of shapes each layer makes its own when the model is called.
        """
        self._check_declared(input_shape)
        if self._graph is not None:
            return
        if not self._layers:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call "
                "`model.add(layer)`."
            )
        if isinstance(self._layers[0], InputLayer):
            self._rebuild()
            return
        shapes = jax.tree.leaves(input_shape, is_leaf=is_shape)
        if input_shape and shapes and shapes != [input_shape] and all(map(is_shape, shapes)):
            return
        if not is_shape(input_shape):
            raise ValueError(
                f"You must provide an `input_shape` argument, such as (None, 28, 28, 1). "
                f"Received: {input_shape}"
            )
        inputs = Input(batch_shape=(None, *input_shape[1:]))
        self._layers.insert(0, inputs._keras_history.operation)
        self._takes_other_sizes = True
        try:
            with known_batch(input_shape[0]):
                self._chain(inputs)
        except NotImplementedError:
            # A layer does not know its output's shape: each will be called on what the one before it gave.
            del self._layers[0]
            self._tensor_of.clear()
            self._takes_other_sizes = False

    def _check_declared(self, input_shape) -> None:
        """Refuse a shape that does not fit that of the `Input`."""
        if not self._layers or not isinstance(self._layers[0], InputLayer):
            return
        declared = self._layers[0].batch_shape
        if is_shape(input_shape) and not (
            len(input_shape) == len(declared)
            and all(
                a is None or b is None or a == b for a, b in zip(input_shape, declared, strict=True)
            )
        ):
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape "
                f"{declared}. You cannot build it with input_shape {tuple(input_shape)}."
            )

    def call(self, inputs, training=None, mask=None):
        if self._graph is not None or not self._layers:
            return super().call(inputs, training, mask)
        # A list or a dict, which no graph of one input can take.
        options = {"mask": mask, "training": training}
        for layer in self.layers:
            given = {n: v for n, v in options.items() if v is not None and accepts(layer, n)}
            inputs = layer(inputs, **given)
            options["mask"] = None
        return inputs

    def _pass_mask_on(self, arguments, previous, outputs):
        """The layers have done so."""

    def _has_closed_form(self) -> bool:
        # The masks of outputs are known where the layers are traced.
        return False

    def compute_output_shape(self, input_shape):
        """The shape of the output for an input shape, which the model need not be built for."""
        if self._graph is not None:
            return super().compute_output_shape(input_shape)
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compute_output_spec(self, inputs, training=None, mask=None):
        """The symbolic outputs for symbolic inputs, which the model need not be built for."""
        if self._graph is not None or not self._layers:
            given = {n: v for n, v in (("training", training), ("mask", mask)) if v is not None}
            return super().compute_output_spec(inputs, **given)
        for layer in self.layers:
            inputs = layer.compute_output_spec(inputs)
        return inputs

    def _build_for_text(self, x) -> None:
        """Make the graph for an array of text, whose dtype no shape says."""
        if self._graph is None and self._layers and not isinstance(self._layers[0], InputLayer):
            inputs = Input(batch_shape=(None, *np.shape(x)[1:]), dtype="string")
            self._layers.insert(0, inputs._keras_history.operation)
            self._chain(inputs)

    def _maybe_build(self, arguments):
        first = next(iter(arguments.values()), None)
        if self._graph is None and has_text(first):
            self._build_for_text(first)
        super()._maybe_build(arguments)

    def _on_host(self, x, trains=False):
        if self._graph is None and has_text(x):
            self._build_for_text(x)
        return super()._on_host(x, trains)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the `Input`."""
        start = 1 if self._layers and isinstance(self._layers[0], InputLayer) else 0
        return self._layers[start:]

    @layers.setter
    def layers(self, value):
        raise AttributeError(
            "`Sequential.layers` attribute is reserved: it lists the layers. Use `add()` and `pop()` to "
            "change them."
        )

    @property
    def _saved_layers(self) -> list[Layer]:
        return self.layers

    @property
    def _shown_layers(self) -> list[Layer]:
        return self.layers

    @property
    def _is_chain(self) -> bool:
        return True

    def get_config(self) -> dict:
        # An input layer that nobody declared is left out, or a copy of the model would hold to its sizes.
        declared = self._layers[1:] if self._takes_other_sizes else self._layers
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": registry.serialize(self.dtype_policy),
            "layers": [registry.serialize(layer) for layer in declared],
        }
        if self._graph is not None:
            config["build_input_shape"] = self._layers[0].batch_shape
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        with registry.custom_object_scope(custom_objects):
            layers = [registry.deserialize(c, kind="layer") for c in config["layers"]]
        model = cls(layers, trainable=config.get("trainable", True), name=config.get("name"))
        shape = config.get("build_input_shape")
        if not model.built and shape:
            model.build(tuple(shape))
        return model


def _hint_of_layers(value) -> str:
    if isinstance(value, type):
        return f". Make one of the class: {value.__name__}(…)."
    if isinstance(value, list | tuple):
        return ". Lay the list open: Sequential([*layers])."
    return ". Put a function into a layer: Lambda(function)." if callable(value) else ""
