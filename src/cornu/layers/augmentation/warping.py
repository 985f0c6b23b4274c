"""Random distortions of images: perspectives and rubber."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.random import draw_seed
from cornu.layers.augmentation.base import chosen, factor_range, for_each, pair_of_values, uniform
from cornu.layers.augmentation.movement import MovingLayer, check_known
from cornu.ops.image.sampling import homography, projected, warped
from cornu.utils.bounding_boxes.movement import around


@registry.register("layer", module="keras.layers")
class RandomPerspective(MovingLayer):
    """Shows some images from elsewhere: their corners move, towards the first one or away from it.

    A corner at column x and row y comes to lie at `x (1 + f)` and `y (1 + g)`, with f and g drawn from
    `[-scale / 2, scale / 2]` for each corner: the first stays where it is.

    Args:
        factor: with which probability, or a pair to draw it from for each image; between 0 and 1.
        scale: see above; from 0 to 1.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of new pixels.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomPerspective layer, which in 3.15 returns all bounding boxes as `"xyxy"`.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomPerspective(scale=0.2, seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        factor=1.0,
        scale=1.0,
        interpolation="bilinear",
        fill_value=0.0,
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        factor_range("scale", (0.0, scale), low=0.0)
        check_known("interpolation", interpolation, ("nearest", "bilinear"))
        self.scale = scale
        self.interpolation = interpolation
        self.fill_value = fill_value

    def _draw(self, seed, shape):
        batch, rows, columns, _ = shape
        applies = chosen(seed, batch, self.factor)
        half = 0.5 * self.scale
        moves = uniform(seed, (batch, 4, 2), -half, half, self._working_dtype)
        x, y = columns - 1, rows - 1
        corners = jnp.asarray([[[0, 0], [x, 0], [0, y], [x, y]]], "float32")
        corners = jnp.broadcast_to(corners, (batch, 4, 2))
        return {
            "apply_perspective": applies,
            "start_points": corners,
            "end_points": corners + corners * moves,
        }

    def _matrix(self, transformation):
        return homography(
            *(jnp.asarray(transformation[n], "float32") for n in ("start_points", "end_points"))
        )

    def _moved(self, images, transformation, interpolation):
        matrix = self._matrix(transformation)
        moved = projected(images, matrix, interpolation, "constant", self.fill_value)
        return jnp.where(for_each(transformation["apply_perspective"]), moved, images)

    def _edges(self, edges, transformation, rows, columns):
        # The map says where pixels are taken from, and its inverse where they come to lie.
        matrix = self._matrix(transformation)
        matrix = jnp.concatenate([matrix, jnp.ones((len(matrix), 1))], -1).reshape(-1, 3, 3)
        matrix = jnp.moveaxis(jnp.linalg.inv(matrix), 0, -1)
        (a, b, c), (d, e, f), (g, h, i) = (
            [n.reshape((-1,) + (1,) * (edges.ndim - 1)) for n in row] for row in matrix
        )

        def move(x, y):
            scale = g * x + h * y + i
            return (a * x + b * y + c) / scale, (d * x + e * y + f) / scale

        applies = for_each(jnp.asarray(transformation["apply_perspective"]), edges.ndim)
        return jnp.where(applies > 0, around(edges, move), edges)


@registry.register("layer", module="keras.layers")
class RandomElasticTransform(MovingLayer):
    """Distorts some images as if they were drawn on rubber: see `cornu.ops.image.elastic_transform`.

    Args:
        factor: with which probability, or a pair to draw it from for each image; between 0 and 1.
        scale: strength, or a pair (least, most); from 0 to 1. One s is drawn for all images:
            `alpha` is 0.1 s times the longer side, and `sigma` 0.05 s times the shorter one.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"`, `"mirror"` or
            `"constant"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        value_range: lowest and highest value of a pixel.
        seed, data_format: as in all random image layers.

    Masks are distorted as their images are. (In Keras 3.15 they get another distortion, are clipped to
    the range of pixels, and a compiled model cannot use the layer.) Bounding boxes are refused.

    Source: Keras: RandomElasticTransform layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomElasticTransform(seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        factor=1.0,
        scale=1.0,
        interpolation="bilinear",
        fill_mode="reflect",
        fill_value=0.0,
        value_range=(0, 255),
        seed=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        self.scale = factor_range("scale", scale, low=0)
        check_known("interpolation", interpolation, ("nearest", "bilinear"))
        known = ("constant", "nearest", "wrap", "mirror", "reflect")
        check_known("fill_mode", fill_mode, known)
        self.interpolation = interpolation
        self.fill_mode = fill_mode
        self.fill_value = fill_value
        self.value_range = pair_of_values(value_range)

    def get_random_transformation(self, data, training=True, seed=None):
        if self.scale[1] == 0 or self.factor[1] == 0:
            return None
        return super().get_random_transformation(data, training, seed)

    def _draw(self, seed, shape):
        applies = chosen(seed, shape[0], self.factor)
        low, high = self.scale
        strength = uniform(seed, (), low, high, self._working_dtype)
        return {
            "apply_transform": applies,
            "distortion_factor": strength,
            "seed": draw_seed(seed),
        }

    def get_elastic_transform_params(self, height, width, factor):
        """`alpha` and `sigma` for images of a size and a strength."""
        return max(height, width) * 0.1 * factor, min(height, width) * 0.05 * factor

    def _moved(self, images, transformation, interpolation):
        strength = jnp.asarray(transformation["distortion_factor"], "float32")
        # Nothing is distorted with strength 0, and no Gaussian has the width 0.
        rows, columns = images.shape[1:3]
        alpha, sigma = self.get_elastic_transform_params(rows, columns, jnp.maximum(strength, 1e-6))
        key = draw_seed(transformation["seed"])
        fill = self.fill_mode, self.fill_value
        moved = warped(images, key, alpha, sigma, interpolation, *fill)
        return jnp.where(for_each(transformation["apply_transform"]), moved, images)

    def _change(self, images, transformation):
        return jnp.clip(super()._change(images, transformation), *self.value_range)
