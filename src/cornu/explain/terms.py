"""One number of a layer's output as arithmetic: what the layer saw, its weights, and what it did with both.

One function for each kind of layer, chosen by its class. All arithmetic is in float64.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.observe import predicted
from cornu.layers import activation as activation_layers
from cornu.layers import normalization as normalizations
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.convolution import BaseConv, Windowed
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.dense import Dense
from cornu.layers.dot import Dot
from cornu.layers.embedding import Embedding
from cornu.layers.merging import (
    Add,
    Average,
    Maximum,
    Merge,
    Minimum,
    Multiply,
    Subtract,
)
from cornu.layers.pooling import BaseGlobalMaxPooling, BaseGlobalPooling, BasePooling
from cornu.layers.separable import BaseDepthwiseConv, BaseSeparableConv
from cornu.ops.convolution import _transposed_padding
from cornu.ops.windows import padding_amounts


class Step(NamedTuple):
    """A step after the products: what it is, how it is computed, and what comes out."""

    name: str
    formula: str
    value: float


@dataclass
class Terms:
    """What one number of an output is made of.

    Args:
        values: what the layer saw: float64, `(*window, channels)` for a window, else of any shape.
        weights: what each of them was multiplied with, of the same shape; None if nothing was.
        inside: False where padding was seen.
        steps: what was done then; the last step's value is the result.
        axes: names of the axes of `values`.
        origin: the place in the input of the first value along each spatial axis; negative in the padding.
        reach: distance in the input of neighbouring values along each spatial axis.
        first_channel: which channel of the input the first channel of `values` is.
    """

    values: np.ndarray
    weights: np.ndarray | None
    steps: list[Step]
    axes: tuple[str, ...]
    inside: np.ndarray = field(default_factory=lambda: np.ones((), bool))
    origin: tuple[int, ...] = ()
    reach: tuple[int, ...] = ()
    first_channel: int = 0

    def __post_init__(self):
        self.inside = np.broadcast_to(self.inside, self.values.shape)

    @property
    def products(self) -> np.ndarray:
        """Value times weight."""
        return self.values if self.weights is None else self.values * self.weights

    @property
    def total(self) -> float:
        """The sum of the products."""
        return float(self.products.sum())


SPATIAL = {1: ("step",), 2: ("row", "column"), 3: ("depth", "row", "column")}


def show(number: float) -> str:
    """A number in a few digits.

    >>> show(0.123456), show(-2.0), show(1e-9)
    ('0.1235', '-2', '1e-09')
    """
    return f"{float(number) + 0.0:.4g}"


def channels_last(layer, array) -> np.ndarray:
    """One example (or a batch) of a layer's data as float64, with channels last."""
    array = np.asarray(jnp.asarray(array, jnp.float32), np.float64)
    if getattr(layer, "data_format", "channels_last") == "channels_first" and hasattr(
        layer, "rank"
    ):
        array = np.moveaxis(array, 1, -1)
    return array


def _value(variable) -> np.ndarray:
    return np.asarray(jnp.asarray(variable.value, jnp.float32), np.float64)


@functools.singledispatch
def terms_of(layer, inputs, index: tuple[int, ...]) -> Terms:
    """The terms of one number.

    Args:
        layer: the layer.
        inputs: what it was called with: a batch of one example.
        index: the place in the output, with channels last and without the batch.

    Raises NotImplementedError for a layer that is neither known nor linear.
    """
    return _linear(layer, inputs, index)


# ---- sums of products


def _look(x: np.ndarray, window, strides, before, dilation, position):
    """What a window sees of an image, zeros outside of it; where it is inside; where it begins."""
    places = [
        p * s - b + d * np.arange(w)
        for p, s, b, d, w in zip(position, strides, before, dilation, window, strict=True)
    ]
    inside = np.ones([len(p) for p in places], bool)
    clipped = []
    for axis, place in enumerate(places):
        good = (place >= 0) & (place < x.shape[axis])
        inside &= good.reshape([-1 if a == axis else 1 for a in range(len(places))])
        clipped.append(np.clip(place, 0, x.shape[axis] - 1))
    seen = np.where(inside[..., None], x[np.ix_(*clipped)], 0.0)
    return seen, np.broadcast_to(inside[..., None], seen.shape), tuple(int(p[0]) for p in places)


def _window_of(layer: Windowed, x: np.ndarray, position):
    amounts = padding_amounts(
        x.shape[:-1], layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate
    )
    before = [b for b, _ in amounts]
    return _look(x, layer.kernel_size, layer.strides, before, layer.dilation_rate, position)


def _sum_text(terms_values: np.ndarray, weights: np.ndarray, most: int = 9) -> str:
    """`a × b + c × d + …`, the first few."""
    pairs = list(zip(terms_values.ravel(), weights.ravel(), strict=True))
    text = " + ".join(f"{show(v)} × {show(w)}" for v, w in pairs[:most])
    return text if len(pairs) <= most else f"{text} + … ({len(pairs)} products)"


def _finished(layer, sums: np.ndarray, channel: int, text: str) -> list[Step]:
    """The sum, the bias and the activation, from the sums of all channels at the place."""
    steps = [Step("sum of products", text, float(sums[channel]))]
    if getattr(layer, "bias", None) is not None:
        bias = _value(layer.bias)
        before = sums[channel]
        sums = sums + bias
        steps.append(Step("bias", f"{show(before)} + {show(bias[channel])}", float(sums[channel])))
    return steps + _activated(layer.activation, sums, channel)


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


def _activated(function, numbers: np.ndarray, channel: int) -> list[Step]:
    """What an activation makes of one of several channels."""
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


@terms_of.register
def _(layer: BaseConv, inputs, index):
    *position, channel = index
    x = channels_last(layer, inputs)[0]
    seen, inside, origin = _window_of(layer, x, position)
    kernel = _value(layer.kernel)
    group_size = kernel.shape[-2]
    grouped = seen.reshape(*seen.shape[:-1], layer.groups, group_size)
    by_group = kernel.reshape(*kernel.shape[:-1], layer.groups, -1)
    sums = np.stack(
        [
            np.tensordot(grouped[..., g, :], by_group[..., g, :], layer.rank + 1)
            for g in range(layer.groups)
        ]
    ).ravel()
    group = channel // by_group.shape[-1]
    part = slice(group * group_size, (group + 1) * group_size)
    values, weights = seen[..., part], kernel[..., channel]
    return Terms(
        values,
        weights,
        _finished(layer, sums, channel, _sum_text(values, weights)),
        (*SPATIAL[layer.rank], "channel"),
        inside[..., part],
        origin,
        layer.dilation_rate,
        part.start,
    )


@terms_of.register
def _(layer: BaseDepthwiseConv, inputs, index):
    *position, channel = index
    x = channels_last(layer, inputs)[0]
    seen, inside, origin = _window_of(layer, x, position)
    kernel = _value(layer.kernel)
    sums = np.einsum("nc,ncm->cm", seen.reshape(-1, seen.shape[-1]), _rows(kernel, 2)).ravel()
    own, multiple = divmod(channel, layer.depth_multiplier)
    values, weights = seen[..., own : own + 1], kernel[..., own, multiple][..., None]
    return Terms(
        values,
        weights,
        _finished(layer, sums, channel, _sum_text(values, weights)),
        (*SPATIAL[layer.rank], "channel"),
        inside[..., own : own + 1],
        origin,
        layer.dilation_rate,
        own,
    )


def _rows(kernel: np.ndarray, kept: int) -> np.ndarray:
    return kernel.reshape(-1, *kernel.shape[-kept:])


@terms_of.register
def _(layer: BaseSeparableConv, inputs, index):
    """Depthwise sums first, each of one channel, then a product with the weights that mix them."""
    *position, channel = index
    x = channels_last(layer, inputs)[0]
    seen, inside, origin = _window_of(layer, x, position)
    depthwise, pointwise = _value(layer.depthwise_kernel), _value(layer.pointwise_kernel)
    mixing = pointwise.reshape(-1, pointwise.shape[-1])
    sums = np.einsum("nc,ncm->cm", seen.reshape(-1, seen.shape[-1]), _rows(depthwise, 2)).ravel()
    # Together: a number of the image meets its depthwise weights, each times a weight that mixes.
    by_channel = mixing[:, channel].reshape(depthwise.shape[-2:])
    weights = (depthwise * by_channel).sum(-1)
    text = f"of the depthwise sums: {_sum_text(sums, mixing[:, channel])}"
    return Terms(
        seen,
        weights,
        _finished(layer, sums @ mixing, channel, text),
        (*SPATIAL[layer.rank], "channel"),
        inside,
        origin,
        layer.dilation_rate,
    )


@terms_of.register
def _(layer: BaseConvTranspose, inputs, index):
    """Each number of the input places a kernel into the output: those whose kernel covers the place."""
    *position, channel = index
    x = channels_last(layer, inputs)[0]
    sizes = layer.compute_output_shape(np.shape(inputs))
    sizes = sizes[1:-1] if layer.data_format == "channels_last" else sizes[2:]
    kernel = _value(layer.kernel)
    pairs = []
    for p, n, w, s, d, out in zip(
        position,
        x.shape[:-1],
        layer.kernel_size,
        layer.strides,
        layer.dilation_rate,
        sizes,
        strict=True,
    ):
        before, _ = _transposed_padding(n, w, s, d, layer.padding, out)
        covering = [(p + before - k * d, k) for k in range(w)][::-1]
        pairs.append([(i // s, k) for i, k in covering if i % s == 0 and 0 <= i < n * s])
    places = [[i for i, _ in axis] for axis in pairs]
    taps = [[k for _, k in axis] for axis in pairs]
    values = x[np.ix_(*places)]
    # (…, filters, channels in)
    used = kernel[np.ix_(*taps)]
    sums = np.einsum("nc,nfc->f", values.reshape(-1, x.shape[-1]), _rows(used, 2))
    weights = used[..., channel, :]
    return Terms(
        values,
        weights,
        _finished(layer, sums, channel, _sum_text(values, weights)),
        (*SPATIAL[layer.rank], "channel"),
        origin=tuple(p[0] if p else 0 for p in places),
        reach=tuple(p[1] - p[0] if len(p) > 1 else 1 for p in places),
    )


@terms_of.register
def _(layer: Dense, inputs, index):
    *position, channel = index
    values = channels_last(layer, inputs)[(0, *position)]
    kernel = _value(layer.kernel)
    weights = kernel[:, channel]
    text = _sum_text(values, weights)
    return Terms(values, weights, _finished(layer, values @ kernel, channel, text), ("input",))


# ---- pooling


def _reduced(kind: str, numbers: np.ndarray) -> Step:
    shown = ", ".join(map(show, numbers[:9])) + (", …" if len(numbers) > 9 else "")
    if kind == "max":
        return Step("maximum", f"max({shown})", float(numbers.max()))
    if kind == "average":
        mean = float(numbers.mean())
        return Step("mean", f"({shown.replace(', ', ' + ')}) / {len(numbers)}", mean)
    root = math.sqrt(float((numbers**2).sum()))
    return Step("root of the sum of squares", f"sqrt of the squares of {shown}", root)


@terms_of.register
def _(layer: BasePooling, inputs, index):
    *position, channel = index
    x = channels_last(layer, inputs)[0][..., channel : channel + 1]
    ones = (1,) * layer.rank
    amounts = padding_amounts(x.shape[:-1], layer.pool_size, layer.strides, layer.padding)
    before = [b for b, _ in amounts]
    seen, inside, origin = _look(x, layer.pool_size, layer.strides, before, ones, position)
    # Padding is never chosen, and does not count.
    step = _reduced(layer.operation, seen[inside])
    axes = (*SPATIAL[layer.rank], "channel")
    return Terms(seen, None, [step], axes, inside, origin, ones, channel)


@terms_of.register
def _(layer: BaseGlobalPooling, inputs, index):
    x = channels_last(layer, inputs)[0][..., index[-1] :][..., :1]
    kind = "max" if isinstance(layer, BaseGlobalMaxPooling) else "average"
    ones, zeros = (1,) * layer.rank, (0,) * layer.rank
    step = _reduced(kind, x.ravel())
    inside = np.ones(x.shape, bool)
    axes = (*SPATIAL[layer.rank], "channel")
    return Terms(x, None, [step], axes, inside, zeros, ones, index[-1])


# ---- normalization


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


def _at(variable, place):
    return None if variable is None else float(_value(variable)[place])


@terms_of.register
def _(layer: BatchNormalization, inputs, index):
    x = channels_last(layer, inputs)[0]
    value, place = float(x[index]), index[layer.axis - 1 if layer.axis > 0 else layer.axis]
    steps = _scaled(
        value,
        float(_value(layer.moving_mean)[place]),
        float(_value(layer.moving_variance)[place]),
        layer.epsilon,
        _at(layer.gamma, place),
        _at(layer.beta, place),
    )
    return Terms(np.array([value]), None, steps, ("input",))


@terms_of.register
def _(layer: normalizations.LayerNormalization, inputs, index):
    values, place = _along(layer, inputs, index)
    steps = _scaled(
        float(values[place]),
        float(values.mean()),
        float(values.var()),
        layer.epsilon,
        _at(layer.gamma, place),
        _at(layer.beta, place),
    )
    return Terms(values, None, steps, ("input",) * values.ndim)


@terms_of.register
def _(layer: normalizations.RMSNormalization, inputs, index):
    values, place = _along(layer, inputs, index)
    value, square = float(values[place]), float((values**2).mean())
    root = math.sqrt(square + layer.epsilon)
    text = f"{show(value)} / sqrt({show(square)} + {show(layer.epsilon)})"
    steps = [Step("normalized", text, value / root)]
    steps += _shifted(value / root, _at(layer.scale, place), None)
    return Terms(values, None, steps, ("input",) * values.ndim)


@terms_of.register
def _(layer: normalizations.UnitNormalization, inputs, index):
    values, place = _along(layer, inputs, index)
    value, length = float(values[place]), math.sqrt(float((values**2).sum()))
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


# ---- several inputs


def _picked(layer: Merge, inputs, index) -> np.ndarray:
    """The number of each input that meets the place; sizes of one are spread."""
    found = []
    for x in inputs:
        x = np.asarray(jnp.asarray(x, jnp.float32), np.float64)[0]
        x = x.reshape((1,) * (len(index) - x.ndim) + x.shape)
        found.append(x[tuple(0 if n == 1 else i for i, n in zip(index, x.shape, strict=True))])
    return np.array(found)


_MERGES: dict[type, tuple[str, Callable]] = {
    Add: (" + ", np.sum),
    Subtract: (" - ", lambda n: n[0] - n[1]),
    Multiply: (" × ", np.prod),
    Average: (" + ", np.mean),
    Maximum: (", ", np.max),
    Minimum: (", ", np.min),
}


@terms_of.register
def _(layer: Merge, inputs, index):
    kind = next((cls for cls in _MERGES if isinstance(layer, cls)), None)
    if kind is None:
        return _linear(layer, inputs, index)
    numbers = _picked(layer, inputs, index)
    between, function = _MERGES[kind]
    text = between.join(map(show, numbers))
    if kind is Average:
        text = f"({text}) / {len(numbers)}"
    elif kind in (Maximum, Minimum):
        text = f"{'max' if kind is Maximum else 'min'}({text})"
    step = Step(kind.__name__.lower(), text, float(function(numbers)))
    return Terms(numbers, None, [step], ("input",))


@terms_of.register
def _(layer: Dot, inputs, index):
    # Linear in each of its two inputs, and so in the first for the second as it is.
    first, second = inputs
    return _linear(_With(layer, second), first, index)


class _With:
    """A layer of two inputs as one of the first."""

    def __init__(self, layer, second):
        self.layer, self.second, self.name = layer, second, layer.name

    def call(self, first):
        return self.layer.call([first, self.second])


# ---- one number into one


@terms_of.register
def _(layer: activation_layers.Activation, inputs, index):
    numbers = channels_last(layer, inputs)[(0, *index[:-1])]
    steps = _activated(layer.activation, numbers, index[-1])
    return Terms(numbers[index[-1] :][:1], None, steps or _copied(numbers[index[-1]]), ("input",))


def _copied(value) -> list[Step]:
    return [Step("as it is", show(value), float(value))]


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
    alpha = _value(layer.alpha)
    place = tuple(0 if n == 1 else i for i, n in zip(index, alpha.shape, strict=True))
    return _sloped(_single(layer, inputs, index), float(alpha[place]))


@terms_of.register
def _(layer: activation_layers.ELU, inputs, index):
    x = _single(layer, inputs, index)
    if x > 0:
        return _one(x, "elu", f"{show(x)} is positive", x)
    text = f"{show(layer.alpha)} × (exp({show(x)}) - 1)"
    return _one(x, "elu", text, layer.alpha * math.expm1(x))


@terms_of.register
def _(layer: activation_layers.Softmax, inputs, index):
    values, place = _along(layer, inputs, index)
    largest = values.max()
    powers = np.exp(values - largest)
    text = (
        f"exp({show(values[place])} - {show(largest)}) / sum of exp(… - {show(largest)}) over "
        f"{values.size} numbers = {show(powers[place])} / {show(powers.sum())}"
    )
    step = Step("softmax", text, float(powers[place] / powers.sum()))
    return Terms(values, None, [step], ("input",) * values.ndim)


def _along(layer, inputs, index) -> tuple[np.ndarray, tuple]:
    """All numbers along a layer's axes at a place, and where among them the place is."""
    x = channels_last(layer, inputs)[0]
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    axes = sorted(a % (x.ndim + 1) - 1 for a in axes)
    values = x[tuple(slice(None) if a in axes else index[a] for a in range(x.ndim))]
    return values, tuple(index[a] for a in axes)


@terms_of.register
def _(layer: Embedding, inputs, index):
    number = int(np.asarray(inputs)[(0, *index[:-1])])
    row = _value(layer.embeddings)[number]
    step = Step("table", f"row {number}, column {index[-1]}", float(row[index[-1]]))
    return Terms(np.array([float(number)]), None, [step], ("input",))


# ---- anything that is a sum of weighted inputs: reshaping, padding, resizing, einsum, …

# More terms than this are not worth a list.
MOST_TERMS = 100_000


def _linear(layer, inputs, index) -> Terms:
    """By its derivative: for a linear layer, that is what each input is multiplied with."""
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
    steps = [Step("sum of products", _sum_text(value, weight) or "0", total)]
    if len(value) == 1 and weight[0] == 1 and not constant:
        steps = _copied(total)
    elif constant:
        steps.append(Step("constant", f"{show(total)} + {show(constant)}", total + constant))
    return Terms(value, weight, steps, ("input",))
