"""Terms of activations: of one value, or of several that are compared."""

import math

import numpy as np

from cornu.explain.terms.base import Step, Terms, along, channels_last, show, weights_of
from cornu.explain.terms.dispatch import terms_of
from cornu.explain.terms.steps import activated, copied
from cornu.layers import activation as activation_layers


@terms_of.register
def _(layer: activation_layers.Activation, inputs, index):
    numbers = channels_last(layer, inputs)[(0, *index[:-1])]
    steps = activated(layer.activation, numbers, index[-1])
    return Terms(numbers[index[-1] :][:1], None, steps or copied(numbers[index[-1]]), ("input",))


def _single(layer, inputs, index) -> float:
    return float(channels_last(layer, inputs)[(0, *index)])


def _one(value: float, name: str, formula: str, result: float) -> Terms:
    return Terms(np.array([value]), None, [Step(name, formula, result)], ("input",))


@terms_of.register
def _(layer: activation_layers.ReLU, inputs, index):
    x = _single(layer, inputs, index)
    z, limit, slope = show(x), layer.threshold, layer.negative_slope
    if layer.max_value is not None and x >= layer.max_value:
        return _one(x, "relu", f"{z}, at most {show(layer.max_value)}", layer.max_value)
    if x < limit or limit:
        text = f"{z} is not below {show(limit)}"
        if x < limit:
            text, x = f"{show(slope)} × ({z} - {show(limit)})", slope * (x - limit)
        return _one(_single(layer, inputs, index), "relu", text, x)
    return _one(x, "relu", f"max(0, {z})", max(x, 0.0))


def _sloped(x: float, slope: float) -> Terms:
    text = f"{show(x)} is positive" if x >= 0 else f"{show(slope)} × {show(x)}"
    return _one(x, "relu with a slope", text, x if x >= 0 else slope * x)


@terms_of.register
def _(layer: activation_layers.LeakyReLU, inputs, index):
    return _sloped(_single(layer, inputs, index), layer.negative_slope)


@terms_of.register
def _(layer: activation_layers.PReLU, inputs, index):
    alpha = weights_of(layer.alpha)
    own = tuple(0 if n == 1 else i for i, n in zip(index, alpha.shape, strict=True))
    return _sloped(_single(layer, inputs, index), float(alpha[own]))


@terms_of.register
def _(layer: activation_layers.ELU, inputs, index):
    x = _single(layer, inputs, index)
    if x > 0:
        return _one(x, "elu", f"{show(x)} is positive", x)
    text = f"{show(layer.alpha)} × (exp({show(x)}) - 1)"
    return _one(x, "elu", text, layer.alpha * math.expm1(x))


@terms_of.register
def _(layer: activation_layers.Softmax, inputs, index):
    values, own = along(layer, inputs, index)
    largest = values.max()
    powers = np.exp(values - largest)
    text = (
        f"exp({show(values[own])} - {show(largest)}) / sum of exp(… - {show(largest)}) over "
        f"{values.size} numbers = {show(powers[own])} / {show(powers.sum())}"
    )
    step = Step("softmax", text, float(powers[own] / powers.sum()))
    return Terms(values, None, [step], ("input",) * values.ndim)
