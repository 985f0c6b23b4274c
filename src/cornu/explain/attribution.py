"""Which pixels an answer depends on: gradients, Grad-CAM, and what happens when something is covered."""

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.activations import linear
from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.explain.observe import (
    INPUT,
    Call,
    as_batch,
    call_of,
    calls,
    input_number,
    inputs_of,
    predicted,
    shapes_of_calls,
)
from cornu.explain.receptive_field import Places, places_in_input
from cornu.layers.convolution import Windowed

# What hides from a gradient how much one class is preferred to all others.
_SQUASHING = ("softmax", "sigmoid", "log_softmax")


def _bare(layer: Layer, whatever=False) -> Layer | None:
    """A copy of a layer without its softmax or sigmoid, with the same weights; None if it has none.

    Without `whatever` activation it has, if so asked.
    """
    activation = getattr(layer, "activation", None)
    if activation is None or not (whatever or getattr(activation, "__name__", "") in _SQUASHING):
        return None
    bare: Any = copy.copy(layer)
    bare.activation = linear
    return bare


class Scores:
    """A model's scores as a function: `score(x, target)`, before a last softmax or sigmoid.

    Args:
        model: a built model with one output of shape `(n, classes)`.
        x: a batch, for its shapes.

    Raises ValueError for another output.
    """

    def __init__(self, model, x):
        self.model = model
        found = shapes_of_calls(model, x)
        shape = getattr(found[-1].outputs, "shape", ())
        if len(shape) != 2:
            raise ValueError(
                f"Scores of classes are needed: an output of shape (n, classes). Model {model.name} gives "
                f"{shape or 'several outputs'}."
            )
        self.num_classes = shape[1]
        self.found = found
        # Which layer got each input.
        self.takers = [taker for _, taker in inputs_of(found)]
        last = next(c for c in reversed(found) if c.is_whole and isinstance(c.operation, Layer))
        self._last, self._bare = last.operation, _bare(last.operation)

    def __call__(self, x, replace: Callable[[Call], Any] | None = None):
        """The scores of all classes; `replace` as for `calls`."""

        def change(call):
            outputs = call.outputs
            if self._bare is not None and call.operation is self._last:
                outputs = predicted(self._bare, *call.arguments.values())
            return outputs if replace is None else replace(call._replace(outputs=outputs))

        return jnp.asarray(calls(self.model, x, change)[-1].outputs, jnp.float32)

    def of(self, scores, targets):
        """The score of each example's target."""
        return jnp.take_along_axis(scores, targets[:, None], axis=1)[:, 0]

    def targets(self, x, target) -> jax.Array:
        """The classes that are asked for: default, what each example is taken for."""
        count = len(jax.tree.leaves(x)[0])
        if target is None:
            return jnp.argmax(self(x), axis=1)
        targets = np.broadcast_to(np.asarray(target), (count,))
        if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= self.num_classes:
            raise ValueError(
                f"`target` must be one class from 0 to {self.num_classes - 1}, or one for each example. "
                f"Received: target={target}"
            )
        return jnp.asarray(targets)


def _ready(model, x, target):
    tensors = jax.tree.leaves(model._graph.inputs) if getattr(model, "_graph", None) else []
    whole = [t for t in tensors if not is_float(t.dtype)]
    if whole:
        raise ValueError(
            f"Model {model.name} takes {whole[0].dtype}, and no gradient leads to whole numbers. Ask a "
            "model that begins behind the layer that looks them up."
        )
    x = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), as_batch(model, x))
    scores = Scores(model, x)
    return x, scores, scores.targets(x, target)


def _gradient(scores: Scores, x, targets):
    return jax.grad(lambda x: jnp.sum(scores.of(scores(x), targets)))(x)


def _compiled_gradient(scores: Scores, targets):
    return jax.jit(lambda x: _gradient(scores, x, targets))


def _over_channels(scores: Scores, gradient):
    """The largest absolute value of the channels, for each input."""
    leaves, structure = jax.tree.flatten(gradient)
    axes = [
        _channel_axis(operation, a.ndim) for a, operation in zip(leaves, scores.takers, strict=True)
    ]
    largest = [jnp.max(jnp.abs(a), axis=axis) for a, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(structure, largest)


def _channel_axis(operation, ndim: int) -> int:
    first = getattr(operation, "data_format", "channels_last") == "channels_first"
    return 1 if first and ndim > 2 else -1


def saliency_of(scores: Scores, x, targets):
    """`saliency` of classes that are known, for compiled functions."""
    return _over_channels(scores, _gradient(scores, x, targets))


def saliency(model, x, target=None) -> np.ndarray:
    """How strongly each pixel moves the score of a class: `max over channels of |d score / d x|`.

    Args:
        model: a built classifier. A last softmax or sigmoid is left out.
        x: a batch, or one example; a list or dict of them for a model with several inputs.
        target: a class, or one for each example; default: what each is taken for.

    Returns:
        an array `(n, *spatial)`; for several inputs a list or dict of them, as `x` is.

    Source: Simonyan, Vedaldi and Zisserman 2013, "Deep inside convolutional networks".

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((4, 4, 1)), cornu.layers.Flatten(), cornu.layers.Dense(2)])
    >>> cornu.explain.saliency(model, np.ones((4, 4, 1))).shape
    (1, 4, 4)
    """
    return _compiled(saliency_of, *_ready(model, x, target))


def _compiled(function: Callable, x, scores: Scores, targets):
    return jax.tree.map(np.asarray, jax.jit(lambda x: function(scores, x, targets))(x))


def smooth_grad(model, x, target=None, samples=25, noise=0.15, seed=0) -> np.ndarray:
    """The mean of `saliency`'s gradients over noisy copies, which takes away what is random in them.

    Args:
        model, x, target: see `saliency`.
        samples: how many copies.
        noise: standard deviation of the noise, as a share of the range of each example.
        seed: of the noise.

    Returns:
        an array `(n, *spatial)`.

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise".
    """
    x, scores, targets = _ready(model, x, target)
    gradient, key = _compiled_gradient(scores, targets), jax.random.key(seed)
    leaves, structure = jax.tree.flatten(x)

    def noisy(a, key):
        axes = tuple(range(1, a.ndim))
        width = noise * (a.max(axes, keepdims=True) - a.min(axes, keepdims=True))
        return a + width * jax.random.normal(key, a.shape)

    total = jax.tree.map(jnp.zeros_like, x)
    for n in range(samples):
        # The first input's key is that of the sample, whether there are others or not.
        keys = [jax.random.fold_in(key, n + i * samples) for i in range(len(leaves))]
        found = gradient(jax.tree.unflatten(structure, map(noisy, leaves, keys)))
        total = jax.tree.map(jnp.add, total, found)
    mean = jax.tree.map(lambda a: a / samples, total)
    return jax.tree.map(np.asarray, _over_channels(scores, mean))


def integrated_gradients(model, x, target=None, baseline=0.0, steps=64) -> np.ndarray:
    """What each number of the input adds to the score, compared with a baseline.

    `(x - baseline) * mean of d score / d x on the straight way from the baseline to x`. All of them
    together are the score of `x` minus that of the baseline, the more exactly the more steps (midpoints).

    Args:
        model, x, target: see `saliency`.
        baseline: a number, or arrays like `x`: an input that means nothing, such as black.
        steps: how many points on the way.

    Returns:
        an array of the shape of the batch, with its channels, positive and negative.

    Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks".
    """
    x, scores, targets = _ready(model, x, target)
    gradient = _compiled_gradient(scores, targets)
    several: Any = jax.tree.structure(baseline)
    baselines = (
        baseline if several == jax.tree.structure(x) else jax.tree.map(lambda a: baseline, x)
    )
    start = jax.tree.map(
        lambda a, b: jnp.broadcast_to(jnp.asarray(b, a.dtype), a.shape), x, baselines
    )
    total = jax.tree.map(jnp.zeros_like, x)
    for n in range(steps):
        share = (n + 0.5) / steps
        point = jax.tree.map(lambda a, b, share=share: b + share * (a - b), x, start)
        total = jax.tree.map(jnp.add, total, gradient(point))
    return jax.tree.map(lambda a, b, t: np.asarray((a - b) * t / steps), x, start, total)


class Placed(NamedTuple):
    """Of one input: which call's maps are shown on it, and how a map becomes as large as the input.

    `number` is that of the call, None where the layer does not see this input. `size` is that of the input,
    and `weights` are, for each spatial axis, those of the map's places at each place of the input,
    `(input, map)`; None if the input has other axes than the map.
    """

    number: int | None
    size: tuple[int, ...]
    weights: list[np.ndarray] | None


def placed(found: list[Call], model, layer=None) -> list[Placed | None]:
    """Which maps Grad-CAM shows on each input, and where in it their places look.

    Args:
        found: the calls of the model; see `shapes_of_calls`.
        model: the model.
        layer: see `grad_cam`.

    Returns:
        a `Placed` for each input; None for one without spatial axes.

    Raises ValueError if there are no feature maps.
    """
    inputs = inputs_of(found)
    if layer is None:
        numbers = _last_maps(found, model, len(inputs))
    else:
        numbers = _maps_of(found, model, layer, len(inputs))
    places: list[Placed | None] = []
    for which, ((start, taker), number) in enumerate(zip(inputs, numbers, strict=True)):
        axis = _channel_axis(taker, start.ndim) % start.ndim
        size: list[int] = [n for a, n in enumerate(start.shape) if a not in (0, axis)]
        if not size:
            places.append(None)
            continue
        centres = None if number is None else places_in_input(found, number, which)
        weights = None if centres is None else list(map(_between, centres, size))
        places.append(Placed(number, tuple(size), weights))
    return places


def _between(places: Places, size: int) -> np.ndarray:
    """How much each place of a map counts at each place of an input.

    It is linear between the centres, and beyond the outermost it falls to nothing where nothing is seen.
    """
    knots, same, counts = np.unique(places.centres, return_inverse=True, return_counts=True)
    around = np.concatenate([[places.before], knots, [places.after]])
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


def _maps_and_slopes(scores: Scores, x, targets, places: list[Placed | None]):
    """By numbers of calls, their feature maps and the gradient of the score by them, with channels last."""
    numbers = {place.number for place in places if place is not None and place.number is not None}
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
        axis = _channel_axis(scores.found[n].operation, maps[n].ndim)
        found[n] = [jnp.moveaxis(a, axis, -1).astype(jnp.float32) for a in (maps[n], slopes[n])]
    return found


def _shown(cams: dict, x, places: list[Placed | None]):
    """A layer's maps on the inputs, between 0 and 1 for each example; of one input alone, or as `x` is."""
    leaves, structure = jax.tree.flatten(x)
    shown: list = []
    for leaf, place in zip(leaves, places, strict=True):
        if place is None:
            shown.append(None)
            continue
        if place.number is None:
            shown.append(jnp.zeros((len(leaf), *place.size)))
            continue
        large = cams[place.number]
        for axis, weights in enumerate(place.weights or [], start=1):
            exact = jax.lax.Precision.HIGHEST
            large = jnp.tensordot(large, weights, ((axis,), (1,)), precision=exact)
            large = jnp.moveaxis(large, -1, axis)
        highest = large.max(tuple(range(1, large.ndim)), keepdims=True)
        shown.append(jnp.where(highest > 0, large / jnp.where(highest > 0, highest, 1), 0.0))
    return jax.tree.unflatten(structure, shown)


def grad_cam_of(scores: Scores, x, targets, places: list[Placed | None]):
    """`grad_cam` of classes that are known, for compiled functions."""

    def cam(maps, slopes):
        weights = slopes.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
        return jnp.maximum((weights * maps).sum(-1), 0)

    found = _maps_and_slopes(scores, x, targets, places)
    return _shown({n: cam(*both) for n, both in found.items()}, x, places)


def grad_cam_plus_plus_of(scores: Scores, x, targets, places: list[Placed | None]):
    """`grad_cam_plus_plus` of classes that are known, for compiled functions."""

    def cam(maps, slopes):
        axes = tuple(range(1, maps.ndim - 1))
        below = 2 * slopes**2 + maps.sum(axes, keepdims=True) * slopes**3
        alpha = jnp.where(slopes != 0, slopes**2 / jnp.where(below != 0, below, 1), 0.0)
        weights = (alpha * jnp.maximum(slopes, 0)).sum(axes, keepdims=True)
        return jnp.maximum((weights * maps).sum(-1), 0)

    found = _maps_and_slopes(scores, x, targets, places)
    return _shown({n: cam(*both) for n, both in found.items()}, x, places)


def grad_cam(model, x, target=None, layer=None) -> np.ndarray:
    """Where a layer found what speaks for a class: its feature maps, weighted with their mean gradients.

    `relu(sum over channels of mean(d score / d map) * map)`, as large as the image: each number stands at
    the centre of what it sees of the image (its receptive field). Between the centres the map is linear,
    and beyond the outermost it falls to 0 where no number sees anything.

    Args:
        model, x, target: see `saliency`.
        layer: the layer, its name, or its place in `model.layers`; default: the last convolution,
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
    x, scores, targets = _ready(model, x, target)
    places = placed(scores.found, model, layer)
    return _compiled(partial(function, places=places), x, scores, targets)


def grad_cam_plus_plus(model, x, target=None, layer=None) -> np.ndarray:
    """`grad_cam` with weights for each place, which finds several objects of a class.

    `weight = sum of alpha * relu(slope)`, with `alpha = slope² / (2 slope² + sum(map) * slope³)` for each
    channel.

    Args:
        model, x, target, layer: see `grad_cam`.

    Returns:
        an array `(n, *spatial)` between 0 and 1.

    Source: Chattopadhay et al. 2018, "Grad-CAM++".
    """
    return _located(grad_cam_plus_plus_of, model, x, target, layer)


def occlusion(model, x, target=None, size=4, stride=1, value=0.0, batch_size=256) -> np.ndarray:
    """By how much the score falls when a square of the image is covered, for each place of the square.

    Args:
        model, x, target: see `saliency`. One example is asked at a time.
        size: side of the square, or a number for each spatial axis.
        stride: how far apart the squares are.
        value: what covers.
        batch_size: how many covered images are computed at once.

    Returns:
        an array `(n, *spatial)`: for each pixel, the mean over the squares that cover it; 0 where none
        does.

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks".
    """
    x, scores, targets = _ready(model, x, target)
    whole = scores.of(scores(x), targets)
    leaves, structure = jax.tree.flatten(x)
    found: list = []
    for which, (leaf, taker) in enumerate(zip(leaves, scores.takers, strict=True)):
        axis = _channel_axis(taker, leaf.ndim) % leaf.ndim
        spatial = tuple(n for a, n in enumerate(leaf.shape) if a not in (0, axis))
        if not spatial:
            found.append(None)
            continue
        covers = _squares(spatial, size, stride)

        @jax.jit
        def covered(example, covers, target, which=which, axis=axis):
            hidden = jnp.where(jnp.expand_dims(covers, axis), value, example[which])
            images = [jnp.broadcast_to(a, (len(covers), *a.shape[1:])) for a in example]
            images[which] = hidden
            return scores(jax.tree.unflatten(structure, images))[:, target]

        found.append([])
        for n, (target_class, score) in enumerate(zip(targets, whole, strict=True)):
            example = [a[n : n + 1] for a in leaves]
            parts = [covers[m : m + batch_size] for m in range(0, len(covers), batch_size)]
            falls = [np.asarray(score - covered(example, part, target_class)) for part in parts]
            total = np.tensordot(np.concatenate(falls), covers.astype(np.float32), 1)
            found[-1].append(total / np.maximum(covers.sum(0), 1))
    return jax.tree.unflatten(structure, [None if f is None else np.stack(f) for f in found])


def _squares(spatial: tuple[int, ...], size, stride: int) -> np.ndarray:
    """Where an image is covered, for each place of the square: `(places, *spatial)`."""
    sizes = (size,) * len(spatial) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(spatial) or not all(
        1 <= s <= n for s, n in zip(sizes, spatial, strict=True)
    ):
        raise ValueError(
            f"`size` must be from 1 to the size of the input, {tuple(spatial)}. Received: size={size}"
        )
    corners = np.stack(
        np.meshgrid(
            *[np.arange(0, n - s + 1, stride) for n, s in zip(spatial, sizes, strict=True)],
            indexing="ij",
        ),
        axis=-1,
    ).reshape(-1, len(spatial))
    covers = np.ones((len(corners), *spatial), bool)
    for axis, (n, s) in enumerate(zip(spatial, sizes, strict=True)):
        places, first = np.arange(n), corners[:, axis, None]
        within = (places >= first) & (places < first + s)
        covers &= within.reshape(-1, *[n if a == axis else 1 for a in range(len(spatial))])
    return covers


def activation_maximization(
    model, layer, channel=0, steps=128, learning_rate=0.1, size=None, low=0.0, high=1.0, seed=0
) -> np.ndarray:
    """An input, begun from noise, that a channel of a layer answers to most strongly.

    Gradient ascent with the gradient's length taken out, within a range; each step the image is moved a
    little against the last, so that no single pixel is made to shine.

    Args:
        model: a built model with one input.
        layer: the layer, its name, or its place in `model.layers`.
        channel: feature map, or unit of a dense layer.
        steps: how many.
        learning_rate: how far a step goes, as a share of the range.
        size: spatial sizes of the input, where the model takes any.
        low, high: range of the input.
        seed: of the noise.

    Returns:
        an array of the shape of one input.

    Source: Erhan et al. 2009, "Visualizing higher-layer features of a deep network".
    """
    tensors = jax.tree.leaves(getattr(model, "inputs", None) or [])
    if len(tensors) != 1:
        raise ValueError(
            "An input is made for models with one input. Model "
            f"{model.name} has {len(tensors) or 'no known'} inputs."
        )
    shape = tensors[0].shape[1:]
    if None in shape:
        if size is None:
            raise ValueError(
                f"Model {model.name} takes inputs of any size, {shape}. Give `size`, such as size=(64, 64)."
            )
        shape = (*size, shape[-1])
    chosen = call_of(shapes_of_calls(model, jnp.zeros((1, *shape))), model, layer)
    # Where a relu has cut, there is no gradient to follow.
    bare = _bare(chosen.operation, whatever=True)
    first = getattr(chosen.operation, "data_format", "") == "channels_first"
    count = chosen.outputs.shape[1 if first else -1]
    if not 0 <= channel < count:
        raise ValueError(f"The layer '{chosen.name}' has {count} channels. Received: {channel=}")

    def answer(x):
        call = call_of(calls(model, x), model, layer)
        outputs = call.outputs if bare is None else predicted(bare, *call.arguments.values())
        return jnp.mean(outputs[:, channel] if first else outputs[..., channel])

    width = high - low
    spatial = tuple(range(1, len(shape)))

    @jax.jit
    def step(x, key):
        shift = jax.random.randint(key, (len(spatial),), -1, 2)
        moved = jnp.roll(x, shift, spatial)
        gradient = jax.grad(answer)(moved)
        scale = jnp.sqrt(jnp.mean(gradient**2)) + 1e-12
        moved = jnp.clip(moved + learning_rate * width * gradient / scale, low, high)
        return jnp.roll(moved, -shift, spatial)

    key = jax.random.key(seed)
    x = low + width * (0.5 + 0.1 * jax.random.normal(key, (1, *shape)))
    for n in range(steps):
        x = step(x, jax.random.fold_in(key, n))
    return np.asarray(x[0])
