"""Changes of single images in arrays of NumPy: turning, moving, colours; as Keras 2 made them."""

import numpy as np

from cornu import ops
from cornu.utils.images import array_to_img, img_to_array


def smart_resize(x, size, interpolation="bilinear", data_format="channels_last", **kwargs):
    """Images in another size, cropped in the middle to its proportions, so that nothing is distorted.

    Args:
        x: image or batch of images, values unchanged by the dtype.
        size: `(height, width)`.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns: an array of NumPy if `x` is one, else of JAX.

    Source: Keras: smart_resize.

    >>> import numpy as np
    >>> from cornu.preprocessing.image import smart_resize
    >>> smart_resize(np.ones((10, 20, 3)), (5, 5)).shape
    (5, 5, 3)
    """
    kwargs.pop("backend_module", None)
    if kwargs:
        raise TypeError(f"smart_resize() has no arguments {sorted(kwargs)}.")
    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers, but got: {size}.")
    if np.ndim(x) not in (3, 4):
        raise ValueError(
            "Expected an image of 3 axes, or a batch of images of 4. Received an array of shape "
            f"{np.shape(x)}"
        )
    resized = ops.image.resize(
        x, tuple(size), interpolation, crop_to_aspect_ratio=True, data_format=data_format
    )
    return np.asarray(resized) if isinstance(x, np.ndarray) else resized


def apply_affine_transform(
    x,
    theta=0,
    tx=0,
    ty=0,
    shear=0,
    zx=1,
    zy=1,
    row_axis=1,
    col_axis=2,
    channel_axis=0,
    fill_mode="nearest",
    cval=0.0,
    order=1,
):
    """An image turned, moved, sheared and zoomed: the pixel at `p` is that of `x` at `A p`.

    `A` is rotation, translation, shear and zoom, multiplied in this order, about the image's middle; its
    first coordinate is x, along a row. (In Keras, the middle of an image that is no square is mistaken.)

    Args:
        x: image of 3 axes.
        theta: angle in degrees.
        tx, ty: pixels along x (columns) and y (rows).
        shear: angle in degrees.
        zx, zy: factors along x and y; less than 1 enlarges.
        row_axis, col_axis, channel_axis: which axes are which; channels are the first or last.
        fill_mode: what is outside: `"constant"`, `"nearest"`, `"reflect"` or `"wrap"`, as for
            `scipy.ndimage`.
        cval: the value for `"constant"`.
        order: of the spline that interpolates.

    >>> import numpy as np
    >>> from cornu.preprocessing.image import apply_affine_transform
    >>> apply_affine_transform(np.array([[[1.0, 2.0, 3.0]]]), tx=1)
    array([[[2., 3., 3.]]])
    """
    if sorted((row_axis, col_axis, channel_axis)) != [0, 1, 2] or channel_axis == 1:
        raise ValueError(
            "`row_axis`, `col_axis` and `channel_axis` must be 0, 1 and 2 in some order, and channels "
            f"first or last. Received: {row_axis}, {col_axis}, {channel_axis}"
        )
    if x.ndim != 3:
        raise ValueError(f"Expected an image of 3 axes. Received an array of shape {x.shape}")
    if (theta, tx, ty, shear, zx, zy) == (0, 0, 0, 0, 1, 1):
        return x
    from scipy import ndimage

    turn, lean = np.deg2rad(theta), np.deg2rad(shear)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shearing = np.array([[1, -np.sin(lean)], [0, np.cos(lean)]])
    linear = rotation @ shearing @ np.diag([zx, zy])
    middle = np.array([x.shape[col_axis], x.shape[row_axis]]) / 2 - 0.5
    offset = rotation @ [tx, ty] + middle - linear @ middle
    # SciPy's coordinates are those of the array's axes.
    if row_axis < col_axis:
        linear, offset = linear[::-1, ::-1], offset[::-1]
    channels = [
        ndimage.affine_transform(channel, linear, offset, order=order, mode=fill_mode, cval=cval)
        for channel in np.moveaxis(x, channel_axis, 0)
    ]
    return np.stack(channels, axis=channel_axis)


def apply_channel_shift(x, intensity, channel_axis=0):
    """An image with a number added to all values, within the limits of those that it has."""
    return np.clip(x + intensity, np.min(x), np.max(x))


def apply_brightness_shift(x, brightness, scale=True, data_format=None):
    """An image whose values are multiplied by a factor, as bytes, by Pillow.

    Args:
        x: image of 3 axes.
        brightness: 1.0 leaves it as it is, 0.0 gives black.
        scale: whether to bring the values to 0 to 255 first. If they are not in this range, they are
            brought there in any case, and back.
        data_format: where the channels are; default: `cornu.config.image_data_format()`.
    """
    from PIL import ImageEnhance

    low, high = np.min(x), np.max(x)
    is_wide = bool(low < 0 or high > 255)
    image = array_to_img(x, data_format, scale=is_wide or scale)
    x = img_to_array(ImageEnhance.Brightness(image).enhance(brightness), data_format)
    return x / 255 * (high - low) + low if is_wide and not scale else x


def random_rotation(
    x,
    rg,
    row_axis=1,
    col_axis=2,
    channel_axis=0,
    fill_mode="nearest",
    cval=0.0,
    interpolation_order=1,
):
    """An image turned by up to `rg` degrees; other arguments are those of `apply_affine_transform`."""
    theta = np.random.uniform(-rg, rg)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, theta, 0, 0, 0, 1, 1, *where)


def random_shift(
    x,
    wrg,
    hrg,
    row_axis=1,
    col_axis=2,
    channel_axis=0,
    fill_mode="nearest",
    cval=0.0,
    interpolation_order=1,
):
    """An image moved by up to `wrg` of its width and `hrg` of its height."""
    ty = np.random.uniform(-hrg, hrg) * x.shape[row_axis]
    tx = np.random.uniform(-wrg, wrg) * x.shape[col_axis]
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, tx, ty, 0, 1, 1, *where)


def random_shear(
    x,
    intensity,
    row_axis=1,
    col_axis=2,
    channel_axis=0,
    fill_mode="nearest",
    cval=0.0,
    interpolation_order=1,
):
    """An image sheared by up to `intensity` degrees."""
    shear = np.random.uniform(-intensity, intensity)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, shear, 1, 1, *where)


def random_zoom(
    x,
    zoom_range,
    row_axis=1,
    col_axis=2,
    channel_axis=0,
    fill_mode="nearest",
    cval=0.0,
    interpolation_order=1,
):
    """An image zoomed along each axis by a factor between the two of `zoom_range`."""
    if len(zoom_range) != 2:
        raise ValueError(
            f"`zoom_range` should be a tuple or list of two floats. Received: {zoom_range}"
        )
    low, high = zoom_range
    zx, zy = (1, 1) if low == high == 1 else np.random.uniform(low, high, 2)
    where = (row_axis, col_axis, channel_axis, fill_mode, cval, interpolation_order)
    return apply_affine_transform(x, 0, 0, 0, 0, zx, zy, *where)


def random_channel_shift(x, intensity_range, channel_axis=0):
    """`apply_channel_shift` by up to `intensity_range`."""
    return apply_channel_shift(
        x, np.random.uniform(-intensity_range, intensity_range), channel_axis
    )


def random_brightness(x, brightness_range, scale=True):
    """`apply_brightness_shift` by a factor between the two of `brightness_range`."""
    if len(brightness_range) != 2:
        raise ValueError(
            f"`brightness_range` should be a tuple or list of two floats. Received: {brightness_range}"
        )
    return apply_brightness_shift(x, np.random.uniform(*brightness_range), scale)
