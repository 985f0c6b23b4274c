"""A program that is traced on a CPU is lowered for GPUs and TPUs, too, and is no longer there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.core.variable import functional
from cornu.ops import pooling
from cornu.ops.windows import sliding


def lowered(function, *arguments, platform):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_step_of_a_model(platform):
    inputs = cornu.Input((20, 20, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D(9, strides=1, padding="same")(x)
    x = layers.DepthwiseConv2D(3, activation="tanh")(x)
    x = layers.AveragePooling2D()(layers.Dropout(0.5)(x))
    x = layers.Reshape((64, 8))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LSTM(6)(x)
    model = cornu.Model(inputs, layers.Dense(5, activation="softmax")(x))
    values = [v.value for v in model.variables]
    run = functional(lambda x: model(x, training=True), model.variables)

    def loss(values, x):
        outputs, after = run(values, x)
        return -jnp.mean(jnp.log(outputs[:, 0])), after

    text = lowered(
        jax.value_and_grad(loss, has_aux=True, allow_int=True),
        values,
        jnp.ones((4, 20, 20, 3)),
        platform=platform,
    )
    if platform != "cpu":
        assert "@cornu" not in text
        assert len(text.splitlines()) < 2500


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_large_window_is_one_operation(platform):
    # A window of 225 taps; the taps one by one would take thousands of lines.
    gradient = jax.grad(lambda x: pooling.max_pool(x, 15, 2).sum())
    assert len(lowered(gradient, jnp.ones((8, 30, 30, 4)), platform=platform).splitlines()) < 500


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "size, window, strides, padding",
    [
        ((7, 5), (3, 3), (2, 1), "same"),
        ((3, 4), (3, 4), (1, 1), "valid"),
        ((12,), (5,), (2,), "same"),
        ((4, 5, 3), (2, 3, 2), (2, 2, 1), "same"),
    ],
)
def test_a_large_window_is_as_tap_by_tap(monkeypatch, size, window, strides, padding, dtype):
    random = np.random.default_rng(0)
    geometry = sliding(size, window, strides, padding)
    # Many equal numbers, and what is not a number.
    image = random.integers(-4, 5, (2, *size, 3)).astype(dtype)
    image[0, 2, ..., 0] = np.nan
    tangent = random.integers(-9, 9, image.shape).astype(dtype)

    def results(image, tangent):
        values, argmax = pooling._largest(image, geometry=geometry)
        # 255 is the argmax of a window that relu has set to zero.
        argmax = jnp.where(values == 4, jnp.uint8(255), argmax)
        at = pooling._at_argmax(tangent, argmax, geometry=geometry)
        return values, argmax, at, pooling._unpool(at, argmax, geometry=geometry)

    taps = jax.jit(results)(image, tangent)
    monkeypatch.setattr(pooling, "_MOST_TAPS", 0)
    at_once = jax.jit(lambda *arrays: results(*arrays))(image, tangent)
    for mine, other in zip(at_once, taps, strict=True):
        np.testing.assert_array_equal(mine.astype("float32"), other.astype("float32"))
