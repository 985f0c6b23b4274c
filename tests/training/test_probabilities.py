"""A last layer that does not fit a cross-entropy is named before training, once; what may fit is not."""

import warnings

import jax
import numpy as np
import pytest

import cornu as keras
from cornu import layers, losses

X = np.random.RandomState(0).rand(4, 6).astype("float32")
LABELS = np.arange(4) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def sequential(*last):
    return keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu"), *last])


def subclassed(layer):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = layer

        def call(self, x):
            return self.last(x)

    return Own()


def functional(last):
    inputs = keras.Input((6,))
    return keras.Model(inputs, last(layers.Dense(3)(inputs)))


def messages(model, loss, y):
    model.compile("sgd", loss, run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, verbose=0)
        model.fit(X, y, verbose=0)
        model.evaluate(X, y, verbose=0)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "model, loss, y, wanted",
    [
        (
            sequential(layers.Dense(3, name="last")),
            "categorical_crossentropy",
            ONE_HOT,
            [
                "'last' ends with linear",
                "activation='softmax'",
                "CategoricalCrossentropy(from_logits",
            ],
        ),
        (
            sequential(layers.Dense(3, activation="relu"), layers.Dropout(0.5)),
            losses.sparse_categorical_crossentropy,
            LABELS,
            ["ends with relu", "losses.SparseCategoricalCrossentropy(from_logits=True)"],
        ),
        (
            sequential(layers.Dense(3), layers.Activation("tanh", name="last")),
            losses.CategoricalFocalCrossentropy(),
            ONE_HOT,
            ["'last' ends with tanh", "CategoricalFocalCrossentropy(from_logits"],
        ),
        (
            sequential(layers.Reshape((5, 1)), layers.Conv1D(1, 5), layers.Flatten()),
            losses.binary_crossentropy,
            LABELS % 2,
            ["ends with linear", "activation='sigmoid'", "losses.BinaryCrossentropy(from_logits"],
        ),
        (
            subclassed(sequential(layers.Dense(3))),
            "sparse_categorical_crossentropy",
            LABELS,
            ["ends with linear"],
        ),
        (
            functional(layers.Softmax(name="last")),
            losses.CategoricalCrossentropy(from_logits=True),
            ONE_HOT,
            ["'last' ends with softmax", "Leave out one of the two"],
        ),
        (
            functional(keras.ops.sigmoid),
            losses.BinaryFocalCrossentropy(from_logits=True),
            ONE_HOT,
            ["ends with sigmoid", "applies sigmoid once more"],
        ),
        (
            subclassed(layers.Dense(1, activation="softmax")),
            "binary_crossentropy",
            LABELS % 2,
            ["one unit and a softmax", "activation='sigmoid'"],
        ),
    ],
)
def test_what_would_go_wrong_silently(model, loss, y, wanted):
    found = messages(model, loss, y)
    assert len(found) == 1
    for text in wanted:
        assert text in found[0], found[0]


@pytest.mark.parametrize(
    "model, loss, y",
    [
        (sequential(layers.Dense(3), layers.Softmax()), "categorical_crossentropy", ONE_HOT),
        (sequential(layers.Dense(3)), losses.CategoricalCrossentropy(from_logits=True), ONE_HOT),
        (sequential(layers.Dense(3, activation="sigmoid")), "bce", ONE_HOT),
        (sequential(layers.Dense(3, activation="softplus")), "categorical_crossentropy", ONE_HOT),
        (
            sequential(layers.Dense(3, activation="log_softmax")),
            losses.SparseCategoricalCrossentropy(from_logits=True),
            LABELS,
        ),
        (sequential(layers.Dense(3), layers.Lambda(jax.nn.softmax)), "cce", ONE_HOT),
        (functional(lambda x: keras.ops.softmax(x) * 1.0), "categorical_crossentropy", ONE_HOT),
        (sequential(layers.Dense(3)), "mse", ONE_HOT),
        (sequential(layers.Dense(3)), lambda y, p: (y - p) ** 2, ONE_HOT),
    ],
)
def test_no_false_alarm(model, loss, y):
    if loss == "cce":
        loss = "categorical_crossentropy"
    assert messages(model, loss, y) == []


def test_each_of_several_outputs():
    inputs = keras.Input((6,))
    a = layers.Dense(3, name="a")(inputs)
    b = layers.Dense(3, activation="softmax", name="b")(inputs)
    c = layers.Dense(3, name="c")(inputs)
    model = keras.Model(inputs, {"a": a, "b": b, "c": c})
    loss = {"a": "categorical_crossentropy", "b": "categorical_crossentropy", "c": "mse"}
    found = messages(model, loss, dict.fromkeys("abc", ONE_HOT))
    assert len(found) == 1 and "The last layer 'a'" in found[0]


def test_layers_that_give_back_what_came():
    for model in (keras.Sequential([layers.Identity()]), functional(layers.Identity())):
        assert messages(model, "mse", X[:, : model(X).shape[1]]) == []
