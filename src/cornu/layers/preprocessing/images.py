"""Layers that prepare images: the same in training and in inference."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import is_float, standardize_data_format
from cornu.core.layer import Layer
from cornu.ops.core import saturate_cast


class ImageLayer(Layer):
    """What layers for images share: one image or a batch, channels last or first.

    Args:
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Shapes: (rows, columns, channels) or (batch, rows, columns, channels).

    A dict of `"images"` and `"labels"` may be given, too. A subclass may override
    `get_random_transformation`, whose result the other two methods get, `transform_images` and
    `transform_labels`.
    """

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)

    def call(self, inputs, training=True):
        methods = {"images": self.transform_images, "labels": self.transform_labels}
        parts = inputs if isinstance(inputs, dict) else {"images": inputs}
        if "images" not in parts or not set(parts) <= set(methods):
            raise ValueError(
                f"Layer '{self.name}' takes images, or a dict of 'images' and perhaps 'labels'. "
                f"Received a dict of {list(parts)}."
            )
        transformation = self.get_random_transformation(inputs, training=training)
        outputs = {
            name: methods[name](value, transformation, training=training)
            for name, value in parts.items()
        }
        return outputs if isinstance(inputs, dict) else outputs["images"]

    def get_random_transformation(self, data, training=True, seed=None):
        """What is to be done to these images (or the dict of them); here nothing is random."""
        return None

    def transform_images(self, images, transformation, training=True):
        """The images, changed."""
        raise NotImplementedError

    def transform_labels(self, labels, transformation, training=True):
        """The labels of the changed images."""
        return labels

    def _sizes(self, images) -> tuple:
        """The number of images, and their rows and columns."""
        if images.ndim not in (3, 4):
            raise ValueError(
                f"Layer '{self.name}': expected image tensor to have rank 3 (single image) or 4 "
                f"(batch of images). Received: shape={images.shape}"
            )
        batch = images.shape[0] if images.ndim == 4 else 1
        first = -2 if self.data_format == "channels_first" else -3
        return batch, images.shape[first], images.shape[first + 1]

    def _apply(self, function, images):
        """Call `function` on a batch with channels last."""
        self._sizes(images)
        channels_first = self.data_format == "channels_first"
        batch = images[None] if images.ndim == 3 else images
        batch = function(jnp.moveaxis(batch, 1, -1) if channels_first else batch)
        batch = jnp.moveaxis(batch, -1, 1) if channels_first else batch
        return batch[0] if images.ndim == 3 else batch


def crop_to_aspect_ratio(images, height: int, width: int):
    """The largest window in the middle of a batch of images that has the shape's aspect ratio."""
    rows, columns = images.shape[1:3]
    crop_rows = max(min(rows, int(columns * height / width)), 1)
    crop_columns = max(min(columns, int(rows * width / height)), 1)
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    return images[:, top : top + crop_rows, left : left + crop_columns]


def _pad_to_aspect_ratio(images, height: int, width: int, fill_value):
    rows, columns = images.shape[1:3]
    top = int((max(rows, int(columns * height / width)) - rows) / 2)
    left = 0 if top else int((max(columns, int(rows * width / height)) - columns) / 2)
    padding = ((0, 0), (top, top), (left, left), (0, 0))
    return jnp.pad(images, padding, constant_values=fill_value)


def resize(images, height: int, width: int, interpolation="bilinear", antialias=False):
    """A batch of images, channels last, in another size."""
    shape = (images.shape[0], height, width, images.shape[-1])
    return jax.image.resize(images, shape, method=interpolation, antialias=antialias)


def check_size(layer: Layer, height, width) -> None:
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, int | np.integer) or size <= 0:
            raise ValueError(
                f"Layer '{layer.name}': `{name}` must be a positive integer. "
                f"Received: {name}={size!r}"
            )


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
    dtype, unless the interpolation is `"nearest"`.

    Source: Keras: Resizing layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Resizing(4, 6)(jnp.ones((2, 8, 8, 3))).shape
    (2, 4, 6, 3)
    """

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

    def transform_images(self, images, transformation, training=True):
        return self._apply(self._resize, images)

    def _resize(self, images):
        dtype = images.dtype
        if self.crop_to_aspect_ratio:
            images = crop_to_aspect_ratio(images, self.height, self.width)
        elif self.pad_to_aspect_ratio:
            images = _pad_to_aspect_ratio(images, self.height, self.width, self.fill_value)
        if not is_float(dtype) and self.interpolation != "nearest":
            images = images.astype("float32")
        images = resize(images, self.height, self.width, self.interpolation, self.antialias)
        if images.dtype == dtype:
            return images
        if dtype == jnp.bool_:
            # Halfway between black and white is gray.
            return images.astype(self.compute_dtype)
        return saturate_cast(jnp.round(images), dtype)


@registry.register("layer", module="keras.layers")
class CenterCrop(ImageLayer):
    """The middle of each image.

    Args:
        height, width: size of the output. An image that is smaller is cropped to this aspect ratio
            and enlarged.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    The output is in the layer's compute dtype.

    Source: Keras: CenterCrop layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.CenterCrop(1, 1)(jnp.arange(9.0).reshape(1, 3, 3, 1)).tolist()
    [[[[4.0]]]]
    """

    def __init__(self, height, width, data_format=None, **kwargs):
        super().__init__(data_format=data_format, **kwargs)
        check_size(self, height, width)
        self.height, self.width = height, width

    def transform_images(self, images, transformation, training=True):
        return self._apply(self._crop, images.astype(self.compute_dtype))

    def _crop(self, images):
        top, left = images.shape[1] - self.height, images.shape[2] - self.width
        if top < 0 or left < 0:
            images = crop_to_aspect_ratio(images, self.height, self.width)
            return resize(images, self.height, self.width)
        top, left = top // 2, left // 2
        return images[:, top : top + self.height, left : left + self.width]
