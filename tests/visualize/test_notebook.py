"""What notebooks show of a last line: text that is short, HTML without colours, figures as PNG."""

import base64
import io
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cornu
from cornu import explain, visualize
from cornu import layers as L

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tools"))

import notebooks


@pytest.fixture(scope="module")
def model():
    model = cornu.Sequential(
        [cornu.Input((6, 6, 1)), L.Conv2D(2, 3, name="conv"), L.Flatten(), L.Dense(2, name="<out>")]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


X, Y = np.ones((3, 6, 6, 1), "float32"), np.ones((3, 2), "float32")


def test_objects_are_short_as_text_and_whole_as_html(model):
    history = model.fit(X, Y, epochs=2, verbose=0)
    shown = {
        "<Window of conv, at (1, 2), channel 1": explain.window(model, X, "conv", (1, 2), 1),
        "<Arithmetic of 3 layers: 86 parameters": explain.arithmetic(model),
        "<Fields of ": explain.receptive_field(model),
        "<Gradient of conv, (1, 2), channel 1": explain.gradient(model, X, Y, "conv", (1, 2), 1),
        "<WeightGradient of kernel[0, 0, 0, 1] of conv": explain.weight_gradient(
            model, X, Y, "conv", (0, 0, 0, 1)
        ),
        "<Update of kernel[0, 0, 0, 1]: ": explain.update(model, X, Y, "conv", (0, 0, 0, 1)),
        "<History of 2 epochs: loss=": history,
        "<Adam learning_rate=0.001>": model.optimizer,
        "<Sequential name=": model,
        "<Dense name=<out>, built=True>": model.layers[-1],
        "<Dense name=new, built=False>": L.Dense(2, name="new"),
    }
    for start, value in shown.items():
        assert repr(value).startswith(start) and len(repr(value)) < 120
        html = value._repr_html_()
        assert html.startswith(("<pre", "<table")) and "color" not in html
        assert "<out>" not in html
    assert "Param #" in model._repr_html_()
    assert "<td>learning_rate</td><td>0.001</td>" in model.optimizer._repr_html_()
    assert "Total params" in model._repr_html_() and "&lt;out&gt;" in model._repr_html_()
    assert history._repr_html_().count("<tr>") == 3
    assert "no weights" in model.layers[1]._repr_html_()
    scaled = cornu.optimizers.LossScaleOptimizer(cornu.optimizers.SGD(0.5))
    assert repr(scaled) == "<LossScaleOptimizer learning_rate=0.5>"
    several = cornu.optimizers.MultiOptimizer(cornu.optimizers.OptimizerMap(scaled.inner_optimizer))
    assert repr(several) == "<MultiOptimizer>"
    assert "not built" in L.Dense(2)._repr_html_()


def test_figures_show_themselves(model):
    figure = visualize.plot_feature_maps(explain.feature_maps(model, X, "conv")[0])
    image = Image.open(io.BytesIO(figure._repr_png_()))
    assert image.format == "PNG" and min(image.size) > 100
    assert pickle.loads(pickle.dumps(figure)).axes


def executed(folder, monkeypatch):
    """The outputs of a lesson's notebook by cell, with 200 small pictures in the place of MNIST's."""
    (x, y), _ = cornu.datasets.digits.load_data()
    x = np.pad(np.kron(x[:250], np.ones((3, 3), "uint8")), ((0, 0), (2, 2), (2, 2)))
    parts = {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:250]}
    np.savez(folder / "mnist.npz", **parts)
    monkeypatch.setenv("CORNU_DATA_DIR", str(folder))
    notebook = notebooks.notebook_of("mnist_lecture")
    changes = {
        "epochs = 15": "epochs = 3",
        "verbose=verbose\n": "verbose=verbose, callbacks=[keras.visualize.LiveCurves()]\n",
        "import cornu as": "import cornu.visualize, cornu as",
    }
    for cell in notebook.cells:
        for old, new in changes.items():
            cell.source = cell.source.replace(old, new)
    notebooks.run(notebook, folder, timeout=120)
    return {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def test_a_lesson_in_a_notebook(tmp_path, monkeypatch):
    cells = executed(tmp_path, monkeypatch)

    def outputs(part):
        return next(found for source, found in cells.items() if part in source)

    # The bar and its epoch are one piece each, and only its end is kept; the curves are one picture.
    *pieces, history = outputs("model.fit(")
    bars = [p.data["text/plain"] for p in pieces if "image/png" not in p.data]
    curves = [p.data for p in pieces if "image/png" in p.data]
    plain = [re.sub(r"\x1b\[\d*m", "", bar).splitlines() for bar in bars]
    assert [bar[0] for bar in plain] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert all(re.fullmatch(r"2/2 ━{20} \d+s .* - val_loss: [\d.e+-]+", bar[1]) for bar in plain)
    assert "\b" not in "".join(bars) and "\r" not in "".join(bars)
    assert [data["text/plain"] for data in curves] == ["<curves of 3 epochs>"]
    assert Image.open(io.BytesIO(base64.b64decode(curves[0]["image/png"]))).width > 500
    assert history.data["text/html"].count("<tr>") == 4
    for part, kind in {
        "plot_history": "image/png",
        "plot_feature_maps": "image/png",
        "explain.window": "text/html",
        "explain.weight_gradient": "text/html",
    }.items():
        assert kind in outputs(part)[-1].data
    (card,) = outputs("explorer.explore")
    # The page in a frame, and in its place, where there is no kernel, what to do and a picture.
    html, _, png = card.data["text/html"].partition("base64,")
    assert re.search(r'href="http://127.0.0.1:\d+/#[\w-]{32}".*<object data="http://127', html)
    assert "cornu explore" in html and "color" not in html and "<script" not in html
    picture = Image.open(io.BytesIO(base64.b64decode(png.split('"')[0])))
    assert picture.width > 500 and len(png) < 100_000


def test_the_notebooks_are_what_their_scripts_give():
    assert notebooks.differences() == []
    for lesson in notebooks.LESSONS:
        file = notebooks.EXAMPLES / f"{lesson}.ipynb"
        assert file.stat().st_size < 300_000
        outputs = [c.outputs for c in notebooks.read(file).cells if c.cell_type == "code"]
        assert any(outputs) and not any(
            o.output_type == "error" for found in outputs for o in found
        )


def test_live_curves_in_a_file(model, tmp_path):
    with pytest.raises(ValueError, match=r"this is not a notebook.*LiveCurves\('curves.png'\)"):
        model.fit(X, Y, verbose=0, callbacks=[visualize.LiveCurves()])
    curves = visualize.LiveCurves(tmp_path / "live.png")
    model.fit(X, Y, epochs=5, verbose=0, callbacks=[curves], validation_data=(X, Y))
    with Image.open(tmp_path / "live.png") as picture:
        assert picture.format == "PNG"
