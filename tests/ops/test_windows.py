"""The geometry of windows, against what XLA computes and against itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cornu import layers
from cornu.ops.convolution import conv_transpose
from cornu.ops.windows import Geometry, as_tuple, sliding, transposed

SIZES = list(itertools.product((5, 6, 7, 12), (1, 2, 3, 4), (1, 2, 3), (1, 2)))


def along(size, window, stride, padding, dilation=1):
    return sliding((size,), (window,), (stride,), padding, (dilation,))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_sizes_are_those_of_xla(padding):
    for size, window, stride, dilation in SIZES:
        geometry = along(size, window, stride, padding, dilation)
        [found], amounts = geometry.output, list(geometry.padding)
        reach = (window - 1) * dilation + 1
        assert amounts == lax.padtype_to_pads((size,), (reach,), (stride,), padding.upper())
        if found > 0:
            shape = lax.reduce_window_shape_tuple(
                (size,), (window,), (stride,), amounts, window_dilation=(dilation,)
            )
            assert shape == (found,)
    assert along(None, 3, 2, padding).output == (None,)


def test_causal_output_sees_no_later_input():
    for size, window, stride, dilation in SIZES:
        geometry = along(size, window, stride, "causal", dilation)
        assert geometry.padding == (((window - 1) * dilation, 0),)
        for output in range(geometry.output[0]):
            assert geometry.positions_read((output,))[0].max() == output * stride <= size - 1


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
        extra = None if output_padding is None else (output_padding,)
        of = (window,), (stride,), padding, extra, (dilation,)
        geometry, unknown = transposed((size,), *of), transposed((None,), *of)
        assert shape == (1, *geometry.size, 1) and geometry.output == (size,)
        assert (unknown.size, unknown.padding) == ((None,), geometry.padding)


def test_who_reads_what():
    """Each direction against the other: all that a position reads, and all that read it."""
    paddings = [(0, 0), (2, 1), (0, 3), (-1, -2)]
    for (size, window, stride, dilation), padding in itertools.product(SIZES, paddings):
        geometry = Geometry((size,), (window,), (stride,), (padding,), (dilation,))
        count = geometry.output[0]
        read = {
            (int(position), output, tap)
            for output in range(count)
            for tap, position in enumerate(geometry.positions_read((output,))[0])
        }
        for position in range(size):
            [found] = geometry.readers((position,))
            assert sorted(found) == sorted((i, k) for p, i, k in read if p == position)
        for first, last in itertools.combinations_with_replacement(range(count), 2):
            seen = [p for p, i, _ in read if first <= i <= last]
            assert geometry.ranges_read([(first, last)]) == [(min(seen), max(seen))]
        for position in range(size) if dilation == 1 and window >= stride else ():
            readers = [i for p, i, _ in read if p == position]
            [(low, high)] = geometry.ranges_of_readers([(position, position)])
            inside = range(max(low, 0), min(high, count - 1) + 1)
            assert sorted(readers) == list(inside)


@pytest.mark.parametrize(
    "layer, reads",
    [
        (layers.Conv1D(1, 3, strides=2, padding="same"), {0: [-1, 0, 1], 2: [3, 4, 5]}),
        (layers.MaxPooling1D(2), {1: [2, 3]}),
        (layers.ZeroPadding1D((2, 1)), {0: [-2], 3: [1]}),
        (layers.Cropping1D((2, 1)), {0: [2], 3: [5]}),
    ],
)
def test_layers_say_their_windows(layer, reads):
    geometry = layer.window((None, 7, 1))
    assert layer.compute_output_shape((None, 7, 1))[1] == geometry.output[0]
    assert {p: list(geometry.positions_read((p,))[0]) for p in reads} == reads


@pytest.mark.parametrize(
    "layer, writes",
    [
        (layers.Conv1DTranspose(1, 3, strides=2), {0: [0, 1, 2], 2: [4, 5, 6]}),
        (layers.UpSampling1D(3), {2: [6, 7, 8]}),
    ],
)
def test_layers_that_enlarge_say_what_they_write_to(layer, writes):
    geometry = layer.window((None, 4, 1))
    assert layer.compute_output_shape((None, 4, 1))[1] == geometry.size[0]
    assert {p: list(geometry.positions_read((p,))[0]) for p in writes} == writes


def test_integers_of_numpy():
    assert as_tuple(np.int64(3), 2, "strides") == (3, 3)
    assert as_tuple([np.int32(3), 2], 2, "strides") == (3, 2)
    assert as_tuple(0, 1, "padding", allow_zero=True) == (0,)


@pytest.mark.parametrize("value", [0, -1, 1.5, (2.5, 1), "ab", None, (1,), True])
def test_not_integers(value):
    with pytest.raises(ValueError, match="The `strides` argument must be a tuple of 2 positive"):
        as_tuple(value, 2, "strides")
