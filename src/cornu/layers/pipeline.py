"""`Pipeline`: layers that prepare data, one after the other."""

from cornu.core import masking, registry
from cornu.core.call_arguments import accepts
from cornu.core.layer import Layer
from cornu.core.symbolic import any_symbolic


@registry.register("layer", module="keras.layers")
class Pipeline(Layer):
    """Layers that are called one after the other: a part of a data pipeline, and no model.

    Args:
        layers: the layers. The first may take text.

    They are called with `training=True` unless the call says otherwise, as augmentation is.

    Source: Keras: Pipeline layer.

    >>> import cornu, numpy as np
    >>> halve, count = cornu.layers.Rescaling(0.5), cornu.layers.Flatten()
    >>> cornu.layers.Pipeline([halve, count])(np.ones((1, 2, 2))).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """

    _takes_text = True

    def __init__(self, layers, name=None):
        super().__init__(name=name)
        self._pipeline_layers = list(layers)
        wrong = next((layer for layer in layers if not isinstance(layer, Layer)), None)
        if wrong is not None:
            raise ValueError(
                f"Pipeline '{self.name}' takes layers. Received: {wrong!r} (of type {type(wrong).__name__})"
            )
        # Each layer converts what it gets.
        self.autocast = False
        self.supports_masking = True

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they are called."""
        return self._pipeline_layers

    @property
    def needs_host(self) -> bool:
        """Whether one of the layers cannot be compiled."""
        return any(getattr(layer, "needs_host", False) for layer in self.layers)

    def _to_tensors(self, args, kwargs):
        return args, kwargs

    def call(self, inputs, training=True, mask=None):
        outputs = inputs
        for layer in self.layers:
            options = {"training": training} if accepts(layer, "training") else {}
            if accepts(layer, "mask") and mask is not None:
                options["mask"] = mask
            outputs = layer(outputs, **options)
            mask = masking.get_mask(outputs)
        return outputs

    def _pass_mask_on(self, arguments, previous, outputs):
        """The last layer has put the mask on its output."""

    def compute_output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compute_output_spec(self, inputs, **kwargs):
        if any_symbolic(inputs) and self.needs_host:
            return self.call(inputs)
        return self._infer((inputs,), kwargs)

    def get_config(self) -> dict:
        return {"layers": [registry.serialize(layer) for layer in self.layers], "name": self.name}
