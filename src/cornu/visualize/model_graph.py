"""A model drawn as a graph of boxes: `plot_model`."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import jax

from cornu.core.symbolic import node_of
from cornu.explain.observe import INPUT, as_batch, shapes_of_calls
from cornu.saving.atomic import replacing
from cornu.visualize.figure import new_figure, save_figure, save_page, shortened
from cornu.visualize.layout import arrange

_SIZE, _LINE, _MARGIN = 9.0, 13.0, 8.0
_LONGEST_NAME = 40
# Pale enough for black text, and distinct in grayscale: by kind of layer, which the box names too.
_FILLS = (
    ("Input", "#ffffff"),
    ("Conv", "#bcd9ee"),
    ("Pool", "#fbd9b5"),
    ("Dense", "#c3e6d3"),
    ("Embedding", "#c3e6d3"),
    ("Normalization", "#e4d4e8"),
)
_OTHER, _FRAME = "#eeeeee", "#fafafa"


@dataclass
class Box:
    """What is drawn for one call of a layer."""

    name: str
    kind: str
    lines: list[str]
    is_shared: bool = False
    inner: "Diagram | None" = None


@dataclass
class Diagram:
    """Boxes, and the pairs of their numbers between which there are arrows."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)


def plot_model(
    model,
    path="model.png",
    x=None,
    expand_nested=False,
    show_shapes=True,
    show_parameters=True,
    show_dtype=False,
    show_activations=False,
    show_trainable=False,
    rankdir="TB",
    dpi=120,
    show_layer_names=True,
):
    """Draw a model: a box for each call of a layer, arrows between them. Needs no Graphviz.

    A layer that is called several times has a box for each call, with a dashed border. Boxes have colours
    by kind: convolution blue, pooling orange, dense green, normalization violet.

    Args:
        model: any built model.
        path: the file to write, by its ending: `.png`, `.svg`, `.pdf`, `.html` (a page with the
            drawing), or `.txt` (a list); None writes none.
        x: an example, for a subclassed model: its calls are drawn, as they come.
        expand_nested: whether to draw what is in a model within the model, in a frame.
        show_shapes: whether to write shapes of outputs.
        show_parameters: whether to write parameter counts.
        show_dtype: whether to write dtypes of outputs.
        show_activations: whether to write activations.
        show_trainable: whether to write which layers may change in training.
        rankdir: `"TB"` from top to bottom, or `"LR"` from left to right.
        dpi: pixels an inch, for PNG.
        show_layer_names: whether boxes have the layers' names, and not their classes alone.

    Returns:
        a matplotlib `Figure`; for `.txt` the text.

    Raises ValueError for another ending or `rankdir`, or a subclassed model without an example.

    Source: Keras: plot_model.

    >>> import cornu
    >>> from cornu.visualize import plot_model
    >>> model = cornu.Sequential([cornu.Input((4,), name="start"), cornu.layers.Dense(2, name="out")])
    >>> figure = plot_model(model, None)
    >>> [text.get_text() for text in figure.axes[0].texts if "params" in text.get_text()]
    ['2 · 10 params']
    """
    suffix = Path(path).suffix.lower() if path is not None else ".png"
    if suffix not in (".png", ".svg", ".pdf", ".html", ".txt"):
        raise ValueError(
            f"Models are drawn into .png, .svg, .pdf, .html and .txt files. Received: path={path}"
        )
    if rankdir not in ("TB", "LR"):
        raise ValueError(f"`rankdir` must be 'TB' or 'LR'. Received: rankdir={rankdir!r}")

    lines = lines_of(show_shapes, show_parameters, show_dtype, show_activations, show_trainable)
    diagram = diagram_of(model, x, expand_nested, lines)
    if suffix == ".txt":
        text = f"{model.name} ({type(model).__name__})\n" + "\n".join(_text_of(diagram, ""))
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return text
    if not show_layer_names:
        take_names_off(diagram)
    figure = _draw(diagram, rankdir == "LR", dpi)
    if path is not None and suffix == ".html":
        _save_page(figure, Path(path), model.name)
    elif path is not None:
        save_figure(figure, path)
    return figure


# ---- what there is to draw


def lines_of(shapes: bool, parameters: bool, dtype: bool, activations: bool, trainable: bool):
    """The function of a layer and its outputs that gives the lines in its box, below the names."""

    def lines(operation, outputs) -> list[str]:
        found = []
        parts = []
        if shapes:
            parts.append(_shape_text(outputs))
        if parameters and (count := _num_parameters(operation)):
            parts.append(f"{count:,} params")
        if parts:
            found.append(" · ".join(parts))
        if dtype:
            found.append(", ".join(str(o.dtype) for o in jax.tree.leaves(outputs)))
        activation = getattr(operation, "activation", None)
        if activations and activation is not None:
            found.append(getattr(activation, "__name__", type(activation).__name__))
        if trainable and getattr(operation, "weights", None):
            found.append("trainable" if operation.trainable else "not trainable")
        return found

    return lines


def _shape_text(outputs) -> str:
    shapes = [tuple(o.shape)[1:] for o in jax.tree.leaves(outputs)]
    return ", ".join("x".join("?" if n is None else str(n) for n in s) or "1" for s in shapes)


def diagram_of(model, x, expand: bool, lines) -> Diagram:
    """The boxes and arrows of a model; see `plot_model` for the arguments."""
    if getattr(model, "_graph", None) is None:
        return _diagram_of_calls(model, x, lines)
    graph = model._graph
    diagram, number = Diagram(), {id(node): n for n, node in enumerate(graph.nodes)}
    counts: dict[int, int] = {}
    for node in graph.nodes:
        counts[id(node.operation)] = counts.get(id(node.operation), 0) + 1
    for node in graph.nodes:
        operation = node.operation
        box = _box(operation, node.outputs, lines, counts[id(operation)] > 1)
        if expand and getattr(operation, "_graph", None) is not None:
            box.inner = diagram_of(operation, None, expand, lines)
        diagram.boxes.append(box)
        if not graph._is_start(node):
            parents = dict.fromkeys(id(node_of(tensor)) for tensor in node.input_tensors)
            diagram.edges += [(number[p], number[id(node)]) for p in parents]
    return diagram


def _diagram_of_calls(model, x, lines) -> Diagram:
    found = shapes_of_calls(model, None if x is None else as_batch(model, x))
    diagram, number = Diagram([Box("input", "Input", [])]), {INPUT: 0}
    for n, call in enumerate(found):
        if not call.is_whole:
            continue
        shared = sum(c.operation is call.operation for c in found) > 1
        diagram.boxes.append(_box(call.operation, call.outputs, lines, shared))
        number[n] = len(diagram.boxes) - 1
        for maker in dict.fromkeys(call.makers):
            if maker not in number:
                # What the model's own code made between its layers: from where, is not known.
                diagram.boxes.append(Box("computed", "in call()", []))
                diagram.edges.append((len(diagram.boxes) - 1, number[n]))
            else:
                diagram.edges.append((number[maker], number[n]))
    return diagram


def _box(operation, outputs, lines, is_shared: bool) -> Box:
    kind = type(operation).__name__
    if kind == "FunctionOperation":
        kind = operation.function_name
    return Box(operation.name, kind, lines(operation, outputs), is_shared)


def _num_parameters(operation) -> int:
    return sum(math.prod(w.shape) for w in getattr(operation, "weights", []))


def _text_of(diagram: Diagram, indent: str) -> list[str]:
    sources: dict[int, list[int]] = {}
    for start, end in diagram.edges:
        sources.setdefault(end, []).append(start)
    texts = []
    for n, box in enumerate(diagram.boxes):
        text = f"{indent}  {box.name} ({box.kind})"
        text += "".join(f"  {line}" for line in box.lines)
        if sources.get(n, [n - 1]) != [n - 1]:
            text += "  from " + ", ".join(diagram.boxes[s].name for s in sources[n])
        texts.append(text)
        if box.inner is not None:
            texts += _text_of(box.inner, indent + "    ")
    return texts


# ---- drawing


def _width_of(text: str, weight="normal") -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return (
        TextPath((0, 0), text, size=_SIZE, prop=FontProperties(weight=weight)).get_extents().width
    )


def _titles(box: Box) -> list[str]:
    return [shortened(title, _LONGEST_NAME) for title in (box.name, box.kind) if title]


def take_names_off(diagram: Diagram) -> None:
    """Let boxes show kinds of layers alone."""
    for box in diagram.boxes:
        box.name = ""
        if box.inner is not None:
            take_names_off(box.inner)


class _Laid:
    """A diagram with coordinates, from its upper left corner."""

    width: float
    height: float

    def __init__(self, diagram: Diagram, sideways: bool):
        self.diagram = diagram
        self.inner = [
            _Laid(b.inner, sideways) if b.inner is not None else None for b in diagram.boxes
        ]
        sizes = []
        for box, inner in zip(diagram.boxes, self.inner, strict=True):
            texts = [*_titles(box), *box.lines]
            width = max(_width_of(t, "bold" if t is texts[0] else "normal") for t in texts)
            height = _LINE * len(texts)
            if inner is not None:
                width, height = max(width, inner.width), height + inner.height + _MARGIN
            sizes.append((width + 2 * _MARGIN, height + _MARGIN))
        turned = [(h, w) for w, h in sizes] if sideways else sizes
        nodes, routes, self.width, self.height = arrange(turned, diagram.edges)
        self.boxes = [(p.x, p.y) for p in nodes]
        self.routes: list[list[tuple[float, float]]] = []
        for (start, end), between in zip(diagram.edges, routes, strict=True):
            a, b = nodes[start], nodes[end]
            first, last = (a.x, a.y + a.height / 2), (b.x, b.y - b.height / 2)
            self.routes.append([first, *between, last])
        self.sizes = sizes
        if sideways:
            self.width, self.height = self.height, self.width
            self.boxes = [(y, x) for x, y in self.boxes]
            self.routes = [[(y, x) for x, y in route] for route in self.routes]


def _draw(diagram: Diagram, sideways: bool, dpi: int):
    laid = _Laid(diagram, sideways)
    width, height = laid.width + 2 * _MARGIN, laid.height + 2 * _MARGIN
    figure = new_figure(max(width, 60) / 72, max(height, 40) / 72)
    # No image has more pixels on a side than files can hold.
    figure.set_dpi(min(dpi, 30000 * 72 / max(width, height)))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, max(width, 60))
    axes.set_ylim(max(height, 40), 0)
    axes.set_axis_off()
    _draw_laid(axes, laid, _MARGIN, _MARGIN, sideways)
    return figure


def _draw_laid(axes, laid: _Laid, left: float, top: float, sideways: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    for route in laid.routes:
        _draw_edge(axes, [(left + x, top + y) for x, y in route], sideways)
    for box, inner, (x, y), (width, height) in zip(
        laid.diagram.boxes, laid.inner, laid.boxes, laid.sizes, strict=True
    ):
        corner = left + x - width / 2, top + y - height / 2
        fill = next((color for word, color in _FILLS if word in box.kind), _OTHER)
        axes.add_patch(
            FancyBboxPatch(
                corner,
                width,
                height,
                boxstyle="round,pad=0,rounding_size=4",
                facecolor=_FRAME if inner is not None else fill,
                edgecolor="0.35",
                linewidth=1.0,
                linestyle="--" if box.is_shared else "-",
            )
        )
        line = corner[1] + _MARGIN / 2 + _LINE / 2
        for n, text in enumerate([*_titles(box), *box.lines]):
            axes.text(
                corner[0] + width / 2,
                line,
                text,
                ha="center",
                va="center_baseline",
                fontsize=_SIZE,
                weight="bold" if n == 0 else "normal",
                color="black" if n != 1 else "0.3",
                parse_math=False,
            )
            line += _LINE
        if inner is not None:
            inner_left = corner[0] + (width - inner.width) / 2
            _draw_laid(axes, inner, inner_left, line - _LINE / 2 + _MARGIN / 2, sideways)


def _draw_edge(axes, points, sideways: bool) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Curve

    vertices, codes = [points[0]], [Curve.MOVETO]
    for n, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        if n % 2:
            vertices.append((to_x, to_y))
            codes.append(Curve.LINETO)
            continue
        if sideways:
            half = (x + to_x) / 2
            vertices += [(half, y), (half, to_y), (to_x, to_y)]
        else:
            half = (y + to_y) / 2
            vertices += [(x, half), (to_x, half), (to_x, to_y)]
        codes += [Curve.CURVE4] * 3
    axes.add_patch(PathPatch(Curve(vertices, codes), fill=False, edgecolor="0.45", linewidth=1.0))
    x, y = points[-1]
    back, side = 6.0, 3.0
    tip = [(x, y), (x - back, y - side), (x - back, y + side)]
    if not sideways:
        tip = [(x, y), (x - side, y - back), (x + side, y - back)]
    axes.add_patch(Polygon(tip, closed=True, color="0.45", linewidth=0))


def _save_page(figure, path: Path, title: str) -> None:
    import io

    import matplotlib

    drawing = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg")
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :]
    width = math.ceil(figure.get_figwidth() * 96)
    style = f"svg {{ max-width: 100%; height: auto; width: {width}px; }}"
    save_page(path, title, style, svg)
