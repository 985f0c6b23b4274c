"""Several random changes of other layers, themselves chosen at random."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import is_discrete
from cornu.core.random import Keys, draw_seed
from cornu.layers.augmentation.base import RandomImageLayer, factor_range, pair_of_values
from cornu.layers.augmentation.colours import RandomColorDegeneration
from cornu.layers.augmentation.filters import RandomSharpness
from cornu.layers.augmentation.histogram import AutoContrast, Equalization
from cornu.layers.augmentation.movement import RandomRotation, RandomShear, RandomTranslation
from cornu.layers.augmentation.tones import (
    RandomBrightness,
    RandomContrast,
    RandomPosterization,
    Solarization,
)


def _choose(index, changes: list[Callable], value):
    """What the change number `index` makes of a value; in a compiled function the others cost no time."""
    if isinstance(index, jax.core.Tracer):
        return jax.lax.switch(index, changes, value)
    return changes[int(index)](value)


def _one_after_another(step: Callable, value, items):
    """`step(value, item)` for each item; one loop in a compiled function, so it is compiled once."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(items)):
        return jax.lax.scan(lambda value, item: (step(value, item), None), value, items)[0]
    for i in range(len(jax.tree.leaves(items)[0])):
        value = step(value, jax.tree.map(lambda leaf, i=i: leaf[i], items))
    return value


class _Policy(RandomImageLayer):
    """Layers that hold those that they choose from, each in the attribute that Keras' files name."""

    _each_its_own = True

    def __init__(self, value_range, factor, interpolation, **kwargs):
        super().__init__(**kwargs)
        self.value_range = pair_of_values(value_range)
        self.factor = factor_range("factor", factor, low=0)
        self.interpolation = interpolation

    def _make(self, names: list[str]) -> None:
        """Make the layers of these names; each draws its seed."""
        order = list(names)
        # As in Keras, solarization is made first.
        place = order.index("random_posterization")
        order[place : place + 2] = reversed(order[place : place + 2])
        factor, values = self.factor, self.value_range
        bits = max(1, int(8 * factor[1]))
        moved = {"interpolation": self.interpolation}
        kinds = {
            "random_shear": (RandomShear, {"x_factor": factor, "y_factor": factor, **moved}),
            "random_translation": (
                RandomTranslation,
                {"height_factor": factor, "width_factor": factor, **moved},
            ),
            "random_rotation": (RandomRotation, {"factor": factor, **moved}),
            "random_brightness": (RandomBrightness, {"factor": factor, "value_range": values}),
            "random_color_degeneration": (
                RandomColorDegeneration,
                {"factor": factor, "value_range": values},
            ),
            "random_contrast": (RandomContrast, {"factor": factor, "value_range": values}),
            "random_sharpness": (RandomSharpness, {"factor": factor, "value_range": values}),
            "random_posterization": (RandomPosterization, {"factor": bits, "value_range": values}),
            "solarization": (
                Solarization,
                {"addition_factor": factor, "threshold_factor": factor, "value_range": values},
            ),
            "auto_contrast": (AutoContrast, {"value_range": values}),
            "equalization": (Equalization, {"value_range": values}),
        }
        for name in order:
            kind, arguments = kinds[name]
            if issubclass(kind, RandomImageLayer):
                arguments = {**arguments, "seed": self.seed}
            layer = kind(
                **arguments,
                data_format=self.data_format,
                bounding_box_format=self.bounding_box_format,
                dtype=self.dtype_policy,
            )
            setattr(self, name, layer)


@registry.register("layer", module="keras.layers")
class RandAugment(_Policy):
    """Applies a few of eleven changes, chosen at random, to all images of a batch, one after another.

    They are shear, translation, rotation, brightness, colour degeneration, contrast, sharpness,
    posterization, solarization, auto-contrast and equalization. The same may be chosen again. How far
    each goes is drawn for each image.

    Args:
        value_range: lowest and highest value of a pixel.
        num_ops: how many changes.
        factor: how far they go at most, or a pair (least, most); from 0 to 1. It is the factor of the
            layers `RandomShear`, `RandomTranslation` and so on.
        interpolation: `"bilinear"` or `"nearest"`.
        seed, data_format: as in all random image layers.

    Masks and bounding boxes move as the images do.

    Source: Cubuk et al. 2020, "RandAugment: practical automated data augmentation with a reduced search
    space". Keras: RandAugment layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandAugment(seed=0)(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    _CHANGES = (
        "random_shear random_translation random_rotation random_brightness random_color_degeneration "
        "random_contrast random_sharpness random_posterization solarization auto_contrast equalization"
    ).split()

    def __init__(
        self,
        value_range=(0, 255),
        num_ops=2,
        factor=0.5,
        interpolation="bilinear",
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            value_range, factor, interpolation, seed=seed, data_format=data_format, **kwargs
        )
        self.num_ops = num_ops
        self._make(self._CHANGES)

    def get_random_transformation(self, data, training=True, seed=None):
        """Which changes are chosen, and what each of them would do."""
        if not training:
            return None
        seed = self.generator if seed is None else seed
        which = jax.random.randint(draw_seed(seed), (self.num_ops,), 0, len(self._CHANGES), "int32")
        return {
            "layer_idxes": which,
            "transforms": {
                name: getattr(self, name).get_random_transformation(data, seed=seed)
                for name in self._CHANGES
            },
        }

    def _one_by_one(self, value, transformation, change):
        """A value changed by each chosen layer; `change(layer, value, its transformation)` does so."""
        changes = [
            lambda value, name=name, drawn=drawn: change(getattr(self, name), value, drawn)
            for name, drawn in transformation["transforms"].items()
        ]
        return _one_after_another(
            lambda value, index: _choose(index, changes, value),
            value,
            transformation["layer_idxes"],
        )

    def _change(self, images, transformation):
        return self._one_by_one(
            images, transformation, lambda layer, batch, drawn: layer._change(batch, drawn)
        )

    def transform_bounding_boxes(self, bounding_boxes, transformation=None, training=True):
        if not training or transformation is None:
            return bounding_boxes
        boxes = {name: jnp.asarray(value) for name, value in bounding_boxes.items()}
        return self._one_by_one(
            {**boxes, "boxes": boxes["boxes"].astype("float32")},
            transformation,
            lambda layer, boxes, drawn: layer.transform_bounding_boxes(boxes, drawn),
        )

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        masks = jnp.asarray(segmentation_masks)
        if not training or transformation is None:
            return masks
        return self._one_by_one(
            masks,
            transformation,
            lambda layer, masks, drawn: layer.transform_segmentation_masks(masks, drawn),
        )


@registry.register("layer", module="keras.layers")
class AugMix(_Policy):
    """Mixes images with several differently changed copies of them.

    Each of `num_chains` copies goes through up to `chain_depth` changes, chosen at random for the batch.
    The copies are averaged with weights of a Dirichlet distribution, and the average is mixed with the
    image: `w x + (1 - w) average`, where w has a beta distribution.

    Args:
        value_range: lowest and highest value of a pixel.
        num_chains: how many copies.
        chain_depth: how many changes each goes through at most.
        factor: how far they go at most, or a pair (least, most); from 0 to 1.
        alpha: parameter of both distributions.
        all_ops: whether to choose from all eleven changes of `RandAugment`; otherwise not from
            brightness, colour degeneration, contrast and sharpness.
        interpolation: `"bilinear"` or `"nearest"`.
        seed, data_format: as in all random image layers.

    Masks are mixed as images are, so they must be one-hot floats. Bounding boxes stay: the image itself
    remains visible.

    Source: Hendrycks et al. 2020, "AugMix: a simple data processing method to improve robustness and
    uncertainty". Keras: AugMix layer, which chooses the changes with Python's generator, once for all
    steps of a compiled model; here they are drawn in each step. So the same seed gives other numbers, of
    the same distribution.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.AugMix(seed=0)(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    _CHANGES = (
        "random_shear random_translation random_rotation random_posterization solarization "
        "auto_contrast equalization random_brightness random_color_degeneration random_contrast "
        "random_sharpness"
    ).split()

    def __init__(
        self,
        value_range=(0, 255),
        num_chains=3,
        chain_depth=3,
        factor=0.3,
        alpha=1.0,
        all_ops=True,
        interpolation="bilinear",
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            value_range, factor, interpolation, seed=seed, data_format=data_format, **kwargs
        )
        if not alpha > 0:
            raise ValueError(f"`alpha` must be positive. Received: alpha={alpha}")
        self.num_chains = num_chains
        self.chain_depth = chain_depth
        self.alpha = alpha
        self.all_ops = all_ops
        self._names = self._CHANGES if all_ops else self._CHANGES[:7]
        self._make(self._names)

    def get_random_transformation(self, data, training=True, seed=None):
        """The weights, which change comes when (the last number means none), and a key for each."""
        if not training:
            return None
        images = data["images"] if isinstance(data, dict) else data
        seed = self.generator if seed is None else seed
        weights = jax.random.gamma(draw_seed(seed), self.alpha, (self.num_chains,))
        own = jax.random.beta(draw_seed(seed), self.alpha, self.alpha, ())
        size = self.num_chains, self.chain_depth
        which = jax.random.randint(draw_seed(seed), size, 0, len(self._names) + 1, "int32")
        return {
            "chain_mixing_weights": weights / jnp.sum(weights),
            "weight_sample": own,
            "layer_idxes": which,
            "keys": jax.random.split(draw_seed(seed), size),
            "input_shape": self._sizes(images),
        }

    def _mixed(self, images, transformation, change):
        """A batch mixed with changed copies; `change(layer, batch, transformation)` changes one."""
        layers = [getattr(self, name) for name in self._names]

        def changed(batch, item):
            index, key = item
            return _choose(
                index,
                [
                    lambda b, layer=layer: change(layer, b, self._drawn(layer, key, transformation))
                    for layer in layers
                ]
                + [lambda b: b],
                batch,
            )

        def add(total, item):
            weight, *steps = item
            return total + weight.astype(total.dtype) * _one_after_another(changed, images, steps)

        weights, own = transformation["chain_mixing_weights"], transformation["weight_sample"]
        items = (weights, transformation["layer_idxes"], transformation["keys"])
        average = _one_after_another(add, jnp.zeros_like(images), items)
        own = own.astype(images.dtype)
        return own * images + (1 - own) * average

    def _drawn(self, layer, key, transformation):
        if not isinstance(layer, RandomImageLayer):
            return None
        shape = transformation["input_shape"]
        return {**layer._draw(Keys(key), shape), "input_shape": shape}

    def _change(self, images, transformation):
        mixed = self._mixed(
            images, transformation, lambda layer, batch, drawn: layer._change(batch, drawn)
        )
        return jnp.clip(mixed, *self.value_range)

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        masks = jnp.asarray(segmentation_masks)
        if not training or transformation is None:
            return masks
        if is_discrete(masks.dtype):
            raise ValueError(
                f"Layer '{self.name}' mixes several copies of a mask, and numbers of classes cannot be "
                f"mixed. Received masks of dtype {masks.dtype}. Pass one-hot masks of floats, or use "
                "RandAugment."
            )
        return self._mixed(
            masks,
            transformation,
            lambda layer, masks, drawn: layer.transform_segmentation_masks(masks, drawn),
        )
