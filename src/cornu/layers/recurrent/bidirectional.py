"""`Bidirectional`: a sequence read from both ends."""

from typing import Any

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.call_arguments import accepts
from cornu.core.layer import Layer

MERGE_MODES = ("concat", "sum", "ave", "mul", None)
_NEEDED = ("go_backwards", "return_sequences", "return_state", "stateful")


@registry.register("layer", module="keras.layers")
class Bidirectional(Layer):
    """Two recurrent layers, one of which reads the sequence backwards.

    Args:
        layer: a recurrent layer. It is not used itself: two are made from its configuration.
        merge_mode: what becomes of the two outputs: `"concat"`, `"sum"`, `"ave"` (their mean), `"mul"`, or
            None for both.
        weights: initial values, those of the forward layer first.
        backward_layer: reads backwards; default: made from `layer`.

    Call arguments:
        sequences: (batch, steps, n).
        initial_state: states of the forward layer, then those of the backward layer.
        mask, training: handed on to both. Masked steps give zeros with `return_sequences`.

    Shapes: (batch, steps, n) -> (batch, 2 units) with `"concat"`, or (batch, steps, 2 units) with
    `return_sequences`; with `return_state` also the states of both.

    Source: Keras: Bidirectional layer; Schuster and Paliwal 1997, "Bidirectional recurrent neural
    networks".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Bidirectional(cornu.layers.LSTM(4))(jnp.ones((2, 5, 3))).shape
    (2, 8)
    """

    _calculates = True

    def __init__(self, layer, merge_mode="concat", weights=None, backward_layer=None, **kwargs):
        for name, value in (("layer", layer), ("backward_layer", backward_layer)):
            if value is None and name == "backward_layer":
                continue
            if not isinstance(value, Layer) or not all(hasattr(value, n) for n in _NEEDED):
                raise ValueError(
                    f"`{name}` of `Bidirectional` must be a recurrent `keras.layers.Layer`, such as "
                    f"LSTM(8). Received: {name}={value!r}"
                )
        if merge_mode not in MERGE_MODES:
            raise ValueError(
                f"Invalid merge mode. It should be one of {MERGE_MODES}. "
                f"Received: merge_mode={merge_mode!r}"
            )
        super().__init__(**kwargs)
        self.forward_layer: Any = _made_from(layer, "forward_")
        self.backward_layer: Any = backward_layer or _made_from(
            layer, "backward_", go_backwards=True
        )
        self._check_pair()
        pair: tuple[Any, Any] = self.forward_layer, self.backward_layer
        for each in pair:
            if hasattr(each, "zero_output_for_mask"):
                each.zero_output_for_mask = each.return_sequences
        self.merge_mode = merge_mode
        self._initial_weights = weights
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.input_spec = layer.input_spec

    def _check_pair(self) -> None:
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "Forward layer and backward layer should have different `go_backwards` value. "
                f"Received: go_backwards={forward.go_backwards} for both."
            )
        for name in _NEEDED[1:]:
            values = getattr(forward, name), getattr(backward, name)
            if values[0] != values[1]:
                raise ValueError(
                    "Forward layer and backward layer are expected to have the same value for "
                    f'attribute "{name}", got {values[0]} for forward layer and {values[1]} for '
                    "backward layer"
                )

    def build(self, sequences_shape, initial_state_shape=None):
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
        if self._initial_weights:
            self.set_weights(self._initial_weights)
            self._initial_weights = None

    # ---- shapes and masks

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        output = self.forward_layer.compute_output_shape(sequences_shape)
        output, states = (output[0], output[1:]) if self.return_state else (output, ())
        if self.merge_mode == "concat":
            output = (*output[:-1], output[-1] * 2)
        outputs = (output, output) if self.merge_mode is None else (output,)
        if self.return_state or self.merge_mode is None:
            return (*outputs, *states, *states)
        return output

    def compute_mask(self, _, mask):
        mask = (mask[0] if isinstance(mask, list) else mask) if self.return_sequences else None
        if not self.return_state and self.merge_mode is not None:
            return mask
        # The states that follow have none.
        return [mask] * (2 if self.merge_mode is None else 1)

    # ---- computing

    def call(self, sequences, initial_state=None, mask=None, training=None):
        half = len(initial_state) // 2 if initial_state is not None else 0
        given = (initial_state[:half], initial_state[half:]) if half else (None, None)
        outputs: list = []
        states: list = []
        for layer, own in zip((self.forward_layer, self.backward_layer), given, strict=True):
            more = {} if own is None else {"initial_state": own}
            if accepts(layer, "mask"):
                more["mask"] = mask
            result = layer(sequences, training=training, **more)
            output = result[0] if self.return_state else result
            states += result[1:] if self.return_state else []
            outputs.append(output.astype(self.compute_dtype))
        if self.return_sequences:
            outputs[1] = jnp.flip(outputs[1], axis=1)
        merged = self._merged(*outputs)
        return (*merged, *states) if len(merged) + len(states) > 1 else merged[0]

    def _merged(self, forward, backward) -> tuple:
        if self.merge_mode is None:
            return forward, backward
        if self.merge_mode == "concat":
            return (jnp.concatenate([forward, backward], axis=-1),)
        if self.merge_mode == "mul":
            return (forward * backward,)
        total = forward + backward
        return (total / 2 if self.merge_mode == "ave" else total,)

    # ---- states

    @property
    def states(self):
        """The states of both layers, if they are stateful and built."""
        forward, backward = self.forward_layer.states, self.backward_layer.states
        return (*forward, *backward) if forward and backward else None

    def reset_state(self) -> None:
        """Set the states of both layers to zero."""
        if not self.stateful:
            raise AttributeError(f"Layer '{self.name}' must be stateful.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    # ---- configuration

    def _config_names(self) -> list[str]:
        described = ("layer", "backward_layer", "weights")
        return [name for name in super()._config_names() if name not in described]

    def get_config(self) -> dict:
        pair = {"layer": self.forward_layer, "backward_layer": self.backward_layer}
        return {**super().get_config(), **{n: registry.serialize(v) for n, v in pair.items()}}


def _made_from(layer, prefix: str, **changes) -> Layer:
    """A new layer like this one, with the prefix before its name."""
    changes["name"] = prefix + layer.name.removeprefix(prefix)
    config = {**layer.get_config(), **changes}
    # A cell of the user's need not be registered: its class is at hand.
    classes = {type(each).__name__: type(each) for each in layer._flatten_layers()}
    with registry.custom_object_scope(classes):
        new = type(layer).from_config(config)
    build_config = layer.get_build_config() if layer.built else None
    if build_config:
        new.build_from_config(build_config)
    if hasattr(layer, "use_cudnn"):
        new.use_cudnn = layer.use_cudnn
    return new
