"""Vectors of length zero: their gradients are numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers, ops

TAKEN = {
    "UnitNormalization": layers.UnitNormalization(),
    "of two axes": layers.UnitNormalization(axis=(0, 1)),
    "Dot": lambda x: layers.Dot(-1, normalize=True)([x, jnp.ones_like(x)]),
    "ops.normalize": ops.normalize,
    "ops.normalize, order 3": lambda x: ops.normalize(x, order=3),
    "utils.normalize": cornu.utils.normalize,
    "cdist": lambda x: ops.cdist(x, jnp.zeros_like(x)) ** 2,
}


@pytest.mark.parametrize("name", TAKEN)
def test_gradients_of_zeros_are_numbers(name):
    def loss(x):
        return jnp.sum(jnp.square(TAKEN[name](x)) * jnp.arange(1.0, 3.0)[:, None])

    whole = jnp.array([[3.0, 4.0], [1.0, -2.0]])
    some, none = whole.at[1].set(0), jnp.zeros((2, 2))
    for x in (whole, some, none):
        assert np.isfinite(loss(x)) and np.isfinite(jax.grad(loss)(x)).all()
    if name != "of two axes":
        # The other vectors' gradients are what they are without the zeros.
        np.testing.assert_allclose(jax.grad(loss)(some)[0], jax.grad(loss)(whole)[0], rtol=1e-5)
        assert not jax.grad(loss)(some)[1].any()
    assert np.isnan(loss(whole.at[0, 0].set(jnp.nan)))


def test_small_and_large_vectors_of_16_bits_get_length_one():
    x = jnp.array([[3e-4, 4e-4], [3e3, 4e3]], "float16")
    found = layers.UnitNormalization(dtype="float16")(x)
    np.testing.assert_allclose(found, [[0.6, 0.8]] * 2, rtol=2e-3)
