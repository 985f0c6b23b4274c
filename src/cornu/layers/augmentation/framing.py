"""Another part of an image, another size, or its mirror image."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.layer import Layer
from cornu.core.random import make_default_seed
from cornu.layers.augmentation.base import ImageLayer, RandomImageLayer, uniform
from cornu.layers.augmentation.movement import MovingLayer
from cornu.ops.image.sizes import resize


def aspect_window(rows: int, columns: int, height: int, width: int) -> tuple:
    """Top, left, rows and columns of the largest window in the middle with an aspect ratio."""
    crop_rows = max(min(rows, int(columns * height / width)), 1)
    crop_columns = max(min(columns, int(rows * width / height)), 1)
    return (rows - crop_rows) // 2, (columns - crop_columns) // 2, crop_rows, crop_columns


def check_size(layer: Layer, height, width) -> None:
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, int | np.integer) or size <= 0:
            raise ValueError(
                f"Layer '{layer.name}': `{name}` must be a positive integer. "
                f"Received: {name}={size!r}"
            )


class _Window(ImageLayer):
    """Layers that cut a window out of images, and enlarge it if it is smaller than it should be."""

    _keeps_shape = False
    height: int
    width: int

    def _cut(self, images, window, interpolation="bilinear"):
        """The window (top, left, rows, columns) of a batch with channels last, in the layer's size."""
        top, left, rows, columns = window
        batch, *_, channels = images.shape
        if isinstance(top, int) and isinstance(left, int):
            images = images[:, top : top + rows, left : left + columns]
        else:
            shape = (batch, rows, columns, channels)
            images = jax.lax.dynamic_slice(images, (0, top, left, 0), shape)
        size = self.height, self.width
        if (rows, columns) == size:
            return images
        return resize(images, size, interpolation, data_format="channels_last")

    def _cut_boxes(self, bounding_boxes, size, window):
        top, left, rows, columns = window
        start = jnp.stack([jnp.asarray(n, "float32") for n in (left, top, left, top)])
        scale = np.array([self.width / columns, self.height / rows] * 2, "float32")
        end = np.array([columns, rows] * 2, "float32")
        return self._move_boxes(
            bounding_boxes,
            size,
            lambda edges: jnp.clip(edges - start, 0, end) * scale,
            (self.height, self.width),
        )

    def _middle(self, rows: int, columns: int) -> tuple:
        return aspect_window(rows, columns, self.height, self.width)


@registry.register("layer", module="keras.layers")
class CenterCrop(_Window):
    """The middle of each image.

    Args:
        height, width: size of the output. An image that is smaller is cropped to this aspect ratio
            and enlarged.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Images come out in the layer's compute dtype.

    Source: Keras: CenterCrop layer. Masks that are enlarged take the nearest pixel; in Keras 3.15 their
    class numbers are interpolated.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.CenterCrop(1, 1)(jnp.arange(9.0).reshape(1, 3, 3, 1)).tolist()
    [[[[4.0]]]]
    """

    def __init__(self, height, width, data_format=None, **kwargs):
        super().__init__(data_format=data_format, **kwargs)
        check_size(self, height, width)
        self.height, self.width = height, width

    def get_random_transformation(self, data, training=True, seed=None):
        images = data["images"] if isinstance(data, dict) else data
        return {"input_shape": tuple(images.shape)}

    def transform_images(self, images, transformation=None, training=True):
        return self._cropped(jnp.asarray(images).astype(self.compute_dtype), "bilinear")

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        return self._cropped(jnp.asarray(segmentation_masks), "nearest")

    def _cropped(self, images, interpolation):
        def cut(batch):
            return self._cut(batch, self._window(*batch.shape[1:3]), interpolation)

        return self._apply(cut, images)

    def _window(self, rows, columns):
        top, left = rows - self.height, columns - self.width
        if top < 0 or left < 0:
            return self._middle(rows, columns)
        return top // 2, left // 2, self.height, self.width

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        *_, rows, columns, last = transformation["input_shape"]
        size = (columns, last) if self.data_format == "channels_first" else (rows, columns)
        return self._cut_boxes(bounding_boxes, size, self._window(*size))


@registry.register("layer", module="keras.layers")
class RandomCrop(_Window, RandomImageLayer):
    """In training a window at a random position, the same for the whole batch; else the middle.

    The position is random if an image is higher and wider than the window. Outside of training, and where
    an image is smaller than the window, the largest window in the middle with the wanted aspect ratio
    is taken and resized.

    Args:
        height, width: size of the window.
        seed, data_format: as in all random image layers.

    Source: Keras: RandomCrop layer. In inference this follows that page; the code of
    Keras 3.15 returns images unchanged. Bounding boxes lie where their objects come to lie; in Keras 3.15
    they are moved down by columns and to the right by rows, and do not end at the window.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomCrop(4, 6)(jnp.ones((2, 8, 8, 1))).shape
    (2, 4, 6, 1)
    """

    def __init__(self, height, width, seed=None, data_format=None, name=None, **kwargs):
        # Two seeds are drawn, as in Keras, so that what is made later gets the same ones.
        drawn = make_default_seed() if seed is None else seed
        super().__init__(seed=seed, data_format=data_format, name=name, **kwargs)
        self.seed = drawn
        check_size(self, height, width)
        self.height, self.width = height, width

    def get_random_transformation(self, data, training=True, seed=None):
        """The window's `"top"` and `"left"`, and `"rows"` and `"columns"` if others than the layer's."""
        images = data["images"] if isinstance(data, dict) else data
        shape = self._sizes(images)
        size = shape[1:3]
        window = self._middle(*size)
        if training:
            free = size[0] - self.height, size[1] - self.width
            if min(free) >= 0:
                window = (
                    *self._draw(self.generator if seed is None else seed, free),
                    *self._size(),
                )
        names = ("top", "left", "rows", "columns")
        return {**dict(zip(names, window, strict=True)), "input_shape": tuple(images.shape)}

    def _size(self):
        return self.height, self.width

    def _draw(self, seed, free):
        if min(free) > 0:
            return tuple(uniform(seed, (), 0, n + 1.0).astype("int32") for n in free)
        return tuple(n // 2 for n in free)

    def _window(self, transformation):
        height, width = self._size()
        return (
            transformation["top"],
            transformation["left"],
            transformation.get("rows", height),
            transformation.get("columns", width),
        )

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images).astype(self.compute_dtype)
        return self._cropped(images, transformation, "bilinear")

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        return self._cropped(jnp.asarray(segmentation_masks), transformation, "nearest")

    def _cropped(self, images, transformation, interpolation):
        def cut(batch):
            window = (
                self._middle(*batch.shape[1:3])
                if transformation is None
                else self._window(transformation)
            )
            return self._cut(batch, window, interpolation)

        return self._apply(cut, images)

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        *_, rows, columns, last = transformation["input_shape"]
        size = (columns, last) if self.data_format == "channels_first" else (rows, columns)
        return self._cut_boxes(bounding_boxes, size, self._window(transformation))


@registry.register("layer", module="keras.layers")
class RandomFlip(MovingLayer):
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

    def _draw(self, seed, shape):
        return {"flips": uniform(seed, (shape[0], 1, 1, 1)) <= 0.5}

    def _moved(self, images, transformation, interpolation):
        axes = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}[self.mode]
        return jnp.where(self._flips(transformation, 4), jnp.flip(images, axes), images)

    def _flips(self, transformation, ndim):
        return jnp.asarray(transformation["flips"]).reshape((-1,) + (1,) * (ndim - 1))

    def _edges(self, edges, transformation, rows, columns):
        left, top, right, bottom = (edges[..., i] for i in range(4))
        if "horizontal" in self.mode:
            left, right = columns - right, columns - left
        if "vertical" in self.mode:
            top, bottom = rows - bottom, rows - top
        mirrored = jnp.stack([left, top, right, bottom], -1)
        return jnp.where(self._flips(transformation, edges.ndim), mirrored, edges)


@registry.register("layer", module="keras.layers")
class Resizing(ImageLayer):
    """Images in another size.

    Args:
        height, width: size of the output.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        crop_to_aspect_ratio: whether to cut the edges off instead of distorting.
        pad_to_aspect_ratio: whether to add edges of `fill_value` instead of distorting.
        fill_mode: `"constant"`, the only one.
        fill_value: value of added edges.
        antialias: whether to smooth when shrinking.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    The output has the input's dtype, rounded if that is an integer; of booleans it is in the compute
    dtype, unless the interpolation is `"nearest"`. Bounding boxes that are all -1 or all 0, which fill
    an array up, become 0.

    Source: Keras: Resizing layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Resizing(4, 6)(jnp.ones((2, 8, 8, 3))).shape
    (2, 4, 6, 3)
    """

    _keeps_shape = False

    def __init__(
        self,
        height,
        width,
        interpolation="bilinear",
        crop_to_aspect_ratio=False,
        pad_to_aspect_ratio=False,
        fill_mode="constant",
        fill_value=0.0,
        antialias=False,
        data_format=None,
        **kwargs,
    ):
        super().__init__(data_format=data_format, **kwargs)
        check_size(self, height, width)
        known = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")
        if interpolation not in known:
            raise ValueError(
                f"Invalid value for argument `interpolation`. Expected of one {known}. "
                f"Received: interpolation={interpolation}"
            )
        if fill_mode != "constant":
            raise ValueError(
                "Invalid value for argument `fill_mode`. Only `'constant'` is supported. "
                f"Received: fill_mode={fill_mode}"
            )
        if pad_to_aspect_ratio and crop_to_aspect_ratio:
            raise ValueError(
                "Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`."
            )
        self.height, self.width = height, width
        self.interpolation = interpolation
        self.crop_to_aspect_ratio = crop_to_aspect_ratio
        self.pad_to_aspect_ratio = pad_to_aspect_ratio
        self.fill_mode, self.fill_value = fill_mode, fill_value
        self.antialias = bool(antialias)

    def get_random_transformation(self, data, training=True, seed=None):
        """Rows and columns of the images."""
        images = data["images"] if isinstance(data, dict) else data
        return self._sizes(images)[1:3]

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images)
        if images.dtype == jnp.bool_ and self.interpolation != "nearest":
            # Halfway between black and white is gray.
            images = images.astype(self.compute_dtype)
        return self._resized(images, self.interpolation)

    def transform_labels(self, labels, transformation=None, training=True):
        return labels

    def transform_segmentation_masks(self, segmentation_masks, transformation=None, training=True):
        return self._resized(jnp.asarray(segmentation_masks), "nearest")

    def _resized(self, images, interpolation):
        self._sizes(images)
        return resize(
            images,
            (self.height, self.width),
            interpolation,
            self.antialias,
            self.crop_to_aspect_ratio,
            self.pad_to_aspect_ratio,
            self.fill_mode,
            self.fill_value,
            self.data_format,
        )

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        rows, columns = transformation
        top, left, *size = 0, 0, rows, columns
        if self.crop_to_aspect_ratio:
            top, left, *size = aspect_window(rows, columns, self.height, self.width)
        elif self.pad_to_aspect_ratio:
            # The frame begins before the image.
            fitting = int(columns * self.height / self.width), int(rows * self.width / self.height)
            top, left = (
                -(max(f - n, 0) // 2) for n, f in zip((rows, columns), fitting, strict=True)
            )
            size = [rows - 2 * top, columns - 2 * left]
        scale = np.array([self.width / size[1], self.height / size[0]] * 2, "float32")
        start = np.array([left, top] * 2, "float32")
        boxes = jnp.asarray(bounding_boxes["boxes"])
        fills = jnp.all(boxes == -1, -1, keepdims=True) | jnp.all(boxes == 0, -1, keepdims=True)
        return self._move_boxes(
            bounding_boxes,
            (rows, columns),
            lambda edges: jnp.where(fills, 0, (edges - start) * scale),
            (self.height, self.width),
        )
