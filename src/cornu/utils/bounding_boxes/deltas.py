"""Boxes as a detector predicts them: how they differ from anchors."""

import jax.numpy as jnp

from cornu.core.dtype import epsilon
from cornu.utils.bounding_boxes.formats import convert_format


def _checked(encoding, argument, variance, image_shape):
    if encoding not in ("center_xywh", "center_yxhw"):
        raise ValueError(
            f"`{argument}` should be one of 'center_xywh' or 'center_yxhw', got {encoding}"
        )
    if variance is not None:
        variance = jnp.asarray(variance, "float32")
        if variance.shape[-1:] != (4,):
            raise ValueError(f"`variance` must be length 4, got {variance}")
    sizes = (None, None) if image_shape is None else tuple(image_shape[:2])
    return variance, dict(zip(("height", "width"), sizes, strict=True))


def encode_box_to_deltas(
    anchors,
    boxes,
    anchor_format,
    box_format,
    encoding_format="center_yxhw",
    variance=None,
    image_shape=None,
):
    """How boxes differ from anchors: what a detector learns to predict.

    With middle m and size s: `(m - m_anchor) / s_anchor` and `log(s / s_anchor)`, in the order of
    `encoding_format`.

    Args:
        anchors: `(n, 4)`.
        boxes: `(n, 4)` or `(batch, n, 4)`.
        anchor_format, box_format: their formats.
        encoding_format: `"center_yxhw"` or `"center_xywh"`.
        variance: four numbers that the result is divided by.
        image_shape: `(height, width, channels)`, needed for boxes in fractions.

    Source: Keras: encode_box_to_deltas.

    >>> from cornu.utils import bounding_boxes
    >>> anchors, boxes = [[0, 0, 8, 8]], [[1, 0, 9, 8]]
    >>> bounding_boxes.encode_box_to_deltas(anchors, boxes, "xyxy", "xyxy").tolist()
    [[0.0, 0.125, 0.0, 0.0]]
    """
    variance, sizes = _checked(encoding_format, "encoding_format", variance, image_shape)
    anchors = convert_format(anchors, anchor_format, encoding_format, **sizes)
    boxes = convert_format(boxes, box_format, encoding_format, **sizes)
    anchor_size, size = (jnp.maximum(b[..., 2:], epsilon()) for b in (anchors, boxes))
    middle = (boxes[..., :2] - anchors[..., :2]) / anchor_size
    deltas = jnp.concatenate([middle, jnp.log(size / anchor_size)], axis=-1)
    return deltas if variance is None else deltas / variance


def decode_deltas_to_boxes(
    anchors,
    boxes_delta,
    anchor_format,
    box_format,
    encoded_format="center_yxhw",
    variance=None,
    image_shape=None,
):
    """The boxes that differ from anchors by what a detector has predicted.

    Args:
        anchors: `(n, 4)`, or a dict of such arrays, one for each level.
        boxes_delta: `(n, 4)` or `(batch, n, 4)`, or a dict of them: see `encode_box_to_deltas`.
        anchor_format: format of the anchors.
        box_format: format of the result.
        encoded_format: `"center_yxhw"` or `"center_xywh"`.
        variance: four numbers that the deltas are multiplied by.
        image_shape: `(height, width, channels)`, needed for boxes in fractions.

    Source: Keras: decode_deltas_to_boxes.

    >>> from cornu.utils import bounding_boxes
    >>> anchors, deltas = [[0, 0, 8, 8]], [[0.0, 0.125, 0.0, 0.0]]
    >>> bounding_boxes.decode_deltas_to_boxes(anchors, deltas, "xyxy", "xyxy").tolist()
    [[1.0, 0.0, 9.0, 8.0]]
    """
    variance, sizes = _checked(encoded_format, "encoded_format", variance, image_shape)

    def decoded(anchor, delta):
        anchor = convert_format(anchor, anchor_format, encoded_format, **sizes)
        delta = jnp.asarray(delta)
        delta = delta if variance is None else delta * variance
        middle = delta[..., :2] * anchor[..., 2:] + anchor[..., :2]
        size = jnp.exp(delta[..., 2:]) * anchor[..., 2:]
        box = jnp.concatenate([middle, size], axis=-1)
        return convert_format(box, encoded_format, box_format, **sizes)

    if isinstance(anchors, dict) != isinstance(boxes_delta, dict):
        raise ValueError(
            "`anchors` and `boxes_delta` must both be dicts of levels, or both arrays."
        )
    if isinstance(anchors, dict):
        return {level: decoded(anchor, boxes_delta[level]) for level, anchor in anchors.items()}
    return decoded(anchors, boxes_delta)
