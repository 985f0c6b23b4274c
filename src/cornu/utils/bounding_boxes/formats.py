"""The four numbers of a bounding box, in each of their formats."""

import jax.numpy as jnp

from cornu.core.dtype import as_array

FORMATS = (
    "xyxy yxyx xywh center_xywh center_yxhw rel_xyxy rel_yxyx rel_xywh rel_center_xywh".split()
)


def check_format(name, argument="bounding_box_format") -> str:
    """The format in small letters; raises ValueError if there is none of that name."""
    if not isinstance(name, str) or name.lower() not in FORMATS:
        raise ValueError(
            f"Invalid bounding box format: {argument}={name!r}. Supported formats: {tuple(FORMATS)}"
        )
    return name.lower()


def as_boxes(boxes, dtype=None):
    """An array of boxes; raises ValueError unless its last axis holds four numbers."""
    boxes = as_array(boxes)
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(
            "`boxes` must be a tensor with the last dimension of 4. "
            f"Received: boxes.shape={boxes.shape}"
        )
    return boxes if dtype is None else boxes.astype(dtype)


def _to_corners(boxes, source: str):
    """Left, top, right and bottom of boxes in a format without `rel_`."""
    a, b, c, d = jnp.split(boxes, 4, axis=-1)
    if source == "yxyx":
        return b, a, d, c
    if source == "xywh":
        return a, b, a + c, b + d
    if source == "center_yxhw":
        a, b, c, d = b, a, d, c
    if source.startswith("center"):
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, c, d


def _from_corners(target: str, left, top, right, bottom):
    width, height = right - left, bottom - top
    if target == "yxyx":
        return top, left, bottom, right
    if target == "xywh":
        return left, top, width, height
    if target == "center_xywh":
        return left + width / 2, top + height / 2, width, height
    if target == "center_yxhw":
        return top + height / 2, left + width / 2, height, width
    return left, top, right, bottom


def convert_format(boxes, source, target, height=None, width=None, dtype="float32"):
    """Bounding boxes in another format.

    | format | the four numbers |
    |---|---|
    | `"xyxy"` | left, top, right, bottom |
    | `"yxyx"` | top, left, bottom, right |
    | `"xywh"` | left, top, width, height |
    | `"center_xywh"` | x and y of the middle, width, height |
    | `"center_yxhw"` | y and x of the middle, height, width |
    | `"rel_xyxy"`, `"rel_yxyx"`, `"rel_xywh"`, `"rel_center_xywh"` | as fractions of the image's size |

    Args:
        boxes: an array `(…, 4)`, or a dict whose entry `"boxes"` is one; of a dict a new one is made,
            with its other entries. (Keras changes the dict that it gets.)
        source, target: formats.
        height, width: size of the image, needed for fractions.
        dtype: of the result.

    Raises:
        ValueError: a format is not known, a size is missing, or these are no boxes.

    Source: Keras: convert_format.

    >>> from cornu.utils import bounding_boxes
    >>> bounding_boxes.convert_format([[10, 20, 30, 60]], "xyxy", "center_xywh").tolist()
    [[20.0, 40.0, 20.0, 40.0]]
    """
    if isinstance(boxes, dict):
        converted = convert_format(boxes["boxes"], source, target, height, width, dtype)
        return {**boxes, "boxes": converted}
    source, target = check_format(source, "source"), check_format(target, "target")
    relative = [name.startswith("rel_") for name in (source, target)]
    if any(relative) and (height is None or width is None):
        raise ValueError(
            "convert_format() must receive `height` and `width` transforming between relative and "
            f"absolute formats. Received source={source!r}, target={target!r}, but height={height} "
            f"and width={width}."
        )
    boxes = as_boxes(boxes, dtype)
    if source == target:
        return boxes
    sizes = [size if size is None else jnp.asarray(size, dtype) for size in (width, height)]
    corners = _to_corners(boxes, source.removeprefix("rel_"))
    if relative == [True, False]:
        corners = tuple(edge * sizes[i % 2] for i, edge in enumerate(corners))
    numbers = _from_corners(target.removeprefix("rel_"), *corners)
    if relative == [False, True]:
        first = 1 if target == "rel_yxyx" else 0
        numbers = tuple(n / sizes[(first + i) % 2] for i, n in enumerate(numbers))
    return jnp.concatenate(numbers, axis=-1)


def clip_to_image_size(bounding_boxes, height=None, width=None, bounding_box_format="xyxy"):
    """Bounding boxes without what lies outside of the image.

    Args:
        bounding_boxes: a dict of `"boxes"`, `(…, boxes, 4)`, and perhaps `"labels"`. The label of a
            box of which nothing is left becomes -1.
        height, width: size of the image; of boxes in fractions it is not needed.
        bounding_box_format: their format. (Keras takes `"xyxy"` and `"rel_xyxy"` only.)

    Source: Keras: clip_to_image_size.

    >>> from cornu.utils import bounding_boxes
    >>> boxes = {"boxes": [[-5, 10, 50, 60], [120, 0, 130, 10]], "labels": [3, 4]}
    >>> clipped = bounding_boxes.clip_to_image_size(boxes, height=40, width=100)
    >>> clipped["boxes"].tolist(), clipped["labels"].tolist()
    ([[0, 10, 50, 40], [100, 0, 100, 10]], [3, -1])
    """
    name = check_format(bounding_box_format)
    if not name.startswith("rel_") and (height is None or width is None):
        raise ValueError(
            f"`height` and `width` must be set if `bounding_box_format={bounding_box_format!r}`."
        )
    boxes = as_boxes(bounding_boxes["boxes"])
    base = name.removeprefix("rel_")
    right, bottom = (1, 1) if name.startswith("rel_") else (width, height)
    edges = _to_corners(boxes, base)
    left, top, right, bottom = (
        jnp.clip(edge, 0, jnp.asarray(limit, boxes.dtype))
        for edge, limit in zip(edges, (right, bottom, right, bottom), strict=True)
    )
    clipped = jnp.concatenate(_from_corners(base, left, top, right, bottom), axis=-1)
    result = {**bounding_boxes, "boxes": clipped.astype(boxes.dtype)}
    if bounding_boxes.get("labels") is not None:
        labels = jnp.asarray(bounding_boxes["labels"])
        left_over = (((right - left) * (bottom - top)) > 0)[..., 0]
        left_over = left_over.reshape(left_over.shape + (1,) * (labels.ndim - left_over.ndim))
        result["labels"] = jnp.where(left_over, labels, jnp.asarray(-1).astype(labels.dtype))
    return result
