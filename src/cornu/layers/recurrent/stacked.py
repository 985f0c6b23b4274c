"""Several cells as one."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.call_arguments import accepts
from cornu.core.layer import Layer


def check_cell(cell, what: str) -> None:
    """Raise ValueError if an object is no cell."""
    for attribute, kind in (("call", "method"), ("state_size", "attribute")):
        if attribute not in dir(cell):
            raise ValueError(f"{what} should have a `{attribute}` {kind}. Received: cell={cell!r}")


def output_size(cell):
    """The size of what a cell gives."""
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    return cell.state_size[0] if isinstance(cell.state_size, list | tuple) else cell.state_size


def initial_state(cell, batch_size, dtype):
    """What a cell starts with: what it says itself, or zeros."""
    get = getattr(cell, "get_initial_state", None)
    if get is not None:
        return get(batch_size=batch_size)
    size = cell.state_size
    if isinstance(size, int):
        return jnp.zeros((batch_size, size), dtype)
    return [jnp.zeros((batch_size, each), dtype) for each in size]


def call_cell(cell, inputs, states, training):
    """A step of any cell; its states come back in the structure that they had."""
    more = {"training": training} if isinstance(cell, Layer) and accepts(cell, "training") else {}
    function = cell if callable(cell) else cell.call
    given = list(states) if isinstance(states, list | tuple) else [states]
    outputs, new = function(inputs, given, **more)
    leaves, old = jax.tree.leaves(new), jax.tree.leaves(states)
    if len(leaves) != len(old):
        raise ValueError(
            f"A cell must return as many states as it has. {cell!r} has {len(old)} and returned "
            f"{len(leaves)}."
        )
    # What is carried keeps its dtype, whatever a step computes in.
    kept = [leaf.astype(before.dtype) for leaf, before in zip(leaves, old, strict=True)]
    return outputs, jax.tree.unflatten(jax.tree.structure(states), kept)


@registry.register("layer", module="keras.layers")
class StackedRNNCells(Layer):
    """Several cells as one: each is given the outputs of the one before.

    Args:
        cells: a list of cells.

    Call arguments:
        inputs: of one step, (batch, n).
        states: a list with the states of each cell.
        training: handed on to the cells that take it.

    Source: Keras: StackedRNNCells layer.

    >>> import cornu, jax.numpy as jnp
    >>> cells = [cornu.layers.LSTMCell(4), cornu.layers.GRUCell(3)]
    >>> layer = cornu.layers.RNN(cornu.layers.StackedRNNCells(cells))
    >>> layer(jnp.ones((2, 5, 6))).shape
    (2, 3)
    """

    _calculates = True

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        for cell in cells:
            check_cell(cell, "All cells")
        self.cells = cells

    @property
    def state_size(self) -> list:
        """The sizes of the states of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self):
        """The size of the last cell's output."""
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size=None) -> list:
        """The states that each cell starts with."""
        return [initial_state(cell, batch_size, self.compute_dtype) for cell in self.cells]

    def build(self, input_shape):
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (input_shape[0], output_size(cell))

    def call(self, inputs, states, training=False):
        new_states = []
        for cell, own in zip(self.cells, states, strict=True):
            inputs, own = call_cell(cell, inputs, own, training)
            new_states.append(own)
        return inputs, new_states
