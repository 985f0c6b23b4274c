"""Attribution by the feature maps of a layer: Grad-CAM and Grad-CAM++."""

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.attribution.scores import Scores, compiled, ready
from cornu.explain.observe import INPUT, Call, call_of, channel_axis, input_number, inputs_of
from cornu.explain.receptive_field import Centres, centres_on_input
from cornu.layers.convolution import Windowed


class MapOnInput(NamedTuple):
    """Of one input: which call's maps are shown on it, and how a map is resized to the input.

    `number` is that of the call, None where the layer does not see this input. `size` is that of the input,
    and `weights` interpolate along each spatial axis: how much each position of the map counts at each
    position of the input, `(input, map)`; None if the input has other axes than the map.
    """

    number: int | None
    size: tuple[int, ...]
    weights: list[np.ndarray] | None


def maps_on_inputs(found: list[Call], model, layer=None) -> list[MapOnInput | None]:
    """Which maps Grad-CAM shows on each input, and where on it their positions look.

    Args:
        found: the calls of the model; see `shapes_of_calls`.
        model: the model.
        layer: see `grad_cam`.

    Returns:
        a `MapOnInput` for each input; None for one without spatial axes.

    Raises ValueError if there are no feature maps.
    """
    inputs = inputs_of(found)
    if layer is None:
        calls = _last_maps(found, model, len(inputs))
    else:
        calls = _maps_of(found, model, layer, len(inputs))
    shown: list[MapOnInput | None] = []
    for which, ((start, taker), number) in enumerate(zip(inputs, calls, strict=True)):
        axis = channel_axis(taker, start.ndim) % start.ndim
        size: list[int] = [n for a, n in enumerate(start.shape) if a not in (0, axis)]
        if not size:
            shown.append(None)
            continue
        centres = None if number is None else centres_on_input(found, number, which)
        weights = None if centres is None else list(map(_between, centres, size))
        shown.append(MapOnInput(number, tuple(size), weights))
    return shown


def _between(centres: Centres, size: int) -> np.ndarray:
    """How much each position of a map counts at each position of an input.

    It is linear between the centres, and beyond the outermost it falls to nothing where nothing is seen.
    """
    knots, same, counts = np.unique(centres.positions, return_inverse=True, return_counts=True)
    around = np.concatenate([[centres.before], knots, [centres.after]])
    around[[0, -1]] = np.clip(around[[0, -1]], -1e9, 1e9)
    rows = np.pad(np.eye(len(knots)), ((0, 0), (1, 1)))
    at = np.stack([np.interp(np.arange(size), around, row) for row in rows], axis=1)
    return (at / counts)[:, same].astype("float32")


def _dependence(found: list[Call], count: int) -> list[set[int]]:
    """For each call, on which of so many inputs it depends."""
    depends: list[set[int]] = []
    for call in found:
        own: set[int] = set()
        for source, maker in zip(call.sources, call.makers, strict=True):
            if maker is None:
                own |= set(range(count))
            else:
                own |= {input_number(found, source)} if maker == INPUT else depends[maker]
        depends.append(own)
    return depends


def _maps_of(found, model, layer, count: int) -> list[int | None]:
    """For each input the first call of a layer that depends on it; of one input the first."""
    chosen = call_of(found, model, layer)
    if getattr(chosen.outputs, "ndim", 0) < 3:
        raise ValueError(
            f"Grad-CAM needs feature maps, and layer '{chosen.name}' gives {chosen.outputs.shape[1:]}. "
            "Choose a convolution or pooling layer."
        )
    same = [n for n, call in enumerate(found) if call.operation is chosen.operation]
    if count == 1:
        return [same[0]]
    depends = _dependence(found, count)
    return [next((n for n in same if which in depends[n]), None) for which in range(count)]


def _last_maps(found, model, count: int) -> list[int | None]:
    """For each input the last convolution that sees it, or else the last layer with maps that does."""
    maps = [
        number
        for number, call in enumerate(found)
        if call.is_whole
        and len(shape := getattr(call.outputs, "shape", ())) > 2
        and math.prod(shape[1:-1]) > 1
    ]
    if not maps:
        raise ValueError(f"Model {model.name} has no layer with feature maps.")
    depends = _dependence(found, count)
    last: list[int | None] = []
    for which in range(count):
        own = [n for n in maps if count == 1 or which in depends[n]]
        own = [n for n in own if isinstance(found[n].operation, Windowed)] or own
        last.append(own[-1] if own else None)
    return last


def _maps_and_slopes(scores: Scores, x, targets, on_inputs: list[MapOnInput | None]):
    """By call number, the feature maps and the score's gradient with respect to them, channels last."""
    numbers = {on.number for on in on_inputs if on is not None and on.number is not None}
    zeros = {n: jnp.zeros(scores.found[n].outputs.shape, jnp.float32) for n in numbers}

    def total(added):
        maps, number = {}, itertools.count()

        def replace(call):
            here = next(number)
            if here not in added:
                return call.outputs
            maps[here] = call.outputs
            return call.outputs + added[here].astype(call.outputs.dtype)

        return jnp.sum(scores.of(scores(x, replace), targets)), maps

    slopes, maps = jax.grad(total, has_aux=True)(zeros)
    found = {}
    for n in numbers:
        axis = channel_axis(scores.found[n].operation, maps[n].ndim)
        found[n] = [jnp.moveaxis(a, axis, -1).astype(jnp.float32) for a in (maps[n], slopes[n])]
    return found


def _shown(cams: dict, x, on_inputs: list[MapOnInput | None]):
    """A layer's maps on the inputs, between 0 and 1 for each example; of one input alone, or as `x` is."""
    leaves, structure = jax.tree.flatten(x)
    shown: list = []
    for leaf, on in zip(leaves, on_inputs, strict=True):
        if on is None:
            shown.append(None)
            continue
        if on.number is None:
            shown.append(jnp.zeros((len(leaf), *on.size)))
            continue
        large = cams[on.number]
        for axis, weights in enumerate(on.weights or [], start=1):
            exact = jax.lax.Precision.HIGHEST
            large = jnp.tensordot(large, weights, ((axis,), (1,)), precision=exact)
            large = jnp.moveaxis(large, -1, axis)
        highest = large.max(tuple(range(1, large.ndim)), keepdims=True)
        shown.append(jnp.where(highest > 0, large / jnp.where(highest > 0, highest, 1), 0.0))
    return jax.tree.unflatten(structure, shown)


def grad_cam_of(scores: Scores, x, targets, on_inputs: list[MapOnInput | None]):
    """`grad_cam` of classes that are known, for compiled functions."""

    def cam(maps, slopes):
        weights = slopes.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
        return jnp.maximum((weights * maps).sum(-1), 0)

    found = _maps_and_slopes(scores, x, targets, on_inputs)
    return _shown({n: cam(*both) for n, both in found.items()}, x, on_inputs)


def grad_cam_plus_plus_of(scores: Scores, x, targets, on_inputs: list[MapOnInput | None]):
    """`grad_cam_plus_plus` of classes that are known, for compiled functions."""

    def cam(maps, slopes):
        axes = tuple(range(1, maps.ndim - 1))
        below = 2 * slopes**2 + maps.sum(axes, keepdims=True) * slopes**3
        alpha = jnp.where(slopes != 0, slopes**2 / jnp.where(below != 0, below, 1), 0.0)
        weights = (alpha * jnp.maximum(slopes, 0)).sum(axes, keepdims=True)
        return jnp.maximum((weights * maps).sum(-1), 0)

    found = _maps_and_slopes(scores, x, targets, on_inputs)
    return _shown({n: cam(*both) for n, both in found.items()}, x, on_inputs)


def grad_cam(model, x, target=None, layer=None) -> np.ndarray:
    """Where a layer found what speaks for a class: its feature maps, weighted by their mean gradients.

    `relu(sum over channels of mean(d score / d map) * map)`, as large as the image: each value is at
    the centre of what it sees of the image (its receptive field). Between the centres the map is linear,
    and beyond the outermost it falls to 0 where no number sees anything.

    Args:
        model, x, target: see `saliency`.
        layer: the layer, its name, or its index in `model.layers`; default: the last convolution,
            or else the last that gives feature maps.

    Returns:
        an array `(n, *spatial)` between 0 and 1; all 0 where nothing speaks for the class. For several
        inputs a list or dict of them, as `x` is, each of the last convolution that sees the input; None
        for inputs without spatial axes.

    Raises ValueError if the layer gives no feature maps.

    Source: Selvaraju et al. 2017, "Grad-CAM".
    """
    return _located(grad_cam_of, model, x, target, layer)


def _located(function, model, x, target, layer):
    x, scores, targets = ready(model, x, target)
    on_inputs = maps_on_inputs(scores.found, model, layer)
    return compiled(partial(function, on_inputs=on_inputs), x, scores, targets)


def grad_cam_plus_plus(model, x, target=None, layer=None) -> np.ndarray:
    """`grad_cam` with weights for each position, which finds several objects of a class.

    `weight = sum of alpha * relu(slope)`, with `alpha = slope² / (2 slope² + sum(map) * slope³)` for each
    channel.

    Args:
        model, x, target, layer: see `grad_cam`.

    Returns:
        an array `(n, *spatial)` between 0 and 1.

    Source: Chattopadhay et al. 2018, "Grad-CAM++".
    """
    return _located(grad_cam_plus_plus_of, model, x, target, layer)
