"""The formulas of a summary: they give what they say, and what the model has."""

import re

import numpy as np
import pytest

import cornu
from cornu import layers as L
from cornu.explain import arithmetic


def value(formula: str) -> int:
    """What a formula without its result comes to."""
    left, right = formula.rsplit(" = ", 1)
    assert re.fullmatch(r"[\d()*/+\- flor]+", left), left
    result = eval(left, {"floor": np.floor})
    assert result == int(right.replace(",", "")), formula
    return int(result)


def image_model():
    x = cornu.Input((29, 27, 4))
    layers = [
        L.Conv2D(32, (5, 3), activation="relu"),
        L.Conv2D(8, 3, padding="same", strides=2, groups=2, use_bias=False),
        L.MaxPooling2D(3, 2, padding="same"),
        L.Conv2D(6, 2, dilation_rate=2),
        L.BatchNormalization(scale=False),
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        L.SeparableConv2D(5, 2),
        L.Conv2DTranspose(3, 3, strides=2, padding="same"),
        L.Conv2DTranspose(3, 3, strides=2, dilation_rate=1),
        L.LayerNormalization(),
        L.Flatten(),
        L.Dense(7),
        L.Dense(3, use_bias=False),
    ]
    y = x
    for layer in layers:
        y = layer(y)
    return cornu.Model(x, y)


def first_image_model():
    return cornu.Sequential(
        [
            cornu.Input((3, 15, 12)),
            L.Conv2D(4, 3, data_format="channels_first"),
            L.AveragePooling2D(2, data_format="channels_first"),
        ]
    )


def signal_model():
    return cornu.Sequential(
        [
            cornu.Input((33,), dtype="int32"),
            L.Embedding(50, 6),
            L.Conv1D(4, 3, padding="causal", dilation_rate=2),
            L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
            L.Dense(2),
        ]
    )


def nested_model():
    inner = cornu.Sequential([cornu.Input((8,)), L.Dense(8)], name="inner")
    x = cornu.Input((8,))
    return cornu.Model(x, inner(inner(x)))


@pytest.mark.parametrize("make", [image_model, first_image_model, signal_model, nested_model])
def test_formulas_come_to_what_the_model_has(make):
    model = make()
    found = arithmetic(model)
    assert found.num_parameters == model.count_params()
    for row in found.rows:
        sizes = {value(text) for text in row.sizes}
        assert sizes <= set(row.output_shape)
        if row.parameters:
            assert value(row.parameters) == row.num_parameters
        if row.sizes and row.kind != "Flatten":
            spatial = row.output_shape[:-1]
            if make is first_image_model:
                spatial = row.output_shape[1:]
            assert sizes == set(spatial)
        assert row.num_bytes == 4 * np.prod(row.output_shape)


def test_the_lessons_formulas():
    model = cornu.Sequential(
        [cornu.Input((28, 28, 1)), L.Conv2D(32, 5), L.MaxPooling2D(), L.Conv2D(64, 5)]
    )
    first, pool, second = arithmetic(model).rows
    assert first.sizes == ["(28 - 5 + 2*0)/1 + 1 = 24"]
    assert second.parameters == "(5*5*32 + 1)*64 = 51,264"
    assert (pool.parameters, pool.multiply_adds) == ("", 0)
    assert second.multiply_adds == 8 * 8 * 5 * 5 * 32 * 64


def multiply_adds_by_counting(layer, shape):
    """One for each weight that a number meets: with all ones, the sum of the outputs."""
    model = cornu.Sequential([cornu.Input(shape), layer])
    model.set_weights(
        [np.zeros(w.shape) if "bias" in w.path else np.ones(w.shape) for w in model.weights]
    )
    return arithmetic(model).multiply_adds, round(float(model(np.ones((1, *shape))).sum()))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (L.Conv2D(6, 3, strides=2, groups=2), (9, 8, 4)),
        (L.Conv1D(3, 3, dilation_rate=2), (9, 4)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (9, 8, 4)),
        (L.Conv2DTranspose(3, 3, strides=2), (4, 5, 2)),
        (L.Dense(5), (3, 4)),
        (L.EinsumDense("abc,cde->abde", (None, 2, 3)), (5, 4)),
    ],
)
def test_multiply_adds_are_counted(layer, shape):
    said, counted = multiply_adds_by_counting(layer, shape)
    assert said == counted


def test_a_layer_that_is_called_on_every_step():
    inner = L.Conv2D(2, 3)
    model = cornu.Sequential([cornu.Input((4, 8, 8, 1)), L.TimeDistributed(inner)])
    (row,) = arithmetic(model).rows
    assert row.multiply_adds == 4 * 6 * 6 * 2 * 9 and row.num_bytes == 4 * 4 * 6 * 6 * 2


def test_what_it_prints(capsys):
    model = image_model()
    model.compile("sgd", "mse")
    text = str(arithmetic(model))
    assert "For one example:" in text and "%" in text
    assert all(len(line) <= 108 for line in text.splitlines())
    lines = []
    model.summary(explain=True, print_fn=lines.append)
    assert "Total params" in lines[0] and "(29 - 5 + 2*0)/1 + 1" in lines[0].replace("\xa0", " ")
    model.summary(explain=True)
    assert "multiply-adds" in capsys.readouterr().out


def test_models_that_do_not_know_their_shape():
    class Own(cornu.Model):
        def __init__(self):
            super().__init__()
            self.conv = L.Conv2D(2, 3)

        def call(self, x):
            return self.conv(x)

    model = Own()
    with pytest.raises(ValueError, match="does not know the shape of its inputs"):
        arithmetic(model)
    assert arithmetic(model, np.zeros((1, 5, 5, 1))).rows[0].output_shape == (3, 3, 2)


def test_recurrent_layers_multiply_in_each_step():
    model = cornu.Sequential(
        [
            L.Input((4, 3)),
            L.Bidirectional(L.LSTM(2, return_sequences=True)),
            L.GRU(5),
            L.Reshape((1, 5, 1)),
            L.ConvLSTM1D(2, 3, padding="same"),
        ]
    )
    rows = arithmetic(model).rows
    counts = [row.multiply_adds for row in rows]
    # Both layers of `Bidirectional` have a row.
    assert counts[:2] == [4 * (3 * 8 + 2 * 8)] * 2
    assert counts[2:] == [4 * (4 * 15 + 5 * 15), 0, 5 * (3 * 1 * 8 + 3 * 2 * 8)]
    assert rows[2].parameters == "4*15 + 5*15 + 2*15 = 165"
