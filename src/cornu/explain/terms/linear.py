"""Layers without a rule that are linear: reshaping, padding, resizing, einsum products, and so on."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.call_arguments import call_defaults, call_parameters
from cornu.explain.observe import predicted
from cornu.explain.terms.base import Step, Terms, show
from cornu.explain.terms.steps import copied, sum_text

# More terms than this are not worth a list.
MOST_TERMS = 100_000


def linear(layer, inputs, index) -> Terms:
    """By its derivative: for a linear layer, that is what each input is multiplied with."""
    parameters = call_parameters(type(layer))
    if len(parameters.keys() - call_defaults(type(layer)).keys()) > 1:
        # It takes several inputs apart, and `inputs` is one.
        raise NotImplementedError
    leaves, structure = jax.tree.flatten(inputs)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in arrays):
        raise NotImplementedError
    arrays = [a.astype(jnp.float32) for a in arrays]

    def at(arrays):
        outputs = predicted(layer, jax.tree.unflatten(structure, arrays))
        return jnp.asarray(outputs, jnp.float32)[(0, *index)]

    result, gradients = jax.value_and_grad(at)(arrays)
    constant = float(at([jnp.zeros_like(a) for a in arrays]))
    values, weights = [], []
    for array, gradient in zip(arrays, gradients, strict=True):
        used = np.asarray(gradient) != 0
        values.append(np.asarray(array, np.float64)[used])
        weights.append(np.asarray(gradient, np.float64)[used])
    value, weight = np.concatenate(values), np.concatenate(weights)
    total = float(value @ weight)
    size = np.abs(value) @ np.abs(weight) + abs(constant)
    if len(value) > MOST_TERMS or not math.isclose(
        total + constant, float(result), rel_tol=1e-4, abs_tol=1e-5 * size + 1e-30
    ):
        raise NotImplementedError
    steps = [Step("sum of products", sum_text(value, weight) or "0", total)]
    if len(value) == 1 and weight[0] == 1 and not constant:
        steps = copied(total)
    elif constant:
        steps.append(Step("constant", f"{show(total)} + {show(constant)}", total + constant))
    return Terms(value, weight, steps, ("input",))
