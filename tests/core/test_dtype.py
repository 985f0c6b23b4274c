"""Arrays of NumPy of every kind, wherever they are taken."""

import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import cornu
from cornu import layers, losses, metrics, ops
from cornu.core.dtype import as_array, for_jax

NUMBERS = np.arange(24.0).reshape(2, 3, 4)
KINDS = {
    "big-endian": NUMBERS.astype(">f4"),
    "big-endian integers": NUMBERS.astype(">i8"),
    "long double": NUMBERS.astype(np.longdouble),
    "reversed": NUMBERS[::-1, :, ::-1][::-1, :, ::-1],
    "Fortran": np.asfortranarray(NUMBERS),
    "read-only": np.frombuffer(NUMBERS.tobytes()).reshape(NUMBERS.shape),
    "every second": np.repeat(NUMBERS, 2, axis=1)[:, ::2],
    "nothing masked": np.ma.array(NUMBERS),
}


@pytest.mark.parametrize("array", KINDS.values(), ids=KINDS)
def test_kinds_of_arrays(array):
    plain = NUMBERS.astype("float32")
    np.testing.assert_array_equal(as_array(array), plain)
    np.testing.assert_array_equal(layers.Flatten()(array), plain.reshape(2, 12))
    np.testing.assert_array_equal(layers.Rescaling(2.0)(array), plain * 2)
    np.testing.assert_array_equal(ops.add(array, array), plain * 2)
    np.testing.assert_array_equal(ops.concatenate([array, array]), np.concatenate([plain, plain]))
    variable = cornu.Variable(array)
    np.testing.assert_array_equal(variable, plain)
    np.testing.assert_array_equal(variable + array, plain * 2)
    np.testing.assert_array_equal(variable.assign(array).assign_add(array), plain * 2)
    constant = cornu.initializers.Constant(array)
    np.testing.assert_array_equal(constant((2, 3, 4), "float32"), plain)
    layer = layers.Dense(3, use_bias=False)
    layer.build((None, 4))
    layer.set_weights([array[0].T])
    np.testing.assert_array_equal(layer.kernel, plain[0].T)
    np.testing.assert_allclose(layer(array), plain @ plain[0].T)
    assert float(losses.MeanSquaredError()(array, array + 1, sample_weight=array[..., 0])) == 10.0
    mean = metrics.MeanAbsoluteError()
    assert float(mean(array, array + 2)) == 2.0


def test_what_jax_would_change_is_refused():
    with pytest.raises(ValueError, match="holds 3000000000, which does not fit the 32 bits"):
        layers.Identity()(np.array([1, 3_000_000_000]))
    with pytest.raises(ValueError, match="holds -3000000000"):
        ops.abs(np.array([-3_000_000_000]))
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(ValueError, match="masked elements"):
        layers.Identity()(masked)
    # What becomes a float fits.
    big = np.array([2**40])
    assert float(cornu.Variable(big, dtype="float32")[0]) == 2.0**40
    assert for_jax(np.zeros((0, 3), "int64")).shape == (0, 3)
    assert as_array(np.array([3_000_000_000], "uint32")).dtype == jnp.uint32


def test_sparse_matrices_are_refused_by_name():
    """Data of `scipy.sparse` are made dense batch by batch; layers take JAX' matrices (test_sparse.py)."""
    dense = np.eye(3, dtype="float32")
    for sparse in (scipy.sparse.csr_matrix(dense), jax.experimental.sparse.BCOO.fromdense(dense)):
        for call in (
            lambda sparse=sparse: ops.sum(sparse),
            lambda sparse=sparse: ops.convert_to_tensor(sparse),
            lambda sparse=sparse: losses.MeanSquaredError()(sparse, dense),
            lambda sparse=sparse: metrics.MeanSquaredError()(sparse, dense),
            lambda sparse=sparse: cornu.Variable(sparse),
        ):
            with pytest.raises(TypeError, match=r"dense here.*\(3, 3\).*todense"):
                call()
    matrix = scipy.sparse.csr_matrix(dense)
    with pytest.raises(TypeError, match=r"dense here.*csr_matrix"):
        layers.Dense(1)(matrix)
    model = cornu.Sequential([layers.Dense(1)])
    np.testing.assert_array_equal(model.predict(matrix, verbose=0), model.predict(dense, verbose=0))
