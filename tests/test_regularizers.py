"""Every regularizer beside Keras': penalties, gradients, names, configurations, mistakes."""

import inspect

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import regularizers

CASES = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L1", {"l1": None}),
    ("L2", {}),
    ("L2", {"l2": 1}),
    ("L2", {"l2": 0}),
    ("L1L2", {}),
    ("L1L2", {"l1": 0.1}),
    ("L1L2", {"l2": 0.2, "l1": None}),
    ("L1L2", {"l1": 0.1, "l2": 0.2}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
]
X = np.random.RandomState(0).randn(6, 4).astype("float32")


def both(name, kwargs):
    return (getattr(k.regularizers, name)(**kwargs) for k in (cornu, keras))


def test_every_name_is_there():
    assert {n for n in dir(keras.regularizers) if n[0] != "_"} <= set(dir(regularizers))
    classes = {n: c for n, c in vars(keras.regularizers).items() if inspect.isclass(c)}
    for name, theirs in classes.items():
        ours = getattr(regularizers, name)
        assert ours.__name__ == theirs.__name__ and issubclass(ours, regularizers.Regularizer)
    assert {c.__name__ for c in classes.values()} - {"Regularizer"} == {name for name, _ in CASES}


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_penalties_and_gradients(name, kwargs):
    ours, theirs = both(name, kwargs)
    for x in (X, 1e4 * X, jnp.zeros((3, 2)), X[:3, :3]):
        x = jnp.asarray(x)
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-6)
    gradient, expected = (jax.grad(f)(jnp.asarray(X)) for f in (ours, theirs))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_half_precision_is_kept(name, kwargs):
    ours, theirs = both(name, kwargs)
    x = jnp.asarray(X, "bfloat16")
    assert ours(x).dtype == theirs(x).dtype == "bfloat16"
    np.testing.assert_allclose(np.float32(ours(x)), np.float32(theirs(x)), rtol=2e-2)


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_lists_and_variables(name, kwargs):
    ours, _ = both(name, kwargs)
    assert ours(cornu.Variable(X)) == ours(X.tolist()) == ours(jnp.asarray(X))


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_configurations(name, kwargs):
    ours, theirs = both(name, kwargs)
    config, expected = ours.get_config(), theirs.get_config()
    assert list(config) == list(expected)
    for key, value in expected.items():
        # Some of Keras' factors have been through float32.
        assert config[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6))
    described = regularizers.serialize(ours)
    by_keras = keras.regularizers.serialize(theirs)
    assert {**described, "config": None} == {**by_keras, "config": None}
    for twin in (
        type(ours).from_config(config),
        regularizers.deserialize(described),
        regularizers.get(described),
        regularizers.get(by_keras),
    ):
        assert type(twin) is type(ours)
        np.testing.assert_allclose(twin(X), ours(X), rtol=1e-6)


@pytest.mark.parametrize("name", ["l1", "L1", "l2", "L2", "l1l2", "L1L2", "orthogonal_regularizer"])
def test_strings(name):
    ours, theirs = regularizers.get(name), keras.regularizers.get(name)
    assert type(ours).__name__ == type(theirs).__name__
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-6)
    assert type(regularizers.deserialize(name)) is type(ours)


def test_what_a_regularizer_may_be():
    assert isinstance(regularizers.get("l1_l2"), regularizers.l1_l2)
    assert regularizers.get(None) is None
    assert isinstance(regularizers.get(regularizers.L2), regularizers.L2)
    assert regularizers.get(jnp.sum) is jnp.sum
    given = regularizers.L1(0.2)
    assert regularizers.get(given) is given
    assert regularizers.Regularizer()(X) == keras.regularizers.Regularizer()(X)

    class Smooth(regularizers.Regularizer):
        def __init__(self, factor=1.0):
            self.factor = factor

        def __call__(self, x):
            return self.factor * jnp.sum(jnp.square(jnp.diff(x, axis=0)))

    described = regularizers.serialize(Smooth(3.0))
    twin = regularizers.deserialize(described, custom_objects={"Smooth": Smooth})
    assert twin.factor == 3.0 and twin(X) == Smooth(3.0)(X)


def test_orthogonality_costs_nothing():
    matrix = jnp.linalg.qr(X)[0]
    columns = regularizers.OrthogonalRegularizer(1.0, "columns")
    assert columns(matrix) < 1e-6 < 0.1 < columns(X)
    rows = regularizers.OrthogonalRegularizer(1.0)
    assert rows(matrix.T) < 1e-6 < 0.1 < rows(X)
    np.testing.assert_allclose(rows(np.ones((3, 2))), 1, rtol=1e-6)
    np.testing.assert_allclose(rows(5 * X), rows(X), rtol=1e-6)


@pytest.mark.parametrize("mode, x", [("rows", X[:1]), ("columns", X[:, :1])])
def test_one_vector_has_no_other(mode, x):
    """Keras divides by the number of pairs, which is zero."""
    ours = regularizers.OrthogonalRegularizer(mode=mode)
    assert ours(x) == 0
    assert not jax.grad(ours)(jnp.asarray(x)).any()


def test_zeros_have_a_gradient():
    """Keras' is NaN."""
    gradient = jax.grad(regularizers.OrthogonalRegularizer())(jnp.zeros((3, 3)))
    assert not gradient.any()


def test_in_layers():
    results = []
    for k in (cornu, keras):
        layer = k.layers.Dense(
            3, kernel_regularizer="l2", bias_regularizer=k.regularizers.L1(0.5), use_bias=True
        )
        layer.build((None, 4))
        layer.set_weights([X[:4, :3], X[0, :3]])
        results.append([np.asarray(loss) for loss in layer.losses])
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert len(results[0]) == 2


@pytest.mark.parametrize("name, argument", [("L1", "l1"), ("L2", "l2"), ("L1L2", "l2")])
@pytest.mark.parametrize("value", [-1, -0.1, "a", float("nan"), float("inf"), [0.1]])
def test_bad_factors(name, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must be a finite, non-negative number"):
        getattr(regularizers, name)(**{argument: value})
    with pytest.raises(ValueError):
        getattr(keras.regularizers, name)(**{argument: value})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda k: k.OrthogonalRegularizer(-1.0), "`factor` must be a finite, non-negative number"),
        (lambda k: k.OrthogonalRegularizer(None), "`factor` must be a finite, non-negative number"),
        (lambda k: k.OrthogonalRegularizer(mode="row"), '"rows", "columns".*mode=row'),
        (lambda k: k.OrthogonalRegularizer()(X[0]), r"must have rank 2. Received: .*\(4,\)"),
        (lambda k: k.get("l3"), "Unknown regularizer: 'l3'. Did you mean '(L1|L2)'"),
        (lambda k: k.get("orthogonal_regulariser"), "Did you mean 'OrthogonalRegularizer'"),
        (lambda k: k.get(0.01), "Could not interpret regularizer identifier: 0.01"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make(regularizers)
    with pytest.raises(ValueError):
        make(keras.regularizers)
