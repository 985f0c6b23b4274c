"""Images.  Source: Keras: Image ops."""

import jax
import jax.numpy as jnp

from cornu.core.dtype import standardize_data_format
from cornu.core.operation import operation
from cornu.ops.convolution import conv


@operation
def resize(
    images,
    size,
    interpolation="bilinear",
    antialias=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    fill_mode="constant",
    fill_value=0.0,
    data_format=None,
):
    """Images, or one, of another `size`, `(height, width)`.

    Args:
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: whether to smooth what is made smaller.
        crop_to_aspect_ratio: cut the middle with the proportions of `size` out first.
        pad_to_aspect_ratio: put `fill_value` around up to these proportions first.
    """
    images = jnp.asarray(images)
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(
            "Only one of `crop_to_aspect_ratio` & `pad_to_aspect_ratio` can be `True`."
        )
    if fill_mode != "constant":
        raise ValueError(f"`fill_mode` can only be 'constant'. Received: fill_mode={fill_mode}")
    if images.ndim not in (3, 4):
        raise ValueError(
            f"`images` must be one image or a batch of them. Received: shape {images.shape}"
        )
    last = standardize_data_format(data_format) == "channels_last"
    row = images.ndim - (3 if last else 2)
    height, width = images.shape[row], images.shape[row + 1]
    # The largest cut, or the smallest frame, of the wanted proportions.
    fitting = int(width * size[0] / size[1]), int(height * size[1] / size[0])
    if crop_to_aspect_ratio:
        for axis, (have, want) in enumerate(zip((height, width), fitting, strict=True), row):
            keep = max(min(have, want), 1)
            images = jax.lax.slice_in_dim(images, (have - keep) // 2, (have + keep) // 2, axis=axis)
    elif pad_to_aspect_ratio:
        margins = [(0, 0)] * images.ndim
        for axis, (have, want) in enumerate(zip((height, width), fitting, strict=True), row):
            margins[axis] = (max(want - have, 0) // 2,) * 2
        images = jnp.pad(images, margins, constant_values=fill_value)
    shape = list(images.shape)
    shape[row : row + 2] = size
    result = jax.image.resize(images, shape, method=interpolation, antialias=antialias)
    return result


@operation
def rgb_to_grayscale(images, data_format=None):
    """Brightness, `0.2989 red + 0.587 green + 0.114 blue`, as one channel."""
    images = jnp.asarray(images)
    axis = -1 if standardize_data_format(data_format) == "channels_last" else -3
    weights = jnp.asarray([0.2989, 0.5870, 0.1140], images.dtype)
    gray = jnp.tensordot(jnp.moveaxis(images, axis, -1), weights, axes=1)
    return jnp.expand_dims(gray, axis)


@operation
def extract_patches(images, size, strides=None, dilation_rate=1, padding="valid", data_format=None):
    """Each window of each image as one vector, `(batch, rows, columns, taps * channels)`."""
    images = jnp.asarray(images)
    size = (size, size) if isinstance(size, int) else tuple(size)
    strides = size if strides is None else strides
    last = standardize_data_format(data_format) == "channels_last"
    if not last:
        images = jnp.moveaxis(images, -3, -1)
    single = images.ndim == 3
    images = images[None] if single else images
    channels = images.shape[-1]
    kernel = jnp.eye(size[0] * size[1] * channels, dtype=images.dtype)
    kernel = kernel.reshape(*size, channels, -1)
    patches = conv(images, kernel, strides, padding, dilation_rate=dilation_rate)
    patches = patches if last else jnp.moveaxis(patches, -1, -3)
    return patches[0] if single else patches
