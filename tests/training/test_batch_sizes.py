"""Where data are there, a user's code sees the sizes of their batches, and no others."""

import numpy as np
import pytest

import cornu
from cornu import layers

X, Y = np.ones((64, 3), "float32"), np.ones((64, 2), "float32")


class Fixed(layers.Layer):
    """Works for batches of 32 only."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen.append

    def build(self, input_shape):
        self.seen(input_shape)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        self.seen(x.shape)
        return cornu.ops.reshape(x * self.scale, (32, -1))


class Own(cornu.Model):
    def __init__(self, seen):
        super().__init__()
        self.fixed, self.last = Fixed(seen), layers.Dense(2)

    def call(self, x):
        return self.last(self.fixed(x))


def sequential(seen):
    return cornu.Sequential([Fixed(seen), layers.Dense(2)])


def shapes(model):
    lines: list[str] = []
    model.summary(print_fn=lines.append, line_length=90)
    return [line.split("│")[2].strip() for line in lines[0].splitlines() if "│" in line]


@pytest.mark.parametrize("make", [Own, sequential])
@pytest.mark.parametrize("how", ["fit", "evaluate", "predict", "train_on_batch", "stream"])
def test_only_sizes_of_the_data(make, how):
    seen: list = []
    model = make(seen)
    model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    if how == "predict":
        assert model.predict(X, verbose=0).shape == (64, 2)
    elif how == "train_on_batch":
        model.train_on_batch(X[:32], Y[:32])
    elif how == "stream":
        model.fit(iter([(X[:32], Y[:32])]), verbose=0)
    else:
        getattr(model, how)(X, Y, verbose=0)
    # The graph of a Sequential model is for batches of any size, as what was built says.
    assert set(seen) <= {(32, 3), (None, 3)} and (32, 3) in seen
    if make is Own:
        assert shapes(model) == ["(32, 3)", "(32, 2)"]


def test_sizes_that_no_data_say():
    seen: list = []

    class Look(layers.Layer):
        def build(self, input_shape):
            seen.append(input_shape)

        def call(self, x):
            if x.ndim == 2:
                raise ValueError(f"cannot take {x.shape}")
            return x

    class Any(cornu.Model):
        def __init__(self):
            super().__init__()
            self.look, self.last = Look(), layers.Dense(2)

        def call(self, x):
            return self.last(self.look(x))

    model = Any()
    model.build((None, None, 3))
    assert seen == [(None, None, 3)]
    assert shapes(model) == ["(None, None, 3)", "(None, None, 2)"]
    assert shapes_after_call(Any()) == ["(5, 4, 3)", "(5, 4, 2)"]
    with pytest.raises(ValueError, match=r"cannot take \(None, 3\)") as caught:
        Any().build((None, 3))
    assert "called on x: (None, 3)" in "\n".join(caught.value.__notes__)


def shapes_after_call(model):
    model(np.ones((5, 4, 3), "float32"))
    return shapes(model)


def test_compute_output_shape():
    def fixed(x):
        return x.reshape(32, -1)

    assert layers.Lambda(fixed).compute_output_shape((32, 6)) == (32, 6)
    assert layers.Lambda(lambda x: x[:, :2]).compute_output_shape((None, 6)) == (None, 2)
