"""Convolution: the quick gradients of few channels, derivatives of every kind, and mistakes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cornu.ops.convolution import conv, conv_transpose, depthwise_conv, separable_conv
from rounding import assert_sums_agree

RANDOM = np.random.RandomState(0)


def array(*shape):
    return jnp.asarray(RANDOM.randn(*shape), "float32")


def by_lax(x, kernel, strides, padding, dilation_rate):
    letters = "DHW"[3 - (x.ndim - 2) :]
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    if padding == "causal":
        reach = (kernel.shape[0] - 1) * dilation_rate
        padding = [(reach, 0)]
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides,) * (x.ndim - 2),
        padding if isinstance(padding, list) else padding.upper(),
        rhs_dilation=(dilation_rate,) * (x.ndim - 2),
        dimension_numbers=layout,
    )


# Up to four channels the gradient is our own, with five it is XLA's.
@pytest.mark.parametrize(
    "spatial, window, channels, strides, padding, dilation_rate",
    [
        ((9,), (4,), 2, 1, "causal", 2),
        ((9,), (3,), 1, 2, "same", 1),
        ((7, 8), (3, 3), 1, 1, "valid", 1),
        ((7, 8), (3, 2), 3, 1, "same", 1),
        ((7, 8), (2, 3), 4, 3, "valid", 1),
        ((7, 8), (3, 2), 2, 1, "same", 2),
        ((7, 8), (3, 2), 5, 2, "same", 1),
        ((4, 5, 6), (2, 3, 2), 2, 2, "same", 1),
    ],
)
def test_gradients(spatial, window, channels, strides, padding, dilation_rate):
    x, kernel = array(2, *spatial, channels), array(*window, channels, 3)
    arguments = strides, padding, dilation_rate

    def ours(x, kernel):
        return conv(x, kernel, strides, padding, dilation_rate=dilation_rate)

    def theirs(x, kernel):
        return by_lax(x, kernel, *arguments)

    expected, pull = jax.vjp(theirs, x, kernel)
    # The same of absolute values: what the terms of each sum come to at most.
    size, pull_size = jax.vjp(theirs, abs(x), abs(kernel))
    terms = channels * math.prod(window), kernel.shape[-1] * math.prod(window), expected.size
    output, our_pull = jax.vjp(ours, x, kernel)
    assert_sums_agree(output, expected, terms[0], size)
    pulled = our_pull(expected), pull(expected), terms[1:], pull_size(abs(expected))
    for parts in zip(*pulled, strict=True):
        assert_sums_agree(*parts)
    tangents = array(*x.shape), array(*kernel.shape)
    pushed = [jax.jvp(f, (x, kernel), tangents)[1] for f in (ours, theirs)]
    size = jax.jvp(theirs, (abs(x), abs(kernel)), tuple(map(abs, tangents)))[1]
    assert_sums_agree(*pushed, 2 * terms[0], size)


def score(kernel, x):
    return jnp.sum(jnp.sin(conv(x, kernel, 2, "same")))


def test_second_derivatives():
    kernel, x = array(2, 2, 1, 2), array(1, 4, 5, 1)
    forward = jax.jacfwd(jax.grad(score))(kernel, x)
    backward = jax.jacrev(jax.grad(score))(kernel, x)
    np.testing.assert_allclose(forward, backward, rtol=1e-5, atol=1e-6)
    assert np.abs(forward).max() > 0.1


def test_gradients_of_each_example():
    kernel, x = array(2, 2, 1, 2), array(3, 1, 4, 5, 1)
    together = jax.jit(jax.vmap(jax.grad(score), (None, 0)))(kernel, x)
    for one, example in zip(together, x, strict=True):
        np.testing.assert_allclose(one, jax.grad(score)(kernel, example), rtol=1e-5, atol=1e-6)


def test_half_precision_stays():
    x, kernel = array(1, 4, 4, 1).astype("bfloat16"), array(3, 3, 1, 2)
    assert conv(x, kernel.astype("bfloat16")).dtype == "bfloat16"
    # Unless the other is wider.
    assert (
        conv(x, kernel).dtype
        == conv(x.astype("float32"), kernel.astype("bfloat16")).dtype
        == "float32"
    )
    assert jax.grad(lambda k: conv(x, k).astype("float32").sum())(kernel).dtype == "float32"


@pytest.mark.parametrize(
    "function, shapes, message",
    [
        (conv, [(1, 5, 5, 3), (2, 2, 4, 1)], "input channels must be 4"),
        (conv, [(1, 5, 5, 3), (6, 2, 3, 1)], r"zero or negative.*\(6, 2\) over \(5, 5\)"),
        (depthwise_conv, [(1, 5, 5, 3), (2, 2, 4, 1)], "input channels must be 4"),
        (separable_conv, [(1, 5, 5, 3), (2, 2, 3, 2), (1, 1, 3, 1)], "input channels must be 3"),
        (conv_transpose, [(1, 5, 5, 3), (2, 2, 1, 4)], "input channels must be 4"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_mistakes(function, shapes, message):
    with pytest.raises(ValueError, match=message):
        function(*(jnp.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("name", ["strides", "dilation_rate"])
@pytest.mark.parametrize("value", [0, (1, 2, 3), (1, -1), "two", None])
def test_arguments_for_each_axis(name, value):
    with pytest.raises(ValueError, match=f"`{name}` argument must be a tuple of 2 positive"):
        conv(jnp.zeros((1, 5, 5, 1)), jnp.zeros((2, 2, 1, 1)), **{name: value})
