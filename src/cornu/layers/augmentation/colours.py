"""Random changes of colours."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import epsilon
from cornu.layers.augmentation.base import (
    RandomImageLayer,
    factor_range,
    for_each,
    pair_of_values,
    rescaled,
    uniform,
)
from cornu.layers.augmentation.tones import RandomBrightness, RandomContrast
from cornu.ops.image.colours import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv


def _gray(images):
    return rgb_to_grayscale(images, data_format="channels_last")


def _in_hsv(images, change):
    """Red, green and blue images, changed by a function of hue, saturation and value.

    In float32: the distance of two hues is small, and 16 bits are not enough.
    """
    hsv = rgb_to_hsv(images.astype("float32"), data_format="channels_last")
    changed = jnp.stack(change(*(hsv[..., i] for i in range(3))), axis=-1)
    return hsv_to_rgb(changed, data_format="channels_last")


@registry.register("layer", module="keras.layers")
class RandomGrayscale(RandomImageLayer):
    """Takes the colours out of some images: see `cornu.ops.image.rgb_to_grayscale`.

    Args:
        factor: with which probability; from 0 to 1.
        data_format, seed: as in all random image layers.

    Images keep their dtype; of integers, the fraction of a gray is cut off.

    Source: Keras: RandomGrayscale layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomGrayscale(1.0)(jnp.array([[[[255, 0, 0]]]], "uint8")).tolist()
    [[[[76, 76, 76]]]]
    """

    _idle_draws = 1

    def __init__(self, factor=0.5, data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        factor_range("factor", (0.0, factor), low=0.0)
        self.factor = factor

    def _output_dtype(self, dtype):
        return dtype

    def _draw(self, seed, shape):
        return for_each(uniform(seed, shape[:1]) < self.factor)

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images)
        if not training:
            return images
        if transformation is None:
            transformation = self.get_random_transformation(images)
        return self._apply(lambda batch: self._change(batch, transformation), images)

    def _change(self, images, transformation):
        return jnp.where(for_each(transformation), _gray(images), images)


@registry.register("layer", module="keras.layers")
class RandomColorDegeneration(RandomImageLayer):
    """Moves images towards their grays, or away from them: `x + f (gray - x)`, then clipped.

    Args:
        factor: largest f, or a pair (least, most) to draw it from; between -1 and 1.
        value_range: lowest and highest value of a pixel.
        data_format, seed: as in all random image layers.

    Source: Keras: RandomColorDegeneration layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomColorDegeneration(0.5, seed=0)(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    _idle_draws = 1

    def __init__(self, factor, value_range=(0, 255), data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor)
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        return {"factor": uniform(seed, (shape[0], 1, 1, 1), *self.factor)}

    def _change(self, images, transformation):
        factor = for_each(transformation["factor"]).astype(images.dtype)
        return jnp.clip(images + factor * (_gray(images) - images), *self.value_range)


@registry.register("layer", module="keras.layers")
class RandomHue(RandomImageLayer):
    """Turns all colours of an image about the colour circle, by up to half a turn.

    Args:
        factor: farthest turn as a fraction of half a turn, or a pair (least, most); from 0 to 1. Each
            direction is as likely.
        value_range: lowest and highest value of a pixel.
        data_format, seed: as in all random image layers.

    Source: Keras: RandomHue layer.

    >>> import cornu, jax.numpy as jnp
    >>> red = jnp.array([[[[1.0, 0.0, 0.0]]]])
    >>> cornu.layers.RandomHue((1.0, 1.0), value_range=(0, 1), seed=0)(red).tolist()
    [[[[0.0, 1.0, 1.0]]]]
    """

    _idle_draws = 2

    def __init__(self, factor, value_range=(0, 255), data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        self.value_range = pair_of_values(value_range)

    def _draw(self, seed, shape):
        direction = jnp.where(uniform(seed, shape[:1]) > 0.5, -1.0, 1.0)
        return {"factor": direction * uniform(seed, shape[:1], *self.factor) * 0.5}

    def _change(self, images, transformation):
        turn = for_each(transformation["factor"], 3)

        def change(hue, saturation, value):
            hue = hue + turn
            hue = jnp.where(hue > 1, hue - 1, hue)
            return jnp.where(hue < 0, hue + 1, hue), saturation, value

        pixels = rescaled(images.astype("float32"), self.value_range, (0, 1))
        pixels = jnp.clip(_in_hsv(pixels, change), 0, 1)
        return rescaled(pixels, (0, 1), self.value_range).astype(images.dtype)


@registry.register("layer", module="keras.layers")
class RandomSaturation(RandomImageLayer):
    """Makes the colours of an image weaker or stronger: their saturation times `f / (1 - f)`.

    Args:
        factor: largest f, or a pair (least, most) to draw it from; between -1 and 1. 0.5 changes
            nothing, 0 takes all colour out, 1 gives the strongest colours. (A negative one takes all
            colour out, too: one number means the pair `(-f, f)`, as in Keras.)
        value_range: lowest and highest value of a pixel.
        data_format, seed: as in all random image layers.

    The saturation is clipped to `[0, 1]`, and the lowest value of a pixel is black. (In Keras 3.15 the
    saturation is clipped to the range of pixels, so that colours stronger than possible give negative
    pixels, and 0 is black.)

    Source: Keras: RandomSaturation layer.

    >>> import cornu, jax.numpy as jnp
    >>> pale = jnp.array([[[[1.0, 0.5, 0.5]]]])
    >>> cornu.layers.RandomSaturation((1.0, 1.0), value_range=(0, 1))(pale).tolist()
    [[[[1.0, 0.0, 0.0]]]]
    """

    _idle_draws = 1

    def __init__(self, factor, value_range=(0, 255), data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor)
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        factor = uniform(seed, shape[:1], *self.factor)
        return {"factor": factor / (1 - factor + epsilon())}

    def _change(self, images, transformation):
        factor = for_each(transformation["factor"], 3)

        def change(hue, saturation, value):
            return hue, jnp.clip(saturation * factor, 0, 1), value

        low = self.value_range[0]
        return (_in_hsv(images - low, change) + low).astype(images.dtype)


@registry.register("layer", module="keras.layers")
class RandomColorJitter(RandomImageLayer):
    """Changes brightness, contrast, saturation and hue, in this order.

    Args:
        value_range: lowest and highest value of a pixel.
        brightness_factor, contrast_factor, saturation_factor, hue_factor: see `RandomBrightness`,
            `RandomContrast`, `RandomSaturation` and `RandomHue`; None leaves it as it is.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomColorJitter layer. Its `data_format` and `dtype` hold for all four changes; in
    Keras 3.15 they do not.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.RandomColorJitter(brightness_factor=0.2, hue_factor=0.1, seed=0)
    >>> layer(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range=(0, 255),
        brightness_factor=None,
        contrast_factor=None,
        saturation_factor=None,
        hue_factor=None,
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = pair_of_values(value_range)
        self.brightness_factor = brightness_factor
        self.contrast_factor = contrast_factor
        self.saturation_factor = saturation_factor
        self.hue_factor = hue_factor
        for name, kind in (
            ("brightness", RandomBrightness),
            ("contrast", RandomContrast),
            ("saturation", RandomSaturation),
            ("hue", RandomHue),
        ):
            factor, layer = getattr(self, f"{name}_factor"), None
            if factor is not None:
                layer = kind(
                    factor=factor,
                    value_range=value_range,
                    seed=seed,
                    data_format=self.data_format,
                    dtype=self.dtype_policy,
                )
            setattr(self, f"random_{name}", layer)

    def _changes(self):
        names = ("random_brightness", "random_contrast", "random_saturation", "random_hue")
        layers = {name: getattr(self, name) for name in names}
        return {name: layer for name, layer in layers.items() if layer is not None}

    def _draw(self, seed, shape):
        return {name: layer._draw(seed, shape) for name, layer in self._changes().items()}

    def transform_images(self, images, transformation=None, training=True):
        if training and transformation is None:
            transformation = self.get_random_transformation(jnp.asarray(images))
        return super().transform_images(images, transformation, training)

    def _change(self, images, transformation):
        for name, layer in self._changes().items():
            images = layer._change(images, transformation[name])
        return images
