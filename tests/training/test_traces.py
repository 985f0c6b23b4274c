"""How often a model runs in Python before its first step is done: once to look, once to compile."""

import numpy as np
import pytest

import cornu
from cornu import layers

X = np.random.default_rng(0).random((40, 8), "float32")
Y = np.random.default_rng(1).integers(0, 3, 40)


class Counted(layers.Layer):
    calls = 0

    def call(self, x):
        type(self).calls += 1
        return x


class Subclass(cornu.Model):
    def __init__(self):
        super().__init__()
        self.counted, self.dense = Counted(), layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(self.counted(x))


def functional():
    inputs = cornu.Input((8,))
    return cornu.Model(inputs, layers.Dense(3, activation="softmax")(Counted()(inputs)))


def sequential(*first):
    return cornu.Sequential([*first, Counted(), layers.Dense(3, activation="softmax")])


@pytest.mark.parametrize("work", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize(
    "make, most",
    [
        (lambda: sequential(cornu.Input((8,))), 2),
        # Its graph comes from calls as well.
        (sequential, 3),
        (functional, 2),
        (Subclass, 2),
    ],
    ids=["Sequential", "Sequential without an input", "functional", "subclass"],
)
def test_a_model_is_traced_twice(make, most, work):
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    Counted.calls = 0
    options = {} if work == "train_on_batch" else {"batch_size": 20, "verbose": 0}
    getattr(model, work)(X, Y, **options)
    assert Counted.calls == most
    getattr(model, work)(X, Y, **options)
    assert Counted.calls == most


def test_data_are_converted_once():
    """What is no array of NumPy's becomes one once."""

    class Given:
        shape, dtype, reads = X.shape, X.dtype, 0

        def __array__(self, dtype=None, copy=None):
            self.reads += 1
            return np.asarray(X, dtype)

    given = Given()
    model = sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(given, Y, validation_data=(X, Y), verbose=0)
    assert given.reads == 1
    model.fit(given, Y, validation_split=0.5, verbose=0)
    assert given.reads == 2
