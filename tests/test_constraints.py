"""Every constraint beside Keras', and that weights obey it after each step of training."""

import inspect

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import constraints

CASES = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5}),
    ("MaxNorm", {"max_value": 1.0, "axis": 1}),
    ("MaxNorm", {"max_value": 1, "axis": [0, 1]}),
    ("MaxNorm", {"axis": None}),
    ("NonNeg", {}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": -1}),
    ("UnitNorm", {"axis": [0, 1, 2]}),
    ("MinMaxNorm", {}),
    ("MinMaxNorm", {"min_value": 2.0, "max_value": 3.0}),
    ("MinMaxNorm", {"min_value": 0.5, "max_value": 1.0, "rate": 0.7, "axis": 1}),
    ("MinMaxNorm", {"rate": 0.0, "axis": [0, 1]}),
]
W = np.random.RandomState(0).randn(3, 3, 2, 4).astype("float32")


def both(name, kwargs):
    return (getattr(k.constraints, name)(**kwargs) for k in (cornu, keras))


def norms(w, axis=0):
    return np.sqrt(np.sum(np.square(np.asarray(w, "float64")), axis=axis))


def test_every_name_is_there():
    assert {n for n in dir(keras.constraints) if n[0] != "_"} <= set(dir(constraints))
    classes = {n: c for n, c in vars(keras.constraints).items() if inspect.isclass(c)}
    for name, theirs in classes.items():
        ours = getattr(constraints, name)
        assert ours.__name__ == theirs.__name__ and issubclass(ours, constraints.Constraint)
    assert {c.__name__ for c in classes.values()} - {"Constraint"} == {name for name, _ in CASES}


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_like_keras(name, kwargs):
    ours, theirs = both(name, kwargs)
    for w in (W, 1e4 * W, 0 * W):
        np.testing.assert_allclose(ours(w), theirs(w), rtol=1e-6)
    half = jnp.asarray(W, "bfloat16")
    assert ours(half).dtype == theirs(half).dtype == "bfloat16"
    np.testing.assert_array_equal(ours(half), theirs(half))


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_lists_and_variables(name, kwargs):
    ours, _ = both(name, kwargs)
    expected = ours(jnp.asarray(W))
    np.testing.assert_array_equal(ours(cornu.Variable(W)), expected)
    np.testing.assert_array_equal(ours(W.tolist()), expected)


def test_infinite_weights_are_cut_off():
    w = np.array([-np.inf, -1.0, -0.0, 2.0, np.inf], "float32")
    result = np.asarray(constraints.NonNeg()(w))
    np.testing.assert_array_equal(result, keras.constraints.NonNeg()(w))
    assert not np.signbit(result[1])


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_configurations(name, kwargs):
    ours, theirs = both(name, kwargs)
    assert ours.get_config() == theirs.get_config()
    described = constraints.serialize(ours)
    assert described == keras.constraints.serialize(theirs)
    for twin in (
        type(ours).from_config(ours.get_config()),
        constraints.deserialize(described),
        constraints.get(described),
    ):
        assert type(twin) is type(ours)
        np.testing.assert_array_equal(twin(W), ours(W))


@pytest.mark.parametrize(
    "name",
    ["max_norm", "MaxNorm", "non_neg", "NonNeg", "unit_norm", "UnitNorm", "min_max_norm"],
)
def test_strings(name):
    ours, theirs = constraints.get(name), keras.constraints.get(name)
    assert type(ours).__name__ == type(theirs).__name__
    assert ours.get_config() == theirs.get_config()
    assert type(constraints.deserialize(name)) is type(ours)


def test_what_a_constraint_may_be():
    assert constraints.get(None) is None
    assert isinstance(constraints.get(constraints.UnitNorm), constraints.UnitNorm)
    assert constraints.get(jnp.abs) is jnp.abs
    given = constraints.MaxNorm(1.5)
    assert constraints.get(given) is given

    class Twice(constraints.Constraint):
        def __call__(self, w):
            return 2 * super().__call__(w)

    np.testing.assert_array_equal(Twice()(W), 2 * W)
    described = constraints.serialize(Twice())
    twin = constraints.deserialize(described, custom_objects={"Twice": Twice})
    assert type(twin) is Twice


@pytest.mark.parametrize(
    "identifier, message",
    [
        ("max_nrm", "Unknown constraint: 'max_nrm'. Did you mean 'MaxNorm'"),
        ("nonnegative", "Unknown constraint: 'nonnegative'. Did you mean 'NonNeg'"),
        (2, "Could not interpret constraint identifier: 2"),
    ],
)
def test_mistakes(identifier, message):
    with pytest.raises(ValueError, match=message):
        constraints.get(identifier)
    with pytest.raises(ValueError):
        keras.constraints.get(identifier)


def at_most_half(w):
    return norms(w).max() < 0.5 + 1e-5


def between(w):
    return norms(w, 1).min() > 0.2 - 1e-5 and norms(w, 1).max() < 0.3 + 1e-5


@pytest.mark.parametrize(
    "make, holds",
    [
        (lambda k: k.MaxNorm(0.5), at_most_half),
        (lambda k: k.MinMaxNorm(0.2, 0.3, axis=1), between),
        (lambda k: k.UnitNorm(), lambda w: np.allclose(norms(w), 1, atol=1e-5)),
        (lambda k: k.NonNeg(), lambda w: np.min(w) >= 0),
    ],
    ids=["MaxNorm", "MinMaxNorm", "UnitNorm", "NonNeg"],
)
def test_weights_obey_after_each_step(make, holds):
    random = np.random.RandomState(1)
    x, y = random.randn(8, 6).astype("float32"), random.randn(8, 3).astype("float32")
    start = random.randn(6, 3).astype("float32")
    assert not holds(start)
    steps = []
    for k in (cornu, keras):
        layer = k.layers.Dense(3, kernel_constraint=make(k.constraints), bias_constraint="non_neg")
        model = k.Sequential([k.layers.Input((6,)), layer])
        model.compile(k.optimizers.SGD(0.5), "mse")
        layer.set_weights([start, -np.ones(3)])
        steps.append([])
        for _ in range(3):
            model.train_on_batch(x, y)
            steps[-1].append(layer.get_weights())
    for ours, theirs in zip(*steps, strict=True):
        kernel, bias = ours
        assert holds(kernel) and bias.min() >= 0
        np.testing.assert_allclose(kernel, theirs[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bias, theirs[1], rtol=1e-4, atol=1e-6)
    assert not np.allclose(steps[0][0][0], steps[0][2][0], atol=1e-4)
