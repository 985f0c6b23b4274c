"""Drawn models: every call has its box, arrows go downwards and cross no box, text stays inside."""

import inspect
import itertools
import re

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import cornu
from cornu import layers as L
from cornu.visualize import plot_model
from cornu.visualize.layout import arrange


def chain():
    return cornu.Sequential(
        [
            cornu.Input((28, 28, 1), name="image"),
            L.Conv2D(8, 3, activation="relu", name="conv"),
            L.MaxPooling2D(name="pool"),
            L.Flatten(name="flat"),
            L.Dense(10, name="out"),
        ]
    )


def branched():
    """Branches, a shared layer, a nested model, an operator, two inputs, two outputs."""
    x, other = cornu.Input((8, 8, 3), name="image"), cornu.Input((8, 8, 4), name="other")
    a = L.Conv2D(4, 3, padding="same", name="three")(L.Conv2D(2, 1, name="one")(x))
    b = L.Conv2D(4, 1, name="short")(x)
    y = L.Concatenate(name="join")([a, b, other])
    inner = cornu.Sequential(
        [cornu.Input((8, 8, 12)), L.Conv2D(12, 1, name="within")], name="block"
    )
    y = L.Add(name="sum")([y, inner(y)]) * 2.0
    shared = L.Dense(5, name="shared")
    y = L.GlobalAveragePooling2D(name="mean")(y)
    first, z = shared(y), shared(L.Dropout(0.1, name="drop")(y))
    return cornu.Model([x, other], [first, L.Dense(2, name="last")(z)])


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("make", [chain, branched])
def test_text_lies_in_its_box_and_boxes_do_not_touch(make, expand, rankdir):
    figure = plot_model(make(), None, expand_nested=expand, rankdir=rankdir)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [
        p.get_window_extent(renderer)
        for p in figure.axes[0].patches
        if type(p).__name__ == "FancyBboxPatch"
    ]
    for text in figure.axes[0].texts:
        extent = text.get_window_extent(renderer)
        assert any(
            b.x0 <= extent.x0 and extent.x1 <= b.x1 and b.y0 <= extent.y0 and extent.y1 <= b.y1
            for b in boxes
        ), text.get_text()
    for a, b in itertools.combinations(boxes, 2):
        nested = a.x0 < b.x0 and b.x1 < a.x1 and a.y0 < b.y0 and b.y1 < a.y1
        assert nested or not a.overlaps(b)
    for a, b in itertools.combinations(figure.axes[0].texts, 2):
        assert not a.get_window_extent(renderer).overlaps(b.get_window_extent(renderer))


def test_every_call_has_a_box():
    drawn = texts(plot_model(branched(), None))
    names = ["image", "other", "one", "three", "short", "join", "block", "sum", "multiply", "mean"]
    for name in [*names, "drop", "last"]:
        assert name in drawn
    assert drawn.count("shared") == 2 and "within" not in drawn
    assert "within" in texts(plot_model(branched(), None, expand_nested=True))


def test_what_boxes_say():
    model = chain()
    model.get_layer("conv").trainable = False
    drawn = texts(
        plot_model(model, None, show_dtype=True, show_activations=True, show_trainable=True)
    )
    assert {"26x26x8 · 80 params", "float32", "relu", "not trainable", "trainable"} <= set(drawn)
    plain = texts(plot_model(model, None, show_shapes=False, show_parameters=False))
    assert not any("params" in text or "x8" in text for text in plain)
    assert "conv" in plain and "Conv2D" in plain
    nameless = texts(plot_model(model, None, show_layer_names=False))
    assert "conv" not in nameless and "Conv2D" in nameless


def test_files(tmp_path):
    model = branched()
    for ending in ("png", "svg", "pdf", "html"):
        plot_model(model, tmp_path / f"m.{ending}")
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.width > 300 and picture.height > 600
    page = (tmp_path / "m.html").read_text()
    assert page.startswith("<!doctype html>")
    # Names of formats, and nothing that is loaded from anywhere.
    named = set(re.findall(r"https?://([^/\"]+)", page))
    assert named <= {"www.w3.org", "purl.org", "creativecommons.org", "matplotlib.org"}
    assert not re.search(r"(src|@import|url)\s*[=(]\s*[\"']?http", page)
    assert ">three<" in page
    text = plot_model(model, tmp_path / "m.txt", expand_nested=True)
    assert (tmp_path / "m.txt").read_text() == text + "\n"
    lines = text.splitlines()
    assert "  join (Concatenate)  8x8x12  from three, short, other" in lines
    assert "      within (Conv2D)  8x8x12 · 156 params" in lines


def test_the_name_that_keras_has(tmp_path):
    cornu.utils.plot_model(chain(), tmp_path / "k.png", show_shapes=True, dpi=50)
    assert (tmp_path / "k.png").stat().st_size > 2000
    ours, theirs = (
        {n: p.default for n, p in inspect.signature(k.utils.plot_model).parameters.items()}
        for k in (cornu, keras)
    )
    assert ours == {name: default for name, default in theirs.items() if name != "kwargs"}
    with pytest.raises(ValueError, match=r"model_to_dot\(model, splines='curved'\)"):
        cornu.utils.plot_model(chain(), tmp_path / "k.png", splines="curved")


class Own(cornu.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.out = L.Conv2D(4, 3, name="own_conv"), L.Dense(2, name="own_out")

    def call(self, x):
        return self.out(self.conv(x).mean((1, 2)))


def test_a_graph_for_graphviz():
    pydot = pytest.importorskip("pydot")
    inner = cornu.Sequential(
        [cornu.Input((4,)), L.Dense(3, name='a "b"\\'), L.ReLU()], name="inner"
    )
    start = cornu.Input((4,), name="start")
    model = cornu.Model(start, L.Add(name="sum")([inner(start), inner(2 * start)]), name="my model")
    dot = cornu.utils.model_to_dot(model, show_shapes=True, expand_nested=True, rankdir="LR")
    assert isinstance(dot, pydot.Dot) and dot.get("rankdir") == "LR"
    assert len(dot.get_subgraphs()) == 2 and len(dot.get_nodes()) == 3
    assert [len(frame.get_nodes()) for frame in dot.get_subgraphs()] == [3, 3]
    assert 'label="a \\"b\\"\\\\\\nDense\\n3"' in dot.to_string()
    ends = [(e.get("ltail") is not None, e.get("lhead") is not None) for e in dot.get_edges()]
    assert sorted(ends) == [
        (False, False),
        (False, True),
        (False, True),
        (True, False),
        (True, False),
    ]
    text = cornu.utils.model_to_dot(model, subgraph=True, show_layer_names=False).to_string()
    assert text.startswith("subgraph cluster_my_model") and "start" not in text and "Add" in text
    with pytest.raises(ValueError, match="not built yet"):
        cornu.utils.model_to_dot(cornu.Sequential([L.Dense(2)]))


def test_subclassed_models():
    model = Own()
    with pytest.raises(ValueError, match="Pass an example"):
        plot_model(model, None)
    drawn = texts(plot_model(model, None, x=np.zeros((1, 6, 6, 1))))
    # What `call` computes between its layers comes from nowhere that is known, and so not from the input.
    assert "computed" in drawn
    assert [t for t in drawn if t in ("input", "own_conv", "own_out")] == [
        "input",
        "own_conv",
        "own_out",
    ]


def test_names_that_would_be_markup(tmp_path):
    name = "a_$x^2$_<b>&"
    model = cornu.Sequential([cornu.Input((3,)), L.Dense(2, name=name)])
    plot_model(model, tmp_path / "m.html")
    assert name in texts(plot_model(model, None))
    assert "<b>" not in (tmp_path / "m.html").read_text()


def test_deep_models():
    model = cornu.Sequential([cornu.Input((4,)), *[L.Dense(4) for _ in range(150)]])
    assert len([t for t in texts(plot_model(model, None)) if t == "Dense"]) == 150


@pytest.mark.parametrize("seed", range(20))
def test_arrows_cross_no_box(seed):
    """Drawn graphs: downwards, with routes beside all boxes that they pass."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 14))
    sizes = [(float(w), float(h)) for w, h in random.uniform(20, 120, (count, 2))]
    edges = sorted(
        {(int(a), int(b)) for a, b in random.integers(0, count, (2 * count, 2)) if a < b}
    )
    nodes, routes, width, _ = arrange(sizes, edges)
    for a, b in itertools.combinations(nodes, 2):
        apart_x = abs(a.x - b.x) >= (a.width + b.width) / 2 - 1e-6
        assert apart_x or abs(a.y - b.y) >= (a.height + b.height) / 2 - 1e-6
    for (start, end), route in zip(edges, routes, strict=True):
        assert nodes[start].y < nodes[end].y
        for (x, top), (same, bottom) in zip(route[::2], route[1::2], strict=True):
            assert x == same and top <= bottom
            for node in nodes:
                beside = abs(node.x - x) >= node.width / 2
                assert beside or node.y - node.height / 2 > bottom or node.y + node.height / 2 < top
    assert all(p.x - p.width / 2 >= -1e-6 and p.x + p.width / 2 <= width + 1e-6 for p in nodes)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg.*m\.gif"):
        plot_model(chain(), tmp_path / "m.gif")
    with pytest.raises(ValueError, match="rankdir='BT'"):
        plot_model(chain(), None, rankdir="BT")
    with pytest.raises(ValueError, match="cycle"):
        arrange([(1, 1), (1, 1)], [(0, 1), (1, 0)])
