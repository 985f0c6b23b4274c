"""Random movements of training images: shifts, turns and zooms."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.layers.image_augmentation import RandomImageLayer, factor_range, uniform

_FILL_MODES = ("reflect", "wrap", "constant", "nearest")
_INTERPOLATIONS = {"nearest": 0, "bilinear": 1}


class _RandomAffine(RandomImageLayer):
    """Layers that move pixels about.

    `_matrix(transformation, rows, columns)` returns six numbers `a, b, c, d, e, f` for each image: the
    pixel at column x and row y is taken from column `a * x + b * y + c` and row `d * x + e * y + f`.

    Args:
        fill_mode: how to fill what is outside of an image: `"reflect"` (d c b a | a b c d | d c b a),
            `"wrap"` (a b c d | a b c d | a b c d), `"nearest"` (a a a a | a b c d | d d d d) or
            `"constant"` (`fill_value`).
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: see `fill_mode`.
    """

    def __init__(self, fill_mode="reflect", interpolation="bilinear", fill_value=0.0, **kwargs):
        super().__init__(**kwargs)
        for name, value, known in (
            ("fill_mode", fill_mode, _FILL_MODES),
            ("interpolation", interpolation, tuple(_INTERPOLATIONS)),
        ):
            if value not in known:
                raise ValueError(f"Unknown `{name}` {value!r}. Expected one of {known}.")
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = fill_value

    def _matrix(self, transformation: dict, rows: int, columns: int):
        raise NotImplementedError

    def _change(self, images, transformation):
        from jax.scipy.ndimage import map_coordinates

        batch, rows, columns = images.shape[:3]
        y, x = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
        a, b, c, d, e, f = (
            jnp.broadcast_to(jnp.asarray(m, "float32"), (batch,))[:, None, None]
            for m in self._matrix(transformation, rows, columns)
        )
        sources = jnp.stack([d * x + e * y + f, a * x + b * y + c], axis=1)
        look_up: Any = functools.partial(
            map_coordinates,
            order=_INTERPOLATIONS[self.interpolation],
            mode=self.fill_mode,
            cval=self.fill_value,
        )
        each_channel = jax.vmap(look_up, in_axes=(-1, None), out_axes=-1)
        return jax.vmap(each_channel)(images, sources)


@registry.register("layer", module="keras.layers")
class RandomTranslation(_RandomAffine):
    """Moves images up or down and left or right.

    Args:
        height_factor, width_factor: farthest move as a fraction of the image's size, or a pair
            (least, most); between -1 and 1. A positive one moves down or right.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"` or `"constant"`.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomTranslation layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomTranslation(0.1, 0.1, seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        height_factor,
        width_factor,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            fill_mode=fill_mode,
            interpolation=interpolation,
            seed=seed,
            fill_value=fill_value,
            data_format=data_format,
            **kwargs,
        )
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height_range = factor_range("height_factor", height_factor)
        self._width_range = factor_range("width_factor", width_factor)

    def _draw(self, seed, batch, rows, columns):
        down = uniform(seed, (batch, 1), *self._height_range) * rows
        right = uniform(seed, (batch, 1), *self._width_range) * columns
        return {"translations": jnp.concatenate([right, down], axis=1)}

    def _matrix(self, transformation, rows, columns):
        right, down = transformation["translations"].T
        return 1, 0, -right, 0, 1, -down


@registry.register("layer", module="keras.layers")
class RandomRotation(_RandomAffine):
    """Turns images about their middle.

    Args:
        factor: largest angle as a fraction of a full turn, or a pair (least, most); between -1 and
            1. A positive one turns counter-clockwise.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"` or `"constant"`.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomRotation layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomRotation(0.05, seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        factor,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            fill_mode=fill_mode,
            interpolation=interpolation,
            seed=seed,
            fill_value=fill_value,
            data_format=data_format,
            **kwargs,
        )
        self.factor = factor_range("factor", factor)

    def _draw(self, seed, batch, rows, columns):
        degrees = uniform(seed, (batch,), *(360.0 * f for f in self.factor))
        return {"angle": degrees}

    def _matrix(self, transformation, rows, columns):
        angle = transformation["angle"] * (math.pi / 180.0)
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        x, y = 0.5 * (columns - 1), 0.5 * (rows - 1)
        return cosine, -sine, x - x * cosine + y * sine, sine, cosine, y - x * sine - y * cosine


@registry.register("layer", module="keras.layers")
class RandomZoom(_RandomAffine):
    """Zooms in or out.

    Args:
        height_factor: how much larger the field of view gets, as a fraction, or a pair (least,
            most); more than -1 and at most 1. A positive one zooms out, a negative one in.
        width_factor: the same for the width; None keeps the aspect ratio.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"` or `"constant"`.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomZoom layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomZoom(0.1, seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        height_factor,
        width_factor=None,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            fill_mode=fill_mode,
            interpolation=interpolation,
            seed=seed,
            fill_value=fill_value,
            data_format=data_format,
            **kwargs,
        )
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height_range = factor_range("height_factor", height_factor, open_low=True)
        if width_factor is not None:
            self._width_range = factor_range("width_factor", width_factor, open_low=True)

    def _draw(self, seed, batch, rows, columns):
        down = right = uniform(seed, (batch, 1), *(1.0 + f for f in self._height_range))
        if self.width_factor is not None:
            right = uniform(seed, (batch, 1), *(1.0 + f for f in self._width_range))
        return {"height_zoom": down, "width_zoom": right}

    def _matrix(self, transformation, rows, columns):
        down, right = transformation["height_zoom"][:, 0], transformation["width_zoom"][:, 0]
        return right, 0, (columns - 1) / 2 * (1 - right), 0, down, (rows - 1) / 2 * (1 - down)
