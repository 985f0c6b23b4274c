"""Pooling: one number for each window of an image."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cornu.ops.windows import as_tuple, check_fits, output_sizes, padding_amounts


def _geometry(x, pool_size, strides, padding, data_format):
    """Window, strides and padding over all axes, batch and channels included."""
    rank = x.ndim - 2
    pool_size = as_tuple(pool_size, rank, "pool_size")
    strides = pool_size if strides is None else as_tuple(strides, rank, "strides")
    spatial = x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]
    padding = padding.lower()
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding}")
    check_fits(
        "pooling", x.shape, spatial, pool_size, output_sizes(spatial, pool_size, strides, padding)
    )
    amounts = padding_amounts(spatial, pool_size, strides, padding)

    def everywhere(values, one):
        if data_format == "channels_last":
            return (one, *values, one)
        return (one, one, *values)

    return everywhere(pool_size, 1), everywhere(strides, 1), everywhere(amounts, (0, 0))


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
    window, strides, padding = _geometry(x, pool_size, strides, padding, data_format)
    if 1 < math.prod(window) <= _MOST_PLACES and jnp.issubdtype(x.dtype, jnp.floating):
        return _max_pool(x, window, strides, padding)
    return lax.reduce_window(x, _lowest(x.dtype), lax.max, window, strides, padding)


# Larger windows would take long to compile, place by place.
_MOST_PLACES = 64


def _lowest(dtype):
    if jnp.issubdtype(dtype, jnp.integer):
        return np.array(jnp.iinfo(dtype).min, dtype)
    return np.array(-np.inf, dtype)


# XLA derives `select_and_scatter` for the gradient, which on a CPU takes half of the whole training
# step. Instead, one byte for each window remembers which place has won: the derivative of the output
# is that of the winning place, and JAX transposes that sum of slices.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, strides, padding):
    return _largest(_places(x, _lowest(x.dtype), window, strides, padding))[0]


@_max_pool.defjvp
def _max_pool_jvp(window, strides, padding, primals, tangents):
    (x,), (tangent,) = primals, tangents
    # The output by its own name, so that it can be differentiated again; XLA computes it once.
    largest = _max_pool(x, window, strides, padding)
    still = lax.stop_gradient(x)
    _, winner = _largest(_places(still, _lowest(x.dtype), window, strides, padding))
    zero = np.array(0, x.dtype)
    places = _places(tangent, zero, window, strides, padding)
    return largest, sum(jnp.where(winner == n, here, zero) for n, here in enumerate(places))


def _places(x, filling, window, strides, padding) -> list:
    """For each place in the window, its number in every window."""
    padded = lax.pad(x, filling, [(before, after, 0) for before, after in padding])
    counts = [(n - w) // s + 1 for n, w, s in zip(padded.shape, window, strides, strict=True)]
    return [
        lax.slice(
            padded,
            place,
            [p + (n - 1) * s + 1 for p, n, s in zip(place, counts, strides, strict=True)],
            strides,
        )
        for place in np.ndindex(*window)
    ]


def _largest(places: list):
    """The largest number of each window, and in which place it is first."""
    middle = len(places) // 2
    halves = zip(_compare(places, 0, middle), _compare(places, middle, len(places)), strict=True)
    # The last comparison is a reduction, because XLA keeps what a reduction of two arrays gives.
    # Plain comparisons it would fuse into whatever reads the winner, and so repeat for each place.
    values, numbers = (jnp.stack(pair) for pair in halves)
    initial = _lowest(values.dtype), np.uint8(len(places))
    return lax.reduce((values, numbers), initial, _larger, (0,))


def _compare(places: list, start: int, stop: int):
    best = places[start], jnp.full(places[start].shape, start, jnp.uint8)
    for number in range(start + 1, stop):
        best = _larger(best, (places[number], jnp.full_like(best[1], number)))
    return best


def _larger(first, second):
    (value, number), (other_value, other_number) = first, second
    # NaN stays, or comes, because nothing compares with it.
    stays = (value >= other_value) | (value != value)
    return jnp.where(stays, value, other_value), jnp.where(stays, number, other_number)


def _window_sum(x, window, strides, padding):
    return lax.reduce_window(x, np.array(0, x.dtype), lax.add, window, strides, padding)


def average_pool(x, pool_size, strides=None, padding="valid", data_format="channels_last"):
    """The mean of each window; padding does not count."""
    x = jnp.asarray(x)
    window, strides, amounts = _geometry(x, pool_size, strides, padding, data_format)
    total = _window_sum(x, window, strides, amounts)
    if padding.lower() == "valid":
        return total / math.prod(window)
    ones = jnp.ones((1, *x.shape[1:]), x.dtype)
    counts = _window_sum(ones, window, strides, amounts)
    return total / jnp.broadcast_to(counts, total.shape)


def l2_pool(x, pool_size, strides=None, padding="valid", data_format="channels_last"):
    """The root of the sum of squares of each window; its gradient is zero where all are zero."""
    x = jnp.asarray(x)
    window, strides, amounts = _geometry(x, pool_size, strides, padding, data_format)
    squares = _window_sum(jnp.square(x), window, strides, amounts)
    # The square root's slope at zero is infinite; nothing is there to move along it.
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
