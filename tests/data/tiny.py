"""A small model in both libraries, made once, and what holds the data of the tests."""

import os

import numpy as np

import cornu

random = np.random.RandomState(0)
X = random.rand(22, 6).astype("float32")
Y = random.rand(22, 1).astype("float32")
LABELS = random.randint(0, 3, 22)
WEIGHTS = random.rand(22).astype("float32")

MODELS: dict = {}


def network(k, units=1, activation=None, **compile):
    """The same weights at each call."""
    key = (k.__name__, units, activation, *compile.items())
    if key not in MODELS:
        k.utils.set_random_seed(5)
        model = k.Sequential([k.Input((6,)), k.layers.Dense(units, activation=activation)])
        model.compile(**{"optimizer": "sgd", "loss": "mse", **compile})
        weights = model.get_weights()
        columns = 1 if "sparse" in model.loss else units
        model.train_on_batch(np.zeros((1, 6), "float32"), np.zeros((1, columns), "float32"))
        MODELS[key] = model, weights
    model, weights = MODELS[key]
    model.set_weights(weights)
    return model


def history(k, *data, model=None, **fit):
    model = model or network(k)
    k.utils.set_random_seed(5)
    return model.fit(*data, **{"epochs": 2, "batch_size": 8, "verbose": 0, **fit}).history


def check_same(mine, other):
    assert mine.keys() == other.keys()
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-5)


def two_inputs(k):
    """Inputs a and b; the outputs first and second, a dict."""
    k.utils.set_random_seed(5)
    a, b = k.Input((4,), name="a"), k.Input((2,), name="b")
    outputs = {
        "first": k.layers.Dense(1, name="first")(k.layers.concatenate([a, b])),
        "second": k.layers.Dense(2, name="second")(b),
    }
    model = k.Model({"a": a, "b": b}, outputs)
    model.compile("sgd", {"first": "mse", "second": "mae"})
    return model


PARTS = {"a": X[:, :4], "b": X[:, 4:]}
TARGETS = {"first": Y, "second": X[:, :2]}


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

    def batch(self, i):
        part = slice(i * self.size, (i + 1) * self.size)
        return self.kind(self.wrap(rows(p, part)) for p in self.parts)

    def __iter__(self):
        return map(self.batch, range(len(self)))


BATCHES = Batches(X, Y)


class Tensor:
    """What a torch tensor lets one do."""

    shape = dtype = property(lambda self: None)

    def __init__(self, array):
        self.array = array

    def detach(self):
        return Detached(self.array)


class Detached(Tensor):
    def cpu(self):
        return OnCPU(self.array)


class OnCPU(Tensor):
    def numpy(self):
        return self.array


class TensorFlowLike(Batches):
    """What a `tf.data.Dataset` lets one do; its length may be -1, endless, or -2, unknown."""

    def __init__(self, *parts, length=3, **kwargs):
        super().__init__(*parts, **kwargs)
        self.length = length

    def cardinality(self):
        return np.int64(self.length)

    def __len__(self):
        if self.length < 0:
            raise TypeError("The dataset is infinite, or its length is unknown.")
        return self.length

    def __iter__(self):
        raise AssertionError("the batches come as NumPy arrays")

    def as_numpy_iterator(self):
        while True:
            yield from map(self.batch, range(3))
            if self.length != -1:
                return


class Indexed:
    """Only batches by number; like a list's slice, it does not mind numbers that are too large."""

    def __init__(self, *parts, **kwargs):
        self.batches = Batches(*parts, **kwargs)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return self.batches.batch(i)


def numbered(k, num_batches=3, batch=BATCHES.batch, **kwargs):
    """A `PyDataset` that writes down what is asked of it; it goes round if it has no end."""

    class Numbered(k.utils.PyDataset):
        def __init__(self):
            super().__init__(**kwargs)
            self.log = []

        @property
        def num_batches(self):
            return num_batches

        def __getitem__(self, i):
            self.log.append(int(i))
            return batch(i % 3)

        def on_epoch_begin(self):
            self.log.append("begin")

        def on_epoch_end(self):
            self.log.append("end")

    return Numbered()


class Stop(cornu.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def slow_python(i):
    """For worker processes: says which one, and fails for an element."""
    if i == 13:
        raise ValueError("a hole")
    return int(i) * 2, os.getpid()
