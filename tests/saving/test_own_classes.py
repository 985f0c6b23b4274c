"""Models and layers of the user's own: built in any way, saved with what they hold, and loaded."""

import warnings
import zipfile

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


@own
class Alone(L.Layer):
    """Its `build` takes nothing."""

    def build(self):
        self.w = self.add_weight(shape=(3,), initializer="uniform")

    def call(self, x):
        return x * self.w


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
    "build without a shape": (in_graph(Alone), called, (X,), {}),
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


def test_models_that_are_not_built_say_so(tmp_path):
    for path in (tmp_path / "m.weights.h5", tmp_path / "m.safetensors"):
        with pytest.raises(ValueError, match=r"not built.*nothing to write"):
            Two().save_weights(path)
        model = Two()
        model(X)
        model.save_weights(path)
        with pytest.raises(ValueError, match=r"not built.*nothing yet to load"):
            Two().load_weights(path)
    with pytest.warns(UserWarning, match="without weights"):
        Two().save(tmp_path / "m.keras")
    assert not cornu.saving.load_model(tmp_path / "m.keras").built


def test_a_model_that_cannot_be_built_is_an_error(tmp_path):
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


@own
class Holding(L.Layer):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def test_what_is_shared_stays_shared(tmp_path):
    """A layer is in two others, and one in two models of a model. Keras cannot load this."""
    held, shared = L.Dense(3), L.Dense(3)
    x, z = cornu.Input((3,)), cornu.Input((3,))
    a = cornu.Model(x, shared(x))
    b = cornu.Model(z, L.ReLU()(shared(L.Dense(3)(shared(z)))))
    y = Holding(held)(Holding(held)(x))
    model = cornu.Model(x, L.Add()([a(y), b(y)]))
    model.save(tmp_path / "m.keras")
    loaded = cornu.saving.load_model(tmp_path / "m.keras")
    assert loaded.count_params() == model.count_params() == 36
    np.testing.assert_array_equal(loaded(X), model(X))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.read("config.json").count(b"shared_object_id") == 4


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


def keeper_of(k, calls):
    """A layer that keeps words in a file, and numbers that are no weights, by all hooks there are."""

    class Keeper(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.words, self.table, self.factor = [], None, 1.0

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.w * self.factor

        def get_build_config(self):
            calls.append("get_build_config")
            return {"input_shape": (None, 3), "factor": self.factor}

        def build_from_config(self, config):
            calls.append("build_from_config")
            self.factor = config["factor"]
            self.build(config["input_shape"])

        def save_own_variables(self, store):
            calls.append("save_own_variables")
            super().save_own_variables(store)
            store["table"] = np.asarray(self.table)

        def load_own_variables(self, store):
            calls.append("load_own_variables")
            self.table = np.asarray(store["table"])
            super().load_own_variables({"0": store["0"]})

        def save_assets(self, folder):
            calls.append("save_assets")
            with open(f"{folder}/words.txt", "w") as file:
                file.write(" ".join(self.words))

        def load_assets(self, folder):
            calls.append("load_assets")
            with open(f"{folder}/words.txt") as file:
                self.words = file.read().split()

    return Keeper


def model_with(k, keeper):
    """The layer is directly in the model, and in a model within it."""
    inner = k.Sequential([k.Input((3,)), keeper(name="a"), k.layers.Dense(3)])
    model = k.Sequential([k.Input((3,)), inner, keeper(name="b")])
    for layer, words in ((inner.layers[0], ["horn"]), (model.layers[1], ["cor", "nu"])):
        layer.words, layer.table, layer.factor = words, np.arange(len(words)), 0.5
        layer.w.assign([1.0, 2.0, 3.0])
    return model


@pytest.mark.parametrize("writer, reader", [(cornu, cornu), (cornu, keras), (keras, cornu)])
def test_hooks_are_called_when_keras_calls_them(writer, reader, tmp_path):
    calls, expected = [], []
    model = model_with(writer, keeper_of(writer, calls))
    path = tmp_path / "m.keras"
    model.save(path)
    loaded = reader.saving.load_model(path, {"Keeper": keeper_of(reader, calls)})
    if writer is reader:
        theirs = tmp_path / "theirs.keras"
        model_with(keras, keeper_of(keras, expected)).save(theirs)
        keras.saving.load_model(theirs, {"Keeper": keeper_of(keras, expected)})
        assert sorted(calls) == sorted(expected)
        folder = tmp_path / "folder"
        model.save(folder, zipped=False)
        loaded = reader.saving.load_model(folder, {"Keeper": keeper_of(reader, calls)})
    for before, after in (
        (model.layers[0].layers[0], loaded.layers[0].layers[0]),
        (model.layers[1], loaded.layers[1]),
    ):
        assert (after.words, after.factor) == (before.words, 0.5)
        np.testing.assert_array_equal(after.table, before.table)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)


@own
class Stubborn(L.Dense):
    def load_own_variables(self, store):
        raise KeyError("gamma")


def test_a_hook_that_fails_is_named(tmp_path):
    model = cornu.Sequential([cornu.Input((3,)), L.Dense(2), Stubborn(2, name="own")])
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    before = model.get_weights()
    other = cornu.models.clone_model(model)
    with pytest.raises(cornu.saving.FileFormatError, match=r"'own' \(Stubborn\).*0, 1.*'gamma'"):
        model.load_weights(path)
    other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], before[0])

    class Texts(L.Activation):
        def save_own_variables(self, store):
            store["text"] = "horn"

    with pytest.raises(TypeError, match=r"'text' is <U4.*save_assets"):
        cornu.Sequential([cornu.Input((3,)), Texts("relu")]).save(tmp_path / "m.keras")
