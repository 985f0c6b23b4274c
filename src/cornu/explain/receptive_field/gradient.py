"""What a layer without a rule reads: where its output has a gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.symbolic import FunctionOperation
from cornu.core.variable import functional
from cornu.explain.receptive_field.rules import Box, everything


def boxes_by_gradient(call, box: Box, shapes: list, memory: dict) -> list[Box]:
    """For a layer without a rule: the smallest boxes of inputs that have a gradient, for a few inputs.

    Everything, if there is none. Beyond the borders it is taken to go on at the same pace.
    """
    if id(call) not in memory:
        memory[id(call)] = _gradients(call)
    size = call.outputs.shape[1:]
    inside = [
        (min(max(a, 0), n - 1), min(max(b, 0), n - 1)) for (a, b), n in zip(box, size, strict=True)
    ]
    part = np.zeros((1, *size), bool)
    part[0][tuple(slice(low, high + 1) for low, high in inside)] = True
    used = memory[id(call)](part)
    if used is None:
        return [everything(shape) for shape in shapes]
    found = []
    for mask, shape in zip(used, shapes, strict=True):
        seen = _bounds(np.asarray(mask))
        if len(shape) == len(size) and box != tuple(inside) and seen != everything(shape):
            seen = tuple(
                (low + round((a - c) * n / m), high + round((b - d) * n / m))
                for (low, high), (a, b), (c, d), n, m in zip(
                    seen, box, inside, shape, size, strict=True
                )
            )
        found.append(seen)
    return found


def _gradients(call):
    """A function from a mask of outputs to a mask of inputs with a gradient; None for integer inputs."""
    leaves, structure = jax.tree.flatten(call.arguments)
    indices = [n for n, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    is_function = isinstance(call.operation, FunctionOperation)
    variables = [] if is_function else call.operation.variables

    def run(arrays, part):
        filled = list(leaves)
        for index, array in zip(indices, arrays, strict=True):
            filled[index] = array
        arguments = jax.tree.unflatten(structure, filled)
        # A layer's arguments come in their order; those of a function, by number or by name.
        named = {k: v for k, v in arguments.items() if is_function and not k.isdigit()}
        given = [v for k, v in arguments.items() if k not in named]
        if not is_function:
            named["training"] = False
        outputs = call.operation(*given, **named)
        return jnp.sum(jnp.where(part, jnp.sin(outputs), 0))

    @jax.jit
    def used(values, draws, part):
        def has_gradient(arrays):
            gradient = functional(lambda: jax.grad(run)(arrays, part), variables)(values)[0]
            return [g[0] != 0 for g in gradient]

        return [jnp.any(each, axis=0) for each in jax.lax.map(has_gradient, draws)]

    random = np.random.default_rng(0)
    # Of one sign, so that what a relu cuts in one draw it lets through in another.
    draws = [
        jnp.stack(
            [
                jnp.asarray(sign * np.abs(random.standard_normal(leaves[n].shape)), leaves[n].dtype)
                for sign in (1, -1) * _DRAWS
            ]
        )
        for n in indices
    ]

    def answer(part):
        try:
            return used([v.value for v in variables], draws, part)
        except TypeError:
            # Of integers there are none.
            return None

    return answer


# Where a maximum is taken, or a relu cuts, one input does not show everything.
_DRAWS = 4


def _bounds(mask: np.ndarray) -> Box:
    if not mask.any():
        return everything(mask.shape)
    return tuple((int(used.min()), int(used.max())) for used in np.nonzero(mask))
