"""`scan`: a loop over steps that is traced once, and whose steps may call layers."""

from collections.abc import Callable
from typing import Any

import jax

from cornu.core.variable import functional
from cornu.core.watching import watched


def scan(step: Callable, initial, sequences, layer, reverse: bool = False, unroll: bool = False):
    """`jax.lax.scan` for a step that may read and assign the variables of a layer.

    What the layer holds besides trainable weights, such as moving averages and the states of seed
    generators, goes on from step to step. Losses that are added in the steps are summed. Calls within a
    step are not watched: their arrays belong to the loop.

    Args:
        step: called as `step(carried, inputs)`; returns `(carried, outputs)`.
        initial: what the first step is given as `carried`.
        sequences: a structure of arrays; a step gets one position along their first axis.
        layer: holds the variables. It may be any object; one that is no layer has none.
        reverse: begin at the last position.
        unroll: write the steps one after another, instead of a loop.

    Returns:
        `(carried, outputs)`: that of the last step, and all outputs in the order of the positions.

    >>> import cornu, jax.numpy as jnp
    >>> from cornu.core.scan import scan
    >>> total, sums = scan(lambda total, x: (total + x, total + x), 0, jnp.arange(4), None)
    >>> int(total), sums.tolist()
    (6, [0, 1, 3, 6])
    """
    variables = list(getattr(layer, "non_trainable_variables", ()))
    body = functional(step, variables, collect_losses=True)
    # What a trace finds out: which variables are assigned, and which layers add losses.
    found: dict[str, Any] = {}

    def run(carried, inputs):
        carried, values = carried
        with watched(None):
            (carried, outputs), new, losses = body(values, carried, inputs)
        found["assigned"] = [a is not b for a, b in zip(new, values, strict=True)]
        found["layers"] = [each for each, _ in losses]
        return (carried, new), (outputs, [loss for _, loss in losses])

    start = initial, [variable._stored() for variable in variables]
    (carried, values), (outputs, losses) = jax.lax.scan(
        run, start, sequences, reverse=reverse, unroll=unroll
    )
    for variable, value, is_new in zip(variables, values, found["assigned"], strict=True):
        if is_new:
            variable.assign(value)
    for each, loss in zip(found["layers"], losses, strict=True):
        each.add_loss(loss.sum())
    return carried, outputs
