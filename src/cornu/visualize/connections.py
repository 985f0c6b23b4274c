"""A network as feature maps, with the connections between them."""

from itertools import pairwise

import numpy as np

from cornu.explain.observe import as_batch, calls, channel_axis, input_of
from cornu.visualize.figure import (
    hatch_negative,
    new_figure,
    save_figure,
    shortened,
    write_lines,
)
from cornu.visualize.palette import INK, LINE, is_dark, largest, signed
from cornu.visualize.volumes import need_chain

# In inches: a map, the space below it, a unit of a vector, a column, and one with kernels before it.
_SIDE, _GAP, _UNIT, _STEP, _STEP_WITH_KERNELS = 0.62, 0.16, 0.4, 1.7, 2.3
# Above the maps are names, below them the scale.
_ABOVE, _BELOW = 0.62, 0.5
# Kernels on lines can be seen up to this size.
_LARGEST_KERNEL, _KERNEL = 7, 0.24


class _Column:
    """A layer's maps, and where they are drawn."""

    def __init__(self, name: str, layer, values, most: int):
        self.name, self.layer = name, layer
        self.maps = _maps(values, layer)
        self.count = min(len(self.maps), most)
        self.is_input = not name
        self.is_vector = self.maps.shape[1:] == (1, 1)
        self.scale = largest(self.maps)
        self.low = min(float(np.nanmin(self.maps)), 0.0)
        self.side = _UNIT if self.is_vector else _SIDE
        self.center = self.pitch = 0.0
        self.heights: list[float] = []

    def words(self) -> tuple[str, ...]:
        more = len(self.maps) - self.count
        what = "units" if self.is_vector else "channels"
        kind = "" if self.is_input else type(self.layer).__name__
        return shortened(self.name or "input", 20), kind, f"{more} more {what}" if more else ""


def plot_connections(model, x, path=None, most=6, layers=8, class_names=None):
    """Draw the feature maps of an example, layer by layer, and lines between those that are connected.

    Each channel of a convolution sees all channels before it (of its group, if it has groups): one line is
    one kernel, which is drawn on it where it is small. Units of vectors are circles with their numbers.
    Purple and hatched is negative, orange positive, white zero; below each layer is its scale. Where a
    layer has more channels than are drawn, their number is written.

    Args:
        model: any built model.
        x: a batch, or one example; its first is drawn.
        path: a PNG, PDF or SVG file to write; None writes none.
        most: how many channels of a layer are drawn.
        layers: how many layers.
        class_names: what the units of the last layer are called.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if the model is not a chain of layers, or for another number of `class_names` than it
    has outputs.

    >>> import cornu, numpy as np
    >>> from cornu.visualize import plot_connections
    >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(3, 3, name="conv")])
    >>> figure = plot_connections(model, np.eye(8)[..., None])
    >>> len(figure.axes[0].lines)
    3
    """
    found = calls(model, as_batch(model, x, 0))
    need_chain(model, found)
    start, first = input_of(found)
    columns = [_Column("", first, start, most)]
    columns += [
        _Column(call.name, call.operation, call.outputs, most)
        for call in found
        if call.is_whole and hasattr(call.outputs, "shape")
    ]
    if class_names is not None and len(class_names) != len(columns[-1].maps):
        raise ValueError(
            f"The last layer, '{columns[-1].name}', has {len(columns[-1].maps)} units. Received: "
            f"{len(class_names)} class names."
        )
    is_whole = len(columns) <= layers + 1
    columns = columns[: layers + 1]
    kernels = [_kernels(*pair) for pair in pairwise(columns)]
    pitch = max([_SIDE + _GAP, *(_most_per_output(k) * (_KERNEL + 0.04) + _GAP for k in kernels)])
    for column in columns:
        column.pitch = _UNIT + _GAP if column.is_vector else pitch
    right = _place(columns, kernels)
    names = list(map(str, class_names or [])) if is_whole else []
    width = right + max([0.078 * len(shortened(name, 24)) for name in names], default=0)
    height = max(column.count * column.pitch for column in columns) + _ABOVE + _BELOW
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    for column in columns:
        _draw_column(axes, column, height)
    for (before, after), drawn in zip(pairwise(columns), kernels, strict=True):
        _draw_lines(axes, before, after, drawn)
    for y, name in zip(columns[-1].heights, names, strict=False):
        style = {"ha": "left", "va": "center", "fontsize": 8, "parse_math": False}
        axes.text(columns[-1].center + 0.3, y, shortened(name, 24), **style)
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.set_axis_off()
    if path is not None:
        save_figure(figure, path)
    return figure


def _place(columns: list[_Column], kernels: list[dict]) -> float:
    """Give each map its place; returns where the last column ends."""
    middle = _BELOW + max(column.count * column.pitch for column in columns) / 2
    right = 0.0
    for column, drawn in zip(columns, [{}, *kernels], strict=True):
        step = _STEP_WITH_KERNELS if drawn else _STEP
        column.center = right + step - _STEP / 2
        right += step
        above = (column.count - 1) / 2
        column.heights = [middle + (above - n) * column.pitch for n in range(column.count)]
    return right


def _draw_column(axes, column: _Column, height: float) -> None:
    from matplotlib.patches import Circle, Rectangle

    half = column.side / 2
    colours = "gray" if column.is_input else signed()
    low = column.low if column.is_input else -column.scale
    for channel, y in enumerate(column.heights):
        values, left = column.maps[channel], column.center - half
        if column.is_vector:
            value = float(values[0, 0])
            share = 0.5 + value / column.scale / 2
            centre = (column.center, y)
            axes.add_patch(Circle(centre, half, facecolor=signed()(share), edgecolor=INK, zorder=3))
            style = {"ha": "center", "va": "center", "fontsize": 6.5, "zorder": 4}
            ink = "white" if is_dark(value, column.scale) else INK
            axes.text(*centre, f"{value + 0.0:.2g}", color=ink, **style)
            continue
        extent = (left, left + column.side, y - half, y + half)
        axes.imshow(
            values,
            cmap=colours,
            vmin=low,
            vmax=column.scale,
            extent=extent,
            aspect="auto",
            zorder=2,
        )
        if not column.is_input:
            hatch_negative(axes, values, column.scale, extent)
        axes.add_patch(
            Rectangle((left, y - half), *(column.side,) * 2, fill=False, edgecolor=INK, zorder=3)
        )
    write_lines(axes, column.center, height - 0.14, 0.17, column.words(), 8)
    _draw_scale(axes, column, colours, low)


def _draw_scale(axes, column: _Column, colours, low: float) -> None:
    left, right = column.center - 0.4, column.center + 0.4
    ramp = np.linspace(low, column.scale, 64)[None]
    extent = (left, right, 0.25, 0.33)
    axes.imshow(ramp, cmap=colours, vmin=low, vmax=column.scale, extent=extent, aspect="auto")
    for x, value in ((left, low), (right, column.scale)):
        axes.text(x, 0.13, f"{value:.2g}", ha="center", va="center", fontsize=6.5)


def _draw_lines(axes, before: _Column, after: _Column, kernels: dict) -> None:
    scale = largest([np.abs(kernel).max() for kernel in kernels.values()] or [0])
    start, end = before.center + before.side / 2, after.center - after.side / 2
    for a, from_y in enumerate(before.heights):
        for b, to_y in enumerate(after.heights):
            if not _sees(after.layer, a, b, len(before.maps), len(after.maps)):
                continue
            kernel = kernels.get((a, b))
            if kernel is None:
                axes.plot([start, end], [from_y, to_y], color=LINE, linewidth=0.6, zorder=1)
                continue
            own = [other for other, output in kernels if output == b]
            y = to_y + ((len(own) - 1) / 2 - own.index(a)) * (_KERNEL + 0.04)
            x, half = end - 0.42, _KERNEL / 2
            xs, ys = [start, x - half, x + half, end], [from_y, y, y, to_y]
            axes.plot(xs, ys, color=LINE, linewidth=0.6, zorder=1)
            high = half * min(1, kernel.shape[0] / kernel.shape[1])
            extent = (x - half, x + half, y - high, y + high)
            axes.imshow(
                kernel,
                cmap=signed(),
                vmin=-scale,
                vmax=scale,
                extent=extent,
                aspect="auto",
                zorder=2,
            )
            hatch_negative(axes, kernel, scale, extent)


def _kernels(before: _Column, after: _Column) -> dict[tuple[int, int], np.ndarray]:
    """The kernels between two columns of maps, by channel before and channel after."""
    kernel = getattr(after.layer, "kernel", None)
    if after.is_vector or before.is_vector or kernel is None or len(kernel.shape) not in (3, 4):
        return {}
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim == 3:
        kernel = kernel[None]
    if max(kernel.shape[:2]) > _LARGEST_KERNEL:
        return {}
    num_in, num_out = len(before.maps), len(after.maps)
    multiplier = getattr(after.layer, "depth_multiplier", None)
    found = {}
    for a, b in np.ndindex(before.count, after.count):
        if not _sees(after.layer, a, b, num_in, num_out):
            continue
        if multiplier:
            found[a, b] = kernel[:, :, a, b % multiplier]
        elif kernel.shape[3] == num_out:
            # Of a group, the channels are counted from its first.
            found[a, b] = kernel[:, :, a % kernel.shape[2], b]
        else:
            # Transposed: the outputs come first.
            found[a, b] = kernel[:, :, b, a]
    return found


def _most_per_output(kernels: dict) -> int:
    outputs = [output for _, output in kernels]
    return max(map(outputs.count, outputs), default=0)


def _maps(values, operation) -> np.ndarray:
    """The maps of one example, channels first, each of two axes; of a vector, its values as one column."""
    values = np.asarray(values, np.float32)
    values = np.moveaxis(values, channel_axis(operation, values.ndim), -1)[0]
    if values.ndim <= 1:
        return values.reshape(-1, 1, 1)
    if values.ndim == 2:
        return values.T[:, None, :]
    return np.moveaxis(values.reshape(-1, *values.shape[-2:]), -1, 0)


def _sees(layer, channel_in: int, channel_out: int, num_in: int, num_out: int) -> bool:
    """Whether a channel of a layer's output depends on one of its input."""
    groups = getattr(layer, "groups", 1)
    if hasattr(layer, "kernel") and hasattr(layer, "depth_multiplier"):
        return channel_out // layer.depth_multiplier == channel_in
    if hasattr(layer, "kernel") or hasattr(layer, "pointwise_kernel"):
        return channel_in * groups // num_in == channel_out * groups // num_out
    if num_in == num_out:
        # Pooling, normalization, activations: channel by channel.
        return channel_in == channel_out
    # Flattening takes the channels in turns.
    return num_out % num_in != 0 or channel_out % num_in == channel_in
