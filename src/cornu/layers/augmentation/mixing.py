"""Images mixed with others of their batch, or with noise; and how many boxes an image has."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import at_least_single, is_discrete
from cornu.core.random import draw_seed
from cornu.layers.augmentation.base import (
    ImageLayer,
    RandomImageLayer,
    chosen,
    factor_range,
    for_each,
    pair_of_values,
    uniform,
)


def _beta(seed, alpha, shape, dtype="float32"):
    return jax.random.beta(draw_seed(seed), alpha, alpha, shape, dtype)


def _shuffled(seed, batch: int):
    return jax.random.permutation(draw_seed(seed), jnp.arange(batch, dtype="int32"))


def _mixed_labels(layer, labels, transformation):
    """Each label mixed with another's, as the images were."""
    labels = jnp.asarray(labels)
    if is_discrete(labels.dtype) and (labels.ndim < 2 or labels.shape[-1] == 1):
        raise ValueError(
            f"Layer '{layer.name}' mixes labels, and numbers of classes cannot be mixed. Received labels "
            f"of shape {labels.shape} and dtype {labels.dtype}. Encode them first, for example with "
            "`ops.one_hot(labels, num_classes)`; pass floats if the labels are quantities."
        )
    weight = jnp.asarray(transformation["mix_weight"]).reshape(-1)
    weight = weight.reshape((-1,) + (1,) * (labels.ndim - 1))
    others = jnp.take(labels, jnp.asarray(transformation["permutation_order"]), axis=0)
    return weight * labels + (1.0 - weight) * others


def _grid(rows: int, columns: int, dtype):
    y, x = jnp.arange(rows, dtype=dtype), jnp.arange(columns, dtype=dtype)
    return y[None, :, None, None], x[None, None, :, None]


def _random_rectangles(seed, shape, across, down, dtype):
    """For each image a rectangle of a size, as fractions of the image's, somewhere in it.

    Returns a mask with channels last, and the rectangle's share of the image.
    """
    batch, rows, columns, channels = shape

    def bounds(size, fraction):
        length = (fraction * size).astype(dtype)
        start = uniform(seed, (batch,), dtype=dtype) * (size - length)
        return for_each(start), for_each(start + length)

    left, right = bounds(columns, across)
    top, bottom = bounds(rows, down)
    y, x = _grid(rows, columns, dtype)
    mask = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    share = (right - left) * (bottom - top) / (rows * columns)
    return jnp.broadcast_to(mask, (batch, rows, columns, channels)), share


@registry.register("layer", module="keras.layers")
class MixUp(RandomImageLayer):
    """Mixes each image, and its label, with another of the batch: `w x + (1 - w) x_other`.

    Args:
        alpha: w is drawn from the beta distribution with both parameters alpha.
        data_format, seed: as in all random image layers.

    Labels must be one-hot, or quantities as floats; numbers of classes are refused. Masks are mixed as
    images are, so they should be one-hot, too. Of bounding boxes each image gets both its own and the
    other's.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization". Keras: MixUp layer, which in
    3.15 mixes masks with single pixels, and appends the labels of boxes to those of other images.

    >>> import cornu, jax.numpy as jnp
    >>> data = {"images": jnp.ones((2, 8, 8, 3)), "labels": jnp.eye(2)}
    >>> cornu.layers.MixUp(seed=0)(data)["labels"].sum(-1).round(3).tolist()
    [1.0, 1.0]
    """

    _idle_draws = 2
    _each_its_own = True

    def __init__(self, alpha=0.2, data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        if not alpha > 0:
            raise ValueError(f"`alpha` must be positive. Received: alpha={alpha}")
        self.alpha = alpha

    def _draw(self, seed, shape):
        order = _shuffled(seed, shape[0])
        return {
            "mix_weight": _beta(seed, self.alpha, shape[:1]),
            "permutation_order": order,
        }

    def _change(self, images, transformation):
        weight = jnp.asarray(transformation["mix_weight"]).reshape(-1, 1, 1, 1).astype(images.dtype)
        others = jnp.take(images, jnp.asarray(transformation["permutation_order"]), axis=0)
        return weight * images + (1.0 - weight) * others

    def transform_labels(self, labels, transformation=None, training=True):
        if not training or transformation is None:
            return labels
        return _mixed_labels(self, labels, transformation)

    def transform_bounding_boxes(self, bounding_boxes, transformation=None, training=True):
        if not training or transformation is None:
            return bounding_boxes
        order = jnp.asarray(transformation["permutation_order"])
        both = {}
        for name, values in bounding_boxes.items():
            values = jnp.asarray(values)
            both[name] = jnp.concatenate([values, jnp.take(values, order, axis=0)], axis=1)
        return both

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        masks = jnp.asarray(segmentation_masks)
        if not training or transformation is None:
            return masks
        return self._change(masks.astype(at_least_single(masks.dtype)), transformation)


@registry.register("layer", module="keras.layers")
class CutMix(RandomImageLayer):
    """Puts a rectangle of another image of the batch into each image, and mixes labels by its area.

    Args:
        factor: the share of the image that stays is drawn from the beta distribution with both
            parameters this number, or a number drawn from a pair (least, most); from 0 to 1.
        seed, data_format: as in all random image layers.

    One image alone stays as it is. Labels must be one-hot, or quantities as floats; numbers of classes
    are refused. Masks change as images do. Bounding boxes are refused.

    Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers with
    localizable features". Keras: CutMix layer.

    >>> import cornu, jax.numpy as jnp
    >>> data = {"images": jnp.ones((2, 8, 8, 3)), "labels": jnp.eye(2)}
    >>> cornu.layers.CutMix(seed=0)(data)["labels"].sum(-1).round(3).tolist()
    [1.0, 1.0]
    """

    def __init__(self, factor=1.0, seed=None, data_format=None, **kwargs):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("factor", factor, low=0)

    def get_random_transformation(self, data, training=True, seed=None):
        images = data["images"] if isinstance(data, dict) else data
        if len(images.shape) == 3:
            return None
        return super().get_random_transformation(data, training, seed)

    def _draw(self, seed, shape):
        dtype = self._working_dtype
        # The beta distribution has no parameter 0.
        low, high = self.factor
        alpha = uniform(seed, (), low, high, dtype) + 1e-6
        side = jnp.sqrt(1.0 - _beta(seed, alpha, shape[:1], dtype))
        mask, share = _random_rectangles(seed, shape, side, side, dtype)
        first = self.data_format == "channels_first"
        return {
            "batch_masks": jnp.moveaxis(mask, -1, 1) if first else mask,
            "mix_weight": 1.0 - share,
            "permutation_order": _shuffled(seed, shape[0]),
        }

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images).astype(self.compute_dtype)
        return self._cut_in(images, transformation, training)

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        return self._cut_in(jnp.asarray(segmentation_masks), transformation, training)

    def _cut_in(self, images, transformation, training):
        if not training or transformation is None:
            return images
        others = jnp.take(images, jnp.asarray(transformation["permutation_order"]), axis=0)
        mask = jnp.asarray(transformation["batch_masks"])
        axis = 1 if self.data_format == "channels_first" else -1
        if mask.shape[axis] != images.shape[axis]:
            # All channels have one rectangle.
            mask = jax.lax.slice_in_dim(mask, 0, 1, axis=axis)
        return jnp.where(mask, others, images)

    def transform_labels(self, labels, transformation=None, training=True):
        if not training or transformation is None:
            return labels
        return _mixed_labels(self, labels, transformation)

    def transform_bounding_boxes(self, bounding_boxes, transformation=None, training=True):
        """Always raises NotImplementedError: a box may be half covered."""
        raise NotImplementedError(
            "CutMix does not say what becomes of bounding boxes. Leave them out, or use MixUp, which "
            "keeps those of both images."
        )


@registry.register("layer", module="keras.layers")
class RandomErasing(RandomImageLayer):
    """Covers a random rectangle of some images with noise or a colour.

    Args:
        factor: with which probability, or a pair to draw it from for each image; between 0 and 1.
        scale: the square of the rectangle's height, and of its width, as a fraction of the image's: a
            pair (least, most), or the most; between 0 and 1.
        fill_value: a number, or one for each channel; None for noise of a normal distribution with
            standard deviation the highest value of a pixel.
        value_range: lowest and highest value of a pixel: the noise is clipped to it.
        seed, data_format: as in all random image layers.

    Source: Zhong et al. 2020, "Random erasing data augmentation". Keras: RandomErasing layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.RandomErasing(factor=(1, 1), fill_value=0, seed=0)
    >>> bool((layer(jnp.ones((2, 8, 8, 3))) == 0).any())
    True
    """

    def __init__(
        self,
        factor=1.0,
        scale=(0.02, 0.33),
        fill_value=None,
        value_range=(0, 255),
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        self.scale = factor_range("scale", scale, low=0)
        if fill_value is not None and not isinstance(fill_value, int | float | list | tuple):
            raise ValueError(
                "The `fill_value` argument should be a number (or a list of one for each channel). "
                f"Received: fill_value={fill_value!r}"
            )
        self.fill_value = fill_value
        self.value_range = pair_of_values(value_range)

    def get_random_transformation(self, data, training=True, seed=None):
        images = data["images"] if isinstance(data, dict) else data
        drawn = super().get_random_transformation(data, training, seed)
        if drawn is None:
            return None
        seed = self.generator if seed is None else seed
        return {**drawn, "fill_value": self._filling(seed, images)}

    def _draw(self, seed, shape):
        dtype = self._working_dtype
        low, high = self.scale
        sides = jnp.sqrt(uniform(seed, (shape[0], 2), low, high, dtype))
        mask, _ = _random_rectangles(seed, shape, sides[:, 0], sides[:, 1], dtype)
        first = self.data_format == "channels_first"
        return {
            "batch_masks": jnp.moveaxis(mask, -1, 1) if first else mask,
            "apply_erasing": chosen(seed, shape[0], self.factor),
        }

    def _filling(self, seed, images):
        if self.fill_value is None:
            noise = jax.random.normal(draw_seed(seed), images.shape, self._working_dtype)
            filling = noise * self.value_range[1]
        else:
            filling = jnp.asarray(self.fill_value, self._working_dtype)
            *_, channels = self._sizes(images)
            if filling.ndim and filling.shape != (channels,):
                raise ValueError(
                    f"Layer '{self.name}': `fill_value` needs a number for each of {channels} channels. "
                    f"Received: fill_value={self.fill_value}"
                )
            if filling.ndim and self.data_format == "channels_first":
                filling = filling[:, None, None]
        return jnp.clip(filling, *self.value_range)

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images).astype(self.compute_dtype)
        if not training or transformation is None:
            return images
        applies = for_each(transformation["apply_erasing"])
        covered = jnp.asarray(transformation["batch_masks"]) & applies
        return jnp.where(covered, transformation["fill_value"], images).astype(images.dtype)


@registry.register("layer", module="keras.layers")
class MaxNumBoundingBoxes(ImageLayer):
    """Gives each image the same number of bounding boxes: leaves out the last, or fills up.

    Args:
        max_number: how many boxes.
        fill_value: of the numbers of added boxes, and of their labels.
        bounding_box_format, data_format: as in all image layers.

    All else stays as it is.

    Source: Keras: MaxNumBoundingBoxes layer.

    >>> import cornu, jax.numpy as jnp
    >>> boxes = {"boxes": jnp.ones((2, 1, 4)), "labels": jnp.zeros((2, 1))}
    >>> layer = cornu.layers.MaxNumBoundingBoxes(2, bounding_box_format="xyxy")
    >>> layer({"images": jnp.ones((2, 8, 8, 3)), "bounding_boxes": boxes})["bounding_boxes"][
    ...     "labels"
    ... ].tolist()
    [[0.0, -1.0], [0.0, -1.0]]
    """

    _each_its_own = True

    def __init__(self, max_number, fill_value=-1, **kwargs):
        super().__init__(**kwargs)
        self.max_number = int(max_number)
        self.fill_value = int(fill_value)

    def _output_dtype(self, dtype):
        return dtype

    def transform_images(self, images, transformation=None, training=True):
        return images

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        def sized(values):
            values = jnp.asarray(values)[:, : self.max_number]
            margins = [(0, 0), (0, self.max_number - values.shape[1])]
            margins += [(0, 0)] * (values.ndim - 2)
            return jnp.pad(values, margins, constant_values=self.fill_value)

        return {name: sized(values) for name, values in bounding_boxes.items()}
