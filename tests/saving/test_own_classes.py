"""Models and layers of the user's own: built in any way, saved with what they hold, and loaded."""

import warnings

import keras
import numpy as np
import pytest

import cornu

L = cornu.layers
random = np.random.RandomState(0)
X = random.rand(4, 3).astype("float32")
Y = random.rand(4, 2).astype("float32")
own = cornu.saving.register_keras_serializable(package="own")


@own
class Two(cornu.Model):
    """As in the guides: only `__init__`, without arguments, and `call`."""

    def __init__(self):
        super().__init__()
        self.first, self.last = L.Dense(3), L.Dense(2)

    def call(self, x):
        return self.last(self.first(x))


@own
class Both(cornu.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = L.Dense(2), L.Dense(2)

    def call(self, x, y=None, scale=1.0):
        a, b = (x["p"], x["q"]) if isinstance(x, dict) else x if y is None else (x, y)
        return self.a(a) + scale * self.b(b)


@own
class Block(L.Layer):
    """A layer of layers, without `build`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.inner = units, L.Dense(units)

    def call(self, x):
        return self.inner(x)


@own
class Nest(cornu.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.two, self.block = Two(), Block(2)

    def call(self, x):
        return self.block(self.two(x))


@own
class Whole(cornu.Model):
    """Whole numbers alone can be looked up."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = L.Embedding(5, 2)

    def call(self, x):
        return self.table(x)[:, 0] + cornu.ops.one_hot(x[:, 1], 2)


@own
class Built(cornu.Model):
    """Its `build` makes some of the weights, and `call` the others."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = L.Dense(2)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],))

    def call(self, x):
        return self.last(x * self.scale)


def class_of_that_name():
    class Model(cornu.Model):
        def __init__(self, units=2, **kwargs):
            super().__init__(**kwargs)
            self.units, self.last = units, L.Dense(units)

        def call(self, x):
            return self.last(x)

    return Model


Model = class_of_that_name()


def called(model, *args, **kwargs):
    model(*args, **kwargs)


def fitted(model, x):
    model.compile("adam", "mse")
    model.fit(x, Y, verbose=0)


def built(shape):
    return lambda model, *args: model.build(shape)


def in_sequential(make, *first):
    return lambda: cornu.Sequential([*first, make(), L.Dense(2)])


def in_graph(make):
    def model():
        x = cornu.Input((3,))
        return cornu.Model(x, L.Dense(2)(make()(x)))

    return model


PAIR = {"p": X, "q": X[:, :2]}
WHOLE = np.array([[1, 0], [4, 1]])
WAYS = {
    "called": (Two, called, (X,), {}),
    "fitted": (Two, fitted, (X,), {}),
    "built": (Two, built((None, 3)), (X,), {}),
    "dict fitted": (Both, fitted, (PAIR,), {}),
    "dict built": (Both, built({"p": (None, 3), "q": (None, 2)}), (PAIR,), {}),
    "list": (Both, called, ([X, X[:, :2]],), {}),
    "two arguments": (Both, called, (X, X), {"scale": 1.0}),
    "by name": (Both, called, (X,), {"y": X}),
    "nested": (Nest, called, (X,), {}),
    "whole numbers": (Whole, called, (WHOLE,), {}),
    "own build": (Built, called, (X,), {}),
    "class Model": (Model, fitted, (X,), {}),
    "in a late Sequential": (in_sequential(Nest), called, (X,), {}),
    "in a Sequential": (in_sequential(Model, cornu.Input((3,))), called, (X,), {}),
    "in a graph": (in_graph(Two), fitted, (X,), {}),
    "a layer in a graph": (in_graph(lambda: Block(2)), called, (X,), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_models_load_however_they_were_built(way, tmp_path):
    make, build, args, kwargs = WAYS[way]
    model = make()
    build(model, *args, **kwargs)
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras", custom_objects={"Model": Model})
    np.testing.assert_array_equal(loaded(*args, **kwargs), model(*args, **kwargs))
    if build is fitted:
        for saved, read in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(saved, read)


def test_a_model_that_cannot_be_built_says_so(tmp_path):
    class Picky(Both):
        def call(self, x, y, scale):
            if scale == "none":
                raise ValueError("scale")
            return self.a(x) + self.b(y)

    model = Picky()
    model(X, X, 2.0)
    model.save(tmp_path / "m.keras")
    with (
        pytest.warns(UserWarning, match=r"could not be built.*build_from_config"),
        pytest.raises(ValueError, match="0 arrays"),
    ):
        cornu.saving.load_model(tmp_path / "m.keras", custom_objects={"Picky": Picky})


def test_build_configs_are_those_of_keras():
    def of(k):
        class Pair(k.layers.Layer):
            def build(self, q_shape, k_shape):
                self.w = self.add_weight(shape=(q_shape[-1],))

            def call(self, q, k):
                return q * self.w + k

        class Sum(k.Model):
            def call(self, x):
                return x["a"] + x["b"]

        pair, model, dense = Pair(), Sum(), k.layers.Dense(2)
        pair(X, X)
        model.build({"a": (None, 3), "b": (None, 3)})
        dense.build((None, 3))
        twin = Pair()
        twin.build_from_config(pair.get_build_config())
        assert twin.w.shape == (3,)
        return [each.get_build_config() for each in (pair, model, dense)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert of(cornu) == of(keras)


@own
class Holder(L.Layer):
    """Its configuration holds objects as they are."""

    def __init__(self, inner, penalty, table, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.penalty, self.table = inner, penalty, table

    def call(self, x):
        return self.inner(x) * self.table[0]

    def get_config(self):
        parts = {"inner": self.inner, "penalty": self.penalty, "table": self.table}
        return {**super().get_config(), **parts}


@own
class Adversary(cornu.Model):
    """Its `compile` has arguments of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = L.Dense(2)

    def call(self, x):
        return self.last(x)

    def compile(self, own_optimizer, own_loss):
        super().compile(own_optimizer, "mse")
        self.own_loss = own_loss


@own
class Ready(Adversary):
    def get_compile_config(self):
        return {"optimizer": self.optimizer, "loss": self.own_loss, "names": ("a", b"b")}

    def compile_from_config(self, config):
        assert next(iter(config["names"])) == "a"
        config = cornu.saving.deserialize_keras_object(config)
        self.compile(config["optimizer"], config["loss"])


@own
def own_loss(y_true, y_pred):
    return cornu.ops.mean(cornu.ops.square(y_true - y_pred))


def test_objects_in_configurations(tmp_path):
    holder = Holder(L.Dense(2, kernel_initializer="ones"), cornu.regularizers.L2(0.5), X[0])
    model = cornu.Sequential([cornu.Input((3,)), holder])
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert isinstance(loaded.layers[0].penalty, cornu.regularizers.L2)

    model = Ready()
    model.compile(cornu.optimizers.SGD(0.5, momentum=0.5), own_loss)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    assert loaded.own_loss is own_loss
    assert loaded.optimizer.momentum == 0.5
    assert not cornu.saving.load_model(tmp_path / "m.keras", compile=False).compiled


def test_an_own_compile_is_not_called_with_arguments_it_does_not_know(tmp_path):
    model = Adversary()
    model.compile("sgd", own_loss)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="compile_from_config"):
        loaded = cornu.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert not loaded.compiled and loaded.get_compile_config() == {}


def test_models_in_a_model_stay_compiled(tmp_path):
    inner = cornu.Sequential([cornu.Input((3,)), L.Dense(2)])
    inner.compile("sgd", "mse")
    x = cornu.Input((3,))
    cornu.Model(x, inner(x)).save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[1].compiled and not loaded.compiled
    loaded = cornu.saving.load_model(tmp_path / "m.keras", compile=False)
    assert not loaded.layers[1].compiled
