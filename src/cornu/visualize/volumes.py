"""A network as volumes, and as feature maps with the connections between them."""

import math
from itertools import pairwise

import numpy as np

from cornu.core.layer import Layer
from cornu.explain.observe import as_batch, calls, channel_axis, input_of, is_chain, shapes_of_calls
from cornu.visualize.figure import new_figure, save_figure, shortened, write_lines

_FACES = ("#bcd9ee", "#dcebf6", "#8fb9d8")
_VECTOR_FACES = ("#c3e6d3", "#e0f2e8", "#94c9ad")


def _volumes(model, x) -> list[tuple[str, str, tuple[int, int, int]]]:
    """Name, class and size (rows, columns, channels) of the input, and of each layer that changes it."""
    found = shapes_of_calls(model, None if x is None else as_batch(model, x))
    _need_chain(model, found)
    start, first = input_of(found)
    volumes = [("input", "", _size(start.shape, first))]
    for call in found:
        if not call.is_whole or not isinstance(call.operation, Layer):
            continue
        size = _size(getattr(call.outputs, "shape", (1,)), call.operation)
        if size != volumes[-1][2]:
            volumes.append((call.name, type(call.operation).__name__, size))
    return volumes


def _need_chain(model, found) -> None:
    """Raise ValueError for a model in which a layer does not get what the one before it has made."""
    if not is_chain(found):
        raise ValueError(
            f"Model {model.name} is no chain of layers: it branches, or computes something between them. "
            "`plot_model` draws it as it is."
        )


def _size(shape, operation) -> tuple[int, int, int]:
    sizes = tuple(shape)[1:]
    if getattr(operation, "data_format", "") == "channels_first" and len(sizes) > 1:
        sizes = (*sizes[1:], sizes[0])
    if len(sizes) <= 1:
        return 1, 1, math.prod(sizes)
    if len(sizes) == 2:
        return 1, sizes[0], sizes[1]
    return math.prod(sizes[:-2]), sizes[-2], sizes[-1]


def plot_volumes(model, path=None, x=None):
    """Draw a network as a row of boxes: how large the feature maps are, and how many.

    The height and the depth of a box are rows and columns, its width is the number of channels (all by
    their square roots, so that small ones can be seen). Vectors are green bars. Layers that leave the size
    as it is have no box of their own.

    Args:
        model: any built model.
        path: a PNG, PDF or SVG file to write; None writes none.
        x: an example, if the model does not know its input's shape.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if the model is not a chain of layers; `plot_model` draws one that branches.

    >>> import cornu
    >>> from cornu.visualize import plot_volumes
    >>> model = cornu.Sequential([cornu.Input((28, 28, 1)), cornu.layers.Conv2D(8, 5, name="conv")])
    >>> [text.get_text() for text in plot_volumes(model).axes[0].texts if text.get_text()]
    ['input', '28x28x1', 'conv', '24x24x8']
    """
    from matplotlib.patches import Polygon

    volumes = _volumes(model, x)
    largest = max(max(rows, columns) for _, _, (rows, columns, _) in volumes)
    unit = 1.9 / math.sqrt(max(largest, 1))
    boxes, right = [], 0.0
    for name, _, (rows, columns, channels) in volumes:
        is_vector = rows == columns == 1
        height = unit * math.sqrt(rows)
        depth = 0.35 * unit * math.sqrt(columns)
        width = 0.06 * math.sqrt(channels) + 0.05
        if is_vector:
            height, depth, width = min(0.35 + 0.06 * math.sqrt(channels), 2.4), 0.06, 0.12
        label = max(_width(name), _width(_label((rows, columns, channels))))
        slot = max(width + depth, label) + 0.3
        boxes.append((right + (slot - width - depth) / 2, width, height, depth, right + slot / 2))
        right += slot
    figure = new_figure(max(right + 0.2, 2.5), 3.4)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.1, max(right, 2.3) + 0.1)
    axes.set_ylim(-0.95, 2.75)
    axes.set_aspect("equal", adjustable="box")
    axes.set_axis_off()
    middle = 1.1
    before = None
    for (name, _, size), (left, width, height, depth, center) in zip(volumes, boxes, strict=True):
        low = middle - (height + depth) / 2
        faces = _VECTOR_FACES if size[:2] == (1, 1) else _FACES
        front = [(0, 0), (width, 0), (width, height), (0, height)]
        top = [
            (0, height),
            (width, height),
            (width + depth, height + depth),
            (depth, height + depth),
        ]
        side = [
            (width, 0),
            (width + depth, depth),
            (width + depth, height + depth),
            (width, height),
        ]
        for face, color in zip((front, top, side), faces, strict=True):
            corners = [(left + a, low + b) for a, b in face]
            axes.add_patch(Polygon(corners, facecolor=color, edgecolor="0.35", linewidth=0.9))
        if before is not None:
            axes.annotate(
                "",
                (left - 0.04, middle),
                (before + 0.04, middle),
                arrowprops={"arrowstyle": "-|>", "color": "0.55", "linewidth": 0.9},
            )
        before = left + width + depth
        write_lines(axes, center, -0.38, 0.26, (shortened(name, 24), _label(size)), 9)
    if path is not None:
        save_figure(figure, path)
    return figure


def _width(text: str) -> float:
    # An em of 9 points is an eighth of an inch; letters are narrower.
    return 0.078 * len(shortened(text, 24))


def _label(size) -> str:
    rows, columns, channels = size
    if rows == columns == 1:
        return f"{channels}"
    return f"{columns}x{channels}" if rows == 1 else f"{rows}x{columns}x{channels}"


def plot_connections(model, x, path=None, most=6, layers=8):
    """Draw the feature maps of an example, layer by layer, and lines between those that are connected.

    Each channel of a convolution sees all channels before it (of its group, if it has groups): one line is
    one kernel. Where a layer has more channels than are drawn, their number is written.

    Args:
        model: any built model.
        x: a batch, or one example; its first is drawn.
        path: a PNG, PDF or SVG file to write; None writes none.
        most: how many channels of a layer are drawn.
        layers: how many layers.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if the model is not a chain of layers.

    >>> import cornu, numpy as np
    >>> from cornu.visualize import plot_connections
    >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(3, 3, name="conv")])
    >>> figure = plot_connections(model, np.eye(8)[..., None])
    >>> len(figure.axes[0].lines)
    3
    """
    from matplotlib.patches import Rectangle

    found = calls(model, as_batch(model, x, 0))
    _need_chain(model, found)
    start, first = input_of(found)
    columns = [("input", "", _maps(start, first), None)]
    for call in found:
        if call.is_whole and hasattr(call.outputs, "shape"):
            maps = _maps(call.outputs, call.operation)
            columns.append((call.name, type(call.operation).__name__, maps, call.operation))
    columns = columns[: layers + 1]
    side, gap, step = 0.62, 0.16, 1.75
    tallest = max(min(len(maps), most) for _, _, maps, _ in columns)
    height = tallest * (side + gap) + 1.0
    figure = new_figure(step * len(columns), height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, step * len(columns))
    axes.set_ylim(0, height)
    axes.set_axis_off()
    centers: list[list[float]] = []
    for n, (name, kind, maps, _) in enumerate(columns):
        count = min(len(maps), most)
        middle, left = (height - 0.7) / 2, step * n + (step - side) / 2
        low, high = float(maps.min()), float(maps.max())
        own = []
        for channel in range(count):
            y = middle + ((count - 1) / 2 - channel) * (side + gap)
            own.append(y)
            axes.imshow(
                maps[channel],
                cmap="viridis",
                vmin=low,
                vmax=high if high > low else low + 1,
                extent=(left, left + side, y - side / 2, y + side / 2),
                aspect="auto",
                zorder=2,
            )
            axes.add_patch(
                Rectangle((left, y - side / 2), side, side, fill=False, edgecolor="0.3", zorder=3)
            )
        centers.append(own)
        more = len(maps) - count
        words = (shortened(name, 20), kind, f"{more} more channels" if more else "")
        write_lines(axes, step * (n + 0.5), height - 0.16, 0.17, words, 8)
    for n, (first, second) in enumerate(pairwise(centers)):
        layer, before, after = columns[n + 1][3], columns[n][2], columns[n + 1][2]
        right, left = step * (n + 0.5) + side / 2, step * (n + 1.5) - side / 2
        for a, from_y in enumerate(first):
            for b, to_y in enumerate(second):
                if _sees(layer, a, b, len(before), len(after)):
                    axes.plot([right, left], [from_y, to_y], color="0.6", linewidth=0.6, zorder=1)
    if path is not None:
        save_figure(figure, path)
    return figure


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
