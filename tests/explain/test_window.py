"""Every number that `explain.window` explains is the model's own: all kinds of layers, drawn positions."""

import io
import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import rich.console
from kinds import CASES, IDS
from PIL import Image

import cornu
from cornu import layers as L
from cornu.explain import window


@pytest.mark.parametrize("shape, make", CASES, ids=IDS)
@hypothesis.settings(max_examples=3, deadline=None)
@hypothesis.given(data=st.data())
def test_every_kind_of_layer(shape, make, data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    layer = make()
    model = cornu.Sequential([cornu.Input(shape), layer])
    model.set_weights([random.uniform(-1, 1, w.shape) ** 2 for w in model.weights])
    x = random.standard_normal((2, *shape)).astype("float32")
    output = model.predict(x, verbose=0)[1]
    if getattr(layer, "data_format", "") == "channels_first":
        output = np.moveaxis(output, 0, -1)
    index = tuple(data.draw(st.integers(0, n - 1)) for n in output.shape)
    made = window(model, x, 0, index[:-1], index[-1], example=1)
    np.testing.assert_allclose(made.result, output[index], rtol=1e-4, atol=1e-5)
    if made.kernel is not None:
        assert made.kernel.shape == made.patch.shape
    # What is padding counts as zero, and all else is in the input.
    assert not made.patch[made.padding].any()
    seen = made.patch[~made.padding] if made.terms.origin else made.patch[:0]
    assert np.isin(seen.astype("float32"), x[1]).all()
    json.dumps(made.to_dict())
    assert made.layer in str(made)


MERGING = {
    L.Add: lambda a, b: a + b,
    L.Subtract: lambda a, b: a - b,
    L.Multiply: lambda a, b: a * b,
    L.Average: lambda a, b: (a + b) / 2,
    L.Maximum: np.maximum,
    L.Minimum: np.minimum,
}


@pytest.mark.parametrize("kind", MERGING)
def test_merging(kind):
    random = np.random.default_rng(0)
    a, b = cornu.Input((4, 3)), cornu.Input((1, 3))
    model = cornu.Model([a, b], kind()([a, b]))
    x = [random.standard_normal((2, 4, 3)), random.standard_normal((2, 1, 3))]
    made = window(model, x, model.layers[-1], 2, 1)
    assert made.result == pytest.approx(MERGING[kind](x[0][0, 2, 1], x[1][0, 0, 1]), rel=1e-5)


def test_concatenation_and_products_of_two():
    random = np.random.default_rng(0)
    a, b = cornu.Input((4,)), cornu.Input((4,))
    x = [random.standard_normal((1, 4)) for _ in "ab"]
    joined = window(cornu.Model([a, b], L.Concatenate()([a, b])), x, -1, (), 5)
    assert joined.result == pytest.approx(x[1][0, 1])
    product = window(cornu.Model([a, b], L.Dot(1)([a, b])), x, -1)
    assert product.result == pytest.approx(float(x[0][0] @ x[1][0]), rel=1e-5)


def test_what_it_prints():
    model = cornu.Sequential([cornu.Input((3, 3, 1)), L.Conv2D(1, 2, padding="same", name="conv")])
    model.set_weights([np.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1, 1), np.array([0.5])])
    made = window(model, np.arange(9.0).reshape(3, 3, 1), "conv", (2, 0))
    assert str(made).splitlines() == [
        "conv (Conv2D): output at (2, 0), channel 0",
        "  2 of 4 numbers are padding",
        "  sum of products = 6 × 1 + 7 × 2 + 0 × 3 + 0 × 4 = 20",
        "  bias            = 20 + 0.5 = 20.5",
        "  the model says 20.5",
    ]
    out = io.StringIO()
    rich.console.Console(file=out, width=80).print(made.table())
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert "│ │ 6 7 │ 1 2 │ 6 14 │".split() in rows
    assert "│ │ (0) (0) │ 3 4 │ (0) (0) │".split() in rows


def test_figures(tmp_path):
    model = cornu.Sequential([cornu.Input((9, 9, 6)), L.Conv2D(2, 3, padding="same"), L.Flatten()])
    x = np.ones((1, 9, 9, 6))
    figure = window(model, x, 0, (0, 0)).plot(tmp_path / "w.png")
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert titles[:3] == ["patch", "× kernel", "= products"]
    with Image.open(tmp_path / "w.png") as picture:
        assert picture.width > 500
    window(model, x, 1, (), 7).plot(tmp_path / "f.svg")
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")


class Doubled(L.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class Odd(L.Layer):
    def call(self, inputs):
        return inputs**3


def test_other_arithmetic_is_found_out():
    x = np.ones((1, 4, 4, 1))
    model = cornu.Sequential([cornu.Input((4, 4, 1)), Doubled(1, 3, name="own"), Odd(name="odd")])
    with pytest.raises(ArithmeticError, match=r"'own' \(Doubled\).*Does a subclass"):
        window(model, x, "own", (0, 0))
    with pytest.raises(NotImplementedError, match=r"'odd' \(Odd\) is not known"):
        window(model, x, "odd", (0, 0))


class Block(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = L.Conv2D(2, 3, padding="same", name="inside")

    def call(self, inputs):
        return inputs + self.conv(inputs)


class Own(cornu.Model):
    def __init__(self):
        super().__init__()
        self.block, self.flatten = Block(), L.Flatten()
        self.out = L.Dense(3, name="out")

    def call(self, inputs):
        return self.out(self.flatten(self.block(inputs)))


def test_any_model():
    """Subclassed ones, layers in layers, models in models, and layers that are used twice."""
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 2))
    model = Own()
    model(x)
    assert window(model, x, "inside", (4, 4), 1).padding.any()
    assert window(model, x, model.out, (), 2).kernel.shape == (50,)
    shared = L.Dense(2, name="shared")
    inner = cornu.Sequential([cornu.Input((2,)), shared], name="inner")
    start = cornu.Input((2,))
    nested = cornu.Model(start, shared(inner(start)))
    first, second = (window(nested, [3.0, 4.0], "shared", call=n) for n in (0, 1))
    assert first.patch.tolist() == [3, 4]
    assert second.patch[0] == pytest.approx(first.result, rel=1e-6)


def test_half_precision():
    layer = L.Conv2D(4, 3, dtype="mixed_bfloat16")
    model = cornu.Sequential([cornu.Input((6, 6, 2)), layer])
    x = np.random.default_rng(0).standard_normal((1, 6, 6, 2))
    assert window(model, x, 0, (1, 2), 3).result == pytest.approx(
        float(model.predict(x, verbose=0)[0, 1, 2, 3]), rel=2e-2, abs=2e-2
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layer": "pool"}, r"has not called a layer 'pool', but 'conv', 'flatten', 'out'\."),
        ({"layer": 7}, r"has 3 layers, and so no layer 7"),
        ({"position": (9, 9)}, r"\(4, 4\) positions with 2 channels each.*position=\(9, 9\)"),
        ({"position": 1}, r"position=\(1,\)"),
        ({"channel": 2}, "channel=2"),
        ({"layer": "out", "position": (0,)}, "no positions with 3 channels"),
        ({"example": 5}, r"no example 5 in inputs of the shape \(2, 6, 6, 1\)"),
        ({"call": 1}, r"'conv' was called 1 times; there is no call 1"),
    ],
)
def test_wrong_arguments(arguments, message):
    model = cornu.Sequential(
        [cornu.Input((6, 6, 1)), L.Conv2D(2, 3, name="conv"), L.Flatten(), L.Dense(3, name="out")]
    )
    given = {"layer": "conv", "position": (0, 0), **arguments}
    with pytest.raises(ValueError, match=message):
        window(model, np.ones((2, 6, 6, 1)), **given)
