"""Which numbers of a layer's output a number of its input is in, and with what factor.

One function for each kind of layer, chosen by its class: the reverse of `explain.terms`. All of them are
about one example. Positions have the channel last. What has no function of its own is asked for its
derivative.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.layer import Layer
from cornu.explain.attribution.scores import without_activation
from cornu.explain.observe import Call, native, predicted
from cornu.explain.terms.base import channels_last, weights_of
from cornu.explain.terms.patch import patch_of
from cornu.layers.activation import Softmax
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.convolution import BaseConv
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.dense import Dense
from cornu.layers.pooling import BaseGlobalMaxPooling, BaseGlobalPooling, BasePooling
from cornu.layers.separable import BaseDepthwiseConv, BaseSeparableConv


class Uses(NamedTuple):
    """Where a number went.

    Attributes:
        outputs: an array `(n, axes)`: indices of the numbers of the output that it is in.
        factors: how each of these changes with it.
        says: what that means, in words.
        before: whether they are meant as they are before the layer's activation.
    """

    outputs: np.ndarray
    factors: np.ndarray
    says: str
    before: bool = False


def uses_of(call: Call, source: int, index: tuple[int, ...]) -> Uses:
    """Where a number went.

    Args:
        call: the call of a layer or function, with a batch of one example.
        source: which of the arrays that it was given.
        index: the place in that, without the batch, the channel last.
    """
    if isinstance(call.operation, Layer) and hasattr(call.inputs, "shape"):
        return _uses_of(call.operation, call, source, index)
    return by_derivative(call, source, index)


@functools.singledispatch
def _uses_of(layer, call: Call, source: int, index: tuple) -> Uses:
    return by_derivative(call, source, index)


def grid(*ranges) -> np.ndarray:
    """All combinations, as rows."""
    rows = list(itertools.product(*ranges))
    return np.array(rows, int).reshape(len(rows), len(ranges))


def _readers(layer, call, position) -> tuple[np.ndarray, np.ndarray]:
    """The output positions that read an input position, and the tap with which each does."""
    pairs = layer.window(np.shape(call.inputs)).readers(position)
    places = grid(*([i for i, _ in axis] for axis in pairs))
    return places, grid(*([k for _, k in axis] for axis in pairs))


def _for_each(places: np.ndarray, channels) -> np.ndarray:
    """Places with each of some channels."""
    channels = np.asarray(channels)
    repeated = places.repeat(len(channels), axis=0)
    return np.concatenate([repeated, np.tile(channels, len(places))[:, None]], axis=1)


def _kernel_says(places, filters: int) -> str:
    count = len(places)
    times = "at one position" if count == 1 else f"at {count} positions"
    return f"{filters} {'filter' if filters == 1 else 'filters'} read it {times}"


@_uses_of.register
def _(layer: BaseConv, call, source, index):
    *position, channel = index
    places, taps = _readers(layer, call, position)
    kernel = weights_of(layer.kernel)
    size, each = kernel.shape[-2], kernel.shape[-1] // layer.groups
    filters = np.arange(each) + channel // size * each
    factors = kernel[(*taps.T, channel % size)][:, filters]
    says = _kernel_says(places, each)
    return Uses(_for_each(places, filters), factors.ravel(), says, before=True)


@_uses_of.register
def _(layer: BaseDepthwiseConv, call, source, index):
    *position, channel = index
    places, taps = _readers(layer, call, position)
    factors = weights_of(layer.kernel)[(*taps.T, channel)]
    own = channel * layer.depth_multiplier + np.arange(layer.depth_multiplier)
    return Uses(_for_each(places, own), factors.ravel(), _kernel_says(places, len(own)), True)


@_uses_of.register
def _(layer: BaseSeparableConv, call, source, index):
    """Each depthwise sum that it is in goes to all filters."""
    *position, channel = index
    places, taps = _readers(layer, call, position)
    depthwise = weights_of(layer.depthwise_kernel)[(*taps.T, channel)]
    pointwise = weights_of(layer.pointwise_kernel)
    mixing = pointwise.reshape(-1, layer.depth_multiplier, layer.filters)[channel]
    says = _kernel_says(places, layer.filters)
    outputs = _for_each(places, np.arange(layer.filters))
    return Uses(outputs, (depthwise @ mixing).ravel(), says, before=True)


@_uses_of.register
def _(layer: BaseConvTranspose, call, source, index):
    """It adds a kernel to the output, as far as that lies within."""
    *position, channel = index
    geometry = layer.window(np.shape(call.inputs))
    inside = [
        [(place, tap) for tap, place in enumerate(axis) if 0 <= place < size]
        for axis, size in zip(geometry.positions_read(position), geometry.size, strict=True)
    ]
    places = grid(*([place for place, _ in axis] for axis in inside))
    taps = grid(*([tap for _, tap in axis] for axis in inside))
    factors = weights_of(layer.kernel)[(*taps.T, slice(None), channel)]
    says = f"its kernel covers {len(places)} positions of each of {layer.filters} filters"
    return Uses(_for_each(places, np.arange(layer.filters)), factors.ravel(), says, before=True)


@_uses_of.register
def _(layer: Dense, call, source, index):
    *position, number = index
    units = _for_each(np.array([position], int).reshape(1, -1), np.arange(layer.units))
    says = f"{layer.units} {'unit' if layer.units == 1 else 'units'} read it"
    return Uses(units, weights_of(layer.kernel)[number], says, before=True)


@_uses_of.register
def _(layer: BasePooling, call, source, index):
    if layer.operation not in ("max", "average"):
        return by_derivative(call, source, index)
    *position, channel = index
    places, taps = _readers(layer, call, position)
    factors = np.zeros(len(places))
    for number, (place, tap) in enumerate(zip(places, taps, strict=True)):
        patch = patch_of(layer, call.inputs, place).channels(channel, 1)
        inside = np.broadcast_to(patch.inside, patch.values.shape)
        if layer.operation == "average":
            factors[number] = 1 / inside.sum()
            continue
        # Of several that are equally large, the first is taken.
        first = np.where(inside, patch.values, -np.inf).argmax()
        factors[number] = float(np.ravel_multi_index(tuple(tap), layer.pool_size) == first)
    outputs = _for_each(places, [channel])
    if layer.operation == "average":
        return Uses(outputs, factors, f"its share of {_windows(len(places))}")
    won = factors > 0
    says = f"it is the largest in {int(won.sum())} of {_windows(len(places))}"
    return Uses(outputs[won], factors[won], says)


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count} windows"


@_uses_of.register
def _(layer: BaseGlobalPooling, call, source, index):
    *position, channel = index
    values = channels_last(layer, call.inputs)[0, ..., channel]
    place = [0] * layer.rank if layer.keepdims else []
    outputs = np.array([[*place, channel]])
    if not isinstance(layer, BaseGlobalMaxPooling):
        return Uses(outputs, np.array([1 / values.size]), f"its share of {values.size} numbers")
    if values[tuple(position)] < values.max():
        return Uses(outputs[:0], np.ones(0), f"it is not the largest of {values.size} numbers")
    # Those that are equally large share it.
    equal = int((values == values.max()).sum())
    says = f"it is the largest of {values.size} numbers"
    says = says if equal == 1 else f"{says}, as {equal - 1} others are"
    return Uses(outputs, np.array([1 / equal]), says)


@_uses_of.register
def _(layer: BatchNormalization, call, source, index):
    own = index[layer.axis - 1 if layer.axis > 0 else layer.axis]
    if getattr(layer, "data_format", None) == "channels_first":
        return by_derivative(call, source, index)
    scale = 1 / np.sqrt(weights_of(layer.moving_variance)[own] + layer.epsilon)
    says = "divided by the moving standard deviation"
    if layer.gamma is not None:
        scale, says = scale * weights_of(layer.gamma)[own], f"{says}, times gamma"
    return Uses(np.array([index]), np.array([scale]), says)


@_uses_of.register
def _(layer: Softmax, call, source, index):
    found = by_derivative(call, source, index)
    return found._replace(says=f"a softmax over {len(found.factors)} numbers")


def by_derivative(call: Call, source: int, index: tuple[int, ...]) -> Uses:
    """By the derivative that JAX gives of a layer or function."""
    operation, given = call.operation, call.sources[source]
    place = (0, *native(operation, given.ndim, index))
    number = _argument_of(call, source)
    leaves, structure = jax.tree.flatten(list(call.arguments.values()))

    def changed(array):
        own = leaves[number]
        arguments = jax.tree.unflatten(
            structure, [*leaves[:number], array.astype(own.dtype), *leaves[number + 1 :]]
        )
        return jnp.asarray(predicted(operation, *arguments, **call.masks), jnp.float32)

    array = jnp.asarray(leaves[number], jnp.float32)
    _, tangent = jax.jvp(changed, (array,), (jnp.zeros_like(array).at[place].set(1),))
    slopes = channels_last(operation, tangent)[0]
    outputs = np.argwhere(slopes)
    factors = slopes[tuple(outputs.T)]
    return Uses(outputs, factors, _in_words(len(outputs), factors))


def _in_words(count: int, factors: np.ndarray) -> str:
    if count == 1 and factors[0] == 1:
        return "as it is"
    if not count:
        return "nothing changes with it"
    return f"{count} numbers change with it" if count > 1 else "one number changes with it"


def _argument_of(call: Call, source: int) -> int:
    """Which leaf of the arguments a source is, perhaps in another dtype."""
    leaves = jax.tree.leaves(list(call.arguments.values()))
    wanted = call.sources[source]
    for number, leaf in enumerate(leaves):
        if leaf is wanted:
            return number
    # In the layer's own dtype: the same one of those of this shape.
    alike = [n for n, s in enumerate(call.sources) if s.shape == wanted.shape]
    same = [n for n, leaf in enumerate(leaves) if np.shape(leaf) == wanted.shape]
    return same[alike.index(source)]


def floats(array) -> np.ndarray:
    """An array of any float dtype in float64."""
    return np.asarray(jnp.asarray(array, jnp.float32), np.float64)


# ---- activations


def before_activation(call: Call, gradient: np.ndarray) -> np.ndarray | None:
    """The derivative by what a layer's activation was given, from that by what it made.

    Args:
        call: the call of a layer.
        gradient: the derivative by its output, in the layer's own order of axes.

    None if there is no activation.
    """
    bare = without_activation(call.operation, None)
    name = getattr(getattr(call.operation, "activation", None), "__name__", "linear")
    if bare is None or name == "linear":
        return None
    given = jnp.asarray(predicted(bare, *call.arguments.values(), **call.masks), jnp.float32)
    slopes = _SLOPES.get(name)
    if slopes is not None:
        return gradient * slopes(np.asarray(given, np.float64))
    if name == "softmax":
        shares = np.asarray(given, np.float64)
        shares = np.exp(shares - shares.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return shares * (gradient - (shares * gradient).sum(-1, keepdims=True))
    back = jax.vjp(lambda z: jnp.asarray(call.operation.activation(z), jnp.float32), given)[1]
    return np.asarray(back(jnp.asarray(gradient, jnp.float32))[0], np.float64)


def _sigmoid(z):
    return 0.5 * (1 + np.tanh(z / 2))


_SLOPES: dict[str, Callable] = {
    "relu": lambda z: (z > 0).astype(float),
    "sigmoid": lambda z: _sigmoid(z) * (1 - _sigmoid(z)),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "exponential": np.exp,
    "softplus": _sigmoid,
    "silu": lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z))),
    "relu6": lambda z: ((z > 0) & (z < 6)).astype(float),
    "elu": lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    "softsign": lambda z: 1 / (1 + np.abs(z)) ** 2,
}
