"""Pooling: one number for each window of an image."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad

from cornu.core.dtype import floatx, is_discrete
from cornu.core.kernels import primitive, transpose
from cornu.ops.convolution import with_channels_last
from cornu.ops.windows import Geometry, as_tuple, sliding


def _geometry(x, pool_size, strides, padding, data_format) -> Geometry:
    rank = x.ndim - 2
    pool_size = as_tuple(pool_size, rank, "pool_size")
    strides = pool_size if strides is None else as_tuple(strides, rank, "strides")
    spatial = x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]
    padding = padding.lower()
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding}")
    geometry = sliding(spatial, pool_size, strides, padding)
    geometry.check("pooling", x.shape)
    return geometry


def max_pool(x, pool_size, strides=None, padding="valid", data_format="channels_last"):
    """The largest number of each window.

    Args:
        x: `(batch, *spatial, channels)`, or channels first.
        pool_size, strides: an integer or one for each spatial axis; strides default to the window.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Where several are largest, the gradient goes to the first. NaN is larger than any number.
    """
    x = jnp.asarray(x)
    geometry = _geometry(x, pool_size, strides, padding, data_format)
    taps = math.prod(geometry.window)

    def pool(x):
        if 1 < taps <= 255 and jnp.issubdtype(x.dtype, jnp.floating):
            return largest.bind(x, geometry=geometry)[0]
        return _reduce(x, _lowest(x.dtype), lax.max, geometry)

    return with_channels_last(pool, x, data_format)


# Larger windows would take XLA long to compile, tap by tap.
_MOST_TAPS = 64


def _lowest(dtype):
    if dtype == jnp.bool_:
        return np.array(False)
    if jnp.issubdtype(dtype, jnp.integer):
        return np.array(jnp.iinfo(dtype).min, dtype)
    return np.array(-np.inf, dtype)


def _reduce(x, initial, function, geometry: Geometry):
    window, strides = (1, *geometry.window, 1), (1, *geometry.strides, 1)
    return lax.reduce_window(
        x, initial, function, window, strides, ((0, 0), *geometry.padding, (0, 0))
    )


# ---- the largest of each window, and its argmax
#
# XLA derives `select_and_scatter` for the gradient, which on a CPU takes half of the whole training
# step. Instead, one byte for each window remembers the argmax: the derivative of the output is that of
# the number there, and the transpose of that is the max-pool gradient.


def _taps(x, filling, geometry: Geometry) -> list:
    """For each tap, what every window sees through it."""
    padded = lax.pad(x, filling, [(0, 0, 0), *((a, b, 0) for a, b in geometry.padding), (0, 0, 0)])
    return [
        lax.slice(
            padded,
            (0, *tap, 0),
            (
                x.shape[0],
                *(
                    p + (n - 1) * s + 1
                    for p, n, s in zip(tap, geometry.output, geometry.strides, strict=True)
                ),
                x.shape[-1],
            ),
            (1, *geometry.strides, 1),
        )
        for tap in np.ndindex(*geometry.window)
    ]


def _largest(x, *, geometry: Geometry):
    if math.prod(geometry.window) > _MOST_TAPS:
        return _largest_of_many(x, geometry)
    taps = _taps(x, _lowest(x.dtype), geometry)
    middle = len(taps) // 2
    halves = zip(_compare(taps, 0, middle), _compare(taps, middle, len(taps)), strict=True)
    # The last comparison is a reduction, because XLA keeps what a reduction of two arrays gives.
    # Plain comparisons it would fuse into whatever reads the argmax, and so repeat for each tap.
    values, argmax = (jnp.stack(pair) for pair in halves)
    initial = _lowest(values.dtype), np.uint8(len(taps))
    return list(lax.reduce((values, argmax), initial, _larger, (0,)))


def _compare(taps: list, start: int, stop: int):
    best = taps[start], jnp.full(taps[start].shape, start, jnp.uint8)
    for number in range(start + 1, stop):
        best = _larger(best, (taps[number], jnp.full_like(best[1], number)))
    return best


def _larger(first, second):
    (value, number), (other_value, other_number) = first, second
    # NaN stays, or comes, because nothing compares with it.
    stays = (value >= other_value) | (value != value)
    return jnp.where(stays, value, other_value), jnp.where(stays, number, other_number)


def _positions(argmax, geometry: Geometry):
    """Where the argmax of each window lies in the flattened image; what is outside, or none, behind it."""
    count = math.prod(geometry.window)
    known = argmax < count
    positions = jnp.zeros(argmax.shape, jnp.int32)
    taps = jnp.unravel_index(jnp.where(known, argmax, 0).astype(jnp.int32), geometry.window)
    for axis, (tap, size) in enumerate(zip(taps, geometry.size, strict=True)):
        begin = lax.broadcasted_iota(jnp.int32, argmax.shape, axis + 1) * geometry.strides[axis]
        position = begin - geometry.padding[axis][0] + tap
        known &= (position >= 0) & (position < size)
        positions = positions * size + position
    return jnp.where(known, positions, math.prod(geometry.size))


def _largest_of_many(x, geometry: Geometry):
    """The same by one reduction of all numbers and their positions, in any order."""

    def larger(first, second):
        (value, position), (other_value, other_position) = first, second
        is_nan, other_is_nan = value != value, other_value != other_value
        same = (value == other_value) | (is_nan & other_is_nan)
        above = (is_nan & ~other_is_nan) | (value > other_value)
        stays = jnp.where(same, position <= other_position, above)
        return jnp.where(stays, value, other_value), jnp.where(stays, position, other_position)

    count = math.prod(geometry.size)
    positions = lax.reshape(jnp.arange(count, dtype=jnp.int32), (1, *geometry.size, 1))
    positions = jnp.broadcast_to(positions, x.shape)
    initial = _lowest(x.dtype), np.int32(count)
    values, positions = _reduce((x, positions), initial, larger, geometry)
    argmax = jnp.zeros(values.shape, jnp.int32)
    coordinates = jnp.unravel_index(jnp.minimum(positions, count - 1), geometry.size)
    for axis, (coordinate, window) in enumerate(zip(coordinates, geometry.window, strict=True)):
        begin = lax.broadcasted_iota(jnp.int32, values.shape, axis + 1) * geometry.strides[axis]
        argmax = argmax * window + coordinate - (begin - geometry.padding[axis][0])
    return [values, argmax.astype(jnp.uint8)]


def _at_argmax(x, argmax, *, geometry: Geometry):
    """The number of each window at its argmax."""
    if math.prod(geometry.window) > _MOST_TAPS:
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        positions = _positions(argmax, geometry)
        there = positions.reshape(x.shape[0], -1, x.shape[-1])
        found = jnp.take_along_axis(flat, there, axis=1, mode="fill", fill_value=0)
        return found.reshape(positions.shape)
    zero = np.array(0, x.dtype)
    taps = _taps(x, zero, geometry)
    return sum(jnp.where(argmax == n, here, zero) for n, here in enumerate(taps))


def _unpool(x, argmax, *, geometry: Geometry):
    """The transpose: each number goes to the argmax of its window, and they are summed there."""
    take = functools.partial(_at_argmax, argmax=argmax, geometry=geometry)
    return transpose(take, x, *_image_of(x, argmax, geometry=geometry))


def _result_of(x, *others, geometry):
    return (x.shape[0], *geometry.output, x.shape[-1]), x.dtype


def _image_of(x, *others, geometry):
    return (x.shape[0], *geometry.size, x.shape[-1]), x.dtype


def _attributes(x, *others, geometry):
    return geometry.attributes(x.shape[0], x.shape[-1], x.shape[-1])


largest = primitive(
    "max_pool",
    lambda x, *, geometry: [
        _result_of(x, geometry=geometry),
        (_result_of(x, geometry=geometry)[0], jnp.dtype(jnp.uint8)),
    ],
    _largest,
    _attributes,
    several=True,
)
at_argmax = primitive("at_argmax", _result_of, _at_argmax, batched=(0, 1))
unpool = primitive("max_pool_gradient", _image_of, _unpool, _attributes, batched=(0, 1))


def _largest_jvp(primals, tangents, *, geometry):
    results = largest.bind(*primals, geometry=geometry)
    zeros = [ad.Zero(jax.typeof(r).to_tangent_aval()) for r in results]
    if isinstance(tangents[0], ad.Zero):
        return results, zeros
    return results, [at_argmax.bind(tangents[0], results[1], geometry=geometry), zeros[1]]


ad.primitive_jvps[largest] = _largest_jvp
for _one, _other in ((at_argmax, unpool), (unpool, at_argmax)):
    ad.defjvp(_one, lambda t, x, argmax, _one=_one, **g: _one.bind(t, argmax, **g), None)
    ad.primitive_transposes[_one] = lambda ct, x, argmax, _other=_other, **g: (
        ad.Zero(x.aval) if isinstance(ct, ad.Zero) else _other.bind(ct, argmax, **g),
        None,
    )


# ---- sums of windows


def _sum(x, *, geometry: Geometry):
    if geometry.window == geometry.size and not any(map(any, geometry.padding)):
        return jnp.sum(x, range(1, x.ndim - 1), keepdims=True)
    return _reduce(x, np.array(0, x.dtype), lax.add, geometry)


def _spread(x, *, geometry: Geometry):
    add = functools.partial(_sum, geometry=geometry)
    return transpose(add, x, *_image_of(x, geometry=geometry))


window_sum = primitive("sum_pool", _result_of, _sum, _attributes)
spread = primitive("sum_pool_gradient", _image_of, _spread, _attributes)
ad.deflinear2(window_sum, lambda ct, x, **geometry: [spread.bind(ct, **geometry)])
ad.deflinear2(spread, lambda ct, x, **geometry: [window_sum.bind(ct, **geometry)])


def as_floats(x):
    """What is averaged: a mean of integers has a fraction, and their sum may not fit their dtype."""
    x = jnp.asarray(x)
    return x.astype(floatx()) if is_discrete(x.dtype) else x


def average_pool(x, pool_size, strides=None, padding="valid", data_format="channels_last"):
    """The mean of each window; padding does not count."""
    x = as_floats(x)
    geometry = _geometry(x, pool_size, strides, padding, data_format)

    def pool(x):
        total = window_sum.bind(x, geometry=geometry)
        if not any(map(any, geometry.padding)):
            return total / math.prod(geometry.window)
        counts = _sum(jnp.ones((1, *x.shape[1:]), x.dtype), geometry=geometry)
        return total / jnp.broadcast_to(counts, total.shape)

    return with_channels_last(pool, x, data_format)


def global_average_pool(x, keepdims=False, data_format="channels_last"):
    """The mean of each channel."""
    x = as_floats(x)
    axes = range(1, x.ndim - 1) if data_format == "channels_last" else range(2, x.ndim)
    known = all(isinstance(x.shape[a], int) and x.shape[a] > 0 for a in axes)
    if data_format != "channels_last" or x.dtype != jnp.float32 or not known:
        return jnp.mean(x, axes, keepdims=keepdims)
    mean = average_pool(x, x.shape[1:-1])
    return mean if keepdims else jnp.squeeze(mean, axes)


def l2_pool(x, pool_size, strides=None, padding="valid", data_format="channels_last"):
    """The root of the sum of squares of each window; its gradient is zero where all are zero."""
    x = as_floats(x)
    geometry = _geometry(x, pool_size, strides, padding, data_format)

    def pool(x):
        squares = window_sum.bind(jnp.square(x), geometry=geometry)
        # The square root's slope at zero is infinite; nothing is there to move along it.
        positive = squares > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)

    return with_channels_last(pool, x, data_format)
