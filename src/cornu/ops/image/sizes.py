"""Images of other sizes."""

import jax
import jax.numpy as jnp

from cornu.core.dtype import is_float
from cornu.core.operation import operation
from cornu.ops.core import saturate_cast
from cornu.ops.image.layout import spatial_axes

_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")
_SCALE_METHODS = "linear bilinear trilinear cubic bicubic tricubic lanczos3 lanczos5".split()


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
    """Images, or one, of another `size`, `(height, width)`, in the same dtype; integers are rounded.

    Args:
        images: one image or a batch of them.
        size: height and width of the result.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: whether to smooth what is made smaller.
        crop_to_aspect_ratio: cut the middle with the proportions of `size` out first.
        pad_to_aspect_ratio: put `fill_value` around up to these proportions first.
        fill_mode: `"constant"`, the only one.
        fill_value: see `pad_to_aspect_ratio`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
    """
    images = jnp.asarray(images)
    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers. Received: size={size}")
    if min(size) <= 0:
        raise ValueError(f"`size` must have positive height and width. Received: size={size}")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(
            f"Invalid value for argument `interpolation`. Expected of one {_INTERPOLATIONS}. "
            f"Received: interpolation={interpolation}"
        )
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(
            "Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`."
        )
    if fill_mode != "constant":
        raise ValueError(
            "Invalid value for argument `fill_mode`. Only `'constant'` is supported. "
            f"Received: fill_mode={fill_mode}"
        )
    axes = spatial_axes(images, data_format)
    dtype = images.dtype
    if not is_float(dtype) and (interpolation != "nearest" or fill_value != int(fill_value)):
        images = images.astype("float32")
    sizes = [images.shape[axis] for axis in axes]
    # The largest cut, or the smallest frame, of the wanted proportions.
    fitting = int(sizes[1] * size[0] / size[1]), int(sizes[0] * size[1] / size[0])
    if crop_to_aspect_ratio:
        for axis, have, want in zip(axes, sizes, fitting, strict=True):
            keep = max(min(have, want), 1)
            start = (have - keep) // 2
            images = jax.lax.slice_in_dim(images, start, start + keep, axis=axis)
    elif pad_to_aspect_ratio:
        margins = [(0, 0)] * images.ndim
        for axis, have, want in zip(axes, sizes, fitting, strict=True):
            margins[axis] = (max(want - have, 0) // 2,) * 2
        images = jnp.pad(images, margins, constant_values=fill_value)
    shape = list(images.shape)
    for axis, n in zip(axes, size, strict=True):
        shape[axis] = n
    resized = jax.image.resize(images, shape, method=interpolation, antialias=antialias)
    if resized.dtype == dtype:
        return resized
    return saturate_cast(resized if is_float(dtype) else jnp.round(resized), dtype)


def _edges(names: str, before, after, target, size: int, cut: bool) -> tuple[int, int]:
    """How much is cut off, or added, before and after `size` pixels, from two of three numbers."""
    shown = dict(zip(names.split(), (before, after, target), strict=True))
    received = "Received: " + ", ".join(f"{name}={value}" for name, value in shown.items())
    if [before, after, target].count(None) != 1:
        raise ValueError(f"Must specify exactly two of {', '.join(shown)}. {received}")
    for name, value in shown.items():
        if value is not None and value < 0:
            raise ValueError(f"{name} must be >= 0. {received}")
    if target is not None:
        both = size - target if cut else target - size
        before, after = (both - after, after) if before is None else (before, both - before)
    results = dict(zip(shown, (before, after, size - before - after if cut else 0), strict=True))
    for name, value in results.items():
        if value < 0:
            raise ValueError(
                f"{name} must be >= 0. It would be {value} for images of {size} pixels in this "
                f"direction. {received}"
            )
    return before, after


@operation
def pad_images(
    images,
    top_padding=None,
    left_padding=None,
    bottom_padding=None,
    right_padding=None,
    target_height=None,
    target_width=None,
    data_format=None,
):
    """Images, or one, with zeros around them.

    Args:
        images: one image or a batch of them.
        top_padding, bottom_padding, target_height: rows of zeros, and rows of the result; two of the
            three.
        left_padding, right_padding, target_width: the same for columns.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Raises:
        ValueError: not two of three are given, or the images do not fit.

    >>> from cornu import ops
    >>> ops.image.pad_images(ops.ones((4, 6, 3)), 1, 2, target_height=8, target_width=10).shape
    (8, 10, 3)
    """
    images = jnp.asarray(images)
    margins = [(0, 0)] * images.ndim
    for axis, edges in zip(
        spatial_axes(images, data_format),
        (
            (
                "top_padding bottom_padding target_height",
                top_padding,
                bottom_padding,
                target_height,
            ),
            ("left_padding right_padding target_width", left_padding, right_padding, target_width),
        ),
        strict=True,
    ):
        margins[axis] = _edges(*edges, images.shape[axis], cut=False)
    return jnp.pad(images, margins)


@operation
def crop_images(
    images,
    top_cropping=None,
    left_cropping=None,
    bottom_cropping=None,
    right_cropping=None,
    target_height=None,
    target_width=None,
    data_format=None,
):
    """Images, or one, without some of their edges.

    Args:
        images: one image or a batch of them.
        top_cropping, bottom_cropping, target_height: rows that are cut off, and rows of the result;
            two of the three.
        left_cropping, right_cropping, target_width: the same for columns.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Raises:
        ValueError: not two of three are given, or the images are too small.

    >>> from cornu import ops
    >>> ops.image.crop_images(ops.ones((8, 10, 3)), 1, 2, target_height=4, target_width=6).shape
    (4, 6, 3)
    """
    images = jnp.asarray(images)
    for axis, edges in zip(
        spatial_axes(images, data_format),
        (
            (
                "top_cropping bottom_cropping target_height",
                top_cropping,
                bottom_cropping,
                target_height,
            ),
            (
                "left_cropping right_cropping target_width",
                left_cropping,
                right_cropping,
                target_width,
            ),
        ),
        strict=True,
    ):
        size = images.shape[axis]
        before, after = _edges(*edges, size, cut=True)
        images = jax.lax.slice_in_dim(images, before, size - after, axis=axis)
    return images


@operation
def scale_and_translate(
    images, output_shape, scale, translation, spatial_dims, method, antialias=True
):
    """Images stretched and moved: `x` of the input lies at `x * scale + translation` of the output.

    Args:
        images: an array of any rank.
        output_shape: shape of the result; None in it is the images' size, of the batch, say.
        scale, translation: one number for each axis of `spatial_dims`.
        spatial_dims: the axes that are stretched and moved.
        method: `"linear"` (or `"bilinear"`, `"trilinear"`), `"cubic"` (`"bicubic"`, `"tricubic"`),
            `"lanczos3"` or `"lanczos5"`.
        antialias: whether to smooth what is made smaller.

    Source: jax.image.scale_and_translate.

    >>> from cornu import ops
    >>> ops.image.scale_and_translate([0.0, 1.0], (4,), [2.0], [0.0], (0,), "linear").tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    if method not in _SCALE_METHODS:
        raise ValueError(
            f"Invalid value for argument `method`. Expected of one {_SCALE_METHODS}. "
            f"Received: method={method}"
        )
    images, scale, translation = (jnp.asarray(a) for a in (images, scale, translation))
    shape = [own if n is None else n for n, own in zip(output_shape, images.shape, strict=True)]
    return jax.image.scale_and_translate(
        images, tuple(shape), tuple(spatial_dims), scale, translation, method, antialias
    )
