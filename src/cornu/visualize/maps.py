"""Feature maps, filters and attribution maps as labelled grids."""

import numpy as np

from cornu.visualize.figure import hatch_negative, new_figure, save_figure, shortened
from cornu.visualize.palette import INK, largest, signed

_MOST_PANELS = 64


def _grid(count: int, aspect: float, columns: int | None, colorbar: bool):
    """A figure with so many panels of a shape (rows by columns of pixels)."""
    columns = min(columns or 8, count)
    rows = -(-count // columns)
    width = max(columns * 1.25 + 0.6 * colorbar, 3.5)
    figure = new_figure(width, rows * min(max(1.25 * aspect, 0.5), 2.5) + 0.25 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def plot_feature_maps(maps, title="", columns=None, path=None):
    """Draw the feature maps of one example, each with the number of its channel.

    All have one scale, beside them: purple and hatched is negative, orange positive, white zero.

    Args:
        maps: shape `(rows, columns, channels)`, or `(steps, channels)` for a signal: one example of what
            `cornu.explain.feature_maps` returns. At most 64 channels are drawn.
        title: text above the figure.
        columns: how many in a row; default 8.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError for another number of axes.

    >>> import numpy as np
    >>> from cornu.visualize import plot_feature_maps
    >>> figure = plot_feature_maps(np.zeros((5, 5, 3)), "conv")
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['0', '1', '2']
    """
    maps = np.asarray(maps, float)
    if maps.ndim not in (2, 3):
        raise ValueError(
            "One example's maps are drawn: shape (rows, columns, channels) or (steps, channels). "
            f"Received: shape {maps.shape}"
        )
    count = min(maps.shape[-1], _MOST_PANELS)
    aspect = maps.shape[0] / maps.shape[1] if maps.ndim == 3 else 0.7
    figure, panels = _grid(count, aspect, columns, True)
    low, high = float(np.nanmin(maps)), float(np.nanmax(maps))
    drawn, scale = None, largest(maps)
    for channel, axes in enumerate(panels):
        if maps.ndim == 3:
            drawn = axes.imshow(maps[..., channel], cmap=signed(), vmin=-scale, vmax=scale)
            hatch_negative(axes, maps[..., channel], scale)
        else:
            axes.plot(maps[:, channel], linewidth=1, color=INK)
            axes.set_ylim(low - 0.05 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
        axes.set_title(str(channel), fontsize=8)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(panels), shrink=0.7)
        # Of what there is: nothing is negative after a relu.
        bar.ax.set_ylim(min(low, 0), max(high, 0) or None)
    left_out = maps.shape[-1] - count
    figure.suptitle(title + (f"  (and {left_out} more)" if left_out else ""), fontsize=11)
    if path is not None:
        save_figure(figure, path)
    return figure


def plot_filters(kernels, title="", columns=None, path=None):
    """Draw filters, one row for each channel that they see (the first four) or, of one channel, as a grid.

    Purple and hatched is negative, orange positive, white zero; all have one scale.

    Args:
        kernels: shape `(rows, columns, channels, filters)` or `(steps, channels, filters)`: what
            `cornu.explain.filters` returns.
        title: text above the figure.
        columns: how many in a row; default 8.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    >>> import numpy as np
    >>> from cornu.visualize import plot_filters
    >>> figure = plot_filters(np.zeros((3, 3, 1, 6)))
    >>> len([axes for axes in figure.axes if axes.get_title()])
    6
    """
    kernels = np.asarray(kernels, float)
    if kernels.ndim == 3:
        kernels = kernels[None]
    if kernels.ndim != 4:
        raise ValueError(
            "Filters of images or signals are drawn: shape (rows, columns, channels, filters). Received: "
            f"shape {kernels.shape}"
        )
    channels, count = min(kernels.shape[2], 4), min(kernels.shape[3], _MOST_PANELS)
    if channels > 1:
        # A row for each channel.
        count = columns = min(count, columns or 8)
    aspect = kernels.shape[0] / kernels.shape[1]
    figure, panels = _grid(channels * count, aspect, columns, True)
    scale = largest(kernels)
    drawn = None
    for number, axes in enumerate(panels):
        channel, one = divmod(number, count)
        drawn = axes.imshow(kernels[:, :, channel, one], cmap=signed(), vmin=-scale, vmax=scale)
        hatch_negative(axes, kernels[:, :, channel, one], scale)
        if channel == 0:
            axes.set_title(str(one), fontsize=8)
        if one == 0 and channels > 1:
            axes.set_ylabel(f"channel {channel}", fontsize=8)
    figure.colorbar(drawn, ax=list(panels), shrink=0.7, label="hatched: negative")
    left_out = kernels.shape[3] - count
    figure.suptitle(title + (f"  (and {left_out} more)" if left_out else ""), fontsize=11)
    if path is not None:
        save_figure(figure, path)
    return figure


def plot_attribution(images, maps, titles=None, path=None):
    """Draw images above the maps of what an answer depends on, and both over each other.

    Args:
        images: shape `(n, rows, columns, channels)`.
        maps: shape `(n, rows, columns)`, or with channels, which are added up: what `saliency`, `grad_cam`,
            `occlusion` and the like return. Negative values are purple, and hatched; positive ones orange.
            An empty map says so.
        titles: text above each image.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if the two do not fit.

    >>> import numpy as np
    >>> from cornu.visualize import plot_attribution
    >>> figure = plot_attribution(np.zeros((2, 4, 4, 1)), np.ones((2, 4, 4)), ["a", "b"])
    >>> figure.axes[0].get_title()
    'a'
    """
    images, maps = np.asarray(images, float), np.asarray(maps, float)
    if maps.ndim == 4:
        maps = maps.sum(-1)
    if images.ndim != 4 or maps.shape != images.shape[:3]:
        raise ValueError(
            "Images of the shape (n, rows, columns, channels) and maps (n, rows, columns) are drawn. "
            f"Received: shapes {images.shape} and {maps.shape}"
        )
    count = min(len(images), 8)
    figure = new_figure(max(1.45 * count + 0.6, 3.5), 4.6)
    panels = figure.subplots(3, count, squeeze=False)
    low, high = min(float(images.min()), 0.0), float(images.max())
    for n in range(count):
        shown = (images[n] - low) / (high - low or 1.0)
        gray = shown.mean(-1)
        shown = shown if shown.shape[-1] == 3 else gray
        scale = largest(maps[n])
        panels[0, n].imshow(shown, cmap="gray", vmin=0, vmax=1)
        panels[1, n].imshow(maps[n], cmap=signed(), vmin=-scale, vmax=scale)
        hatch_negative(panels[1, n], maps[n], scale)
        if not maps[n].any():
            middle = {"ha": "center", "va": "center", "transform": panels[1, n].transAxes}
            panels[1, n].text(0.5, 0.5, "nothing\nspeaks for it", fontsize=8, **middle)
        panels[2, n].imshow(gray, cmap="gray", vmin=0, vmax=1)
        strength = np.abs(maps[n]) / scale
        panels[2, n].imshow(
            maps[n], cmap=signed(), vmin=-scale, vmax=scale, alpha=np.clip(strength, 0, 0.85)
        )
        if titles is not None:
            panels[0, n].set_title(shortened(str(titles[n]), 18), fontsize=9, parse_math=False)
    for axes in panels.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    for row, name in enumerate(("image", "map", "both")):
        panels[row, 0].set_ylabel(name, fontsize=9)
    if path is not None:
        save_figure(figure, path)
    return figure
