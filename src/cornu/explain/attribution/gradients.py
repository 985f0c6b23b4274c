"""Attribution by a score's input gradient: saliency, SmoothGrad, integrated gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.attribution.scores import Scores, compiled, ready
from cornu.explain.observe import channel_axis
from cornu.utils.progress import Progbar


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
    return compiled(saliency_of, *ready(model, x, target))


def smooth_grad(model, x, target=None, samples=25, noise=0.15, seed=0, verbose=0) -> np.ndarray:
    """The mean of `saliency`'s gradients over noisy copies, which averages out their noise.

    Args:
        model, x, target: see `saliency`.
        samples: how many copies.
        noise: standard deviation of the noise, as a share of the range of each example.
        seed: of the noise.
        verbose: 1 for a progress bar.

    Returns:
        an array `(n, *spatial)`.

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise".
    """
    x, scores, targets = ready(model, x, target)
    gradient, key = _compiled_gradient(scores, targets), jax.random.key(seed)
    leaves, structure = jax.tree.flatten(x)

    def noisy(a, key):
        axes = tuple(range(1, a.ndim))
        width = noise * (a.max(axes, keepdims=True) - a.min(axes, keepdims=True))
        return a + width * jax.random.normal(key, a.shape)

    total = jax.tree.map(jnp.zeros_like, x)
    bar = Progbar(samples, verbose=1 if verbose else 0, unit_name="sample")
    for n in range(samples):
        # The first input's key is that of the sample, whether there are others or not.
        keys = [jax.random.fold_in(key, n + i * samples) for i in range(len(leaves))]
        found = gradient(jax.tree.unflatten(structure, map(noisy, leaves, keys)))
        total = jax.block_until_ready(jax.tree.map(jnp.add, total, found))
        bar.update(n + 1)
    mean = jax.tree.map(lambda a: a / samples, total)
    return jax.tree.map(np.asarray, _over_channels(scores, mean))


def integrated_gradients(model, x, target=None, baseline=0.0, steps=64, verbose=0) -> np.ndarray:
    """What each value of the input adds to the score, compared with a baseline.

    `(x - baseline) * mean of d score / d x on the straight way from the baseline to x`. All of them
    together are the score of `x` minus that of the baseline, the more exactly the more steps (midpoints).

    Args:
        model, x, target: see `saliency`.
        baseline: a number, or arrays like `x`: an input that means nothing, such as black.
        steps: how many points on the way.
        verbose: 1 for a progress bar.

    Returns:
        an array of the shape of the batch, with its channels, positive and negative.

    Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks".
    """
    x, scores, targets = ready(model, x, target)
    gradient = _compiled_gradient(scores, targets)
    several: Any = jax.tree.structure(baseline)
    baselines = (
        baseline if several == jax.tree.structure(x) else jax.tree.map(lambda a: baseline, x)
    )
    start = jax.tree.map(
        lambda a, b: jnp.broadcast_to(jnp.asarray(b, a.dtype), a.shape), x, baselines
    )
    total = jax.tree.map(jnp.zeros_like, x)
    bar = Progbar(steps, verbose=1 if verbose else 0)
    for n in range(steps):
        share = (n + 0.5) / steps
        point = jax.tree.map(lambda a, b, share=share: b + share * (a - b), x, start)
        total = jax.block_until_ready(jax.tree.map(jnp.add, total, gradient(point)))
        bar.update(n + 1)
    return jax.tree.map(lambda a, b, t: np.asarray((a - b) * t / steps), x, start, total)


def _gradient(scores: Scores, x, targets):
    return jax.grad(lambda x: jnp.sum(scores.of(scores(x), targets)))(x)


def _compiled_gradient(scores: Scores, targets):
    return jax.jit(lambda x: _gradient(scores, x, targets))


def _over_channels(scores: Scores, gradient):
    """The largest absolute value of the channels, for each input."""
    leaves, structure = jax.tree.flatten(gradient)
    axes = [
        channel_axis(operation, a.ndim) for a, operation in zip(leaves, scores.takers, strict=True)
    ]
    largest = [jnp.max(jnp.abs(a), axis=axis) for a, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(structure, largest)
