"""Long short-term memory whose products are convolutions."""

from collections.abc import Callable

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.core.input_spec import InputSpec
from cornu.layers.convolution import Windowed, positive
from cornu.layers.recurrent.cell import Cell, weighted, with_bias
from cornu.layers.recurrent.lstm import carried, with_open_forget_gates
from cornu.layers.recurrent.rnn import CellRNN, made, of_cell
from cornu.layers.spatial import split_shape
from cornu.ops.convolution import conv


class ConvLSTMCell(Windowed, Cell):
    """A step of `ConvLSTM1D` and its siblings: that of `LSTMCell`, with convolutions for products.

    Args:
        rank: number of spatial axes.
        filters: number of output channels, and of those of the carry.
        unit_forget_bias: whether the bias of the forget gates starts at 1.

    The others are those of every convolution and of every cell. The convolution of the output before has
    strides of 1 and keeps its size.
    """

    _num_gates = 4
    _seeds_first = True

    def __init__(
        self,
        rank,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **kwargs,
    ):
        # Keras drops other elements for each gate.
        super().__init__(**arguments_for(Cell, locals()), implementation=1, **kwargs)
        self.rank = rank
        self.filters = self.output_size = positive(filters, "filters", self)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        if self.padding == "causal":
            raise ValueError(
                f"The `padding` of layer '{self.name}' must be 'valid' or 'same'. Received: 'causal'"
            )
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [self.filters, self.filters]
        self._channel_axis = -1 if self.data_format == "channels_last" else -1 - rank

    def build(self, inputs_shape, states_shape=None):
        spatial, _ = split_shape(inputs_shape, self.data_format)
        if None in spatial:
            raise ValueError(
                f"Layer '{self.name}': the spatial sizes must be known, as the first state has them. "
                f"Received: inputs of shape {tuple(inputs_shape)}"
            )
        self._state_shape = self.compute_output_shape(inputs_shape)
        columns, start = 4 * self.filters, None
        if self.unit_forget_bias:
            start = with_open_forget_gates(self.bias_initializer, self.filters)
        self._add_weights(
            (*self.kernel_size, self._channels_in(inputs_shape), columns),
            (*self.kernel_size, self.filters, columns),
            (columns,),
            start,
        )

    def _channels_out(self, channels) -> int:
        return self.filters

    def get_initial_state(self, batch_size=None) -> list:
        """Zeros for the output and for the carry; the cell must be built."""
        shape = (batch_size, *self._state_shape[1:])
        return [jnp.zeros(shape, self.compute_dtype) for _ in range(2)]

    def project(self, inputs, training: bool):
        step = inputs if inputs.ndim == self.rank + 2 else inputs[0]
        masks = self._masks_in(training, self.dropout, self.get_dropout_mask, step)

        def product(x, kernel):
            images = x.reshape(-1, *step.shape[1:])
            sums = conv(
                images,
                kernel,
                self.strides,
                self.padding,
                self.data_format,
                self.dilation_rate,
            )
            return sums.reshape(*x.shape[: -self.rank - 1], *sums.shape[1:])

        projected = weighted(inputs, masks, self.kernel.value, product, self._channel_axis)
        bias = None if self.bias is None else self._channel_axis_of(self.bias.value)
        return with_bias(projected, bias)

    def transition(self, training: bool) -> Callable:
        kernel = self.recurrent_kernel.value

        def product(x, kernel):
            return conv(x, kernel, padding="same", data_format=self.data_format)

        def step(projected, states):
            masks = self._masks_in(
                training, self.recurrent_dropout, self.get_recurrent_dropout_mask, states[0]
            )
            gates = projected + weighted(states[0], masks, kernel, product, self._channel_axis)
            output, carry = carried(
                gates, states[1], self.activation, self.recurrent_activation, self._channel_axis
            )
            return output, [output, carry]

        return step


@of_cell(ConvLSTMCell)
class _ConvLSTM(CellRNN):
    """What the three layers share.

    Args:
        filters: number of output channels.
        kernel_size: size of the windows, an integer or one for each axis.
        strides: steps of the windows on the input; those on the output before are 1.
        padding: `"valid"` (none) or `"same"` (zeros around the input).
        data_format: `"channels_last"` or `"channels_first"`; default: the configured one.
        dilation_rate: distance between kernel taps on the input.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed: as
            for `LSTMCell`.
        activity_regularizer: penalty on the output.
        return_sequences, return_state, go_backwards, stateful: as for `RNN`.
    """

    rank: int

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        **kwargs,
    ):
        cell = made(ConvLSTMCell, locals(), name="conv_lstm_cell", rank=self.rank)
        super().__init__(**arguments_for(CellRNN, locals()), **kwargs)
        self.input_spec = InputSpec(ndim=self.rank + 3)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        batch, steps, *rest = sequences_shape
        state = self.cell.compute_output_shape((batch, *rest))
        output = (batch, steps, *state[1:]) if self.return_sequences else state
        return (output, state, state) if self.return_state else output


@registry.register("layer", module="keras.layers")
class ConvLSTM1D(_ConvLSTM):
    """Long short-term memory over sequences of signals, with convolutions for products.

    The formula is that of `LSTMCell`.

    Args:
        filters: number of output channels.
        kernel_size: size of the windows, an integer or one for each axis.
        strides, padding, dilation_rate: of the windows on the input; those on the output before have
            strides of 1 and zeros around.
        data_format: `"channels_last"` or `"channels_first"`; default: the configured one.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, seed, return_sequences, return_state, go_backwards, stateful: as for `LSTM`.

    Call arguments:
        sequences: (batch, steps, length, channels) with `"channels_last"`.
        initial_state, mask, training: as for `RNN`.

    Source: Keras: ConvLSTM1D layer; Shi et al. 2015, "Convolutional LSTM network".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.ConvLSTM1D(5, 3)(jnp.ones((2, 4, 8, 3))).shape
    (2, 6, 5)
    """

    rank = 1


@registry.register("layer", module="keras.layers")
class ConvLSTM2D(_ConvLSTM):
    """Long short-term memory over sequences of images, with convolutions for products.

    The formula is that of `LSTMCell`.

    Args:
        filters: number of output channels.
        kernel_size: size of the windows, an integer or one for each axis.
        strides, padding, dilation_rate: of the windows on the input; those on the output before have
            strides of 1 and zeros around.
        data_format: `"channels_last"` or `"channels_first"`; default: the configured one.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, seed, return_sequences, return_state, go_backwards, stateful: as for `LSTM`.

    Call arguments:
        sequences: (batch, steps, height, width, channels) with `"channels_last"`.
        initial_state, mask, training: as for `RNN`.

    Source: Keras: ConvLSTM2D layer; Shi et al. 2015, "Convolutional LSTM network".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.ConvLSTM2D(5, 3)(jnp.ones((2, 4, 8, 8, 3))).shape
    (2, 6, 6, 5)
    """

    rank = 2


@registry.register("layer", module="keras.layers")
class ConvLSTM3D(_ConvLSTM):
    """Long short-term memory over sequences of volumes, with convolutions for products.

    The formula is that of `LSTMCell`.

    Args:
        filters: number of output channels.
        kernel_size: size of the windows, an integer or one for each axis.
        strides, padding, dilation_rate: of the windows on the input; those on the output before have
            strides of 1 and zeros around.
        data_format: `"channels_last"` or `"channels_first"`; default: the configured one.
        activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, recurrent_constraint, bias_constraint, dropout,
            recurrent_dropout, seed, return_sequences, return_state, go_backwards, stateful: as for `LSTM`.

    Call arguments:
        sequences: (batch, steps, depth, height, width, channels) with `"channels_last"`.
        initial_state, mask, training: as for `RNN`.

    Source: Keras: ConvLSTM3D layer; Shi et al. 2015, "Convolutional LSTM network".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.ConvLSTM3D(5, 3)(jnp.ones((2, 4, 6, 6, 6, 3))).shape
    (2, 4, 4, 4, 5)
    """

    rank = 3
