"""A part of an image, marked: the figure of a receptive field."""

import numpy as np

from cornu.visualize.figure import new_figure, save_figure, shortened
from cornu.visualize.palette import ACCENT, INK


def plot_field(image, window, title: str, path=None):
    """Draw an image with a rectangle around a window, and the window by itself beside it.

    Args:
        image: shape (rows, columns, channels), or (steps, channels) for a signal.
        window: a slice for each spatial axis.
        title: what is looked at.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError for another number of axes.
    """
    from matplotlib.patches import Rectangle

    image = np.asarray(image, float)
    if image.ndim not in (2, 3) or len(window) != image.ndim - 1:
        raise ValueError(
            f"Only images and signals can be drawn. Received: shape {image.shape}, window {window}."
        )
    figure = new_figure(7.2, 3.9)
    whole, part = figure.subplots(1, 2, width_ratios=[1.4, 1])
    first, last = window[-1].start, window[-1].stop
    if image.ndim == 2:
        steps = np.arange(len(image))
        for axes, cut in ((whole, slice(None)), (part, window[0])):
            axes.plot(steps[cut], image[cut], color=INK if image.shape[1] == 1 else None)
            axes.set_xlabel("step")
        whole.axvspan(first - 0.5, last - 0.5, facecolor=ACCENT, alpha=0.25)
        size = f"{last - first} steps, {first} to {last - 1}"
    else:
        top, bottom = window[0].start, window[0].stop
        low, high = min(float(image.min()), 0.0), float(image.max())
        shown = (image - low) / (high - low or 1.0)
        shown = shown if shown.shape[-1] == 3 else shown.mean(-1)
        for axes, cut in ((whole, shown), (part, shown[window])):
            axes.imshow(cut, cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        corner, width, height = (first - 0.5, top - 0.5), last - first, bottom - top
        # White outside and colour inside, so that one of them is seen on any ground.
        for color, line in (("white", 4.5), (ACCENT, 2.0)):
            whole.add_patch(
                Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=line)
            )
        size = f"rows {top} to {bottom - 1}, columns {first} to {last - 1}"
    whole.set_title(f"what {shortened(title, 30)} sees", fontsize=10, parse_math=False)
    part.set_title(size, fontsize=10)
    if path is not None:
        save_figure(figure, path)
    return figure
