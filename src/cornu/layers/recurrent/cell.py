"""What the cells have in common: weights, dropout, and two parts of a step.

A step is split in what needs its input alone (`project`) and what needs the state (`transition`), so that a
layer projects a whole sequence at once, and its loop has only the rest.
"""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.layer import Layer
from cornu.core.random import SeedGenerator
from cornu.core.tracking import Aside
from cornu.layers import weight_arguments
from cornu.ops.random_bits import bernoulli


class Cell(Layer):
    """A cell whose step can be split.

    Args:
        activation: function applied to what enters the state.
        recurrent_activation: function of the gates.
        use_bias: whether biases are added.
        kernel_initializer, recurrent_initializer, bias_initializer: how the weights for inputs, those for
            the state, and the biases start.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: penalties on them.
        kernel_constraint, recurrent_constraint, bias_constraint: applied to them after each step of an
            optimizer.
        dropout, recurrent_dropout: fractions of the input, and of the state, to drop in training. All steps
            of a sequence drop the same.
        seed: an integer for dropout that can be repeated.
    """

    _calculates = True
    bias_initializer: Any
    # No part of the cell: they last for one call of a layer.
    _dropout_masks: Aside[dict[tuple[int, str], Any]]

    # How many products with inputs there are, and so how many blocks of columns the kernel has.
    _num_gates = 1
    # Arguments that Keras keeps out of the configuration.
    _not_in_config = frozenset({"implementation"})
    # Whether the seed is drawn before those of the initializers, as Keras does for some cells.
    _seeds_first = False

    def __init__(
        self,
        *,
        activation,
        use_bias,
        kernel_initializer,
        recurrent_initializer,
        bias_initializer,
        kernel_regularizer,
        recurrent_regularizer,
        bias_regularizer,
        kernel_constraint,
        recurrent_constraint,
        bias_constraint,
        dropout,
        recurrent_dropout,
        seed,
        recurrent_activation=None,
        implementation=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.seed = seed
        if self._seeds_first:
            self.seed_generator = SeedGenerator(seed)
        self.activation = registry.get("activation", "linear" if activation is None else activation)
        self.recurrent_activation = registry.get(
            "activation", "linear" if recurrent_activation is None else recurrent_activation
        )
        self.use_bias = use_bias
        weight_arguments.keep(self, locals(), "kernel", "recurrent", "bias")
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        # In Keras, the first way to compute a step drops other elements for each gate.
        self.implementation = 1 if self.recurrent_dropout else implementation
        if not self._seeds_first:
            self.seed_generator = SeedGenerator(seed)
        # By thread, as several may trace the same layer.
        self._dropout_masks = {}

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name not in self._not_in_config]

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        # The constructor makes the initializers, so that their seeds are drawn in its order.
        with registry.custom_object_scope(custom_objects):
            return cls(**config)

    # ---- a step

    def call(self, inputs, states, training=False):
        states = list(states) if isinstance(states, list | tuple) else [states]
        return self.transition(training)(self.project(inputs, training), states)

    def project(self, inputs, training: bool):
        """What a step needs of its inputs; they may be those of all steps, along a first axis more."""
        raise NotImplementedError

    def transition(self, training: bool) -> Callable:
        """The rest of a step: a function of what `project` gives and the states."""
        raise NotImplementedError

    def transitions(self, training: bool) -> Callable | None:
        """The rest of all steps at once, if the cell has a form for that.

        A function of what `project` gives for all steps, the states, and a mask with the steps first, or
        None; it returns the outputs of all steps and the last states.
        """
        return None

    # ---- weights

    def _add_weights(self, kernel_shape, recurrent_shape, bias_shape, bias_initializer=None):
        self.kernel = weight_arguments.add(self, "kernel", kernel_shape)
        self.recurrent_kernel = weight_arguments.add(
            self, "recurrent", recurrent_shape, name="recurrent_kernel"
        )
        self.bias = None
        if self.use_bias:
            initializer = bias_initializer or self.bias_initializer
            self.bias = weight_arguments.add(self, "bias", bias_shape, initializer=initializer)

    # ---- dropout

    def _num_masks(self) -> int | None:
        """How many masks there are: one for each gate, or None for a single one."""
        return self._num_gates if self.implementation == 1 and self._num_gates > 1 else None

    def _mask(self, which: str, example, rate: float, in_layer: bool = False):
        key = threading.get_ident(), which
        if key in self._dropout_masks or rate == 0:
            return self._dropout_masks.get(key)
        draws = [self._draw(example, rate) for _ in range(self._num_masks() or 1)]
        mask = draws if self._num_masks() else draws[0]
        # Of a cell that is called by itself, the next trace must not find what belongs to this one.
        if in_layer or not isinstance(draws[0], jax.core.Tracer):
            self._dropout_masks[key] = mask
        return mask

    def _draw(self, example, rate: float):
        if rate == 1:
            return jnp.zeros(example.shape, example.dtype)
        kept = bernoulli(self.seed_generator.next(), 1 - rate, example.shape)
        return jnp.where(kept, jnp.asarray(1 / (1 - rate), example.dtype), 0)

    def draw_dropout_masks(self, step_input, state) -> None:
        """Draw what all steps of a layer's call drop, until it is reset."""
        self._mask("input", step_input, self.dropout, in_layer=True)
        self._mask("state", state, self.recurrent_dropout, in_layer=True)

    def get_dropout_mask(self, step_input):
        """What a step's input is multiplied by in training: drawn once, until it is reset.

        An array, or a list of one for each gate; None without dropout.
        """
        return self._mask("input", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input):
        """The same for the state."""
        return self._mask("state", step_input, self.recurrent_dropout)

    def reset_dropout_mask(self) -> None:
        """Let the next call draw another mask for inputs."""
        self._dropout_masks.pop((threading.get_ident(), "input"), None)

    def reset_recurrent_dropout_mask(self) -> None:
        """Let the next call draw another mask for the state."""
        self._dropout_masks.pop((threading.get_ident(), "state"), None)

    def _masks_in(self, training, rate: float, get: Callable, example):
        return get(example) if training and 0 < rate < 1 else None


class DenseCell(Cell):
    """A cell of which inputs and states are vectors.

    Args:
        units: size of the state, and of the output.
    """

    def __init__(self, units, **kwargs):
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                "Received an invalid value for argument `units`, expected a positive integer, got "
                f"{described('units', units)}"
            )
        super().__init__(**kwargs)
        self.units = self.output_size = units
        self.state_size: int | list[int] = units

    def get_initial_state(self, batch_size=None) -> list:
        """Zeros for each state."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [jnp.zeros((batch_size, size), self.compute_dtype) for size in sizes]

    def build(self, input_shape):
        columns = self.units * self._num_gates
        self._add_weights(
            (input_shape[-1], columns),
            (self.units, columns),
            self._bias_shape(),
            self._bias_start(),
        )

    def _bias_shape(self) -> tuple:
        return (self.units * self._num_gates,)

    def _bias_start(self) -> Callable | None:
        """What the bias starts as, if that is not for `bias_initializer` alone to say."""
        return None

    def _weighted_inputs(self, inputs, training: bool):
        """The inputs, of one step or of all, times the kernel."""
        step = inputs if inputs.ndim == 2 else inputs[0]
        masks = self._masks_in(training, self.dropout, self.get_dropout_mask, step)
        return weighted(inputs, masks, self.kernel.value)

    def _weighted_state(self, state, kernel, training: bool):
        masks = self._masks_in(
            training, self.recurrent_dropout, self.get_recurrent_dropout_mask, state
        )
        return weighted(state, masks, kernel)


def weighted(x, masks, kernel, product: Callable = jnp.matmul, axis: int = -1):
    """The product of `x` and a kernel; with several masks, each is for its share of the kernel's columns.

    Args:
        axis: which axis of the product has the columns.
    """
    if isinstance(masks, list):
        masks = [jax.lax.broadcast_to_rank(mask, x.ndim) for mask in masks]
        parts = jnp.split(kernel, len(masks), axis=-1)
        products = [product(x * mask, part) for mask, part in zip(masks, parts, strict=True)]
        return jnp.concatenate(products, axis=axis)
    if masks is not None:
        x = x * jax.lax.broadcast_to_rank(masks, x.ndim)
    return product(x, kernel)


def with_bias(summed, bias):
    return summed if bias is None else summed + jax.lax.broadcast_to_rank(bias, summed.ndim)
