"""A network as a row of volumes."""

import math

from cornu.core.layer import Layer
from cornu.explain.observe import as_batch, input_of, is_chain, shapes_of_calls
from cornu.visualize.figure import new_figure, save_figure, shortened, write_lines

# Front, top and side; colours are for numbers.
_FACES = ("#e4e6e8", "#f3f4f5", "#c9cdd1")
_VECTOR_FACES = ("#adb3ba", "#c9cdd1", "#868c93")


def _volumes(model, x) -> list[tuple[str, str, tuple[int, int, int]]]:
    """Name, class and size (rows, columns, channels) of the input, and of each layer that changes it."""
    found = shapes_of_calls(model, None if x is None else as_batch(model, x))
    need_chain(model, found)
    start, first = input_of(found)
    volumes = [("input", "", _size(start.shape, first))]
    for call in found:
        if not call.is_whole or not isinstance(call.operation, Layer):
            continue
        size = _size(getattr(call.outputs, "shape", (1,)), call.operation)
        if size != volumes[-1][2]:
            volumes.append((call.name, type(call.operation).__name__, size))
    return volumes


def need_chain(model, found) -> None:
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
    their square roots, so that small ones can be seen). Vectors are dark bars. Layers that leave the size
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
