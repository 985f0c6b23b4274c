"""The arithmetic of windows against what XLA computes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cornu.ops.convolution import conv_transpose
from cornu.ops.windows import as_tuple, output_size, padding_amounts, transposed_size

SIZES = list(itertools.product((5, 6, 7, 12), (1, 2, 3, 4), (1, 2, 3), (1, 2)))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_sizes_are_those_of_xla(padding):
    for size, window, stride, dilation in SIZES:
        found = output_size(size, window, stride, padding, dilation)
        amounts = padding_amounts((size,), (window,), (stride,), padding, (dilation,))
        reach = (window - 1) * dilation + 1
        assert amounts == lax.padtype_to_pads((size,), (reach,), (stride,), padding.upper())
        if found > 0:
            shape = lax.reduce_window_shape_tuple(
                (size,), (window,), (stride,), amounts, window_dilation=(dilation,)
            )
            assert shape == (found,)
    assert output_size(None, 3, 2, padding) is None


def test_causal_output_sees_no_later_input():
    for size, window, stride, dilation in SIZES:
        [(before, after)] = padding_amounts((size,), (window,), (stride,), "causal", (dilation,))
        assert after == 0 and before == (window - 1) * dilation
        last = (output_size(size, window, stride, "causal", dilation) - 1) * stride
        assert last <= size - 1


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("output_padding", [None, 0, 1])
def test_transposed_size_is_the_shape(padding, output_padding):
    for size, window, stride, dilation in SIZES:
        if max(stride, dilation) > 1 and min(stride, dilation) > 1:
            continue
        if output_padding is not None and output_padding >= stride:
            continue
        arguments = stride, padding, output_padding
        shape = jax.eval_shape(
            lambda x, k, a=arguments, d=dilation: conv_transpose(x, k, *a, dilation_rate=d),
            jnp.zeros((1, size, 1)),
            jnp.zeros((window, 1, 1)),
        ).shape
        expected = transposed_size(size, window, stride, padding, output_padding, dilation)
        assert shape == (1, expected, 1)
    assert transposed_size(None, 3, 2, padding, output_padding) is None


def test_integers_of_numpy():
    assert as_tuple(np.int64(3), 2, "strides") == (3, 3)
    assert as_tuple([np.int32(3), 2], 2, "strides") == (3, 2)
    assert as_tuple(0, 1, "padding", allow_zero=True) == (0,)


@pytest.mark.parametrize("value", [0, -1, 1.5, (2.5, 1), "ab", None, (1,), True])
def test_not_integers(value):
    with pytest.raises(ValueError, match="The `strides` argument must be a tuple of 2 positive"):
        as_tuple(value, 2, "strides")
