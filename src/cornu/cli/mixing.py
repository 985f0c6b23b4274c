"""Training images that are mixed with others of their batch, and labels that are mixed alike."""

import jax
import numpy as np

from cornu import layers
from cornu.cli.parts import Data, Part
from cornu.core.random import Keys, draw_seed
from cornu.data.dataset import Dataset
from cornu.layers.augmentation.base import RandomImageLayer


def one_hot(part: Part, num_classes: int):
    """What `fit` takes of a part: images, and 0 and 1 for each class."""
    if part.labels.ndim == 2:
        return part.source
    codes = np.eye(num_classes, dtype="float32")
    if part.is_in_memory:
        x, y = part.source
        return x, codes[y]
    return part.source.map(lambda x, y: (x, codes[y]))


def mixed(data: Data, batch_size: int, seed: int, class_weight: dict | None) -> Dataset:
    """Batches of the training images, of which each is mixed by MixUp or by CutMix, as often by either.

    The numbers are drawn for each batch and pass from the seed, so that a training can be resumed.

    Args:
        data: what is learned from.
        batch_size: images of a batch, for arrays; batches of files have theirs.
        seed: of the order of arrays, and of what is drawn.
        class_weight: the weight of each class; an image has those of its classes, by their shares.
    """
    source = one_hot(data.train, len(data.class_names))
    if isinstance(source, tuple):
        rows = Dataset.from_tensor_slices(source)
        source = rows.shuffle(len(data.train), seed=seed).batch(batch_size)
    ways = [_Way(layers.MixUp(0.2, dtype="float32")), _Way(layers.CutMix(dtype="float32"))]
    weights = None
    if class_weight is not None:
        weights = np.array([class_weight[n] for n in range(len(data.class_names))], "float32")

    def mix(batch, number):
        x, y = batch
        # The lowest bit chooses, the others are the seed.
        x, y = ways[int(number) & 1](x, y, int(number) >> 1)
        return (x, y) if weights is None else (x, y, y @ weights)

    return Dataset.zip(source, Dataset.random(seed=seed)).map(mix, num_parallel_calls=2)


class _Way:
    """A layer that mixes, as a compiled function of images, labels and a seed."""

    def __init__(self, layer: RandomImageLayer):
        def call(x, y, key):
            drawn = layer.get_random_transformation(x, training=True, seed=Keys(key))
            return layer.transform_images(x, drawn), layer.transform_labels(y, drawn)

        self._call = jax.jit(call)

    def __call__(self, x, y, seed: int):
        x, y = self._call(np.asarray(x, "float32"), np.asarray(y, "float32"), draw_seed(seed))
        return np.asarray(x), np.asarray(y)
