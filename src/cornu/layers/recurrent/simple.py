"""The simplest recurrent layer: the output is the state."""

from collections.abc import Callable

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.recurrent.cell import DenseCell, with_bias
from cornu.layers.recurrent.rnn import CellRNN, made, of_cell


@registry.register("layer", module="keras.layers")
class SimpleRNNCell(DenseCell):
    """A step of `SimpleRNN`: `activation(inputs @ kernel + state @ recurrent_kernel + bias)`.

    Args:
        units: size of the state, and of the output.
        activation: function applied to the sum; name or callable, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: how the weights for inputs, those for
            the state, and the biases start.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on them.
        kernel_constraint, recurrent_constraint, bias_constraint: applied to them after each step of an
            optimizer.
        dropout, recurrent_dropout: fractions of the input, and of the state, to drop in training. All steps
            of a sequence drop the same.
        seed: an integer for dropout that can be repeated.

    Call arguments:
        sequence: the inputs of one step, (batch, n).
        states: a list of one array, (batch, units).
        training: whether to drop.

    Shapes: the kernel is (n, units), the recurrent kernel (units, units), the bias (units,).

    Source: Keras: SimpleRNNCell layer.

    >>> import cornu, jax.numpy as jnp
    >>> cell = cornu.layers.SimpleRNNCell(4)
    >>> output, states = cell(jnp.ones((2, 3)), cell.get_initial_state(2))
    >>> output.shape, len(states)
    ((2, 4), 1)
    """

    _seeds_first = True
    _not_in_config = DenseCell._not_in_config | {"recurrent_activation"}

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
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

    def call(self, sequence, states, training=False):
        return super().call(sequence, states, training)

    def project(self, inputs, training: bool):
        bias = None if self.bias is None else self.bias.value
        return with_bias(self._weighted_inputs(inputs, training), bias)

    def transition(self, training: bool) -> Callable:
        kernel = self.recurrent_kernel.value

        def step(projected, states):
            output = self.activation(projected + self._weighted_state(states[0], kernel, training))
            return output, [output]

        return step


@registry.register("layer", module="keras.layers")
@of_cell(SimpleRNNCell)
class SimpleRNN(CellRNN):
    """A layer that sees its last output: `activation(inputs @ kernel + output @ recurrent_kernel + bias)`.

    Args:
        units: size of the output.
        activation: function applied to the sum; name or callable, None for none.
        use_bias, kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, seed: as for the cell.
        activity_regularizer: penalty on the output.
        return_sequences, return_state, go_backwards, stateful, unroll: as for `RNN`.

    Call arguments:
        sequences: (batch, steps, n).
        initial_state, mask, training: as for `RNN`.

    Shapes: (batch, steps, n) -> (batch, units), or (batch, steps, units) with `return_sequences`. The
    kernel is (n, units), the recurrent kernel (units, units), the bias (units,).

    Source: Keras: SimpleRNN layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.SimpleRNN(4, return_sequences=True)(jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    # As in Keras.
    _not_in_config = CellRNN._not_in_config | {"seed"}

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        seed=None,
        **kwargs,
    ):
        cell = made(SimpleRNNCell, locals(), name="simple_rnn_cell")
        super().__init__(**arguments_for(CellRNN, locals()), **kwargs)
