"""Random changes of training images, so that a model learns what does not matter.

All of them work on one image or a batch, draw anew for each image (`RandomCrop`: for each batch),
and, except `RandomCrop`, return images unchanged outside of training.
"""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import floatx
from cornu.core.random import SeedGenerator, draw_seed, make_default_seed
from cornu.layers.preprocessing.images import ImageLayer, check_size, crop_to_aspect_ratio, resize


class RandomImageLayer(ImageLayer):
    """Base class: in training `_change(batch, transformation)` is called on batches with channels last.

    The transformation is what `_draw(seed, batch, rows, columns)` returned: the random numbers.

    Args:
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        seed: an integer for changes that can be repeated.

    Call arguments:
        training: whether to change anything; True unless the model passes another value.

    Shapes: (rows, columns, channels) or (batch, rows, columns, channels) -> the same; floats.
    """

    def __init__(self, seed=None, data_format=None, **kwargs):
        super().__init__(data_format=data_format, **kwargs)
        self.seed = seed
        self.generator = SeedGenerator(seed)

    def get_random_transformation(self, data, training=True, seed=None):
        """The random numbers for a batch of images; None outside of training."""
        images = data["images"] if isinstance(data, dict) else data
        if not training:
            return None
        return self._draw(self.generator if seed is None else seed, *self._sizes(images))

    def transform_images(self, images, transformation, training=True):
        images = images.astype(self.compute_dtype)
        if not training:
            return images
        return self._apply(lambda batch: self._change(batch, transformation), images)

    def _draw(self, seed, batch, rows, columns):
        raise NotImplementedError

    def _change(self, images, transformation):
        raise NotImplementedError


def uniform(seed, shape, low=0.0, high=1.0, dtype=None):
    """Random numbers from `low` to `high`, the next ones of a generator."""
    return jax.random.uniform(draw_seed(seed), shape, dtype or floatx(), low, high)


def factor_range(name: str, factor, low=-1.0, high=1.0, open_low=False) -> tuple:
    """A factor as a pair: one number `f` means `(-f, f)`."""
    pair = factor
    if isinstance(factor, int | float) and not isinstance(factor, bool):
        pair = (max(-abs(factor), low), abs(factor)) if low <= factor <= high else None
    fits = (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(f, int | float) and low <= f <= high for f in pair)
        and not (open_low and low in (factor, *pair))
    )
    if not fits:
        raise ValueError(
            f"The `{name}` argument should be a number (or a list of two numbers) in the range "
            f"{'(' if open_low else '['}{low}, {high}]. Received: {name}={factor!r}"
        )
    return tuple(sorted(pair))


@registry.register("layer", module="keras.layers")
class RandomFlip(RandomImageLayer):
    """Mirrors half of the images.

    Args:
        mode: `"horizontal"`, `"vertical"` or `"horizontal_and_vertical"`; the last mirrors an image
            both ways or not at all.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomFlip layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomFlip("horizontal", seed=0)(jnp.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 3)
    """

    def __init__(self, mode="horizontal_and_vertical", seed=None, data_format=None, **kwargs):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        known = ("horizontal", "vertical", "horizontal_and_vertical")
        if mode not in known:
            raise ValueError(f"Unknown `mode` {mode!r}. Expected one of {known}.")
        self.mode = mode

    def _draw(self, seed, batch, rows, columns):
        return {"flips": uniform(seed, (batch, 1, 1, 1)) <= 0.5}

    def _change(self, images, transformation):
        axes = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}[self.mode]
        return jnp.where(transformation["flips"], jnp.flip(images, axes), images)


@registry.register("layer", module="keras.layers")
class RandomContrast(RandomImageLayer):
    """Moves each channel's pixels away from, or towards, their mean.

    `(x - mean) * f + mean` with f drawn from `[1 - lower, 1 + upper]`, then clipped.

    Args:
        factor: a pair (lower, upper), the smaller number first, or one number: upper, with a lower
            of 0; between 0 and 1.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomContrast layer, the code of 3.15. (Its page says that one number is used for
    both.)

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomContrast(0.2, value_range=(0, 1), seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(self, factor, value_range=(0, 255), seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range("factor", factor, low=0.0)
        self.value_range = _check_value_range(value_range)

    def _draw(self, seed, batch, rows, columns):
        lower, upper = self.factor
        shape = (batch, 1, 1, 1)
        factor = uniform(seed, shape, 1.0 - lower, 1.0 + upper, self.compute_dtype)
        return {"contrast_factor": factor}

    def _change(self, images, transformation):
        # One axis after the other, as in Keras, for the same bits.
        mean = jnp.mean(jnp.mean(images, 1, keepdims=True), 2, keepdims=True)
        changed = (images - mean) * transformation["contrast_factor"] + mean
        return jnp.clip(changed, *self.value_range)


def _check_value_range(value_range):
    if not isinstance(value_range, list | tuple) or len(value_range) != 2:
        raise ValueError(
            "The `value_range` argument should be a list of two numbers. "
            f"Received: value_range={value_range!r}"
        )
    return value_range


@registry.register("layer", module="keras.layers")
class RandomBrightness(RandomImageLayer):
    """Adds one number to all pixels of an image, then clips.

    Args:
        factor: largest change as a fraction of the value range, or a pair (least, most); between -1
            and 1.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomBrightness layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomBrightness(0.2, value_range=(0, 1))(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(self, factor, value_range=(0, 255), seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range("factor", factor)
        self.value_range = sorted(_check_value_range(value_range))

    def _draw(self, seed, batch, rows, columns):
        low, high = self.value_range
        return {"rgb_delta": uniform(seed, (batch, 1, 1, 1), *self.factor) * (high - low)}

    def _change(self, images, transformation):
        change = transformation["rgb_delta"].astype(images.dtype)
        return jnp.clip(images + change, *self.value_range)


@registry.register("layer", module="keras.layers")
class RandomCrop(RandomImageLayer):
    """In training a window at a random position, the same for the whole batch; else the middle.

    The position is random if an image is higher and wider than the window. Outside of training, and where
    an image is smaller than the window, the largest window in the middle with the wanted aspect ratio
    is taken and resized.

    Args:
        height, width: size of the window.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomCrop layer. In inference this follows that page; the code of
    Keras 3.15 returns images unchanged.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomCrop(4, 6)(jnp.ones((2, 8, 8, 1))).shape
    (2, 4, 6, 1)
    """

    def __init__(self, height, width, seed=None, data_format=None, **kwargs):
        # Two seeds are drawn, as in Keras, so that what is made later gets the same ones.
        drawn = make_default_seed() if seed is None else seed
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.seed = drawn
        check_size(self, height, width)
        self.height, self.width = height, width

    def transform_images(self, images, transformation, training=True):
        if training:
            return super().transform_images(images, transformation, training)
        return self._apply(self._resized_middle, images.astype(self.compute_dtype))

    def _resized_middle(self, images):
        return resize(
            crop_to_aspect_ratio(images, self.height, self.width), self.height, self.width
        )

    def _draw(self, seed, batch, rows, columns):
        free = rows - self.height, columns - self.width
        if min(free) > 0:
            return tuple(uniform(seed, (), 0, n + 1.0).astype("int32") for n in free)
        return tuple(n // 2 for n in free)

    def _change(self, images, transformation):
        if images.shape[1] < self.height or images.shape[2] < self.width:
            return self._resized_middle(images)
        top, left = transformation
        return jax.lax.dynamic_slice(
            images, (0, top, left, 0), (len(images), self.height, self.width, images.shape[-1])
        )
