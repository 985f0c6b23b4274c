"""A model as a graph that Graphviz draws: `model_to_dot`."""

import re

from cornu.core.optional import required
from cornu.visualize.model_graph import Box, Diagram, diagram_of, lines_of, take_names_off


def model_to_dot(
    model,
    show_shapes,
    show_dtype,
    show_layer_names,
    rankdir,
    expand_nested,
    dpi,
    subgraph,
    show_activations,
    show_trainable,
    splines,
):
    """A model as a `pydot.Dot`, or as a `pydot.Cluster` for `subgraph`; see `utils.model_to_dot`."""
    pydot = required("pydot", "`model_to_dot`")
    if not model.built:
        raise ValueError(
            f"The model '{model.name}' is not built yet: call `build()`, or the model on a batch of data."
        )
    lines = lines_of(show_shapes, False, show_dtype, show_activations, show_trainable)
    if getattr(model, "_graph", None) is None:
        diagram = Diagram([Box(model.name, type(model).__name__, [])])
    else:
        diagram = diagram_of(model, None, expand_nested, lines)
    if not show_layer_names:
        take_names_off(diagram)
    name = re.sub(r"\W", "_", model.name)
    if subgraph:
        graph = pydot.Cluster(name, label=_quoted(model.name), style="dashed")
    else:
        # With `compound`, arrows may end at a frame.
        graph = pydot.Dot(name, rankdir=rankdir, dpi=dpi, splines=splines, compound=True)
    _fill(pydot, graph, diagram, name)
    return graph


def _fill(pydot, graph, diagram: Diagram, prefix: str) -> None:
    """Add boxes and arrows; the names of boxes in frames begin with those of the frames."""
    for number, box in enumerate(diagram.boxes):
        name = f"{prefix}_{number}"
        text = _quoted("\n".join(part for part in (box.name, box.kind, *box.lines) if part))
        if box.inner is None:
            graph.add_node(pydot.Node(name, label=text, shape="box"))
        else:
            frame = pydot.Cluster(name, label=text, style="dashed")
            _fill(pydot, frame, box.inner, name)
            graph.add_subgraph(frame)
    for start, end in diagram.edges:
        tail, head = diagram.boxes[start], diagram.boxes[end]
        ends = {}
        if tail.inner is not None:
            ends["ltail"] = f"cluster_{prefix}_{start}"
        if head.inner is not None:
            ends["lhead"] = f"cluster_{prefix}_{end}"
        last, first = _inside(tail, f"{prefix}_{start}", -1), _inside(head, f"{prefix}_{end}", 0)
        graph.add_edge(pydot.Edge(last, first, **ends))


def _inside(box: Box, name: str, position: int) -> str:
    """The name of a box, or of the first or last in a frame."""
    while box.inner is not None:
        name = f"{name}_{range(len(box.inner.boxes))[position]}"
        box = box.inner.boxes[position]
    return name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
