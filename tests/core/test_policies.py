"""Dtype policies with quantization, and maps of them."""

import keras
import pytest

import cornu

NAMES = [
    "mixed_bfloat16",
    "int8_from_mixed_bfloat16",
    "int4_from_float32",
    "int4/64_from_float32",
    "float8_from_mixed_float16",
    "gptq/4/128_from_float32",
    "awq/4/-1_from_float32",
]


@pytest.mark.parametrize("name", NAMES)
def test_policies_of_keras(name):
    ours, theirs = cornu.dtype_policies.get(name), keras.dtype_policies.get(name)
    for attribute in ("name", "compute_dtype", "variable_dtype", "quantization_mode"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert cornu.dtype_policies.serialize(ours) == keras.dtype_policies.serialize(theirs)
    assert cornu.dtype_policies.deserialize(keras.dtype_policies.serialize(theirs)) == ours
    assert ours != cornu.dtype_policies.get("float32")


@pytest.mark.parametrize(
    "name",
    ["int8_from_float16", "int4/0_from_float32", "gptq/5/1_from_float32", "int7_from_float32", ""],
)
def test_wrong_names(name):
    with pytest.raises(ValueError, match=r"float16|Invalid|int7"):
        cornu.dtype_policies.get(name)


@pytest.mark.parametrize("policy", [None, 12345])
def test_the_global_policy_is_a_policy(policy):
    with pytest.raises(ValueError, match="Invalid `policy` argument"):
        cornu.config.set_dtype_policy(policy)


def test_map():
    policies = cornu.dtype_policies.DTypePolicyMap("float32", {})
    policies["dense_.*"] = "int8_from_float32"
    layer = cornu.layers.Dense(2, name="dense_in_8_bits", dtype=policies)
    other = cornu.layers.Dense(2, name="other", dtype=policies)
    for each in (layer, other):
        each.build((None, 3))
    assert (layer.kernel.dtype, other.kernel.dtype) == ("int8", "float32")
    described = cornu.dtype_policies.serialize(policies)
    assert described == keras.dtype_policies.serialize(keras.dtype_policies.deserialize(described))
    policies["dense_in.*"] = "float32"
    with pytest.raises(ValueError, match="matches multiple"):
        policies["dense_in_8_bits"]


def test_map_is_a_mapping():
    for k in (cornu, keras):
        policies = k.dtype_policies.DTypePolicyMap("float32", {})
        policies.update({"a": "bfloat16", "b": "float16"})
        assert [(path, policy.name) for path, policy in policies.items()] == [
            ("a", "bfloat16"),
            ("b", "float16"),
        ]
        assert policies.get("c").name == policies.setdefault("c").name == "float32"
        assert policies.pop("a").name == "bfloat16" and list(policies.keys()) == ["b"]
        policies.clear()
        assert len(policies) == 0
