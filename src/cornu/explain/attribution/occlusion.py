"""Attribution by covering parts of the input."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.attribution.scores import ready
from cornu.explain.observe import channel_axis
from cornu.utils.progress import Progbar


def occlusion(
    model, x, target=None, size=4, stride=1, value=0.0, batch_size=256, verbose=0
) -> np.ndarray:
    """By how much the score falls when a square of the image is covered, for each position of the square.

    Args:
        model, x, target: see `saliency`. One example at a time.
        size: side of the square, or a number for each spatial axis.
        stride: how far apart the squares are.
        value: what covers.
        batch_size: how many covered images are computed at once.
        verbose: 1 for a progress bar.

    Returns:
        an array `(n, *spatial)`: for each pixel, the mean over the squares that cover it; 0 where none
        does.

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks".
    """
    x, scores, targets = ready(model, x, target)
    whole = scores.of(scores(x), targets)
    leaves, structure = jax.tree.flatten(x)
    axes = [
        channel_axis(taker, leaf.ndim) % leaf.ndim
        for leaf, taker in zip(leaves, scores.takers, strict=True)
    ]
    spatial = [
        tuple(n for a, n in enumerate(leaf.shape) if a not in (0, axis))
        for leaf, axis in zip(leaves, axes, strict=True)
    ]
    all_covers = [_squares(sizes, size, stride) if sizes else None for sizes in spatial]
    count = sum(len(whole) * len(covers) for covers in all_covers if covers is not None)
    bar, done = Progbar(count, verbose=1 if verbose else 0, unit_name="square"), 0
    found: list = []
    for which, (axis, covers) in enumerate(zip(axes, all_covers, strict=True)):
        if covers is None:
            found.append(None)
            continue

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
            falls = []
            for part in parts:
                falls.append(np.asarray(score - covered(example, part, target_class)))
                done += len(part)
                bar.update(done)
            total = np.tensordot(np.concatenate(falls), covers.astype(np.float32), 1)
            found[-1].append(total / np.maximum(covers.sum(0), 1))
    return jax.tree.unflatten(structure, [None if f is None else np.stack(f) for f in found])


def _squares(spatial: tuple[int, ...], size, stride: int) -> np.ndarray:
    """Where an image is covered, for each position of the square: `(positions, *spatial)`."""
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
        pixels, first = np.arange(n), corners[:, axis, None]
        within = (pixels >= first) & (pixels < first + s)
        covers &= within.reshape(-1, *[n if a == axis else 1 for a in range(len(spatial))])
    return covers
