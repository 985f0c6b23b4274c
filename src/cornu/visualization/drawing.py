"""Boxes and masks drawn into images."""

from typing import Any

import numpy as np

from cornu.core.dtype import standardize_data_format
from cornu.utils.bounding_boxes import convert_format

# Three numbers whose multiples, modulo 255, are colours that differ.
_STEPS = np.array([2**25 - 1, 2**15 - 1, 2**21 - 1])


def as_batch(images, data_format=None, name="images") -> np.ndarray:
    """A batch of images, channels last."""
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"`{name}` must be batched 4D tensor. Received: {name}.shape={images.shape}"
        )
    last = standardize_data_format(data_format) == "channels_last"
    return images if last else np.moveaxis(images, 1, -1)


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Pixels from 0 to 255; floats that are at most 1 are fractions of 255."""
    if images.dtype == bool:
        return images.astype("uint8") * 255
    images = np.asarray(images, "float32")
    scale = 255 if images.size and images.max() <= 1 and images.min() >= 0 else 1
    return np.clip(images * scale, 0, 255).astype("uint8")


def _pixels(images: np.ndarray) -> np.ndarray:
    """Integers stay; of floats see `as_bytes`."""
    if images.dtype.kind in "iu":
        return np.clip(images, 0, 255).astype("uint8")
    return as_bytes(images)


def draw_bounding_boxes(
    images,
    bounding_boxes,
    bounding_box_format,
    class_mapping=None,
    color=(128, 128, 128),
    line_thickness=2,
    text_thickness=1,
    font_scale=1.0,
    data_format=None,
):
    """Images with frames around objects, and the names of these.

    Args:
        images: a batch, of one or three channels; floats may go from 0 to 1 or from 0 to 255.
        bounding_boxes: a dict of `"boxes"`, `(batch, boxes, 4)`, `"labels"`, `(batch, boxes)`, of which
            -1 means no box, and perhaps `"confidences"`, which are written behind the names.
        bounding_box_format: see `cornu.utils.bounding_boxes.convert_format`.
        class_mapping: a dict of the labels' names; a label without a name is a frame only.
        color: of frames and names: red, green and blue, from 0 to 255.
        line_thickness, text_thickness: in pixels.
        font_scale: size of the names; 1 is 22 pixels.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Returns:
        a NumPy array of bytes, of the images' shape.

    Source: Keras: draw_bounding_boxes, which needs OpenCV; here Pillow draws.

    >>> import numpy as np
    >>> from cornu.visualization import draw_bounding_boxes
    >>> boxes = {"boxes": [[[2, 2, 12, 9]]], "labels": [[0]]}
    >>> drawn = draw_bounding_boxes(np.zeros((1, 16, 16, 3)), boxes, "xyxy", line_thickness=1)
    >>> int((drawn[0, :, :, 0] == 128).sum())
    34
    """
    if not isinstance(bounding_boxes, dict):
        raise TypeError(
            f"`bounding_boxes` should be a dict. Received: bounding_boxes={bounding_boxes} of type "
            f"{type(bounding_boxes)}"
        )
    if not {"boxes", "labels"} <= set(bounding_boxes):
        raise ValueError(
            "`bounding_boxes` should be a dict containing 'boxes' and 'labels' keys. "
            f"Received: bounding_boxes={bounding_boxes}"
        )
    batch = _pixels(as_batch(images, data_format))
    if batch.shape[-1] not in (1, 3):
        raise ValueError(
            f"Images of one or three channels can be drawn. Received: shape {np.shape(images)}. If "
            "the channels come first, pass data_format='channels_first'."
        )
    height, width = batch.shape[1:3]
    boxes = np.asarray(
        convert_format(bounding_boxes["boxes"], bounding_box_format, "xyxy", height, width)
    )
    labels = np.asarray(bounding_boxes["labels"]).astype("int64")
    confidences = bounding_boxes.get("confidences")
    names = {}
    for place in np.argwhere(labels != -1):
        name = (class_mapping or {}).get(int(labels[tuple(place)]))
        if name is not None and confidences is not None:
            name = f"{name} | {float(np.asarray(confidences)[tuple(place)]):.2f}"
        names[tuple(place)] = name
    drawn = [
        _framed(
            image,
            [(boxes[place], name) for place, name in names.items() if place[0] == i],
            tuple(color),
            line_thickness,
            text_thickness or line_thickness,
            font_scale,
        )
        for i, image in enumerate(batch)
    ]
    result = np.stack(drawn) if drawn else batch
    first = standardize_data_format(data_format) == "channels_first"
    return np.moveaxis(result, -1, 1) if first else result


def _framed(image, boxes, color, line, stroke, font_scale):
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ImportError(
            "Boxes are drawn with Pillow. Install it with `pip install pillow`."
        ) from None
    gray = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if gray else image)
    paint = round(float(np.dot(color, [0.2989, 0.587, 0.114]))) if gray else color
    draw = ImageDraw.Draw(picture)
    size = max(round(22 * font_scale), 1)
    font: Any = ImageFont.load_default(size)
    for box, name in boxes:
        left, top, right, bottom = (int(edge) for edge in box)
        # The line lies half within the box, half outside.
        outside = line // 2
        right, bottom = max(left, right), max(top, bottom)
        frame = (left - outside, top - outside, right + outside, bottom + outside)
        draw.rectangle(frame, outline=paint, width=line)
        if name is not None:
            above = top - outside - 3
            if above < size:
                # No room above: within the frame.
                left, above = left + line + 2, top + line + 2 + size
            draw.text(
                (left, above),
                str(name),
                fill=paint,
                font=font,
                anchor="ls",
                stroke_width=max(stroke - 1, 0),
            )
    drawn = np.asarray(picture)
    return drawn[..., None] if gray else drawn


def draw_segmentation_masks(
    images,
    segmentation_masks,
    num_classes=None,
    color_mapping=None,
    alpha=0.8,
    blend=True,
    ignore_index=-1,
    data_format=None,
):
    """Images under the colours of their masks.

    Args:
        images: a batch of three channels; floats may go from 0 to 1 or from 0 to 255.
        segmentation_masks: integers, `(batch, rows, columns, 1)`: the class of each pixel.
        num_classes: how many classes there are; if None, as many as the greatest number says. (In Keras
            3.15 that is one too few.)
        color_mapping: a dict with the colour of each class, red, green and blue from 0 to 255.
        alpha: how much of the colour is seen, from 0 to 1.
        blend: whether to let the image shine through; otherwise `alpha` is 1.
        ignore_index: a number that is left without a colour.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Returns:
        a NumPy array of bytes, channels last.

    Source: Keras: draw_segmentation_masks.

    >>> import numpy as np
    >>> from cornu.visualization import draw_segmentation_masks
    >>> images, masks = np.full((1, 1, 2, 3), 100), np.array([[[[0], [1]]]])
    >>> colours = {0: (0, 0, 0), 1: (200, 0, 0)}
    >>> draw_segmentation_masks(images, masks, 2, colours, alpha=0.5)[0, 0].tolist()
    [[50, 50, 50], [150, 50, 50]]
    """
    batch = _pixels(as_batch(images, data_format)).astype("float32")
    masks = as_batch(segmentation_masks, data_format, "segmentation_masks")
    if masks.dtype.kind not in "iu":
        raise TypeError(
            "`segmentation_masks` must be in integer dtype. "
            f"Received: segmentation_masks.dtype={masks.dtype}"
        )
    if masks.shape[:3] != batch.shape[:3] or masks.shape[-1] != 1:
        raise ValueError(
            "`segmentation_masks` must have one channel, and the images' rows and columns. Received: "
            f"images of shape {np.shape(images)}, masks of shape {np.shape(segmentation_masks)}"
        )
    masks = masks[..., 0].astype("int64")
    if num_classes is None:
        num_classes = int(masks.max(initial=0)) + 1
    palette = {i: i * _STEPS % 255 for i in range(num_classes)}
    colours = palette if color_mapping is None else color_mapping
    share = alpha if blend else 1.0
    drawn = batch.copy()
    for number in range(num_classes):
        chosen = (masks == number) & (masks != ignore_index)
        if not chosen.any():
            continue
        if number not in colours:
            raise ValueError(f"`color_mapping` has no colour for class {number}: {color_mapping}")
        colour = np.asarray(colours[number], "float32")
        drawn[chosen] = batch[chosen] * (1 - share) + colour * share
    return drawn.astype("uint8")
