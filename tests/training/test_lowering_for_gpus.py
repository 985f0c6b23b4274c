"""Whole steps of training, traced here, are lowered for GPUs."""

import functools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training.compiled_step import MOST_AT_ONCE


def residual():
    """Two blocks as ResNet-18's, with its first layers."""
    inputs = cornu.Input((32, 32, 3))
    x = layers.Conv2D(8, 7, 2, "same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for filters, strides in ((8, 1), (16, 2)):
        shortcut = x
        x = layers.Conv2D(filters, 3, strides, "same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        if strides > 1:
            shortcut = layers.Conv2D(filters, 1, strides, use_bias=False)(shortcut)
            shortcut = layers.BatchNormalization()(shortcut)
        x = layers.ReLU()(layers.Add()([x, shortcut]))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return cornu.Model(inputs, layers.Dense(10, "softmax", dtype="float32")(x))


@pytest.mark.parametrize(
    "policy, steps, several",
    [
        ("float32", None, True),
        ("mixed_bfloat16", 2, True),
        ("mixed_float16", None, False),
    ],
)
def test_a_step_of_training_is_lowered_for_gpus(policy, steps, several):
    before = cornu.config.dtype_policy()
    cornu.config.set_dtype_policy(policy)
    try:
        model = residual()
    finally:
        cornu.config.set_dtype_policy(before)
    optimizer = cornu.optimizers.Adam(gradient_accumulation_steps=steps)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = jnp.ones((4, 32, 32, 3)), jnp.zeros(4, "int32")
    model.optimizer.build(model.trainable_variables)
    model.evaluate(np.asarray(x), np.asarray(y), verbose=0)
    function = model.make_train_function()
    arguments = [(x, y, None)]
    if several:
        rows = jnp.zeros((MOST_AT_ONCE, 4), "int32")
        arguments = [(x, y, None), rows, jnp.int32(2)]
    step = functools.partial(function._run_rows if several else function._run, [])
    step = jax.jit(step, donate_argnums=0)
    exported = jax.export.export(step, platforms=["cuda"])(*function._take([]), *arguments)
    text = exported.mlir_module()
    assert not re.search(r"custom_call @cornu", text)
    assert text.count("stablehlo.convolution") >= 3 * 6 - 1
    # Images stay as they lie, and channels come last, which cuDNN likes in 16 bits.
    assert not re.search(r"stablehlo.transpose.*tensor<4x\d+x\d+x\d+x", text)
    assert text.count("= [b, 0, 1, f]x") + text.count("= [f, 0, 1, b]x") >= 3 * 6 - 1
    if several:
        assert "stablehlo.while" in text
    if policy != "float32":
        short = "bf16" if policy == "mixed_bfloat16" else "f16"
        # Every convolution computes in 16 bits.
        operands = re.findall(r"stablehlo.convolution.*: \(tensor<(.*?)>, tensor<(.*?)>\) ->", text)
        assert operands and all(o.endswith(f"x{short}") for pair in operands for o in pair)
