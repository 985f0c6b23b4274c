"""Errors in a user's `call` name the layer, the line and what to write instead."""

import random
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers

X, Y = np.ones((4, 3), "float32"), np.ones((4, 3), "float32")


def branches(x):
    if x.sum() > 0:
        return x
    return -x


MISTAKES = [
    (branches, "if x.sum() > 0:", "jnp.where(condition, a, b)", TypeError),
    (lambda x: np.maximum(x, 0), "np.maximum(x, 0)", "jnp.maximum", TypeError),
    (lambda x: np.asarray(x), "np.asarray(x)", "jnp.asarray", TypeError),
    (lambda x: x * float(x.mean()), "float(x.mean())", "leave out float()", TypeError),
    (lambda x: x * x.max().item(), "x.max().item()", "leave out float()", TypeError),
    (lambda x: x[x > 0], "x[x > 0]", "jnp.where(mask, x, 0)", IndexError),
    (lambda x: x * [1, 2][x.argmax()], "[1, 2][x.argmax()]", "jnp.take", TypeError),
    (lambda x: x.numpy() + 1, "x.numpy() + 1", "jax.numpy", AttributeError),
    (
        lambda x: x + cornu.random.normal((3,)),
        "cornu.random.normal((3,))",
        "SeedGenerator(0)",
        RuntimeError,
    ),
]


def layer_of(function):
    class Mine(layers.Layer):
        def call(self, x):
            return function(x)

    return Mine(name="mine")


def subclassed(inner):
    class Own(cornu.Model):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return self.inner(x)

    return Own()


def fit(model):
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("function, source, cure, kind", MISTAKES, ids=[m[1] for m in MISTAKES])
def test_layer_line_and_cure(function, source, cure, kind):
    makers = [
        lambda: cornu.Sequential([cornu.Input((3,)), layers.Dense(3), layer_of(function)]),
        lambda: subclassed(layer_of(function)),
        lambda: cornu.Sequential([cornu.Input((3,)), layers.Lambda(function, name="mine")]),
    ]
    for make in makers:
        with pytest.raises(kind) as caught:
            fit(make())
        text = str(caught.value)
        assert "layer 'mine'" in text and cure in text
        found = re.search(r"(\S+):(\d+): (.*)", text)
        assert found[1] == __file__ and source in found[3]
        assert source in Path(__file__).read_text().splitlines()[int(found[2]) - 1]


def test_other_errors_keep_their_text():
    def wrong(x):
        return x @ jnp.ones((7, 7))

    model = subclassed(layer_of(wrong))
    with pytest.raises(TypeError, match=r"^dot_general requires contracting dimensions") as caught:
        fit(model)
    notes = "\n".join(caught.value.__notes__)
    assert "in the layer 'mine' (Mine), called on x: (4, 3)" in notes
    assert re.search(rf"In your code: {__file__}:\d+: return x @ jnp.ones", notes)
    model = subclassed(layers.Conv2D(3, 3, name="conv"))
    with pytest.raises(ValueError, match="expected min_ndim=4") as caught:
        fit(model)
    notes = "\n".join(caught.value.__notes__)
    assert re.search(rf"In your code: {__file__}:\d+: return self.inner\(x\)", notes)


@pytest.mark.parametrize("source", ["numpy.random", "random"])
def test_random_numbers_are_warned_of_once(source):
    def call(x):
        if source == "numpy.random":
            noise = np.random.normal(size=3)
        else:
            noise = random.random()
        return x + jnp.asarray(noise, x.dtype)

    line = (
        "noise = np.random.normal(size=3)"
        if source == "numpy.random"
        else "noise = random.random()"
    )
    with pytest.warns(UserWarning, match=re.escape(line)) as caught:
        model = cornu.Sequential([cornu.Input((3,)), layer_of(call), layers.Dense(3)])
        fit(model)
    (found,) = (str(w.message) for w in caught)
    assert "layer 'mine'" in found and f"`{source}`" in found and "SeedGenerator(0)" in found


def test_no_warning_where_nothing_is_drawn_in_the_step():
    class Own(cornu.Model):
        """Builds layers in its first call, which draws seeds, and reads values only eagerly."""

        def __init__(self):
            super().__init__()
            self.inner, self.drop = layers.Dense(3), layers.Dropout(0.5)
            self.seeds = cornu.random.SeedGenerator(0)

        def call(self, x, training=False):
            if not isinstance(x, jax.core.Tracer):
                x = x + np.random.normal(size=3).astype("float32")
            x = self.drop(self.inner(x), training=training)
            return x + cornu.random.normal((3,), seed=self.seeds)

    model = Own()
    fit(model)
    model(X)
    state = np.random.get_state()[2]
    model.predict(X, verbose=0)
    assert np.random.get_state()[2] == state


def test_looking_for_the_line_adds_no_loss():
    class Adds(layers.Layer):
        def call(self, x):
            self.add_loss(jnp.float32(3.0) + 0 * np.random.random())
            return x

    model = subclassed(Adds())
    with pytest.warns(UserWarning, match="np.random.random"):
        fit(model)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(3.0)


def test_losses_of_the_users_are_named():
    def own_loss(y_true, y_pred):
        return np.square(y_true - y_pred)

    class Own(cornu.losses.Loss):
        def call(self, y_true, y_pred):
            if y_true.sum() > 0:
                return y_true - y_pred
            return y_pred - y_true

    for loss, text in (
        (
            own_loss,
            r"In the loss 'own_loss', .*: return np.square\(y_true - y_pred\)\n.*jnp.square",
        ),
        (Own(), r"In the loss 'own', .*: if y_true.sum\(\) > 0:\n.*jnp.where"),
    ):
        model = cornu.Sequential([cornu.Input((3,)), layers.Dense(3)])
        model.compile("sgd", loss)
        with pytest.raises(TypeError, match=text):
            model.fit(X, Y, verbose=0)
