"""Prediction in batches of few shapes: the same numbers, fewer programs."""

import pickle

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import buckets


def network():
    return cornu.Sequential(
        [
            cornu.Input((6, 6, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def images(count):
    return np.random.default_rng(count).standard_normal((count, 6, 6, 1)).astype("float32")


@pytest.mark.parametrize("count", [1, 3, 32, 33, 70])
def test_the_same_predictions(count):
    model, x = network(), images(count)
    expected = np.concatenate([np.asarray(model(x[i : i + 1])) for i in range(count)])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    streamed = model.predict((x[i : i + 4] for i in range(0, count, 4)), verbose=0)
    np.testing.assert_allclose(streamed, expected, rtol=1e-5, atol=1e-6)
    by_steps = model.predict(x, steps=2 if count > 1 else 1, verbose=0)
    np.testing.assert_allclose(by_steps, expected, rtol=1e-5, atol=1e-6)


def test_one_program_serves_many_lengths(monkeypatch):
    model, shapes = network(), []
    step = model.predict_step
    monkeypatch.setattr(
        model, "predict_step", lambda state, data: shapes.append(len(data)) or step(state, data)
    )
    for count in (64, 70, 100, 33, 45, 32, 5, 7, 8, 1, 1):
        assert model.predict(images(count), verbose=0).shape == (count, 2)
    assert sorted(set(shapes)) == [1, 8, 32] and len(shapes) == 3


def test_callbacks_see_only_what_was_asked_for():
    seen = []
    watch = cornu.callbacks.LambdaCallback()
    watch.on_predict_batch_end = lambda batch, logs: seen.append(logs["outputs"].shape[0])
    network().predict(images(40), batch_size=16, verbose=0, callbacks=[watch])
    assert seen == [16, 16, 8]


def center(x):
    return x - x.mean(0)


class Own(layers.Layer):
    def call(self, inputs):
        return center(inputs)


def functional(function):
    x = cornu.Input((3,))
    return cornu.Model(x, function(x))


MIXING = {
    "own layer": lambda: cornu.Sequential([cornu.Input((3,)), Own()]),
    "nested": lambda: cornu.Sequential(
        [cornu.Input((3,)), cornu.Sequential([cornu.Input((3,)), Own()])]
    ),
    "activation": lambda: cornu.Sequential([cornu.Input((3,)), layers.Dense(3, activation=center)]),
    "lambda": lambda: cornu.Sequential([cornu.Input((3,)), layers.Lambda(center)]),
    "axis": lambda: cornu.Sequential([cornu.Input((3,)), layers.Softmax(axis=0)]),
    "operation": lambda: functional(lambda x: x - cornu.ops.mean(x, 0)),
    "wrapped": lambda: cornu.Sequential(
        [cornu.Input((4, 3)), layers.TimeDistributed(layers.Lambda(center))]
    ),
}


@pytest.mark.parametrize("kind", MIXING)
def test_where_examples_see_each_other_nothing_is_filled_up(kind):
    model = MIXING[kind]()
    assert not buckets.examples_are_alone(model)
    x = np.random.default_rng(0).standard_normal((5, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5, atol=1e-6)


def test_models_of_known_layers():
    inner = cornu.Sequential([cornu.Input((6, 6, 1)), layers.Flatten(), layers.Dense(4)])
    nested = cornu.Sequential([inner, layers.Dense(2)])
    wrapped = functional(lambda x: layers.TimeDistributed(layers.Dropout(0.1))(x[:, None]))
    branches = functional(lambda x: layers.Add()([layers.Dense(2)(x), layers.Dense(2)(x)]))
    stacked = functional(lambda x: layers.Concatenate(axis=0)([x, layers.Dense(3)(x)]))
    alone = [buckets.examples_are_alone(m) for m in (network(), nested, branches, stacked, wrapped)]
    # An operation on tensors may do anything, so it is not looked into.
    assert alone == [True, True, True, False, False]


def test_changes_of_a_model_are_seen():
    """Prediction keeps what it has compiled only as long as the model stays as it is."""
    model, x = network(), images(2)
    before = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict_on_batch(x), before)
    model.layers[0].kernel.assign(np.zeros((3, 3, 1, 3)))
    assert np.abs(model.predict(x, verbose=0) - before).max() > 1e-3
    structure = model._structure()
    assert model._structure() is structure
    model.layers[0].trainable = False
    assert model._structure() is not structure
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x, verbose=0))


class Growing(cornu.Model):
    def __init__(self):
        super().__init__()
        self.stack = [layers.Dense(3, kernel_initializer="ones")]

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x


def test_a_list_that_grows_is_seen():
    model, x = Growing(), np.ones((2, 3), "float32")
    assert model.predict_on_batch(x).tolist() == [[3.0] * 3] * 2
    added = layers.Dense(3, kernel_initializer="ones")
    added.build((2, 3))
    model.stack.append(added)
    assert model.predict_on_batch(x).tolist() == [[9.0] * 3] * 2
    assert model.predict(x, verbose=0).tolist() == [[9.0] * 3] * 2


def test_a_copy_is_a_model_of_its_own():
    model, x = network(), images(2)
    expected = model.predict_on_batch(x)
    copied = pickle.loads(pickle.dumps(model))
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    np.testing.assert_array_equal(copied.predict_on_batch(x), expected)
    copied.layers[-1].bias.assign([10.0, 0.0])
    assert copied.predict_on_batch(x)[0, 0] > 0.99
