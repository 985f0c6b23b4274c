"""Terms of normalizations: a value, and the statistics that normalize it."""

import math

import numpy as np

from cornu.explain.terms.base import Step, Terms, along, channels_last, show, weights_of
from cornu.explain.terms.dispatch import terms_of
from cornu.layers import normalization as normalizations
from cornu.layers.batch_normalization import BatchNormalization


def _scaled(value, mean, variance, epsilon, gamma, beta) -> list[Step]:
    deviation = math.sqrt(variance + epsilon)
    text = f"({show(value)} - {show(mean)}) / sqrt({show(variance)} + {show(epsilon)})"
    number = (value - mean) / deviation
    return [Step("normalized", text, number), *_shifted(number, gamma, beta)]


def _shifted(number, gamma, beta) -> list[Step]:
    steps = []
    if gamma is not None:
        steps.append(Step("gamma", f"{show(number)} × {show(gamma)}", number * gamma))
        number *= gamma
    if beta is not None:
        steps.append(Step("beta", f"{show(number)} + {show(beta)}", number + beta))
    return steps


def _at(variable, index):
    return None if variable is None else float(weights_of(variable)[index])


@terms_of.register
def _(layer: BatchNormalization, inputs, index):
    x = channels_last(layer, inputs)[0]
    value, own = float(x[index]), index[layer.axis - 1 if layer.axis > 0 else layer.axis]
    steps = _scaled(
        value,
        float(weights_of(layer.moving_mean)[own]),
        float(weights_of(layer.moving_variance)[own]),
        layer.epsilon,
        _at(layer.gamma, own),
        _at(layer.beta, own),
    )
    return Terms(np.array([value]), None, steps, ("input",))


@terms_of.register
def _(layer: normalizations.LayerNormalization, inputs, index):
    values, own = along(layer, inputs, index)
    steps = _scaled(
        float(values[own]),
        float(values.mean()),
        float(values.var()),
        layer.epsilon,
        _at(layer.gamma, own),
        _at(layer.beta, own),
    )
    return Terms(values, None, steps, ("input",) * values.ndim)


@terms_of.register
def _(layer: normalizations.RMSNormalization, inputs, index):
    values, own = along(layer, inputs, index)
    value, square = float(values[own]), float((values**2).mean())
    root = math.sqrt(square + layer.epsilon)
    text = f"{show(value)} / sqrt({show(square)} + {show(layer.epsilon)})"
    steps = [Step("normalized", text, value / root)]
    steps += _shifted(value / root, _at(layer.scale, own), None)
    return Terms(values, None, steps, ("input",) * values.ndim)


@terms_of.register
def _(layer: normalizations.UnitNormalization, inputs, index):
    values, own = along(layer, inputs, index)
    value, length = float(values[own]), math.sqrt(float((values**2).sum()))
    text = f"{show(value)} / sqrt(sum of {values.size} squares) = {show(value)} / {show(length)}"
    step = Step("normalized", text, value / length if length else 0.0)
    return Terms(values, None, [step], ("input",) * values.ndim)


@terms_of.register
def _(layer: normalizations.GroupNormalization, inputs, index):
    x = channels_last(layer, inputs)[0]
    axis = layer.axis % (x.ndim + 1) - 1
    size = x.shape[axis] // (x.shape[axis] if layer.groups == -1 else layer.groups)
    first = index[axis] // size * size
    values = np.take(x, range(first, first + size), axis)
    steps = _scaled(
        float(x[index]),
        float(values.mean()),
        float(values.var()),
        layer.epsilon,
        _at(layer.gamma, index[axis]),
        _at(layer.beta, index[axis]),
    )
    return Terms(values, None, steps, ("input",) * x.ndim)
