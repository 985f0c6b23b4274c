"""Random movements of images: shifts, turns, zooms and shears."""

import math

import jax.numpy as jnp

from cornu.core import registry
from cornu.layers.augmentation.base import RandomImageLayer, factor_range, uniform
from cornu.ops.image.sampling import projected
from cornu.utils.bounding_boxes.movement import affine_transform, around

_FILL_MODES = ("reflect", "wrap", "constant", "nearest")
_INTERPOLATIONS = ("nearest", "bilinear")


def check_known(name: str, value, known: tuple) -> None:
    if value not in known:
        raise ValueError(f"Unknown `{name}` {value!r}. Expected one of {known}.")


def points_moved(transform, x, y):
    """Where the point at column x and row y is taken from, by the 8 numbers of a projection."""
    a0, a1, a2, b0, b1, b2, c0, c1 = jnp.split(jnp.asarray(transform), 8, axis=-1)
    scale = c0 * x + c1 * y + 1
    return (a0 * x + a1 * y + a2) / scale, (b0 * x + b1 * y + b2) / scale


class MovingLayer(RandomImageLayer):
    """Layers that move pixels about: images with the layer's interpolation, masks with the nearest pixel.

    `_moved(batch, transformation, interpolation)` returns a batch with channels last.
    """

    interpolation = "bilinear"
    _each_its_own = True

    _rounds = True

    def _draw(self, seed, shape):
        raise NotImplementedError

    def get_random_transformation(self, data, training=True, seed=None):
        drawn = super().get_random_transformation(data, training, seed)
        images = data["images"] if isinstance(data, dict) else data
        return drawn if drawn is None else {**drawn, "input_shape": tuple(images.shape)}

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        masks = jnp.asarray(segmentation_masks)
        if not training or transformation is None:
            return masks
        return self._apply(lambda batch: self._moved(batch, transformation, "nearest"), masks)

    def _change(self, images, transformation):
        return self._moved(images, transformation, self.interpolation)

    def _moved(self, images, transformation, interpolation):
        raise NotImplementedError

    def _size(self, transformation) -> tuple:
        """Rows and columns of the images that the transformation was drawn for."""
        *_, rows, columns, last = transformation["input_shape"]
        return (columns, last) if self.data_format == "channels_first" else (rows, columns)

    def transform_bounding_boxes(self, bounding_boxes, transformation=None, training=True):
        if not training or transformation is None:
            return bounding_boxes
        size = self._size(transformation)
        return self._move_boxes(
            bounding_boxes, size, lambda edges: self._edges(edges, transformation, *size)
        )

    def _edges(self, edges, transformation, rows: int, columns: int):
        """Boxes `(…, boxes, 4)` around what they were around: left, top, right, bottom in pixels."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say where bounding boxes come to lie. Leave them out, or "
            "use a layer such as RandomRotation, RandomTranslation, RandomZoom, RandomShear or "
            "RandomPerspective."
        )


class _AffineLayer(MovingLayer):
    """Layers that move pixels by a linear map.

    `_matrix(transformation, rows, columns)` returns the map as `cornu.ops.image.affine_transform` takes it.

    Args:
        fill_mode: how to fill what is outside of an image: `"reflect"` (d c b a | a b c d | d c b a),
            `"wrap"` (a b c d | a b c d | a b c d), `"nearest"` (a a a a | a b c d | d d d d) or
            `"constant"` (`fill_value`).
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: see `fill_mode`.
    """

    def __init__(self, fill_mode="reflect", interpolation="bilinear", fill_value=0.0, **kwargs):
        super().__init__(**kwargs)
        check_known("fill_mode", fill_mode, _FILL_MODES)
        check_known("interpolation", interpolation, _INTERPOLATIONS)
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = fill_value

    def _matrix(self, transformation: dict, rows: int, columns: int):
        raise NotImplementedError

    def _moved(self, images, transformation, interpolation):
        matrix = self._matrix(transformation, *images.shape[1:3])
        return projected(images, matrix, interpolation, self.fill_mode, self.fill_value)

    def get_transformed_x_y(self, x, y, transform):
        """Where the pixel at column x and row y is taken from, for each map of 8 numbers."""
        return points_moved(transform, x, y)


def _rows_of(*numbers):
    """Maps of 8 numbers, each a number for all images or a vector of one for each."""
    return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(n, "float32") for n in numbers)), -1)


@registry.register("layer", module="keras.layers")
class RandomTranslation(_AffineLayer):
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

    def _draw(self, seed, shape):
        batch, rows, columns, _ = shape
        down = uniform(seed, (batch, 1), *self._height_range) * rows
        right = uniform(seed, (batch, 1), *self._width_range) * columns
        return {"translations": jnp.concatenate([right, down], axis=1)}

    def _matrix(self, transformation, rows, columns):
        right, down = jnp.asarray(transformation["translations"]).T
        return _rows_of(1, 0, -right, 0, 1, -down, 0, 0)

    def get_shifted_bbox(self, bounding_boxes, w_shift_factor, h_shift_factor):
        """A dict of bounding boxes in pixels, moved left and up."""
        return _shifted(bounding_boxes, w_shift_factor, h_shift_factor)

    def _edges(self, edges, transformation, rows, columns):
        left, up = self.get_transformed_x_y(0, 0, self._matrix(transformation, rows, columns))
        return self.get_shifted_bbox({"boxes": edges}, left, up)["boxes"]


def _shifted(bounding_boxes, left, up):
    boxes = jnp.asarray(bounding_boxes["boxes"])
    left, up = (
        jnp.expand_dims(n, -1) if boxes.ndim == 3 else n
        for n in (jnp.asarray(left, boxes.dtype), jnp.asarray(up, boxes.dtype))
    )
    return {**bounding_boxes, "boxes": boxes - jnp.concatenate([left, up, left, up], axis=-1)}


@registry.register("layer", module="keras.layers")
class RandomRotation(_AffineLayer):
    """Turns images about their middle.

    Args:
        factor: largest angle as a fraction of a full turn, or a pair (least, most); between -1 and
            1. A positive one turns counter-clockwise.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"` or `"constant"`.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomRotation layer, which in 3.15 takes bounding boxes of each format for
    `"xyxy"`.

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

    def _draw(self, seed, shape):
        batch, rows, columns, _ = shape
        angle = uniform(seed, (batch,), *(360.0 * f for f in self.factor))
        radians = angle * (math.pi / 180.0)
        sine, cosine = jnp.sin(radians), jnp.cos(radians)
        x, y = 0.5 * (columns - 1), 0.5 * (rows - 1)
        right, down = x - x * cosine + y * sine, y - x * sine - y * cosine
        matrix = _rows_of(cosine, -sine, right, sine, cosine, down, 0, 0)
        return {
            "angle": angle,
            "rotation_matrix": matrix,
            "image_height": rows,
            "image_width": columns,
            "batch_size": batch,
        }

    def _matrix(self, transformation, rows, columns):
        return transformation["rotation_matrix"]

    def _size(self, transformation):
        return transformation["image_height"], transformation["image_width"]

    def _edges(self, edges, transformation, rows, columns):
        zero, one = jnp.zeros(()), jnp.ones(())
        turn = transformation["angle"]
        return affine_transform(edges, turn, zero, zero, one, zero, zero, rows, columns)


@registry.register("layer", module="keras.layers")
class RandomZoom(_AffineLayer):
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

    def _draw(self, seed, shape):
        size = (shape[0], 1)
        down = right = uniform(seed, size, *(1.0 + f for f in self._height_range))
        if self.width_factor is not None:
            right = uniform(seed, size, *(1.0 + f for f in self._width_range))
        return {"height_zoom": down, "width_zoom": right}

    def _matrix(self, transformation, rows, columns):
        down, right = (
            jnp.asarray(transformation[name])[:, 0] for name in ("height_zoom", "width_zoom")
        )
        x, y = (columns - 1) / 2 * (1 - right), (rows - 1) / 2 * (1 - down)
        return _rows_of(right, 0, x, 0, down, y, 0, 0)

    def get_clipped_bbox(self, bounding_boxes, h_end, h_start, w_end, w_start):
        """A dict of bounding boxes in pixels, as they lie in a window of their image."""
        boxes = jnp.asarray(bounding_boxes["boxes"])
        edges = (w_start, h_start, w_start, h_start), (w_end, h_end, w_end, h_end)
        start, end = (
            jnp.concatenate([jnp.asarray(n, boxes.dtype).reshape(-1, 1) for n in edge], -1)
            for edge in edges
        )
        if boxes.ndim == 3:
            start, end = start[:, None], end[:, None]
        return {**bounding_boxes, "boxes": jnp.clip(boxes, start, end) - start}

    def _edges(self, edges, transformation, rows, columns):
        matrix = self._matrix(transformation, rows, columns)
        left, top = self.get_transformed_x_y(0, 0, matrix)
        right, bottom = self.get_transformed_x_y(columns, rows, matrix)
        seen = self.get_clipped_bbox({"boxes": edges}, bottom, top, right, left)["boxes"]
        width, height = (jnp.expand_dims(n, -1) for n in (right - left, bottom - top))
        scale = jnp.concatenate([columns / width, rows / height] * 2, axis=-1)
        return seen * (scale if edges.ndim == 3 else scale[:, 0])


@registry.register("layer", module="keras.layers")
class RandomShear(_AffineLayer):
    """Slants images: rows move by a fraction of their number, and columns, too.

    The pixel at column x and row y is taken from column `x + s y` and row `y + t x`.

    Args:
        x_factor, y_factor: largest s and t, or a pair (least, most); from 0 to 1. Each direction is as
            likely.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode: what comes in at the edges: `"reflect"`, `"wrap"`, `"nearest"` or `"constant"`.
        fill_value: value of new pixels with `fill_mode="constant"`.
        data_format, seed: as in all random image layers.

    Bounding boxes are the smallest around their sheared corners. (In Keras 3.15 they are so only of
    square images that are sheared in one direction.)

    Source: Keras: RandomShear layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomShear(0.2, 0.1, seed=0)(jnp.ones((2, 8, 8, 1))).shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        x_factor=0.0,
        y_factor=0.0,
        interpolation="bilinear",
        fill_mode="reflect",
        fill_value=0.0,
        data_format=None,
        seed=None,
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
        self.x_factor = _shear_range("x_factor", x_factor)
        self.y_factor = _shear_range("y_factor", y_factor)

    def _draw(self, seed, shape):
        size, dtype = (shape[0], 1), self._working_dtype
        direction = jnp.where(uniform(seed, size, dtype=dtype) > 0.5, -1.0, 1.0).astype(dtype)
        (low, high), (least, most) = self.y_factor, self.x_factor
        down = uniform(seed, size, low, high, dtype)
        right = uniform(seed, size, least, most, dtype)
        return {"shear_factor": jnp.concatenate([right, down], axis=1) * direction}

    def _matrix(self, transformation, rows, columns):
        right, down = jnp.asarray(transformation["shear_factor"]).T
        return _rows_of(1, right, 0, down, 1, 0, 0, 0)

    def get_shifted_bbox(self, bounding_boxes, w_shift_factor, h_shift_factor):
        """A dict of bounding boxes in pixels, moved left and up."""
        return _shifted(bounding_boxes, w_shift_factor, h_shift_factor)

    def _edges(self, edges, transformation, rows, columns):
        # One number for each image, beside its boxes and their corners.
        right, down = (
            jnp.asarray(n, "float32").reshape((-1,) + (1,) * (edges.ndim - 1))
            for n in jnp.asarray(transformation["shear_factor"]).T
        )
        # Two shears by 1 press the image onto a line.
        area = 1 - right * down
        area = jnp.where(jnp.abs(area) < 1e-6, 1e-6, area)
        return around(edges, lambda x, y: ((x - right * y) / area, (y - down * x) / area))

    def get_config(self):
        # One number stands for a pair from its negative: Keras' constructor takes no such pair.
        config = super().get_config()
        for name in ("x_factor", "y_factor"):
            low, high = config[name]
            config[name] = high if low == -high else (low, high)
        return config


def _shear_range(name, factor) -> tuple:
    if isinstance(factor, list | tuple) and len(factor) == 2 and factor[0] == -factor[1]:
        # What a file of Keras has for one number.
        factor = factor[1]
    low, high = factor_range(name, factor, low=0)
    return (low, high) if isinstance(factor, list | tuple) else (-high, high)
