"""How well bounding boxes agree."""

import math

import jax.numpy as jnp

from cornu.core.dtype import epsilon
from cornu.utils.bounding_boxes.formats import convert_format


def _corners(boxes, bounding_box_format, image_shape):
    if "rel" in bounding_box_format and image_shape is None:
        raise ValueError(
            "When using relative bounding box formats (e.g. `rel_yxyx`) the `image_shape` argument "
            f"must be provided. Received `image_shape`: {image_shape}"
        )
    height, width = (None, None) if image_shape is None else image_shape[:2]
    return convert_format(boxes, bounding_box_format, "xyxy", height, width)


def _area(corners):
    return (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])


def _intersection(boxes1, boxes2):
    low = jnp.maximum(boxes1[..., :2], boxes2[..., :2])
    high = jnp.minimum(boxes1[..., 2:], boxes2[..., 2:])
    return jnp.prod(jnp.maximum(high - low, 0), axis=-1)


def compute_iou(
    boxes1,
    boxes2,
    bounding_box_format,
    use_masking=False,
    mask_val=-1,
    image_shape=None,
):
    """Intersection over union of each of some boxes with each of some others.

    Args:
        boxes1, boxes2: `(m, 4)` or `(batch, m, 4)`, and `(n, 4)` or `(batch, n, 4)`.
        bounding_box_format: format of both.
        use_masking: whether boxes whose numbers are all negative, which only fill an array up, get
            `mask_val`.
        mask_val: see `use_masking`.
        image_shape: `(height, width, channels)`, needed for boxes in fractions.

    Returns:
        `(m, n)` or `(batch, m, n)`, from 0 to 1.

    Source: Keras: compute_iou.

    >>> from cornu.utils import bounding_boxes
    >>> bounding_boxes.compute_iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [0, 0, 2, 2]], "xyxy").round(3).tolist()
    [[0.3330000042915344, 1.0]]
    """
    boxes1 = _corners(boxes1, bounding_box_format, image_shape)
    boxes2 = _corners(boxes2, bounding_box_format, image_shape)
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        if boxes.ndim not in (2, 3):
            raise ValueError(
                f"compute_iou() expects {name} of shape (boxes, 4) or (batch, boxes, 4). "
                f"Received: {name}.shape={boxes.shape}"
            )
    boxes1, boxes2 = boxes1[..., :, None, :], boxes2[..., None, :, :]
    shared = _intersection(boxes1, boxes2)
    result = shared / (_area(boxes1) + _area(boxes2) - shared + epsilon())
    if not use_masking:
        return result
    empty = (boxes1.max(-1) < 0) | (boxes2.max(-1) < 0)
    return jnp.where(empty, jnp.asarray(mask_val, result.dtype), result)


def compute_ciou(boxes1, boxes2, bounding_box_format, image_shape=None):
    """Complete intersection over union of pairs of boxes: 1 for equal ones, less the worse they agree.

    `iou - d² / c² - a v`: d is the distance of the middles, c the diagonal of the smallest box around
    both, v how much the proportions differ, `4 / π² (atan(w2 / h2) - atan(w1 / h1))²`, and
    `a = v / (v - iou + 1)`.

    Args:
        boxes1, boxes2: `(…, 4)`, of shapes that broadcast.
        bounding_box_format: format of both.
        image_shape: `(height, width, channels)`, needed for boxes in fractions. (Keras 3.15 takes
            none of these.)

    Source: Zheng et al. 2020, "Distance-IoU loss: faster and better learning for bounding box
    regression". Keras: compute_ciou.

    >>> from cornu.utils import bounding_boxes
    >>> bounding_boxes.compute_ciou([[0, 0, 2, 2]], [[4, 0, 6, 2]], "xyxy").item() < 0
    True
    """
    small = epsilon()
    boxes1 = _corners(boxes1, bounding_box_format, image_shape)
    boxes2 = _corners(boxes2, bounding_box_format, image_shape)
    width1, width2 = (b[..., 2] - b[..., 0] for b in (boxes1, boxes2))
    height1, height2 = (b[..., 3] - b[..., 1] + small for b in (boxes1, boxes2))
    shared = _intersection(boxes1, boxes2)
    iou = shared / (width1 * height1 + width2 * height2 - shared + 2 * small)
    around = jnp.maximum(boxes1[..., 2:], boxes2[..., 2:]) - jnp.minimum(
        boxes1[..., :2], boxes2[..., :2]
    )
    diagonal = jnp.sum(around**2, axis=-1) + small
    apart = (boxes1[..., :2] + boxes1[..., 2:] - boxes2[..., :2] - boxes2[..., 2:]) / 2
    v = 4 / math.pi**2 * (jnp.arctan(width2 / height2) - jnp.arctan(width1 / height1)) ** 2
    return iou - jnp.sum(apart**2, axis=-1) / diagonal - v * v / (v - iou + (1 + small))
