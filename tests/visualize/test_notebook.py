"""What notebooks show of a last line: text that is short, HTML without colours, figures as PNG."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

import cornu
from cornu import explain, visualize
from cornu import layers as L


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
