"""Long short-term memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cornu import activations
from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.recurrent.cell import DenseCell, with_bias
from cornu.layers.recurrent.rnn import CellRNN, made, of_cell
from cornu.ops.lstm import lstm


def carried(gates, carry, activation: Callable, recurrent_activation: Callable, axis: int = -1):
    """The output and the new carry, for the sums of the four gates, which are along one axis."""
    into, kept, candidate, out = jnp.split(gates, 4, axis=axis)
    carry = recurrent_activation(kept) * carry + recurrent_activation(into) * activation(candidate)
    return recurrent_activation(out) * activation(carry), carry


def with_open_forget_gates(initializer: Callable, units: int) -> Callable:
    """An initializer of biases that are 1 for the forget gates, so that at first nothing is forgotten."""

    def start(shape, dtype=None):
        parts = (initializer((units,), dtype=dtype), initializer((2 * units,), dtype=dtype))
        return jnp.concatenate([parts[0], jnp.ones((units,), dtype), parts[1]])

    return start


@registry.register("layer", module="keras.layers")
class LSTMCell(DenseCell):
    """A step of `LSTM`.

    With the gates `i, f, c, o = inputs @ kernel + output @ recurrent_kernel + bias`, the carry becomes
    `r(f) * carry + r(i) * a(c)` and the output `r(o) * a(carry)`, where `a` is `activation` and `r` is
    `recurrent_activation`.

    Args:
        units: size of the output, and of the carry.
        activation: `a`; name or callable, None for none.
        recurrent_activation: `r`.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: how the weights for inputs, those for
            the state, and the biases start.
        unit_forget_bias: whether the bias of the forget gates starts at 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on them.
        kernel_constraint, recurrent_constraint, bias_constraint: applied to them after each step of an
            optimizer.
        dropout, recurrent_dropout: fractions of the input, and of the state, to drop in training. All steps
            of a sequence drop the same.
        seed: an integer for dropout that can be repeated.

    Call arguments:
        inputs: of one step, (batch, n).
        states: the output and the carry of the step before, each (batch, units).
        training: whether to drop.

    Shapes: the kernel is (n, 4 units), the recurrent kernel (units, 4 units), the bias (4 units,).

    Source: Keras: LSTMCell layer.

    >>> import cornu, jax.numpy as jnp
    >>> cell = cornu.layers.LSTMCell(4)
    >>> output, states = cell(jnp.ones((2, 3)), cell.get_initial_state(2))
    >>> output.shape, len(states)
    ((2, 4), 2)
    """

    _num_gates = 4

    def __init__(
        self,
        units,
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
        super().__init__(**arguments_for(DenseCell, locals()), **kwargs)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [units, units]

    def _bias_start(self) -> Callable | None:
        if not self.unit_forget_bias:
            return None
        return with_open_forget_gates(self.bias_initializer, self.units)

    def project(self, inputs, training: bool):
        bias = None if self.bias is None else self.bias.value
        return with_bias(self._weighted_inputs(inputs, training), bias)

    def transition(self, training: bool) -> Callable:
        kernel = self.recurrent_kernel.value

        def step(projected, states):
            gates = projected + self._weighted_state(states[0], kernel, training)
            output, carry = carried(gates, states[1], self.activation, self.recurrent_activation)
            return output, [output, carry]

        return step

    def transitions(self, training: bool) -> Callable | None:
        if (
            self.activation is not activations.tanh
            or self.recurrent_activation is not activations.sigmoid
            or (training and self.recurrent_dropout)
        ):
            return None
        kernel = self.recurrent_kernel.value

        def steps(projected, states, kept):
            outputs, carries = lstm(projected, kernel, states[0], states[1], kept)
            return outputs, [outputs[-1], carries[-1]]

        return steps


@registry.register("layer", module="keras.layers")
@of_cell(LSTMCell)
class LSTM(CellRNN):
    """Long short-term memory: a recurrent layer whose gates decide what is kept over many steps.

    The formula is that of `LSTMCell`.

    Args:
        units: size of the output.
        activation, recurrent_activation, unit_forget_bias: as for the cell.
        use_bias, kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, seed: as for the cell.
        activity_regularizer: penalty on the output.
        return_sequences, return_state, go_backwards, stateful, unroll: as for `RNN`.
        use_cudnn: `"auto"`, or False. True is refused where Keras on JAX has no cuDNN, as on a CPU.

    Call arguments:
        sequences: (batch, steps, n).
        initial_state, mask, training: as for `RNN`.

    Shapes: (batch, steps, n) -> (batch, units), or (batch, steps, units) with `return_sequences`; with
    `return_state` also the last output and the carry. The kernel is (n, 4 units), the recurrent kernel
    (units, 4 units), the bias (4 units,).

    Source: Keras: LSTM layer; Hochreiter and Schmidhuber 1997, "Long short-term memory".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.LSTM(4, return_sequences=True, return_state=True)
    >>> [output.shape for output in layer(jnp.ones((2, 5, 3)))]
    [(2, 5, 4), (2, 4), (2, 4)]
    """

    def __init__(
        self,
        units,
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
        unroll=False,
        use_cudnn="auto",
        **kwargs,
    ):
        cell = made(
            LSTMCell, locals(), name="lstm_cell", implementation=kwargs.pop("implementation", 2)
        )
        super().__init__(**arguments_for(CellRNN, locals()), **kwargs)

    def _has_fast_form(self) -> bool:
        return (
            jax.default_backend() == "gpu"
            and self.cell.activation is activations.tanh
            and self.cell.recurrent_activation is activations.sigmoid
            and self.cell.use_bias
            and not self.cell.recurrent_dropout
            and not self.unroll
        )
