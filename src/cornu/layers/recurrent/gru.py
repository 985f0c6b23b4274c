"""Gated recurrent units."""

from collections.abc import Callable

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.recurrent.cell import DenseCell, weighted, with_bias
from cornu.layers.recurrent.rnn import CellRNN, made, of_cell


@registry.register("layer", module="keras.layers")
class GRUCell(DenseCell):
    """A step of `GRU`.

    With `x = inputs @ kernel + bias` and `h = output @ recurrent_kernel + recurrent_bias`, each in three
    parts, the update gate is `z = g(x_z + h_z)`, the reset gate `r = g(x_r + h_r)`, the candidate
    `c = a(x_c + r * h_c)`, and the output becomes `z * output + (1 - z) * c`; `a` is `activation` and `g`
    is `recurrent_activation`. With `reset_after=False`, `r` multiplies the output before the product, and
    there is no recurrent bias.

    Args:
        units: size of the output.
        activation: `a`; name or callable, None for none.
        recurrent_activation: `g`.
        use_bias: whether a bias is added.
        kernel_initializer, recurrent_initializer, bias_initializer: how the weights for inputs, those for
            the state, and the biases start.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on them.
        kernel_constraint, recurrent_constraint, bias_constraint: applied to them after each step of an
            optimizer.
        dropout, recurrent_dropout: fractions of the input, and of the state, to drop in training. All steps
            of a sequence drop the same.
        reset_after: whether the reset gate is applied after the product.
        seed: an integer for dropout that can be repeated.

    Call arguments:
        inputs: of one step, (batch, n).
        states: a list of one array, (batch, units).
        training: whether to drop.

    Shapes: the kernel is (n, 3 units), the recurrent kernel (units, 3 units), the bias (2, 3 units), or
    (3 units,) with `reset_after=False`.

    Source: Keras: GRUCell layer.

    >>> import cornu, jax.numpy as jnp
    >>> cell = cornu.layers.GRUCell(4)
    >>> output, states = cell(jnp.ones((2, 3)), cell.get_initial_state(2))
    >>> output.shape, len(states)
    ((2, 4), 1)
    """

    _num_gates = 3

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
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
        reset_after=True,
        seed=None,
        **kwargs,
    ):
        super().__init__(**arguments_for(DenseCell, locals()), **kwargs)
        self.reset_after = reset_after

    def _bias_shape(self) -> tuple:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def project(self, inputs, training: bool):
        bias = None if self.bias is None else self.bias.value
        if bias is not None and self.reset_after:
            bias = bias[0]
        return with_bias(self._weighted_inputs(inputs, training), bias)

    def transition(self, training: bool) -> Callable:
        kernel, units = self.recurrent_kernel.value, self.units
        bias = self.bias.value[1] if self.bias is not None and self.reset_after else None

        def step(projected, states):
            output = states[0]
            masks = self._masks_in(
                training, self.recurrent_dropout, self.get_recurrent_dropout_mask, output
            )
            first, last = (masks[:2], masks[2]) if isinstance(masks, list) else (masks, masks)
            x_gates, x = projected[:, : 2 * units], projected[:, 2 * units :]
            if self.reset_after:
                product = with_bias(weighted(output, masks, kernel), bias)
                gates, h = product[:, : 2 * units], product[:, 2 * units :]
            else:
                gates = weighted(output, first, kernel[:, : 2 * units])
            update, reset = jnp.split(self.recurrent_activation(x_gates + gates), 2, axis=-1)
            if self.reset_after:
                h = reset * h
            else:
                h = weighted(reset * output, last, kernel[:, 2 * units :])
            output = update * output + (1 - update) * self.activation(x + h)
            return output, [output]

        return step


@registry.register("layer", module="keras.layers")
@of_cell(GRUCell)
class GRU(CellRNN):
    """Gated recurrent units: a recurrent layer with two gates, and no state besides its output.

    The formula is that of `GRUCell`.

    Args:
        units: size of the output.
        activation, recurrent_activation, reset_after: as for the cell.
        use_bias, kernel_initializer, recurrent_initializer, bias_initializer, kernel_regularizer,
            recurrent_regularizer, bias_regularizer, kernel_constraint, recurrent_constraint,
            bias_constraint, dropout, recurrent_dropout, seed: as for the cell.
        activity_regularizer: penalty on the output.
        return_sequences, return_state, go_backwards, stateful, unroll: as for `RNN`.
        use_cudnn: `"auto"`, or False. True is refused for a mask, `unroll`, recurrent dropout, or
            `reset_after=False`, as on Keras on JAX.

    Call arguments:
        sequences: (batch, steps, n).
        initial_state, mask, training: as for `RNN`.

    Shapes: (batch, steps, n) -> (batch, units), or (batch, steps, units) with `return_sequences`. The
    kernel is (n, 3 units), the recurrent kernel (units, 3 units), the bias (2, 3 units).

    Source: Keras: GRU layer; Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.GRU(4)(jnp.ones((2, 5, 3))).shape
    (2, 4)
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
        reset_after=True,
        use_cudnn="auto",
        **kwargs,
    ):
        cell = made(
            GRUCell, locals(), name="gru_cell", implementation=kwargs.pop("implementation", 2)
        )
        super().__init__(**arguments_for(CellRNN, locals()), **kwargs)

    def _has_fast_form(self) -> bool:
        return self.cell.reset_after and not self.cell.recurrent_dropout and not self.unroll
