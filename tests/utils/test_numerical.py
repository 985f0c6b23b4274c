import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cornu.utils.numerical import normalize, to_categorical


@pytest.mark.parametrize(
    "labels",
    [[0, 2, 1], [[0], [3], [1]], [[0, 1], [2, 0]], 3, [1.0, 0.0], [True, False], [[[1], [2]]]],
    ids=str,
)
@pytest.mark.parametrize("num_classes", [None, 5])
def test_to_categorical_is_keras(labels, num_classes):
    ours = to_categorical(labels, num_classes)
    theirs = keras.utils.to_categorical(labels, num_classes)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("labels", [[0, 2, 1], [[0], [3]]], ids=str)
def test_to_categorical_of_a_jax_array_is_keras(labels):
    ours = to_categorical(jnp.array(labels), 4)
    theirs = keras.utils.to_categorical(jnp.array(labels), 4)
    assert isinstance(ours, jax.Array) and ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(jax.jit(lambda x: to_categorical(x, 4))(jnp.array(labels)), ours)


def test_to_categorical_of_no_labels():
    assert to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ([0, -1], None, "a label -1"),
        ([0, 3], 3, "from 0 to num_classes - 1 = 2. Received a label 3"),
        ([0.5, 1], None, "Received: 0.5"),
        (["cat"], None, "return_inverse"),
        ([], None, "no labels"),
        (jnp.array([7]), 3, "a label 7"),
    ],
    ids=str,
)
def test_to_categorical_refuses(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        to_categorical(labels, num_classes)


def test_to_categorical_in_a_compiled_function_needs_the_number_of_classes():
    with pytest.raises(ValueError, match="num_classes"):
        jax.jit(to_categorical)(jnp.array([1]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(("axis", "order"), [(-1, 2), (1, 1), (1, np.inf), (None, 2)])
def test_normalize_is_keras(dtype, axis, order):
    x = np.random.default_rng(0).normal(size=(3, 4)) * 10
    x[1] = 0
    x = x.astype(dtype)
    ours, theirs = normalize(x, axis, order), keras.utils.normalize(x, axis, order)
    assert isinstance(ours, np.ndarray) and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_normalize_of_other_arrays_is_keras(order):
    x = [[3.0, 4.0], [1.0, 0.0]]
    ours, theirs = normalize(x, order=order), keras.utils.normalize(jnp.array(x), order=order)
    assert isinstance(ours, jax.Array) and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_normalize_along_the_first_axis():
    x = np.random.default_rng(0).normal(size=(3, 3))
    np.testing.assert_allclose(normalize(x, axis=0), normalize(x.T).T, rtol=1e-12)
