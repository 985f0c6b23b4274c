"""Quantized numbers are those of Keras, to the bit."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cornu import quantizers

RANDOM = np.random.RandomState(0)
FLOATS = RANDOM.normal(size=(3, 5, 4))


def assert_equal(ours, theirs):
    for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.asarray(mine).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    ("dtype", "to_numpy"), [("float32", True), ("bfloat16", True), ("float32", False)]
)
def test_integers(dtype, to_numpy):
    x = jnp.asarray(FLOATS, dtype)
    for axis in (-1, (0, 1)) if to_numpy else (-1,):
        call = (x, axis, (-8, 7), "int8", 1e-7, to_numpy)
        assert_equal(quantizers.abs_max_quantize(*call), keras.quantizers.abs_max_quantize(*call))
    for size in (3, 5) if to_numpy else (3,):
        name = "abs_max_quantize_grouped_with_zero_point"
        call = (x[0], size, (-8, 7), "int8", 1e-7, to_numpy)
        assert_equal(getattr(quantizers, name)(*call), getattr(keras.quantizers, name)(*call))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(("shape", "axis"), [((5, 2), 0), ((2, 3), -1), ((2, 3, 5), 1)])
def test_packing(shape, axis, dtype):
    low = -8 if dtype == "int8" else 0
    values = RANDOM.randint(low, low + 16, shape).astype(dtype)
    packed = quantizers.pack_int4(values, axis, dtype)
    assert_equal(packed, keras.quantizers.pack_int4(values, axis, dtype))
    assert_equal(quantizers.unpack_int4(packed[0], packed[2], axis, dtype), values)
    with pytest.raises(TypeError, match="for packing"):
        quantizers.pack_int4(values.astype("int32"), axis, dtype)


def test_floats_of_8_bits():
    x = jnp.asarray(FLOATS, "float32")
    history = jnp.arange(4.0)
    for amax in (0.0, 3.0, np.inf, np.nan):
        call = (np.float32(amax), np.float32(4), np.float32(448), 1)
        assert_equal(
            quantizers.compute_float8_scale(*call), keras.quantizers.compute_float8_scale(*call)
        )
    for name, call in (
        ("compute_float8_amax_history", (x, history)),
        ("quantize_and_dequantize", (x, 0.01, "float8_e5m2", "bfloat16")),
    ):
        assert_equal(getattr(quantizers, name)(*call), getattr(keras.quantizers, name)(*call))


@pytest.mark.parametrize("axis", [None, -1])
def test_fake_quantization(axis):
    x = jnp.asarray(FLOATS, "float32")
    low, high = jnp.array([-1.0, -0.5, 0.0, 0.1]), jnp.array([1.0, 2.0, 0.3, 0.4])
    low, high = (low[0], high[0]) if axis is None else (low, high)

    def loss(module):
        def of(x, low, high):
            return jnp.sum(module.fake_quant_with_min_max_vars(x, low, high, 4, True, axis) ** 2)

        return jax.value_and_grad(of, (0, 1, 2))(x, low, high)

    for mine, other in zip(
        *map(jax.tree.leaves, map(loss, (quantizers, keras.quantizers))), strict=True
    ):
        np.testing.assert_allclose(mine, other, 1e-5, 1e-5)
    if axis is None:
        # A range in an array of one number.
        low, high = low[None], high[None]
        for mine, other in zip(
            *map(jax.tree.leaves, map(loss, (quantizers, keras.quantizers))), strict=True
        ):
            np.testing.assert_allclose(mine.reshape(other.shape), other, 1e-5, 1e-5)
    else:
        # Along another axis than the last, where Keras on JAX does not.
        moved = quantizers.fake_quant_with_min_max_vars(x.swapaxes(0, 2), low, high, axis=0)
        whole = quantizers.fake_quant_with_min_max_vars(x, low, high, axis=-1)
        assert_equal(moved.swapaxes(0, 2), whole)


def test_configurations():
    for name in ("AbsMaxQuantizer", "Int8QuantizationConfig", "Int4QuantizationConfig"):
        described = quantizers.serialize(getattr(quantizers, name)())
        assert described == keras.quantizers.serialize(getattr(keras.quantizers, name)())
        assert quantizers.serialize(quantizers.deserialize(described)) == described
    with pytest.raises(ValueError, match="does not support custom quantizers"):
        quantizers.Int4QuantizationConfig(weight_quantizer=quantizers.AbsMaxQuantizer())
    with pytest.raises(ValueError, match="value_range=\\(-8, 7\\)"):
        quantizers.Int4QuantizationConfig(quantizers.AbsMaxQuantizer(), block_size=None)
    with pytest.raises(ValueError, match="must be a positive integer"):
        quantizers.GPTQConfig(None, None, num_samples=0)
    with pytest.raises(ValueError, match="Could not interpret quantizer"):
        quantizers.get("typo")
