"""Prediction in batches of few shapes: the same numbers, fewer programs."""

import functools
import pickle

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import buckets, compiled_step


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
    run = compiled_step.CompiledStep._run
    monkeypatch.setattr(
        compiled_step.CompiledStep,
        "_run",
        lambda self, *arguments: shapes.append(len(arguments[-1])) or run(self, *arguments),
    )
    for count in (64, 70, 100, 33, 45, 32, 5, 7, 8, 1, 1):
        assert model.predict(images(count), verbose=0).shape == (count, 2)
    assert sorted(set(shapes)) == [1, 8, 32] and len(shapes) == 3


def test_callbacks_see_only_the_requested_examples():
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


def sequential(*stack, cls=cornu.Sequential, shape=(3,)):
    return cls([cornu.Input(shape), *stack])


def with_attribute(obj, name, value):
    setattr(obj, name, value)
    return obj


class OwnStep(cornu.Sequential):
    def predict_step(self, state, data):
        outputs, others = super().predict_step(state, data)
        return center(outputs), others


class OwnStateless(cornu.Sequential):
    def stateless_call(self, *args, **kwargs):
        outputs, others = super().stateless_call(*args, **kwargs)
        return center(outputs), others


class OwnCall(cornu.Model):
    def call(self, inputs, training=None, mask=None):
        return center(super().call(inputs, training=training))


class OwnDunder(cornu.Model):
    def __call__(self, inputs, **kwargs):
        return center(super().__call__(inputs, **kwargs))


class Between(OwnCall):
    """The override is in a class above."""


class Bent(layers.Dense):
    def call(self, inputs, training=None):
        return center(super().call(inputs))


class Penalty:
    def __call__(self, x):
        return 0 * x.sum() + len(x) % 5


@functools.wraps(cornu.activations.relu)
def disguised(x):
    return center(x)


def identity_model(cls):
    x = cornu.Input((3,))
    return cls(x, layers.Activation("linear")(x))


def patched(layer, name):
    method = getattr(layer, name)
    return with_attribute(layer, name, lambda *args, **kwargs: center(method(*args, **kwargs)))


MIXING = {
    "own layer": lambda: sequential(Own()),
    "nested": lambda: sequential(sequential(Own())),
    "activation": lambda: sequential(layers.Dense(3, activation=center)),
    "disguised": lambda: sequential(layers.Dense(3, activation=disguised)),
    "activation layer": lambda: sequential(layers.Activation(center)),
    "partial": lambda: sequential(layers.Dense(3, activation=functools.partial(center))),
    "set later": lambda: sequential(with_attribute(layers.Dense(3), "activation", center)),
    "lambda": lambda: sequential(layers.Lambda(center)),
    "subclass": lambda: sequential(Bent(3)),
    "method of an instance": lambda: sequential(patched(layers.Dense(3), "call")),
    "method of a model": lambda: patched(sequential(layers.Dense(3)), "call"),
    "step of an instance": lambda: with_attribute(
        model := sequential(layers.Dense(3)),
        "predict_step",
        lambda state, data: (lambda y, s: (center(y), s))(
            *type(model).predict_step(model, state, data)
        ),
    ),
    "step": lambda: sequential(layers.Dense(3), cls=OwnStep),
    "stateless": lambda: sequential(layers.Dense(3), cls=OwnStateless),
    "call": lambda: identity_model(OwnCall),
    "dunder": lambda: identity_model(OwnDunder),
    "inherited": lambda: identity_model(Between),
    "call, nested": lambda: sequential(identity_model(OwnCall)),
    "axis": lambda: sequential(layers.Softmax(axis=0)),
    "negative axis": lambda: sequential(layers.Softmax(axis=-2)),
    "axes": lambda: sequential(layers.Softmax(axis=[-1, 0])),
    "only axis": lambda: sequential(layers.Softmax(), shape=()),
    "unit": lambda: sequential(layers.UnitNormalization(axis=0)),
    "operation": lambda: functional(lambda x: x - cornu.ops.mean(x, 0)),
    "operations": lambda: functional(lambda x: cornu.ops.flip(cornu.ops.cumsum(x, axis=0), axis=0)),
    "array": lambda: functional(lambda x: layers.Add()([x, np.arange(15.0).reshape(5, 3)])),
    "images": lambda: sequential(layers.Resizing(5, 4), shape=(4, 3)),
    "wrapped": lambda: sequential(layers.TimeDistributed(layers.Lambda(center)), shape=(4, 3)),
    "wrapped axis": lambda: sequential(
        layers.TimeDistributed(layers.Softmax(axis=0)), shape=(4, 3)
    ),
    "penalty": lambda: sequential(layers.Dense(3, activity_regularizer=Penalty())),
    "fixed size": lambda: cornu.Sequential([cornu.Input(batch_shape=(5, 3)), layers.Dense(3)]),
}


@pytest.mark.parametrize("kind", MIXING)
def test_where_examples_see_each_other_nothing_is_filled_up(kind):
    model = MIXING[kind]()
    assert not buckets.examples_are_alone(model)
    x = np.random.default_rng(0).standard_normal((5, *model.input_shape[1:])).astype("float32")
    expected = np.asarray(model(x))
    if "step" in kind or kind == "stateless":
        expected = center(expected)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_a_method_of_a_class_that_was_replaced(monkeypatch):
    model, call = sequential(layers.Dense(3)), layers.Dense.call
    assert buckets.examples_are_alone(model)
    monkeypatch.setattr(
        layers.Dense, "call", functools.wraps(call)(lambda s, x: center(call(s, x)))
    )
    assert not buckets.examples_are_alone(model)


class OwnTraining(cornu.Model):
    """What has no say in prediction."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.function = center

    def compute_loss(self, x, y, y_pred, sample_weight=None):
        return y_pred.sum()


def test_models_of_known_layers():
    inner = cornu.Sequential([cornu.Input((6, 6, 1)), layers.Flatten(), layers.Dense(4)])
    nested = cornu.Sequential([inner, layers.Dense(2)])
    wrapped = functional(lambda x: layers.TimeDistributed(layers.Dropout(0.1))(x[:, None]))
    branches = functional(lambda x: layers.Add()([layers.Dense(2)(x), layers.Dense(2)(x)]))
    stacked = functional(lambda x: layers.Concatenate(axis=0)([x, layers.Dense(3)(x)]))
    several = sequential(
        layers.Rescaling([1.0, 0.5, 0.1]),
        layers.RandomFlip(),
        layers.Resizing(6, 6),
        layers.SeparableConv2D(4, 2, activation="gelu"),
        layers.GroupNormalization(2),
        layers.Conv2D(2, 2, kernel_initializer=lambda shape, dtype: np.ones(shape, dtype)),
        layers.SpectralNormalization(layers.Conv2D(2, 2)),
        layers.PReLU(),
        layers.Softmax(axis=[-1, -2]),
        layers.Dropout(0.5),
        layers.TimeDistributed(layers.Dense(3, activation="relu")),
        layers.Flatten(),
        layers.Activation("tanh"),
        shape=(8, 8, 3),
    )
    models = (network(), nested, branches, several, identity_model(OwnTraining), stacked, wrapped)
    alone = [buckets.examples_are_alone(m) for m in models]
    # An operation on tensors may do anything, so it is not looked into.
    assert alone == [True] * 5 + [False] * 2


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
