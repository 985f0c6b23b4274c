"""Settings, and the names of dtype policies in `dtype_policies` and `mixed_precision`, beside Keras'."""

import keras
import pytest

import cornu
from cornu import dtype_policies, mixed_precision


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_policies(name):
    mine, theirs = dtype_policies.get(name), keras.dtype_policies.get(name)
    for attribute in ("name", "compute_dtype", "variable_dtype"):
        assert getattr(mine, attribute) == getattr(theirs, attribute)
    described = keras.dtype_policies.serialize(theirs)
    assert dtype_policies.serialize(mine) == described
    for config in (described, {**described, "class_name": "FloatDTypePolicy"}):
        assert dtype_policies.deserialize(config) == dtype_policies.get(config) == mine
    assert dtype_policies.FloatDTypePolicy(name) == cornu.FloatDTypePolicy(name) == mine


def test_global_policy():
    before = mixed_precision.global_policy()
    try:
        mixed_precision.set_global_policy("mixed_bfloat16")
        assert cornu.config.dtype_policy() == mixed_precision.Policy("mixed_bfloat16")
        assert cornu.layers.Dense(2).compute_dtype == "bfloat16"
    finally:
        mixed_precision.set_dtype_policy(before)
    assert mixed_precision.dtype_policy() == before == dtype_policies.get(None)


def test_all_of_the_older_names():
    names = {name for name in dir(keras.mixed_precision) if not name.startswith("_")}
    assert names == set(mixed_precision.__all__)


def test_the_engine():
    cornu.config.set_backend(cornu.config.backend())
    with pytest.raises(ValueError, match="JAX alone"):
        cornu.config.set_backend("torch")
    assert cornu.config.is_nnx_enabled() is keras.config.is_nnx_enabled() is False


def test_names_that_keras_keeps_twice():
    assert cornu.config.is_interactive_logging_enabled is cornu.utils.is_interactive_logging_enabled
    assert cornu.utils.is_keras_tensor is cornu.backend.is_keras_tensor
    assert cornu.utils.standardize_dtype is cornu.backend.standardize_dtype
