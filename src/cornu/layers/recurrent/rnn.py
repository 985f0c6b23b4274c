"""`RNN`: a cell, called at each step of a sequence."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp

from cornu.core import naming, registry
from cornu.core.configurable import arguments_for, constructor_parameters
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.scan import scan
from cornu.core.tracking import Aside
from cornu.core.variable import Variable, throwaway_scope
from cornu.core.watching import watched
from cornu.layers.recurrent.cell import Cell
from cornu.layers.recurrent.stacked import (
    StackedRNNCells,
    call_cell,
    check_cell,
    initial_state,
    output_size,
)


@registry.register("layer", module="keras.layers")
class RNN(Layer):
    """Calls a cell at each step of a sequence, with the states that the step before returned.

    Args:
        cell: a cell, or a list of cells, each of which is given the outputs of the one before. A cell has
            `call(inputs, states)`, which returns `(outputs, states)`, and `state_size`, a number or a list
            of them; it may have `output_size` and `get_initial_state(batch_size)`.
        return_sequences: whether the output is that of all steps, and not of the last.
        return_state: whether the last states are returned as well.
        go_backwards: begin with the last step. Outputs are in the order in which they are computed.
        stateful: begin with the states that the last call ended with. The size of the batch must be known.
        unroll: compile the steps one after another instead of a loop: quicker to run, slower to compile.
        zero_output_for_mask: whether masked steps give zeros, instead of the output before them.

    Call arguments:
        sequences: (batch, steps, …).
        initial_state: a list of arrays; default: zeros, or what the cell says.
        mask: (batch, steps) of booleans: where False, the state stays as it is.
        training: handed on to the cell.

    Shapes: (batch, steps, n) -> (batch, units), or (batch, steps, units) with `return_sequences`; with
    `return_state` a tuple of it and the states.

    Source: Keras: Base RNN layer.

    >>> import cornu, jax.numpy as jnp
    >>> class Sum(cornu.layers.Layer):
    ...     state_size = 1
    ...     def call(self, inputs, states):
    ...         total = states[0] + inputs
    ...         return total, [total]
    >>> cornu.layers.RNN(Sum(), return_sequences=True)(jnp.ones((1, 3, 1))).tolist()
    [[[1.0], [2.0], [3.0]]]
    """

    _calculates = True
    _of_sequences = True
    # The states are no weights, and no file has them.
    states: Aside[list | None]

    def __init__(
        self,
        cell,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        **kwargs,
    ):
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        check_cell(cell, "Argument `cell`")
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.states = None
        size = cell.state_size
        if not isinstance(size, list | tuple | int):
            raise ValueError(
                "state_size must be an integer, or a list/tuple of integers (one for each state "
                f"tensor). Received: state_size={size!r}"
            )
        self.state_size = [size] if isinstance(size, int) else list(size)

    def build(self, sequences_shape, initial_state_shape=None):
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell.build((sequences_shape[0], *sequences_shape[2:]))
            self.cell.built = True
        if self.stateful and self.states is None:
            self._make_states(sequences_shape)

    def _make_states(self, shape) -> None:
        if shape[0] is None:
            raise ValueError(
                f"Layer '{self.name}' is stateful, so the size of the batch must be known: give "
                f"`Input` a `batch_size`. Received: sequences of shape {tuple(shape)}"
            )
        with naming.name_scope(self.name, owner=self):
            self.states = jax.tree.map(
                lambda value: Variable(
                    value, trainable=False, dtype=self.variable_dtype, name="rnn_state"
                ),
                self.get_initial_state(shape[0]),
            )

    def _own_variables(self) -> list[Variable]:
        return super()._own_variables() + jax.tree.leaves(self.states)

    def get_initial_state(self, batch_size) -> list:
        """The states that a sequence begins with, if none are given."""
        states = initial_state(self.cell, batch_size, self.compute_dtype)
        return list(states) if isinstance(states, list | tuple) else [states]

    def reset_state(self) -> None:
        """Set the states of a stateful layer to zero."""
        for variable in jax.tree.leaves(self.states):
            variable.assign(jnp.zeros(variable.shape))

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    # ---- shapes and masks

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        batch, steps = sequences_shape[:2]
        size = output_size(self.cell)
        if not isinstance(size, int):
            raise ValueError(f"output_size must be an integer. Received: output_size={size!r}")
        output = (batch, steps, size) if self.return_sequences else (batch, size)
        if not self.return_state:
            return output
        states = jax.tree.map(
            lambda size: (batch, size), [_as_list(size) for size in self.state_size]
        )
        return (output, *states)

    def compute_mask(self, _, mask):
        mask = next(iter(jax.tree.leaves(mask)), None) if self.return_sequences else None
        return [mask] + [None] * len(self.state_size) if self.return_state else mask

    # ---- the loop

    def call(self, sequences, initial_state=None, mask=None, training=False):
        states = self._first_states(sequences, initial_state)
        batch, _, *rest = sequences.shape
        example = jax.ShapeDtypeStruct((batch, *rest), sequences.dtype)
        try:
            # Before the loop, so that all steps have the same.
            _draw_dropout_masks(self.cell, example, states)
            last, outputs, states = self.inner_loop(sequences, states, mask, training)
        finally:
            _forget_dropout_masks(self.cell)
        if self.stateful:
            own, new = jax.tree.leaves(self.states), jax.tree.leaves(states)
            for variable, value in zip(own, new, strict=True):
                variable.assign(value)
        output = (outputs if self.return_sequences else last).astype(self.compute_dtype)
        if not self.return_state:
            return output
        return (output, *jax.tree.map(lambda s: s.astype(self.compute_dtype), states))

    def _first_states(self, sequences, given) -> list:
        if self.stateful:
            expected = jax.tree.leaves(self.states)[0].shape[0]
            if sequences.shape[0] != expected:
                raise ValueError(
                    "If an RNN is stateful, the batch size of the input sequences must be the same "
                    "as the batch size of the initial state. Expected batch size: "
                    f"{expected}. Received batch size: {sequences.shape[0]}"
                )
        if given is None:
            given = self.states if self.stateful else self.get_initial_state(sequences.shape[0])
        given = list(given) if isinstance(given, list | tuple) else [given]
        dtype = getattr(self.cell, "compute_dtype", self.compute_dtype)
        values = [s.value if isinstance(s, Variable) else s for s in jax.tree.leaves(given)]
        states = [jnp.asarray(value).astype(dtype) for value in values]
        return jax.tree.unflatten(jax.tree.structure(given), states)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Run through the steps.

        Returns:
            The last output, those of all steps (or the last alone, if the layer does not return them), and
            the last states.
        """
        cell, is_own = self.cell, _can_be_split(self.cell, self)
        sequences, mask = jnp.swapaxes(sequences, 0, 1), _by_step(mask, sequences, self.name)
        if is_own:
            sequences, steps = cell.project(sequences, training), cell.transitions(training)
            if steps and len(sequences) and not self.unroll and not self.zero_output_for_mask:
                if self.go_backwards:
                    sequences, mask = sequences[::-1], None if mask is None else mask[::-1]
                outputs, states = steps(sequences, initial_state, mask)
                return outputs[-1], jnp.swapaxes(outputs, 0, 1), states
            step = cell.transition(training)
        else:

            def step(inputs, states):
                return call_cell(cell, inputs, states, training)

        # Of a cell whose output is its first state, no more than the states need to be kept.
        is_kept = self.return_sequences or not is_own or self.zero_output_for_mask

        def masked(states, inputs):
            inputs, keep = inputs
            output, new = step(inputs, states)
            if keep is not None:
                zeros = jnp.zeros_like(output)
                before = zeros if self.zero_output_for_mask else _output_before(cell, states)
                output = _where(keep, output, before)
                new = jax.tree.map(lambda n, s: _where(keep, n, s), new, states)
            return new, output if is_kept else None

        # The parts of a step assign nothing.
        layer = None if is_own else cell
        states, outputs = scan(
            masked, initial_state, (sequences, mask), layer, self.go_backwards, self.unroll
        )
        if not is_kept:
            return states[0], states[0][:, None], states
        outputs = outputs[::-1] if self.go_backwards else outputs
        return outputs[-1], jnp.swapaxes(outputs, 0, 1), states


class CellRNN(RNN):
    """An `RNN` that makes its cell itself, from arguments of its own."""

    _not_in_config = frozenset({"cell", "use_cudnn"})

    def __init__(self, cell, use_cudnn="auto", **kwargs):
        super().__init__(cell, **kwargs)
        self.input_spec = InputSpec(ndim=3)
        if use_cudnn not in ("auto", True, False):
            raise ValueError(
                "Invalid value received for argument `use_cudnn`. Expected one of 'auto', True and "
                f"False. Received: use_cudnn={use_cudnn!r}"
            )
        self.use_cudnn = use_cudnn

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if self.use_cudnn is True and not (mask is None and self._has_fast_form()):
            raise ValueError(
                f"Layer '{self.name}': use_cudnn=True was specified, but cuDNN cannot compute this "
                "layer on this device. Leave it 'auto'."
            )
        return super().inner_loop(sequences, initial_state, mask, training)

    def _has_fast_form(self) -> bool:
        """Whether Keras would have a form of its own for this layer, without a mask."""
        return False

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n not in self._not_in_config]

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        # The cell makes the initializers, so that their seeds are drawn in its order.
        with registry.custom_object_scope(custom_objects):
            return cls(**config)


def made(cell_class: type, given: dict, **more):
    """The cell of a layer, from those of the layer's arguments, `locals()`, that are the cell's."""
    kwargs = given["kwargs"]
    shared = constructor_parameters(Layer)
    own = {n: v for n, v in arguments_for(cell_class, given).items() if n not in shared}
    return cell_class(
        **own, dtype=kwargs.get("dtype"), trainable=kwargs.get("trainable", True), **more
    )


def of_cell(cell_class: type):
    """Class decorator: those arguments of a layer that are its cell's are read from the cell."""

    def decorate(cls):
        shared = constructor_parameters(Layer)
        own = inspect.signature(cls.__init__).parameters
        for name in constructor_parameters(cell_class):
            if name in own and name not in shared:
                setattr(cls, name, _attribute_of_cell(name))
        return cls

    return decorate


def _attribute_of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name))


def _as_list(size):
    return list(size) if isinstance(size, list | tuple) else size


def _by_step(mask, sequences, name: str):
    """A mask with the steps first, one boolean for each sequence."""
    if mask is None:
        return None
    mask = next(iter(jax.tree.leaves(mask))).astype(bool)
    if mask.shape[:2] != sequences.shape[:2]:
        raise ValueError(
            f"Layer '{name}': the mask must have the shape (batch, steps), {sequences.shape[:2]} for these "
            f"sequences. Received: a mask of shape {mask.shape}"
        )
    mask = mask.reshape(*mask.shape[:2], -1).any(-1)
    return jnp.swapaxes(mask, 0, 1)


def _where(keep, new, old):
    return jnp.where(keep.reshape(keep.shape + (1,) * (new.ndim - 1)), new, old)


def _output_before(cell, states):
    """The state that is taken for the output before: the first, of the last of several cells."""
    if isinstance(cell, StackedRNNCells):
        states = states[-1] if isinstance(states[-1], list | tuple) else [states[-1]]
    return states[0]


def _can_be_split(cell, layer) -> bool:
    """Whether the parts of a cell's step may be called instead of the cell."""
    return (
        isinstance(cell, Cell)
        and type(cell).call is Cell.call
        and type(cell).__call__ is Layer.__call__
        and cell.activity_regularizer is None
        and cell.compute_dtype == layer.compute_dtype
        and cell.variable_dtype == layer.variable_dtype
    )


def _cells_with_dropout(cell) -> list:
    if isinstance(cell, StackedRNNCells):
        return [found for each in cell.cells for found in _cells_with_dropout(each)]
    return [cell] if isinstance(cell, Cell) and (cell.dropout or cell.recurrent_dropout) else []


def _draw_dropout_masks(cell, inputs, states) -> None:
    """Let all cells with dropout draw, for one step's inputs (of which only the shape counts)."""
    if not _cells_with_dropout(cell):
        return
    if isinstance(cell, StackedRNNCells):
        for each, own in zip(cell.cells, states, strict=True):
            own = own if isinstance(own, list | tuple) else [own]
            _draw_dropout_masks(each, inputs, own)
            with throwaway_scope(), watched(None):
                inputs = jax.eval_shape(partial(_output_of, each), inputs, own)
    else:
        cell.draw_dropout_masks(inputs, states[0])


def _output_of(cell, inputs, states):
    return call_cell(cell, inputs, states, training=False)[0]


def _forget_dropout_masks(cell) -> None:
    for each in _cells_with_dropout(cell):
        each.reset_dropout_mask()
        each.reset_recurrent_dropout_mask()
