"""Colours in other spaces."""

import jax.numpy as jnp

from cornu.core.dtype import is_float
from cornu.core.operation import operation
from cornu.ops.image.layout import channel_axis


@operation
def rgb_to_grayscale(images, data_format=None):
    """Brightness, `0.2989 red + 0.587 green + 0.114 blue`, as one channel, in the images' dtype.

    Images of one channel are returned as they are. Of integers, the fraction is cut off.

    >>> from cornu import ops
    >>> ops.image.rgb_to_grayscale([[[255, 0, 0], [0, 0, 255]]]).tolist()
    [[[76], [29]]]
    """
    images = jnp.asarray(images)
    axis = channel_axis(images, data_format)
    if images.shape[axis] not in (1, 3):
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). Received input with shape: "
            f"images.shape={images.shape}"
        )
    if images.shape[axis] == 1:
        return images
    floats = images if is_float(images.dtype) else images.astype("float32")
    weights = jnp.asarray([0.2989, 0.5870, 0.1140], floats.dtype)
    gray = jnp.tensordot(floats, weights, axes=(axis, 0))
    return jnp.expand_dims(gray, axis).astype(images.dtype)


def _planes(images, data_format) -> tuple[list, int]:
    """The three channels of images of floats, and their axis."""
    images = jnp.asarray(images)
    axis = channel_axis(images, data_format)
    if not is_float(images.dtype):
        raise ValueError(
            f"Invalid images dtype: expected float dtype. Received: images.dtype={images.dtype}. "
            "Divide pixels of bytes by 255 first."
        )
    if images.shape[axis] != 3:
        raise ValueError(
            "Input images must have 3 channels, but received images with "
            f"{images.shape[axis]} channels. images.shape={images.shape}"
        )
    return [jnp.take(images, i, axis=axis) for i in range(3)], axis


@operation
def rgb_to_hsv(images, data_format=None):
    """Hue, saturation and value of each pixel.

    The value is the largest of red, green and blue; the saturation is the range of the three as a
    fraction of the value; the hue is the angle on the colour circle as a fraction of a turn, 0 for red.
    With red, green and blue from 0 to 1 all three are in this range.

    Raises:
        ValueError: the images are no floats, or have no 3 channels.

    >>> from cornu import ops
    >>> ops.image.rgb_to_hsv([[[0.0, 0.5, 0.5]]]).tolist()
    [[[0.5, 1.0, 0.5]]]
    """
    planes, axis = _planes(images, data_format)
    tiny = jnp.finfo(planes[0].dtype).eps
    red, green, blue = (jnp.where(jnp.abs(plane) < tiny, 0, plane) for plane in planes)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    saturation = jnp.where(value > 0, spread / jnp.where(value > 0, value, 1), 0)
    sixth = 1 / (6 * jnp.where(spread > 0, spread, 1))
    hue = jnp.where(
        value == red,
        sixth * (green - blue),
        jnp.where(value == green, sixth * (blue - red) + 2 / 6, sixth * (red - green) + 4 / 6),
    )
    # From blue to red the difference is negative: one turn further it is the same hue.
    hue = jnp.where(spread > 0, hue, 0) + (hue < 0).astype(hue.dtype)
    return jnp.stack([hue, saturation, value], axis)


@operation
def hsv_to_rgb(images, data_format=None):
    """Red, green and blue from hue, saturation and value: the inverse of `rgb_to_hsv`.

    >>> from cornu import ops
    >>> ops.image.hsv_to_rgb([[[0.5, 1.0, 1.0]]]).tolist()
    [[[0.0, 1.0, 1.0]]]
    """
    (hue, saturation, value), axis = _planes(images, data_format)
    sixth = jnp.mod(hue, 1.0) * 6.0
    shares = (
        jnp.abs(sixth - 3.0) - 1.0,
        2.0 - jnp.abs(sixth - 2.0),
        2.0 - jnp.abs(sixth - 4.0),
    )
    planes = [value * (1 - saturation + saturation * jnp.clip(s, 0.0, 1.0)) for s in shares]
    return jnp.stack(planes, axis)
