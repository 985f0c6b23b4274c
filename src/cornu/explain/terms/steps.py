"""Steps that layers of several kinds take: sums of products, a bias, an activation."""

import jax.numpy as jnp
import numpy as np

from cornu.explain.terms.base import Step, show, weights_of


def sum_text(terms_values: np.ndarray, weights: np.ndarray, most: int = 9) -> str:
    """`a × b + c × d + …`, the first few."""
    pairs = list(zip(terms_values.ravel(), weights.ravel(), strict=True))
    text = " + ".join(f"{show(v)} × {show(w)}" for v, w in pairs[:most])
    return text if len(pairs) <= most else f"{text} + … ({len(pairs)} products)"


def finished(layer, sums: np.ndarray, channel: int, text: str) -> list[Step]:
    """The sum, the bias and the activation, from the sums of all channels at its position."""
    steps = [Step("sum of products", text, float(sums[channel]))]
    if getattr(layer, "bias", None) is not None:
        bias = weights_of(layer.bias)
        before = sums[channel]
        sums = sums + bias
        steps.append(Step("bias", f"{show(before)} + {show(bias[channel])}", float(sums[channel])))
    return steps + activated(layer.activation, sums, channel)


_FORMULAS = {
    "relu": "max(0, {z})",
    "relu6": "min(max(0, {z}), 6)",
    "sigmoid": "1 / (1 + exp(-{z}))",
    "tanh": "tanh({z})",
    "exponential": "exp({z})",
    "silu": "{z} / (1 + exp(-{z}))",
    "softplus": "log(1 + exp({z}))",
    "softsign": "{z} / (1 + |{z}|)",
    "elu": "{z} if {z} > 0 else exp({z}) - 1",
    "gelu": "{z} × (share of the normal distribution below {z})",
}


def activated(function, numbers: np.ndarray, channel: int) -> list[Step]:
    """The steps of an activation, for one of several channels."""
    name = getattr(function, "__name__", type(function).__name__)
    if function is None or name == "linear":
        return []
    results = np.asarray(function(jnp.asarray(numbers, jnp.float32)[None]), np.float64)[0]
    z, result = show(numbers[channel]), float(results[channel])
    if name == "softmax":
        # The largest is taken away first, so that nothing overflows.
        largest = numbers.max()
        powers = np.exp(numbers - largest)
        text = (
            f"exp({z} - {show(largest)}) / sum of exp(… - {show(largest)}) over {len(numbers)} channels "
            f"= {show(powers[channel])} / {show(powers.sum())}"
        )
        return [Step("softmax", text, result)]
    text = _FORMULAS.get(name, f"{name}({{z}})").format(z=z)
    return [Step(name, text, result)]


def copied(value) -> list[Step]:
    return [Step("as it is", show(value), float(value))]
