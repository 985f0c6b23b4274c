"""Random changes of training images, so that a model learns what does not matter.

All of them work on one image or a batch, draw anew for each image (`RandomCrop`: for each batch),
and, except `RandomCrop`, hand images on unchanged outside of training.
"""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import floatx
from cornu.core.random import SeedGenerator
from cornu.layers.preprocessing import ImageLayer, check_size, crop_to_aspect_ratio, resize


class RandomImageLayer(ImageLayer):
    """Base class: in training `_change(batch)` is called on batches with channels last.

    Args:
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        seed: an integer for changes that can be repeated.

    Call arguments:
        training: whether to change anything; True unless the model says otherwise.

    Shapes: (rows, columns, channels) or (batch, rows, columns, channels) -> the same; floats.
    """

    def __init__(self, seed=None, data_format=None, **kwargs):
        super().__init__(data_format=data_format, **kwargs)
        self.seed = seed
        self.generator = SeedGenerator(seed)

    def call(self, inputs, training=True):
        inputs = inputs.astype(self.compute_dtype)
        return self._apply(self._change if training else lambda images: images, inputs)

    def _change(self, images):
        raise NotImplementedError

    def _uniform(self, shape, low=0.0, high=1.0, dtype=None):
        return jax.random.uniform(self.generator.next(), shape, dtype or floatx(), low, high)


def factor_range(name: str, factor, low=-1.0, high=1.0, open_low=False) -> tuple:
    """A factor as a pair: one number stands for from minus itself to itself."""
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

    def _change(self, images):
        axes = {"horizontal": 2, "vertical": 1, "horizontal_and_vertical": (1, 2)}[self.mode]
        mirrored = self._uniform((images.shape[0], 1, 1, 1)) <= 0.5
        return jnp.where(mirrored, jnp.flip(images, axes), images)


@registry.register("layer", module="keras.layers")
class RandomContrast(RandomImageLayer):
    """Moves each channel's pixels away from, or towards, their mean.

    `(x - mean) * f + mean` with f drawn from `[1 - lower, 1 + upper]`, then clipped.

    Args:
        factor: a pair (lower, upper), or one number for both; between 0 and 1.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomContrast layer. Given one number, this follows what that page says; the code
    of Keras 3.15 takes 0 as `lower`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomContrast(0.2, value_range=(0, 1), seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(self, factor, value_range=(0, 255), seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        single = isinstance(factor, int | float)
        pair = (factor, factor) if single else factor
        # Not sorted: the two are different things.
        factor_range("factor", pair, low=0.0)
        self.factor = tuple(pair)
        self.value_range = _check_value_range(value_range)

    def _change(self, images):
        lower, upper = self.factor
        shape = (images.shape[0], 1, 1, 1)
        factor = self._uniform(shape, 1.0 - lower, 1.0 + upper, self.compute_dtype)
        mean = jnp.mean(images, (1, 2), keepdims=True)
        return jnp.clip((images - mean) * factor + mean, *self.value_range)


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

    def _change(self, images):
        low, high = self.value_range
        change = self._uniform((images.shape[0], 1, 1, 1), *self.factor) * (high - low)
        return jnp.clip(images + change.astype(images.dtype), low, high)


@registry.register("layer", module="keras.layers")
class RandomCrop(RandomImageLayer):
    """In training a window at a random place, the same for the whole batch; else the middle.

    Outside of training, and where an image is smaller than the window, the largest window in the
    middle with the wanted aspect ratio is taken and resized.

    Args:
        height, width: size of the window.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomCrop layer. In inference this follows what that page says; the code of
    Keras 3.15 hands images on unchanged.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomCrop(4, 6)(jnp.ones((2, 8, 8, 1))).shape
    (2, 4, 6, 1)
    """

    def __init__(self, height, width, seed=None, data_format=None, **kwargs):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        check_size(self, height, width)
        self.height, self.width = height, width

    def call(self, inputs, training=True):
        crop = self._change if training else self._resized_middle
        return self._apply(crop, inputs.astype(self.compute_dtype))

    def _resized_middle(self, images):
        return resize(
            crop_to_aspect_ratio(images, self.height, self.width), self.height, self.width
        )

    def _change(self, images):
        rows, columns = images.shape[1] - self.height, images.shape[2] - self.width
        if rows < 0 or columns < 0:
            return self._resized_middle(images)
        top, left = (self._uniform((), 0, n + 1.0).astype("int32") for n in (rows, columns))
        return jax.lax.dynamic_slice(
            images, (0, top, left, 0), (len(images), self.height, self.width, images.shape[-1])
        )
