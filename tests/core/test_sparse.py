"""Layers on matrices of JAX that keep only what is not zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

import cornu
from cornu import layers
from cornu.core.masking import get_mask

X = jnp.asarray(np.random.RandomState(0).randint(0, 3, (2, 4, 4)), "float32")


def forms(x):
    """Matrices that stand for arrays of one shape, in each of JAX' layouts."""
    plain = sparse.BCOO.fromdense(x)
    first = sparse.BCOO.fromdense(x[:1], n_batch=1)
    return {
        "plain": plain,
        "batch": sparse.BCOO.fromdense(x, n_batch=1),
        "dense axis": sparse.BCOO.fromdense(x, n_dense=1),
        "padded": sparse.BCOO.fromdense(x, nse=x.size),
        "empty": sparse.BCOO.fromdense(0 * x),
        "twice": sparse.BCOO(
            (jnp.tile(plain.data, 2), jnp.tile(plain.indices, (2, 1))), shape=x.shape
        ),
        # Stored once for all examples.
        "broadcast": sparse.BCOO((first.data, first.indices), shape=x.shape),
    }


FORMS = forms(X)
ONE = {
    "Identity": (layers.Identity(), True),
    "Flatten": (layers.Flatten("channels_first"), True),
    "Reshape": (layers.Reshape((8, 2)), True),
    "Permute": (layers.Permute((2, 1)), True),
    "Dense": (layers.Dense(2), False),
    "Sequential": (cornu.Sequential([layers.Flatten(), layers.Dense(2)]), False),
}
SEVERAL = [
    *(layers.Add(), layers.Subtract(), layers.Multiply(), layers.Average(), layers.Maximum()),
    *(layers.Minimum(), layers.Concatenate(1), layers.Dot(1)),
]


def same(output, expected, is_sparse):
    assert isinstance(output, sparse.BCOO) == is_sparse
    assert output.dtype == expected.dtype
    np.testing.assert_array_equal(output.todense() if is_sparse else output, expected)


@pytest.mark.parametrize("form", FORMS)
def test_the_numbers_are_those_of_the_dense_array(form):
    matrix = FORMS[form]
    for layer, keeps in ONE.values():
        same(layer(matrix), layer(matrix.todense()), keeps)
    assert cornu.ops.is_tensor(matrix)
    np.testing.assert_array_equal(cornu.ops.convert_to_numpy(matrix), matrix.todense())


@pytest.mark.parametrize("dtype", ["bool", "uint8", "bfloat16"])
def test_dtypes(dtype):
    matrix = sparse.BCOO.fromdense(X.astype(dtype))
    for layer, keeps in (ONE["Flatten"], ONE["Dense"], (SEVERAL[0], True)):
        inputs = [matrix, matrix] if layer is SEVERAL[0] else matrix
        dense = jax.tree.map(lambda m: m.todense(), inputs, is_leaf=lambda m: m is matrix)
        same(layer(inputs), layer(dense), keeps)


@pytest.mark.parametrize("layer", SEVERAL, ids=lambda layer: layer.name)
def test_several_inputs(layer):
    one, other = FORMS["broadcast"], FORMS["batch"]
    expected = layer([one.todense(), other.todense()])
    same(layer([one, other]), expected, True)
    same(layer([one, other.todense()]), expected, False)
    same(layer([one.todense(), other]), expected, False)


def test_in_compiled_programs():
    """How many numbers are not zero is not known there: a product has more of them than its factors."""
    column = sparse.BCOO.fromdense(jnp.zeros((1, 4, 4)).at[:, :, 0].set(1))
    row = sparse.BCOO.fromdense(jnp.zeros((1, 4, 4)).at[:, 0].set(1))
    dot = layers.Dot((2, 1))
    same(jax.jit(lambda a, b: dot([a, b]))(column, row), jnp.ones((1, 4, 4)), True)
    flat = ONE["Flatten"][0]
    gradient = jax.grad(lambda m: jnp.sum(flat(m).todense() ** 2), allow_int=True)(FORMS["plain"])
    np.testing.assert_array_equal(gradient.data, 2 * FORMS["plain"].data)


def test_in_models():
    inputs = cornu.Input((4, 4), sparse=True)
    flat = layers.Flatten()(inputs)
    assert flat.sparse and layers.Add()([flat, flat]).sparse
    assert not layers.Dense(2)(flat).sparse
    assert not layers.Add()([inputs, cornu.Input((4, 4))]).sparse
    model = cornu.Model(inputs, layers.Dense(2)(flat))
    matrix = FORMS["plain"]
    same(model(matrix), model(X), False)
    np.testing.assert_allclose(model.predict(matrix, verbose=0), model(X), rtol=1e-6)


def test_masks_are_passed_on():
    matrix = sparse.BCOO.fromdense(X)
    matrix._keras_mask = jnp.ones((2, 4), bool)
    assert get_mask(layers.Identity()(matrix)) is not None


def test_layers_of_users_get_them_as_they_are():
    class Mine(layers.Flatten):
        def build(self, input_shape):
            self.shape = input_shape

        def call(self, inputs):
            assert isinstance(inputs, sparse.BCOO)
            return inputs.todense()

    layer = Mine()
    same(layer(FORMS["plain"]), X, False)
    assert layer.shape == (2, 4, 4)
