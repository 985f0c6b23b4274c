"""Many images in one picture."""

import math

import numpy as np

from cornu.visualization.drawing import as_batch, draw_bounding_boxes, draw_segmentation_masks
from cornu.visualize.figure import new_figure, save_figure


def _in_bytes(images: np.ndarray, value_range) -> np.ndarray:
    """Images with pixels of a range as bytes."""
    low, high = value_range
    pixels = (images.astype("float32") - low) / (high - low) * 255
    return np.clip(pixels, 0, 255).astype("uint8")


def plot_image_gallery(
    images,
    y_true=None,
    y_pred=None,
    label_map=None,
    rows=None,
    cols=None,
    value_range=(0, 255),
    scale=2,
    path=None,
    show=None,
    transparent=True,
    dpi=60,
    legend_handles=None,
    data_format=None,
):
    """Show images in a grid, or write it into a file.

    Args:
        images: a batch of one or three channels.
        y_true, y_pred: the class of each image, and the predicted one, to be written above it.
        label_map: a dict of the classes' names, needed with `y_true` or `y_pred`.
        rows, cols: size of the grid; of None, as much as all images need. (In Keras 3.15 some may not
            be shown.)
        value_range: lowest and highest value of a pixel.
        scale: size of an image in inches.
        path: a file to write.
        show: whether to show the picture; default: if it is not written.
        transparent: whether what lies between the images is transparent in the file.
        dpi: pixels an inch, in the file.
        legend_handles: of matplotlib, for a legend below the images.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Returns:
        the matplotlib `Figure`, if it is neither shown nor written.

    Source: Keras: plot_image_gallery.

    >>> import numpy as np
    >>> from cornu.visualization import plot_image_gallery
    >>> plot_image_gallery(np.random.uniform(0, 255, (6, 8, 8, 3)), path="gallery.png")
    """
    if path is not None and show:
        raise ValueError("plot_gallery() expects either `path` to be set, or `show` to be true.")
    if (y_true is not None or y_pred is not None) and label_map is None:
        raise ValueError(
            "If `y_true` or `y_pred` are provided, a `label_map` must also be provided."
        )
    batch = _in_bytes(as_batch(images, data_format), value_range)
    show = path is None if show is None else show
    if rows is None:
        rows = math.ceil(len(batch) / cols) if cols else math.ceil(math.sqrt(len(batch)))
    cols = cols or math.ceil(len(batch) / max(rows, 1))
    if show:
        # The one way to a window, or into a notebook.
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(cols * scale, rows * scale), layout="constrained")
    else:
        figure = new_figure(cols * scale, rows * scale)
    titles = [
        [f"{what}: {label_map.get(int(label), 'Unknown')}" for label in np.asarray(labels).ravel()]
        for what, labels in (("Label", y_true), ("Pred", y_pred))
        if labels is not None
    ]
    for i, axes in enumerate(figure.subplots(rows, cols, squeeze=False).ravel()):
        axes.axis("off")
        if i >= len(batch):
            continue
        gray = batch.shape[-1] == 1
        axes.imshow(batch[i, ..., 0] if gray else batch[i], cmap="gray", vmin=0, vmax=255)
        title = "  ".join(each[i] for each in titles if i < len(each))
        if title:
            axes.set_title(title, fontsize=8)
    if legend_handles is not None:
        figure.legend(handles=legend_handles, loc="outside lower center", ncols=len(legend_handles))
    if path is not None:
        figure.set_dpi(dpi)
        if transparent:
            figure.patch.set_alpha(0)
        save_figure(figure, path)
        return None
    if show:
        pyplot.show()
        pyplot.close(figure)
        return None
    return figure


def plot_bounding_box_gallery(
    images,
    bounding_box_format,
    y_true=None,
    y_pred=None,
    value_range=(0, 255),
    true_color=(0, 188, 212),
    pred_color=(255, 235, 59),
    line_thickness=2,
    font_scale=1.0,
    text_thickness=None,
    class_mapping=None,
    ground_truth_mapping=None,
    prediction_mapping=None,
    legend=False,
    legend_handles=None,
    rows=None,
    cols=None,
    data_format=None,
    **kwargs,
):
    """Show images in a grid, with frames around objects and around what was predicted.

    Args:
        images: a batch of one or three channels.
        bounding_box_format: see `cornu.utils.bounding_boxes.convert_format`.
        y_true, y_pred: bounding boxes: see `draw_bounding_boxes`.
        value_range: lowest and highest value of a pixel.
        true_color, pred_color: red, green and blue, from 0 to 255.
        line_thickness, font_scale, text_thickness: see `draw_bounding_boxes`.
        class_mapping: a dict of the labels' names.
        ground_truth_mapping, prediction_mapping: the same for one of both.
        legend: whether to say below which colour is which.
        legend_handles: of matplotlib, for another legend.
        rows, cols: size of the grid.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        **kwargs: of `plot_image_gallery`.

    Source: Keras: plot_bounding_box_gallery.

    >>> import numpy as np
    >>> from cornu.visualization import plot_bounding_box_gallery
    >>> boxes = {"boxes": [[[0.2, 0.2, 0.8, 0.9]]], "labels": [[0]]}
    >>> images = np.zeros((1, 64, 64, 3))
    >>> plot_bounding_box_gallery(images, "rel_xyxy", boxes, path="boxes.png", legend=True)
    """
    if legend and legend_handles:
        raise ValueError(
            "Only pass `legend` OR `legend_handles` to "
            "`keras.visualization.plot_bounding_box_gallery()`."
        )
    drawn = _in_bytes(as_batch(images, data_format), value_range)
    for boxes, color, mapping in (
        (y_true, true_color, ground_truth_mapping),
        (y_pred, pred_color, prediction_mapping),
    ):
        if boxes is not None:
            drawn = draw_bounding_boxes(
                drawn,
                boxes,
                bounding_box_format,
                class_mapping=mapping or class_mapping,
                color=color,
                line_thickness=line_thickness,
                text_thickness=text_thickness,
                font_scale=font_scale,
                data_format="channels_last",
            )
    if legend:
        from matplotlib.patches import Patch

        legend_handles = [
            Patch(color=(color[0] / 255, color[1] / 255, color[2] / 255), label=label)
            for color, label in ((true_color, "Ground Truth"), (pred_color, "Prediction"))
        ]
    return plot_image_gallery(
        drawn,
        legend_handles=legend_handles,
        rows=rows,
        cols=cols,
        data_format="channels_last",
        **kwargs,
    )


def plot_segmentation_mask_gallery(
    images,
    num_classes,
    value_range=(0, 255),
    y_true=None,
    y_pred=None,
    color_mapping=None,
    blend=True,
    alpha=0.8,
    ignore_index=-1,
    data_format=None,
    **kwargs,
):
    """Show a row for each image: as it is, with its mask, and with the predicted mask.

    Args:
        images: a batch of three channels.
        num_classes: how many classes there are.
        value_range: lowest and highest value of a pixel.
        y_true, y_pred: masks: see `draw_segmentation_masks`.
        color_mapping, blend, alpha, ignore_index: see `draw_segmentation_masks`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        **kwargs: of `plot_image_gallery`.

    Source: Keras: plot_segmentation_mask_gallery.

    >>> import numpy as np
    >>> from cornu.visualization import plot_segmentation_mask_gallery
    >>> images, masks = np.zeros((2, 8, 8, 3)), np.ones((2, 8, 8, 1), "int32")
    >>> plot_segmentation_mask_gallery(images, 2, y_true=masks, path="masks.png")
    """
    batch = _in_bytes(as_batch(images, data_format), value_range)
    drawn = [
        draw_segmentation_masks(
            batch,
            as_batch(masks, data_format, "masks").astype("int32"),
            num_classes=num_classes,
            color_mapping=color_mapping,
            alpha=alpha,
            blend=blend,
            ignore_index=ignore_index,
            data_format="channels_last",
        )
        for masks in (y_true, y_pred)
        if masks is not None
    ]
    columns = [batch, *drawn]
    gallery = np.stack(columns, axis=1).reshape(-1, *batch.shape[1:])
    return plot_image_gallery(
        gallery, rows=len(batch), cols=len(columns), data_format="channels_last", **kwargs
    )
