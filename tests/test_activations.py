"""Every activation beside Keras': values, gradients, dtypes, arguments, symbolic tensors, names."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu
from cornu import activations

LOOKUPS = {"get", "serialize", "deserialize"}
NAMES = sorted(
    name
    for name in dir(keras.activations)
    if name[0] != "_" and callable(getattr(keras.activations, name)) and name not in LOOKUPS
)
# Keras' sparsemax adds up numbers outside its support, so its results do not sum to 1; ours is
# tested by the definition instead.
LIKE_KERAS = [name for name in NAMES if name != "sparsemax"]
ARGUMENTS = {
    "relu": [
        {},
        {"negative_slope": 0.5},
        {"max_value": 2.5},
        {"max_value": 6},
        {"max_value": 0},
        {"threshold": 1.5},
        {"threshold": -1.0},
        {"negative_slope": 0.5, "max_value": 6},
        {"negative_slope": 0.5, "max_value": 3},
        {"negative_slope": 0.5, "threshold": 1.0},
        {"max_value": 6, "threshold": 1.0},
        {"negative_slope": 0.5, "max_value": 3, "threshold": 1.5},
    ],
    "leaky_relu": [{}, {"negative_slope": 0.5}],
    "softmax": [{}, {"axis": 0}, {"axis": (0, 1)}],
    "log_softmax": [{}, {"axis": 0}, {"axis": (0, 1)}],
    "elu": [{}, {"alpha": 0.3}],
    "celu": [{}, {"alpha": 0.3}],
    "gelu": [{}, {"approximate": True}],
    "glu": [{}, {"axis": 0}],
    "soft_shrink": [{}, {"threshold": 1.0}],
    "hard_shrink": [{}, {"threshold": 1.0}],
    "threshold": [{"threshold": 1.0, "default_value": 0.25}],
    "squareplus": [{}, {"b": 1}],
}
CASES = [(name, kwargs) for name in LIKE_KERAS for kwargs in ARGUMENTS.get(name, [{}])]

random = np.random.default_rng(0)
# Numbers of everyday size, the corners of every function, and numbers where exponentials overflow.
X = np.concatenate(
    [
        random.normal(size=24) * 3,
        [-1e4, -100.0, -6.0, -3.0, -1.0, -0.5, -0.0, 0.0],
        [0.5, 1.0, 1.5, 2.5, 3.0, 6.0, 100.0, 1e4],
    ]
)
X = X.astype("float32").reshape(10, 4)
WEIGHTS = random.normal(size=X.shape).astype("float32")


def both(name):
    return getattr(activations, name), getattr(keras.activations, name)


def weighted_sum(function, kwargs):
    def result(x):
        y = function(x, **kwargs)
        return jnp.sum(y * WEIGHTS[: y.shape[0], : y.shape[1]])

    return result


def test_every_activation_is_there():
    assert {*NAMES, *LOOKUPS} <= set(dir(activations))
    for name in NAMES:
        ours, theirs = both(name)
        assert ours.__name__ == theirs.__name__


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_values_and_gradients(name, kwargs):
    ours, theirs = both(name)
    np.testing.assert_allclose(ours(X, **kwargs), theirs(X, **kwargs), rtol=1e-6, atol=1e-6)
    gradient = jax.jit(jax.grad(weighted_sum(ours, kwargs)))(X)
    expected = jax.jit(jax.grad(weighted_sum(theirs, kwargs)))(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_half_precision_is_kept(name, kwargs):
    ours, theirs = both(name)
    x = jnp.asarray(X, "bfloat16")
    result = ours(x, **kwargs)
    assert result.dtype == "bfloat16"
    np.testing.assert_array_equal(result, theirs(x, **kwargs))
    assert ours(jnp.asarray(X), **kwargs).dtype == "float32"


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("name, kwargs", CASES, ids=str)
def test_integers(name, kwargs):
    """The numbers that floats give, in Keras' dtype if that has them, too: in others they wrap or fail."""
    ours, theirs = both(name)
    for x in ([[-7, -1, 0, 1], [2, 3, 6, 9]], np.array([[0, 1, 2, 3], [200, 7, 6, 100]], "uint8")):
        x = jnp.asarray(x)
        expected = theirs(x.astype("float32"), **kwargs)
        result = ours(x, **kwargs)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
        if x.dtype == "int32":
            try:
                same = theirs(x, **kwargs)
            except TypeError:
                same = expected
            right = np.allclose(same, expected, rtol=1e-6, atol=1e-6)
            assert result.dtype == (same.dtype if right else "float32")


@pytest.mark.parametrize("name", LIKE_KERAS)
def test_lists_variables_and_nothing(name):
    kwargs = ARGUMENTS.get(name, [{}])[0]
    ours, _ = both(name)
    expected = ours(jnp.asarray(X), **kwargs)
    np.testing.assert_array_equal(ours(X.tolist(), **kwargs), expected)
    np.testing.assert_array_equal(ours(cornu.Variable(X), **kwargs), expected)
    empty = ours(np.zeros((0, 4), "float32"), **kwargs)
    assert empty.shape == (0, expected.shape[1])


@pytest.mark.parametrize("name, kwargs", [c for c in CASES if "axis" not in c[1]], ids=str)
def test_symbolic_tensors(name, kwargs):
    result = getattr(activations, name)(cornu.Input((4,)), **kwargs)
    assert isinstance(result, cornu.KerasTensor)
    assert result.shape == (None, 2 if name == "glu" else 4)
    assert result.dtype == "float32"


def test_in_a_model():
    x = cornu.Input((4,))
    cases = [(name, kwargs) for name, kwargs in CASES if "axis" not in kwargs]
    model = cornu.Model(x, [getattr(activations, name)(x, **kwargs) for name, kwargs in cases])
    for result, (name, kwargs) in zip(model(X), cases, strict=True):
        expected = getattr(activations, name)(X, **kwargs)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    ours, theirs = both(name)
    assert activations.get(name) is ours and activations.get(ours) is ours
    text = activations.serialize(ours)
    assert text == keras.activations.serialize(theirs)
    assert activations.deserialize(text) is ours
    described = {"class_name": "function", "config": text, "registered_name": "function"}
    assert activations.get({"module": "builtins", **described}) is ours


def test_what_an_activation_may_be():
    assert activations.get(None) is activations.linear
    assert activations.deserialize(None) is None
    layer = cornu.layers.ReLU(max_value=2.0)
    assert activations.get(layer) is layer
    twin = activations.deserialize(activations.serialize(layer))
    np.testing.assert_array_equal(twin(X), layer(X))

    def double(x):
        return 2 * x

    assert activations.get(double) is double
    described = activations.serialize(double)
    assert activations.deserialize(described, custom_objects={"double": double}) is double
    with cornu.utils.custom_object_scope({"double": double}):
        assert activations.get("double") is double


@pytest.mark.parametrize(
    "identifier, message",
    [
        ("sofmax", r"Unknown activation: 'sofmax'\. Did you mean 'softmax'"),
        ("sigmod", r"Unknown activation: 'sigmod'\. Did you mean 'sigmoid'"),
        ("gelo", r"Unknown activation: 'gelo'\. Did you mean '(gelu|glu)'"),
        ("", r"Unknown activation: ''\. If it is"),
        (3, "Could not interpret activation identifier: 3.*of type int"),
        ({"class_name": "function", "config": "relux"}, "names the function 'relux'"),
    ],
)
def test_unknown_names(identifier, message):
    with pytest.raises(ValueError, match=message):
        activations.get(identifier)


def simplex_projection(x):
    """Nearest points of the simplex: clip at a height that bisection finds."""
    x = np.asarray(x, "float64")
    low, high = x.min(-1, keepdims=True) - 1, x.max(-1, keepdims=True)
    for _ in range(100):
        middle = (low + high) / 2
        too_low = np.maximum(x - middle, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return np.maximum(x - high, 0)


@pytest.mark.parametrize(
    "x",
    [
        random.normal(size=(4, 6)),
        random.normal(size=(4, 6)) * 0.1,
        random.normal(size=(4, 6)) + 1e4,
        np.repeat([[1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [1e4, -1e4, 0.0], [0.0, 0.0, -1.0]], 2, 1),
        random.uniform(size=(4, 1000)) * 0.01,
        np.array([[[-5.0], [1e4]]]),
        np.array([0.3, 0.1, -0.4]),
    ],
    ids=["plain", "wide support", "large", "ties", "many", "single", "vector"],
)
def test_sparsemax_is_the_projection_onto_the_simplex(x):
    x = x.astype("float32")
    result = np.asarray(jax.jit(activations.sparsemax)(x))
    np.testing.assert_allclose(result.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(result, simplex_projection(x), atol=1e-6)
    turned = jax.jit(lambda x: activations.sparsemax(x, axis=0))(np.moveaxis(x, -1, 0))
    np.testing.assert_allclose(np.moveaxis(np.asarray(turned), 0, -1), result, atol=1e-6)


def test_gradient_of_sparsemax():
    """Within the support, what goes in less its mean; outside, nothing."""
    x = X[:6] / 3
    gradient = jax.jit(jax.grad(weighted_sum(activations.sparsemax, {})))(x)
    inside = simplex_projection(x) > 0
    mean = np.sum(WEIGHTS[:6] * inside, -1, keepdims=True) / inside.sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient, (WEIGHTS[:6] - mean) * inside, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "int32"])
def test_dtypes_of_sparsemax(dtype):
    x = jnp.asarray(2 * random.normal(size=(5, 300)), dtype)
    result = jax.jit(activations.sparsemax)(x)
    assert result.dtype == ("float32" if dtype == "int32" else dtype)
    np.testing.assert_allclose(np.asarray(result, "float64"), simplex_projection(x), atol=4e-3)
    assert activations.sparsemax(cornu.Input((4,))).shape == (None, 4)
