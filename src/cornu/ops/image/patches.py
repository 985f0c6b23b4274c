"""The windows of images as vectors."""

import jax.numpy as jnp

from cornu.core.dtype import standardize_data_format
from cornu.core.operation import operation
from cornu.ops.convolution import conv


@operation
def extract_patches(images, size, strides=None, dilation_rate=1, padding="valid", data_format=None):
    """Each window of each image as one vector, `(batch, rows, columns, taps * channels)`.

    With a `size` of three numbers the images are volumes: see `extract_patches_3d`.

    >>> from cornu import ops
    >>> ops.image.extract_patches(ops.ones((1, 8, 8, 3)), 4).shape
    (1, 2, 2, 48)
    """
    if not isinstance(size, int | tuple | list):
        raise TypeError(
            f"Invalid `size` argument. Expected an int or a tuple. Received: size={size} of type "
            f"{type(size).__name__}"
        )
    size = (size, size) if isinstance(size, int) else tuple(size)
    if len(size) not in (2, 3):
        raise ValueError(
            "Invalid `size` argument. Expected a tuple of length 2 or 3. "
            f"Received: size={size} with length {len(size)}"
        )
    return _patches(images, size, strides, dilation_rate, padding, data_format)


@operation
def extract_patches_3d(
    volumes, size, strides=None, dilation_rate=1, padding="valid", data_format=None
):
    """Each window of each volume as one vector, `(batch, planes, rows, columns, taps * channels)`.

    Args:
        volumes: one volume or a batch of them.
        size: of the windows, a number or three.
        strides: steps from window to window; the windows' size if None.
        dilation_rate: distance of the taps.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    >>> from cornu import ops
    >>> ops.image.extract_patches_3d(ops.ones((1, 8, 8, 8, 2)), 4).shape
    (1, 2, 2, 2, 128)
    """
    size = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(size) != 3:
        raise ValueError(
            f"Invalid `size` argument. Expected an int or a tuple of length 3. Received: size={size}"
        )
    return _patches(volumes, size, strides, dilation_rate, padding, data_format)


def _patches(images, size, strides, dilation_rate, padding, data_format):
    images = jnp.asarray(images)
    ndim = len(size)
    if images.ndim not in (ndim + 1, ndim + 2):
        raise ValueError(
            f"Windows of {ndim} axes need an array of rank {ndim + 1} (one) or {ndim + 2} (a batch). "
            f"Received: shape {images.shape}"
        )
    if not strides:
        strides = size
    elif not isinstance(strides, int) and len(strides) != ndim:
        raise ValueError(f"Invalid `strides` argument. Got: {strides}")
    last = standardize_data_format(data_format) == "channels_last"
    if not last:
        images = jnp.moveaxis(images, -ndim - 1, -1)
    single = images.ndim == ndim + 1
    images = images[None] if single else images
    channels = images.shape[-1]
    taps = channels
    for n in size:
        taps *= n
    kernel = jnp.eye(taps, dtype=images.dtype).reshape(*size, channels, taps)
    patches = conv(images, kernel, strides, padding, dilation_rate=dilation_rate)
    patches = patches if last else jnp.moveaxis(patches, -1, -ndim - 1)
    return patches[0] if single else patches
