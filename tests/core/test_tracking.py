"""What a model is made of: layers in whatever an attribute can hold them in."""

import collections
import copy
import dataclasses
import functools
import pickle
import types

import numpy as np
import pytest

import cornu
from cornu import layers


@dataclasses.dataclass
class Pair:
    first: object
    second: object


class InSlots:
    __slots__ = ("__hidden", "first")

    def __init__(self, first, second):
        self.first, self.__hidden = first, second


class Plain:
    def __init__(self, first, second):
        self.blocks = {"first": [first]}
        self.itself = self
        self.second = second


Named = collections.namedtuple("Named", "first second")

BOXES = {
    "list_of_lists": lambda a, b: [[a], [[b]]],
    "dict_of_lists": lambda a, b: {"x": [a], "y": {"z": b}},
    "tuple": lambda a, b: (a, (b,)),
    "set": lambda a, b: {b, a},
    "set_of_tuples": lambda a, b: {(b, "b"), (a, "a")},
    "frozenset": lambda a, b: frozenset([b, a]),
    "deque": lambda a, b: collections.deque([a, b]),
    "ordered": lambda a, b: collections.OrderedDict(b=a, a=b),
    "dataclass": Pair,
    "slots": InSlots,
    "plain": Plain,
    "list_of_plain": lambda a, b: [Plain(a, None), Plain(None, b)],
    "namedtuple": Named,
    "namespace": lambda a, b: types.SimpleNamespace(a=a, b=[b]),
    "user_list": lambda a, b: collections.UserList([a, b]),
    "partial": lambda a, b: [functools.partial(a), functools.partial(max, b)],
    "method": lambda a, b: [a.__call__, b.__call__],
}


class Boxes(cornu.Model):
    """Each box adds two dense layers' outputs."""

    def __init__(self):
        super().__init__()
        for name, box in BOXES.items():
            setattr(self, name, box(*self.pair(name)))

    def pair(self, name):
        return [layers.Dense(2, use_bias=False, name=f"{name}{i}") for i in (1, 2)]

    def call(self, inputs):
        found = {layer.name: layer for layer in self.layers}
        return sum(found[f"{name}{i}"](inputs) * i for name in BOXES for i in (1, 2))


X = np.random.RandomState(0).rand(8, 3).astype("float32")


@pytest.fixture(scope="module")
def trained():
    model = Boxes()
    model.compile("sgd", "mse")
    model(X)
    before = model.get_weights()
    model.fit(X, np.ones((8, 2), "float32"), verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    return model


def test_all_are_found(trained):
    names = {f"{name}{i}" for name in BOXES for i in (1, 2)}
    assert {layer.name for layer in trained.layers} == names
    assert len(trained.weights) == len(trained.trainable_weights) == len(names)
    assert trained.count_params() == 6 * len(names)
    lines: list = []
    trained.summary(print_fn=lines.append)
    assert all(name in str(lines) for name in names)


def test_all_are_saved(trained, tmp_path):
    expected = trained.predict(X, verbose=0)
    for ending in ("weights.h5", "safetensors"):
        trained.save_weights(tmp_path / f"w.{ending}")
        # Automatic names go on counting, and sets are in another order.
        again = Boxes()
        again(X)
        again.load_weights(tmp_path / f"w.{ending}")
        np.testing.assert_array_equal(again.predict(X, verbose=0), expected)
    trained.save(tmp_path / "m.keras")
    again = cornu.saving.load_model(tmp_path / "m.keras", custom_objects={"Boxes": Boxes})
    np.testing.assert_array_equal(again(X), trained(X))


def test_all_are_copied_and_frozen(trained):
    for make in (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))):
        again = make(trained)
        assert not {id(w) for w in again.weights} & {id(w) for w in trained.weights}
        np.testing.assert_array_equal(again(X), trained(X))
        # It trains on as the original would, which stays as it is.
        before = trained.get_weights()
        logs = again.train_on_batch(X, np.ones((8, 2), "float32"))
        assert not all(map(np.array_equal, before, again.get_weights()))
        assert all(map(np.array_equal, before, trained.get_weights()))
        third = copy.deepcopy(trained)
        assert third.train_on_batch(X, np.ones((8, 2), "float32")) == logs
        assert all(map(np.array_equal, third.get_weights(), again.get_weights()))
    again.trainable = False
    assert not again.trainable_weights and not any(w.trainable for w in again.weights)
    again.trainable = True
    assert len(again.trainable_weights) == len(again.weights)


def test_what_is_added_later_is_found(trained):
    model = copy.deepcopy(trained)
    model.predict(X, verbose=0)
    for change in (
        lambda layer: model.plain.blocks["first"].append(layer),
        lambda layer: model.deque.append(layer),
        lambda layer: model.set.add(layer),
        lambda layer: setattr(model.slots, "first", layer),
        lambda layer: setattr(model.dataclass, "second", [model.dataclass.second, layer]),
    ):
        structure = model._structure()
        layer = layers.Dense(1)
        change(layer)
        assert model._structure() is not structure
        assert layer in model.layers


def test_paths_in_files_are_keras(tmp_path):
    """Keras names a nested container `container`, and looks into lists, tuples and dicts."""
    import keras

    def model_of(package):
        class Nested(package.Model):
            def __init__(self):
                super().__init__()
                self.blocks = [[package.layers.Dense(2)], {"a": (package.layers.Dense(2),)}]
                self.head = package.layers.Dense(1)
                self._last = package.layers.Dense(1)

            def call(self, inputs):
                x = self.blocks[1]["a"][0](self.blocks[0][0](inputs))
                return self._last(self.head(x))

        model = Nested()
        model(X)
        return model

    ours, theirs = model_of(cornu), model_of(keras)
    path = tmp_path / "w.weights.h5"
    theirs.save_weights(path)
    ours.load_weights(path)
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-5)
    ours.set_weights([w + 1 for w in ours.get_weights()])
    ours.save_weights(path)
    theirs.load_weights(path)
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-5)


class Hiding(layers.Layer):
    """Has its weights where nothing looks: in a closure."""

    def __init__(self):
        super().__init__()
        inner = layers.Dense(2, name="inner")
        self.inner = lambda x: inner(x)
        self.freeze = lambda: setattr(inner, "trainable", False)

    def call(self, inputs):
        return self.inner(inputs)


@pytest.mark.parametrize("eager", (False, True))
def test_a_weight_that_nothing_leads_to_is_named(eager):
    model = cornu.Sequential([cornu.Input((3,)), Hiding()])
    model.compile("sgd", "mse", run_eagerly=eager)
    y = np.ones((8, 2), "float32")
    for use in (model.fit, model.evaluate, lambda x, y, verbose: model.predict(x, verbose=0)):
        with pytest.raises(
            RuntimeError, match=r"'sequential/hiding/inner/kernel' .* neither trained nor saved"
        ):
            use(X, y, verbose=0)
    # It may stay as it is.
    model.layers[0].freeze()
    model.evaluate(X, y, verbose=0)


def test_outside_variables_are_no_constants():
    """A loss network, and a factor that a callback changes, as in many Keras scripts."""
    factor = cornu.Variable(1.0, name="factor")
    network = cornu.Sequential([cornu.Input((2,)), layers.Dense(1, kernel_initializer="ones")])

    def loss(y_true, y_pred):
        return factor * cornu.ops.mean(network(y_true)) + 0 * cornu.ops.mean(y_pred)

    class Double(cornu.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            factor.assign(2 * factor)

    model = cornu.Sequential([cornu.Input((3,)), layers.Dense(2)])
    model.compile("sgd", loss)
    y = np.ones((8, 2), "float32")
    history = model.fit(X, y, epochs=3, verbose=0, callbacks=[Double()]).history
    assert history["loss"] == [2, 4, 8]
    network.set_weights([2 * w for w in network.get_weights()])
    assert model.evaluate(X, y, verbose=0) == 32
    assert len(model.weights) == 2


def test_variables_in_a_graph_are_weights():
    class Plus(layers.Layer):
        def call(self, inputs, other):
            return inputs + other

    scale = cornu.Variable(np.ones(3, "float32"), name="scale")
    inputs = cornu.Input((3,))
    model = cornu.Model(inputs, Plus()(inputs * scale, other=scale))
    model.compile("sgd", "mse")
    assert model.weights == [scale]
    model.fit(X, np.zeros((8, 3), "float32"), verbose=0)
    assert np.all(scale.numpy() < 1)
    np.testing.assert_allclose(model.predict(X, verbose=0), X * scale + scale, rtol=1e-6)


def test_metrics_are_no_weights():
    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seen = [cornu.metrics.Sum(name="seen")]

        def call(self, inputs):
            self.seen[0].update_state(inputs)
            return inputs

    model = cornu.Sequential([cornu.Input((3,)), Counting(), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert len(model.variables) == 2 and len(model.layers[0].metrics_variables) == 1
    logs = model.fit(X, np.zeros((8, 1), "float32"), verbose=0, epochs=2).history
    np.testing.assert_allclose(logs["seen"], [X.sum()] * 2, rtol=1e-6)
    np.testing.assert_allclose(model.predict(X, verbose=0), model(X), rtol=1e-6)


def test_a_compiled_step_follows_its_settings():
    """What a step has as a constant may be changed between two calls."""
    dense = layers.Dense(2, activation="relu")
    model = cornu.Sequential([cornu.Input((3,)), dense])
    optimizer = cornu.optimizers.SGD(1.0)
    model.compile(optimizer, "mse")
    y = np.ones((8, 2), "float32")
    model.fit(X, y, verbose=0)
    decay = cornu.optimizers.schedules.ExponentialDecay
    # Its variable goes, and no other that has the same number.
    optimizer.learning_rate = decay(0.1, 1, 1.0)
    assert [v.name for v in optimizer.variables] == ["iteration"]
    model.fit(X, y, verbose=0)
    assert int(optimizer.iterations) == 2
    optimizer.learning_rate = decay(0.0, 1, 1.0)
    before = model.get_weights()
    model.fit(X, y, verbose=0)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    linear = model.predict(X, verbose=0)
    dense.activation = cornu.activations.sigmoid
    assert np.any(model.predict(X, verbose=0) != linear)
    np.testing.assert_allclose(model.predict(X, verbose=0), dense(X), rtol=1e-5)
