"""What happens to bounding boxes when their image is cropped, padded, turned or sheared."""

import math

import jax.numpy as jnp

from cornu.utils.bounding_boxes.formats import as_boxes, check_format, convert_format


def _in_pixels(boxes, bounding_box_format):
    """Boxes as left, top, right and bottom, and a function that puts them back into their format."""
    name = check_format(bounding_box_format)
    if name.startswith("rel_"):
        raise NotImplementedError(
            f"Boxes in fractions ({bounding_box_format!r}) have no place in pixels without the "
            "image's size. Convert them with `convert_format(…, target='xyxy', height=…, width=…)`."
        )
    boxes = as_boxes(boxes)
    if name == "xyxy":
        return boxes, lambda moved: moved
    dtype = jnp.result_type(boxes.dtype, "float32")
    corners = convert_format(boxes, name, "xyxy", dtype=dtype)
    return corners, lambda moved: convert_format(moved, "xyxy", name, dtype=dtype)


def crop(boxes, top, left, height, width, bounding_box_format="xyxy"):
    """The boxes in a window of their image, without what lies outside of it.

    Args:
        boxes: `(…, 4)`.
        top, left: first row and column of the window.
        height, width: its size.
        bounding_box_format: format of the boxes, one in pixels. (Keras takes `"xyxy"` only.)

    Source: Keras: crop.

    >>> from cornu.utils import bounding_boxes
    >>> bounding_boxes.crop([[10, 20, 50, 60]], top=10, left=20, height=40, width=40).tolist()
    [[0, 10, 30, 40]]
    """
    corners, back = _in_pixels(boxes, bounding_box_format)
    moved = corners - jnp.asarray([left, top, left, top], corners.dtype)
    limits = jnp.asarray([width, height, width, height], corners.dtype)
    return back(jnp.clip(moved, 0, limits))


def pad(boxes, top, left, height=None, width=None, bounding_box_format="xyxy"):
    """The boxes in their image after rows and columns are put before it.

    Args:
        boxes: `(…, 4)`.
        top, left: how many rows and columns are added before the first.
        height, width: size of the image; boxes in pixels do not depend on it.
        bounding_box_format: format of the boxes, one in pixels. (Keras takes `"xyxy"` only.)

    Source: Keras: pad.

    >>> from cornu.utils import bounding_boxes
    >>> bounding_boxes.pad([[10, 20, 50, 60]], top=1, left=2).tolist()
    [[12, 21, 52, 61]]
    """
    corners, back = _in_pixels(boxes, bounding_box_format)
    return back(corners + jnp.asarray([left, top, left, top], corners.dtype))


def around(boxes, move):
    """The smallest boxes around the four moved corners of boxes `(…, 4)` of `"xyxy"`.

    `move(x, y)` takes and returns columns and rows of points, `(…, 4)`: those of each box's corners.
    """
    left, top, right, bottom = (boxes[..., i] for i in range(4))
    x, y = move(
        jnp.stack([left, right, right, left], -1), jnp.stack([top, top, bottom, bottom], -1)
    )
    return jnp.stack([x.min(-1), y.min(-1), x.max(-1), y.max(-1)], -1)


def affine_transform(
    boxes,
    angle,
    translate_x,
    translate_y,
    scale,
    shear_x,
    shear_y,
    height,
    width,
    center_x=None,
    center_y=None,
    bounding_box_format="xyxy",
):
    """The boxes around the objects of an image that was moved, turned, stretched and sheared.

    Each is the smallest box around its four moved corners.

    Args:
        boxes: `(boxes, 4)`, or `(batch, boxes, 4)`.
        angle: in degrees, one for each image; a positive one turns counter-clockwise.
        translate_x, translate_y: as fractions of the image's size, for each image.
        scale: for each image.
        shear_x, shear_y: in degrees, for each image.
        height, width: size of the image.
        center_x, center_y: the point that stays where it is, as fractions of the image's size; the
            middle if None.
        bounding_box_format: format of the boxes, one in pixels. (Keras takes `"xyxy"` only.)

    Source: Keras: affine_transform for bounding boxes.

    >>> import numpy as np
    >>> from cornu.utils import bounding_boxes
    >>> turn, zero, one = np.array([90.0]), np.zeros(1), np.ones(1)
    >>> bounding_boxes.affine_transform(
    ...     np.array([[[0.0, 0.0, 10.0, 20.0]]]), turn, zero, zero, one, zero, zero, 41, 41
    ... ).round().tolist()
    [[[0.0, 30.0, 20.0, 40.0]]]
    """
    corners, back = _in_pixels(boxes, bounding_box_format)
    numbers = [jnp.asarray(a) for a in (angle, translate_x, translate_y, scale, shear_x, shear_y)]
    dtype = jnp.result_type("float32", *(n.dtype for n in numbers if n.dtype != "int32"))
    # One number for each image, beside its boxes and their corners.
    turn, right, down, scale, slant_x, slant_y = (
        n.astype(dtype).reshape((-1, *[1] * (corners.ndim - 1))) if n.ndim else n.astype(dtype)
        for n in numbers
    )
    x0 = (0.5 if center_x is None else center_x) * (width - 1)
    y0 = (0.5 if center_y is None else center_y) * (height - 1)
    turn, slant_x, slant_y = (-d * (math.pi / 180) for d in (turn, slant_x, slant_y))
    from_x, from_y = x0 - right * (width - 1), y0 - down * (height - 1)
    a = jnp.cos(turn - slant_y) / jnp.cos(slant_y)
    b = a * jnp.tan(slant_x) + jnp.sin(turn)
    c = -jnp.sin(turn - slant_y) / jnp.cos(slant_y)
    d = jnp.cos(turn) - c * jnp.tan(slant_x)

    def move(x, y):
        x, y = x - from_x, y - from_y
        return x0 + scale * (d * x - b * y), y0 + scale * (a * y - c * x)

    if corners.ndim == 2:
        return back(around(corners.astype(dtype)[None], move)[0])
    return back(around(corners.astype(dtype), move))
