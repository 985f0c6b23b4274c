"""Which pixels an answer depends on: gradients, Grad-CAM, and what happens when something is covered."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.activations import linear
from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.explain.observe import Call, as_batch, call_of, calls, shapes_of_calls
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
        last = next(c for c in reversed(found) if c.is_whole and isinstance(c.operation, Layer))
        self._last, self._bare = last.operation, _bare(last.operation)

    def __call__(self, x, replace: Callable[[Call], Any] | None = None):
        """The scores of all classes; `replace` as for `calls`."""

        def change(call):
            outputs = call.outputs
            if self._bare is not None and call.operation is self._last:
                outputs = self._bare.call(*call.arguments.values())
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
    if any(not is_float(t.dtype) for t in tensors):
        raise ValueError(
            f"Model {model.name} takes {tensors[0].dtype}, and no gradient leads to whole numbers. Ask a "
            "model that begins behind the layer that looks them up."
        )
    x = jnp.asarray(as_batch(model, x), jnp.float32)
    scores = Scores(model, x)
    return x, scores, scores.targets(x, target)


def _gradient(scores: Scores, x, targets):
    return jax.grad(lambda x: jnp.sum(scores.of(scores(x), targets)))(x)


def _compiled_gradient(scores: Scores, targets):
    return jax.jit(lambda x: _gradient(scores, x, targets))


def _over_channels(gradient):
    """The largest absolute value of the channels."""
    return jnp.max(jnp.abs(gradient), axis=-1)


def saliency_of(scores: Scores, x, targets):
    """`saliency` of classes that are known, for compiled functions."""
    return _over_channels(_gradient(scores, x, targets))


def saliency(model, x, target=None) -> np.ndarray:
    """How strongly each pixel moves the score of a class: `max over channels of |d score / d x|`.

    Args:
        model: a built classifier. A last softmax or sigmoid is left out.
        x: a batch, or one example.
        target: a class, or one for each example; default: what each is taken for.

    Returns:
        an array `(n, *spatial)`.

    Source: Simonyan, Vedaldi and Zisserman 2013, "Deep inside convolutional networks".

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((4, 4, 1)), cornu.layers.Flatten(), cornu.layers.Dense(2)])
    >>> cornu.explain.saliency(model, np.ones((4, 4, 1))).shape
    (1, 4, 4)
    """
    return _compiled(saliency_of, *_ready(model, x, target))


def _compiled(function: Callable, x, scores: Scores, targets) -> np.ndarray:
    return np.asarray(jax.jit(lambda x: function(scores, x, targets))(x))


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
    axes = tuple(range(1, x.ndim))
    width = noise * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
    total = jnp.zeros_like(x)
    for n in range(samples):
        total += gradient(x + width * jax.random.normal(jax.random.fold_in(key, n), x.shape))
    return np.asarray(_over_channels(total / samples))


def integrated_gradients(model, x, target=None, baseline=0.0, steps=64) -> np.ndarray:
    """What each number of the input adds to the score, compared with a baseline.

    `(x - baseline) * mean of d score / d x on the straight way from the baseline to x`. All of them
    together are the score of `x` minus that of the baseline, the more exactly the more steps (midpoints).

    Args:
        model, x, target: see `saliency`.
        baseline: a number, or an array like `x`: an input that means nothing, such as black.
        steps: how many points on the way.

    Returns:
        an array of the shape of the batch, with its channels, positive and negative.

    Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks".
    """
    x, scores, targets = _ready(model, x, target)
    gradient = _compiled_gradient(scores, targets)
    start = jnp.broadcast_to(jnp.asarray(baseline, jnp.float32), x.shape)
    total = jnp.zeros_like(x)
    for n in range(steps):
        total += gradient(start + (n + 0.5) / steps * (x - start))
    return np.asarray((x - start) * total / steps)


def _maps_and_slopes(scores: Scores, x, targets, layer):
    """The feature maps of a layer, and the gradient of the score by them, with channels last."""
    found = shapes_of_calls(scores.model, x)
    if layer is None:
        chosen = _last_maps(found, scores.model)
    else:
        chosen = call_of(found, scores.model, layer)
    if chosen.outputs.ndim < 3:
        raise ValueError(
            f"Grad-CAM needs feature maps, and layer '{chosen.name}' gives {chosen.outputs.shape[1:]}. "
            "Choose a convolution or pooling layer."
        )
    operation = chosen.operation

    def total(added):
        maps = []

        def replace(call):
            if call.operation is not operation or maps:
                return call.outputs
            maps.append(call.outputs)
            return call.outputs + added.astype(call.outputs.dtype)

        return jnp.sum(scores.of(scores(x, replace), targets)), maps[0]

    zero = jnp.zeros(chosen.outputs.shape, jnp.float32)
    slopes, maps = jax.grad(total, has_aux=True)(zero)
    if getattr(operation, "data_format", "channels_last") == "channels_first":
        maps, slopes = (jnp.moveaxis(a, 1, -1) for a in (maps, slopes))
    return maps.astype(jnp.float32), slopes


def _last_maps(found, model) -> Call:
    """The last convolution with feature maps, or else the last layer that gives some."""
    maps = [
        call
        for call in found
        if call.is_whole
        and len(shape := getattr(call.outputs, "shape", ())) > 2
        and math.prod(shape[1:-1]) > 1
    ]
    if not maps:
        raise ValueError(f"Model {model.name} has no layer with feature maps.")
    return next((c for c in reversed(maps) if isinstance(c.operation, Windowed)), maps[-1])


def _resized(maps, x):
    """Maps as large as the image, between 0 and 1 for each example."""
    sizes = x.shape[1:-1]
    if maps.ndim != len(sizes) + 1:
        sizes = maps.shape[1:]
    large = jax.image.resize(maps, (len(maps), *sizes), "linear")
    highest = large.max(tuple(range(1, large.ndim)), keepdims=True)
    return jnp.where(highest > 0, large / jnp.where(highest > 0, highest, 1), 0.0)


def grad_cam_of(scores: Scores, x, targets, layer=None):
    """`grad_cam` of classes that are known, for compiled functions."""
    maps, slopes = _maps_and_slopes(scores, x, targets, layer)
    weights = slopes.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
    return _resized(jnp.maximum((weights * maps).sum(-1), 0), x)


def grad_cam_plus_plus_of(scores: Scores, x, targets, layer=None):
    """`grad_cam_plus_plus` of classes that are known, for compiled functions."""
    maps, slopes = _maps_and_slopes(scores, x, targets, layer)
    axes = tuple(range(1, maps.ndim - 1))
    below = 2 * slopes**2 + maps.sum(axes, keepdims=True) * slopes**3
    alpha = jnp.where(slopes != 0, slopes**2 / jnp.where(below != 0, below, 1), 0.0)
    weights = (alpha * jnp.maximum(slopes, 0)).sum(axes, keepdims=True)
    return _resized(jnp.maximum((weights * maps).sum(-1), 0), x)


def grad_cam(model, x, target=None, layer=None) -> np.ndarray:
    """Where a layer found what speaks for a class: its feature maps, weighted with their mean gradients.

    `relu(sum over channels of mean(d score / d map) * map)`, as large as the image.

    Args:
        model, x, target: see `saliency`.
        layer: the layer, its name, or its place in `model.layers`; default: the last convolution,
            or else the last that gives feature maps.

    Returns:
        an array `(n, *spatial)` between 0 and 1; all 0 where nothing speaks for the class.

    Raises ValueError if the layer gives no feature maps.

    Source: Selvaraju et al. 2017, "Grad-CAM".
    """
    return _compiled(partial(grad_cam_of, layer=layer), *_ready(model, x, target))


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
    return _compiled(partial(grad_cam_plus_plus_of, layer=layer), *_ready(model, x, target))


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
    spatial = x.shape[1:-1]
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

    @jax.jit
    def covered(image, covers, target):
        images = jnp.where(covers[..., None], value, image)
        return scores(images)[:, target]

    whole = scores.of(scores(x), targets)
    found = []
    for image, target_class, score in zip(x, targets, whole, strict=True):
        falls = np.concatenate(
            [
                np.asarray(score - covered(image, covers[n : n + batch_size], target_class))
                for n in range(0, len(covers), batch_size)
            ]
        )
        total = np.tensordot(falls, covers.astype(np.float32), 1)
        found.append(total / np.maximum(covers.sum(0), 1))
    return np.stack(found)


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
    shape = model.input_shape[1:]
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
        outputs = call.outputs if bare is None else bare.call(*call.arguments.values())
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
