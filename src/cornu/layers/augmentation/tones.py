"""Random changes of how bright pixels are, each by itself."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.random import draw_seed
from cornu.layers.augmentation.base import (
    RandomImageLayer,
    chosen,
    factor_range,
    for_each,
    pair_of_values,
    rescaled,
    uniform,
)


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
        self.value_range = pair_of_values(value_range)

    def _draw(self, seed, shape):
        lower, upper = self.factor
        drawn = uniform(seed, (shape[0], 1, 1, 1), 1.0 - lower, 1.0 + upper, self._working_dtype)
        return {"contrast_factor": drawn}

    def _change(self, images, transformation):
        # One axis after the other, as in Keras, for the same bits.
        mean = jnp.mean(jnp.mean(images, 1, keepdims=True), 2, keepdims=True)
        changed = (images - mean) * for_each(transformation["contrast_factor"]) + mean
        return jnp.clip(changed, *self.value_range).astype(images.dtype)


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
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        low, high = self.value_range
        return {"rgb_delta": uniform(seed, (shape[0], 1, 1, 1), *self.factor) * (high - low)}

    def _change(self, images, transformation):
        change = for_each(transformation["rgb_delta"]).astype(images.dtype)
        return jnp.clip(images + change, *self.value_range)


@registry.register("layer", module="keras.layers")
class RandomInvert(RandomImageLayer):
    """Makes negatives of some images: `highest - x`.

    Args:
        factor: with which probability, or a pair to draw it from for each image; between 0 and 1.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomInvert layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomInvert(factor=(1, 1))(jnp.full((1, 1, 1, 1), 55.0)).item()
    200.0
    """

    def __init__(self, factor=1.0, value_range=(0, 255), seed=None, data_format=None, **kwargs):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        self.value_range = pair_of_values(value_range)

    def _draw(self, seed, shape):
        return {"apply_inversion": chosen(seed, shape[0], self.factor)}

    def _change(self, images, transformation):
        applies = for_each(transformation["apply_inversion"])
        return jnp.where(applies, self.value_range[1] - images, images)


@registry.register("layer", module="keras.layers")
class RandomPosterization(RandomImageLayer):
    """Keeps only the first bits of each pixel, from 0 to 255.

    Args:
        factor: how many bits to keep at most, or a pair (least, most) of which the most is not drawn
            unless both are equal; whole numbers from 1 to 8.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomPosterization layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomPosterization(factor=(1, 1))(jnp.array([[[[3.0, 200.0]]]])).tolist()
    [[[[0.0, 128.0]]]]
    """

    def __init__(self, factor, value_range=(0, 255), data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor, low=1, high=8)
        if any(f != int(f) for f in self.factor):
            raise ValueError(f"`factor` counts bits: whole numbers. Received: factor={factor!r}")
        self._idle_draws = int(self.factor[0] != self.factor[1])
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        low, high = (int(f) for f in self.factor)
        bits = jnp.full(shape[:1], low, "uint8")
        if low != high:
            bits = jax.random.randint(draw_seed(seed), shape[:1], low, high, "uint8")
        return {"shift_factor": 8 - bits}

    def _change(self, images, transformation):
        shift = for_each(transformation["shift_factor"]).astype("uint8")
        pixels = rescaled(images, self.value_range, (0, 255)).astype("uint8")
        kept = jnp.left_shift(jnp.right_shift(pixels, shift), shift).astype(images.dtype)
        return rescaled(kept, (0, 255), self.value_range)


@registry.register("layer", module="keras.layers")
class Solarization(RandomImageLayer):
    """Adds a number to all pixels of an image, then makes negatives of those that reach a threshold.

    `x' = clip(x + addition, 0, 255)`, and `255 - x'` where `x' >= threshold`, for pixels from 0 to 255.

    Args:
        addition_factor: largest addition, as a fraction of 255, or a pair (least, most); from 0 to 1.
        threshold_factor: largest threshold, as a fraction of 255, or a pair (least, most); from 0 to 1.
            (As in Keras 3.15 the least of a pair is not multiplied by 255.)
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Source: Keras: Solarization layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Solarization()(jnp.full((1, 1, 1, 1), 55.0)).item()
    200.0
    """

    def __init__(
        self, addition_factor=0.0, threshold_factor=0.0, value_range=(0, 255), seed=None, **kwargs
    ):
        super().__init__(seed=seed, **kwargs)
        self.addition_factor = factor_range("addition_factor", addition_factor, low=0)
        self.threshold_factor = factor_range("threshold_factor", threshold_factor, low=0)
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        drawn = {}
        for name, (low, high) in (
            ("additions", self.addition_factor),
            ("thresholds", self.threshold_factor),
        ):
            drawn[name] = uniform(seed, (shape[0], 1, 1, 1), low, high * 255, self._working_dtype)
        return drawn

    def _change(self, images, transformation):
        pixels = rescaled(images, self.value_range, (0, 255))
        pixels = jnp.clip(pixels + for_each(transformation["additions"]), 0, 255)
        pixels = jnp.where(pixels < for_each(transformation["thresholds"]), pixels, 255 - pixels)
        return rescaled(pixels, (0, 255), self.value_range).astype(images.dtype)
