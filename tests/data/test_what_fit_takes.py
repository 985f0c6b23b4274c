"""Every kind of data that `fit`, `evaluate` and `predict` take; where Keras takes it, beside Keras."""

import threading

import jax.numpy as jnp
import keras
import numpy as np
import pandas
import pytest
import scipy.sparse

import cornu
from cornu.data import adapters

random = np.random.RandomState(0)
X = random.rand(22, 6).astype("float32")
Y = random.rand(22, 1).astype("float32")
LABELS = random.randint(0, 3, 22)
WEIGHTS = random.rand(22).astype("float32")


def network(k, units=1, activation=None, **compile):
    k.utils.set_random_seed(5)
    model = k.Sequential([k.Input((6,)), k.layers.Dense(units, activation=activation)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compile})
    return model


def history(k, *data, make=network, **fit):
    model = make(k)
    return model.fit(*data, **{"epochs": 2, "batch_size": 8, "verbose": 0, **fit}).history


def frame(values):
    return pandas.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])


REFERENCE: dict = {}


def reference(**fit):
    key = str(fit)
    if key not in REFERENCE:
        REFERENCE[key] = history(keras, X, Y, **fit)["loss"]
    return REFERENCE[key]


@pytest.mark.parametrize(
    "x, y",
    [
        (X, Y),
        (jnp.asarray(X), jnp.asarray(Y)),
        (X.astype("float64"), Y.astype("float64")),
        (X.tolist(), Y.ravel().tolist()),
        (frame(X), frame(Y)),
        (frame(X), pandas.Series(Y.ravel())),
        (scipy.sparse.csr_matrix(X), Y),
        ([X], [Y]),
        (X, Y.ravel()),
    ],
    ids="numpy jax float64 lists frames series sparse list one-dimensional".split(),
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_arrays(x, y, shuffle):
    mine = history(cornu, x, y, shuffle=shuffle)
    np.testing.assert_allclose(mine["loss"], reference(shuffle=shuffle), rtol=1e-5)
    model = network(cornu)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), network(keras).predict(X, verbose=0), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16"])
def test_formats(dtype):
    x = (X * 4).astype(dtype)
    mine, other = (history(k, x, Y, shuffle=False)["loss"] for k in (cornu, keras))
    np.testing.assert_allclose(mine, other, rtol=1e-5)


@pytest.mark.parametrize(
    "fit",
    [
        {"validation_split": 0.3},
        {"sample_weight": WEIGHTS},
        {"sample_weight": pandas.Series(WEIGHTS)},
        {"shuffle": "batch"},
        {"steps_per_epoch": 1},
        {"batch_size": 1},
        {"batch_size": 100},
        {"validation_data": (X[:9], Y[:9], WEIGHTS[:9]), "validation_batch_size": 4},
        {"validation_data": (X[:9], Y[:9]), "validation_steps": 2, "validation_batch_size": 2},
    ],
    ids=lambda fit: " ".join(fit),
)
def test_options(fit):
    mine, other = (history(k, X, Y, **fit) for k in (cornu, keras))
    assert mine.keys() == other.keys()
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-5)


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_class_weight(one_hot, weights):
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    y = np.eye(3, dtype="float32")[LABELS] if one_hot else LABELS

    def make(k):
        return network(k, 3, "softmax", loss=loss)

    fit = {"class_weight": {0: 1.0, 1: 0.3, 2: 4.0}, "shuffle": False, "make": make}
    if weights is None:
        results = [history(k, X, y, **fit)["loss"] for k in (cornu, keras)]
    else:
        factor = np.array([1.0, 0.3, 4.0], "float32")[LABELS]
        fit.pop("class_weight")
        results = [
            history(cornu, X, y, sample_weight=weights, class_weight={1: 0.3, 2: 4.0}, **fit)[
                "loss"
            ],
            history(keras, X, y, sample_weight=weights * factor, **fit)["loss"],
        ]
    np.testing.assert_allclose(*results, rtol=1e-5)


def two_inputs(k):
    k.utils.set_random_seed(5)
    a, b = k.Input((4,), name="a"), k.Input((2,), name="b")
    outputs = {
        "first": k.layers.Dense(1, name="first")(k.layers.concatenate([a, b])),
        "second": k.layers.Dense(2, name="second")(b),
    }
    model = k.Model({"a": a, "b": b}, outputs)
    model.compile("sgd", {"first": "mse", "second": "mae"})
    return model


def test_dicts():
    x = {"a": X[:, :4], "b": X[:, 4:]}
    y = {"first": Y, "second": X[:, :2]}
    mine, other = (history(k, x, y, make=two_inputs, validation_split=0.2) for k in (cornu, keras))
    assert mine.keys() == other.keys()
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-5)
    mine, other = (two_inputs(k).predict(x, verbose=0) for k in (cornu, keras))
    for name in other:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-5)
    batches = Batches(x, y)
    for name, value in two_inputs(cornu).predict(batches, verbose=0).items():
        np.testing.assert_allclose(value, other[name], rtol=1e-5)


# ---- batches that somebody else makes


def rows(structure, part):
    if isinstance(structure, dict):
        return {key: rows(value, part) for key, value in structure.items()}
    return structure[part]


class Batches:
    """Iterable with a length, as loaders are."""

    def __init__(self, *parts, size=8, wrap=lambda a: a, kind=tuple):
        self.parts, self.size, self.wrap, self.kind = parts, size, wrap, kind

    def __len__(self):
        first = self.parts[0]
        return -(-len(first["a"] if isinstance(first, dict) else first) // self.size)

    def __iter__(self):
        for i in range(len(self)):
            part = slice(i * self.size, (i + 1) * self.size)
            yield self.kind(self.wrap(rows(p, part)) for p in self.parts)


class Tensor:
    """What a torch tensor lets one do."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.array


class TensorFlowLike(Batches):
    """What a `tf.data.Dataset` lets one do."""

    def __iter__(self):
        raise AssertionError("the batches come as NumPy arrays")

    def as_numpy_iterator(self):
        return super().__iter__()


class Numbered(cornu.utils.PyDataset):
    def __init__(self, parts=(X, Y), **kwargs):
        super().__init__(**kwargs)
        self.parts, self.epochs = parts, []

    def __len__(self):
        return -(-len(X) // 8)

    def __getitem__(self, i):
        return tuple(p[8 * i : 8 * i + 8] for p in self.parts)

    def on_epoch_begin(self):
        self.epochs.append("begin")

    def on_epoch_end(self):
        self.epochs.append("end")


def forever():
    while True:
        yield from Batches(X, Y)


SOURCES = {
    "iterable": lambda: Batches(X, Y),
    "lists": lambda: Batches(X, Y, kind=list),
    "torch": lambda: Batches(X, Y, wrap=Tensor, kind=list),
    "tensorflow": lambda: TensorFlowLike(X, Y),
    "PyDataset": lambda: Numbered(),
    "threads": lambda: Numbered(workers=3),
    "jax": lambda: Batches(jnp.asarray(X), jnp.asarray(Y)),
}


@pytest.mark.parametrize("source", SOURCES)
def test_batches(source):
    model = network(cornu)
    mine = model.fit(
        SOURCES[source](), validation_data=SOURCES[source](), shuffle=False, epochs=2, verbose=0
    ).history
    other = history(keras, X, Y, validation_data=(X, Y), validation_batch_size=8, shuffle=False)
    for name in other:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-5)
    expected = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(SOURCES[source](), verbose=0) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        model.predict(SOURCES[source](), verbose=0), model.predict(X, verbose=0), rtol=1e-5
    )


def test_weighted_batches():
    mine = network(cornu).fit(Batches(X, Y, WEIGHTS), epochs=2, verbose=0).history["loss"]
    np.testing.assert_allclose(mine, reference_weighted(), rtol=1e-5)
    loss = network(cornu, 3, loss="sparse_categorical_crossentropy")
    assert loss.fit(Batches(X, LABELS), class_weight={1: 2.0}, verbose=0).history["loss"]


def reference_weighted():
    return history(keras, X, Y, sample_weight=WEIGHTS, shuffle=False)["loss"]


def test_arrays_start_again_within_an_epoch():
    """Three batches for epochs of two steps: Keras stops; here the next pass follows."""
    mine = history(cornu, X, Y, steps_per_epoch=2, epochs=3, shuffle=False)["loss"]
    other = network(keras).fit(forever(), shuffle=False, steps_per_epoch=2, epochs=3, verbose=0)
    np.testing.assert_allclose(mine, other.history["loss"], rtol=1e-5)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_an_endless_generator(steps):
    mine, other = (
        network(k)
        .fit(forever(), shuffle=False, steps_per_epoch=steps, epochs=3, verbose=0)
        .history["loss"]
        for k in (cornu, keras)
    )
    np.testing.assert_allclose(mine, other, rtol=1e-5)


def test_a_finite_generator_lasts_one_epoch():
    mine = network(cornu).fit(iter(Batches(X, Y)), verbose=0).history["loss"]
    np.testing.assert_allclose(mine, reference(shuffle=False)[:1], rtol=1e-5)


def test_inputs_only():
    model = network(cornu)
    expected = model.predict(X, verbose=0)
    for kind in (tuple, list, lambda parts: next(iter(parts))):
        result = model.predict(Batches(X, kind=kind), verbose=0)
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_epochs_of_a_py_dataset():
    data = Numbered()
    network(cornu).fit(data, epochs=3, verbose=0)
    assert data.epochs == ["begin", "end"] * 3


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("how", ["stop", "fail"])
def test_nothing_is_left_running(workers, how):
    class Failing(Numbered):
        def __getitem__(self, i):
            if i == 2 and how == "fail":
                raise KeyError("the third batch")
            return super().__getitem__(i)

    class Stop(cornu.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    before = set(threading.enumerate())
    model = network(cornu)
    if how == "fail":
        with pytest.raises(KeyError, match="the third batch"):
            model.fit(Failing(workers=workers), verbose=0)
    else:
        model.fit(Failing(workers=workers), callbacks=[Stop()], verbose=0)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert np.isfinite(model.predict(X, verbose=0)).all()
    assert model.fit(X, Y, verbose=0).history["loss"]


def test_data_too_large_for_the_device_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(adapters, "DEVICE_LIMIT_BYTES", 0)
    np.testing.assert_allclose(
        history(cornu, X, Y, shuffle=True)["loss"], reference(shuffle=True), rtol=1e-5
    )


def test_arrays_in_memory_are_put_on_the_device_once():
    data = adapters.adapt(X, Y, batch_size=8, shuffle=True)
    sources = [data.source for _ in range(3) for _ in data.batches()]
    assert all(source is sources[0] for source in sources)
    order = np.concatenate(list(data.batches()))
    assert sorted(order) == list(range(22)) and order.tolist() != list(range(22))


@pytest.mark.parametrize(
    "x, y, fit, message",
    [
        ({"a": X, "b": X[:5]}, Y, {}, r"same number of samples.\n'x' sizes: 22, 5\n'y' sizes: 22"),
        (X, Y, {"sample_weight": WEIGHTS[:4]}, "'sample_weight' sizes: 4"),
        (X, Y, {"batch_size": 0}, "`batch_size` must be at least 1.*batch_size=0"),
        (X, Y, {"batch_size": -3}, "`batch_size` must be at least 1"),
        (X, Y, {"batch_size": "a"}, "batch_size='a'"),
        (X, Y, {"validation_split": 1.5}, "`validation_split` must be between 0 and 1"),
        (X[:1], Y[:1], {"validation_split": 0.1}, "not sufficient to split"),
        (Batches(X, Y), None, {"validation_split": 0.2}, "only supported for arrays"),
        (Batches(X, Y), Y, {}, "`y` should not be passed"),
        (Batches(X, Y, Y, Y), None, {}, "found a tuple of 4 entries"),
        (3.0, None, {}, "Cannot take data of type float"),
        (None, None, {}, "(?i)cannot take|no data"),
        (X, Y, {"steps_per_epoch": 0}, "`steps` must be at least 1"),
        (X, None, {"class_weight": {0: 1.0}}, "`class_weight` needs labels"),
        (X, Y, {"epochs": 0}, None),
    ],
)
def test_mistakes(x, y, fit, message):
    model = network(cornu)
    before = model.get_weights()
    if message is None:
        assert model.fit(x, y, verbose=0, **fit).history == {}
    else:
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, verbose=0, **fit)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
