"""Which attention a process with a GPU lowers, seen without one: JAX is told that cuDNN is there."""

import types

import jax
import jax.export
import jax.numpy as jnp
import pytest

import cornu
from cornu import layers, ops
from cornu.saving.export import exported


@pytest.fixture
def as_with_cudnn(monkeypatch):
    """What JAX asks while it traces; nothing can be compiled for a GPU with it."""
    module = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    version = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
    monkeypatch.setattr(module, "cuda_versions", version)
    monkeypatch.setattr(module, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def lowered(platform, dtype, **how):
    """The program of the attention's gradients."""
    query = jnp.ones((2, 64, 4, 32), dtype)

    def total(*arrays):
        return ops.dot_product_attention(*arrays, is_causal=True, **how).astype("float32").sum()

    names = "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward", "cornu_attention"
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    export = jax.export.export(gradients, platforms=[platform], disabled_checks=allowed)
    return export(query, query, query).mlir_module()


def test_the_target_platform_decides_between_cudnn_and_others(as_with_cudnn):
    text = lowered("cuda", "bfloat16")
    assert "@__cudnn$fmhaSoftmax(" in text and "@__cudnn$fmhaSoftmaxBackward(" in text
    for platform in ("cpu", "rocm"):
        assert "__cudnn" not in lowered(platform, "bfloat16")
    # cuDNN's has 16 bits, and can be switched off.
    assert "__cudnn" not in lowered("cuda", "float32")
    assert "__cudnn" not in lowered("cuda", "bfloat16", flash_attention=False)


def test_programs_for_the_cpu_run_in_a_process_with_a_gpu(as_with_cudnn):
    query = jnp.linspace(-1, 1, 2 * 8 * 2 * 16, dtype="bfloat16").reshape(2, 8, 2, 16)
    found = jax.jit(ops.dot_product_attention)(query, query, query)
    expected = ops.dot_product_attention(query, query, query, flash_attention=False)
    assert jnp.array_equal(found, expected)


def test_a_model_is_exported_for_all_platforms_by_a_process_with_a_gpu(as_with_cudnn):
    x = cornu.Input((8, 16))
    attention = layers.MultiHeadAttention(2, 8, dtype="mixed_bfloat16", flash_attention=True)
    text = exported(cornu.Model(x, attention(x, x)), 2).mlir_module()
    assert "__cudnn" not in text and "bf16" in text
