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

    Where several are largest, the gradient goes to the first.
    """
    x = jnp.asarray(x)
    window, strides, padding = _geometry(x, pool_size, strides, padding, data_format)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _window_max(x, window, strides, padding)
    return _max_pool(x, window, strides, padding)


def _window_max(x, window, strides, padding):
    if jnp.issubdtype(x.dtype, jnp.integer):
        lowest = np.array(jnp.iinfo(x.dtype).min, x.dtype)
    else:
        lowest = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, window, strides, padding)


# The gradient is our own: XLA derives `select_and_scatter`, which on a CPU takes half of the whole
# training step. Instead, forward keeps one byte for each window, the number of the first place in it
# that has the largest value, and backward compares places with it.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x, window, strides, padding):
    return _window_max(x, window, strides, padding)


def _places(window):
    return list(np.ndindex(*window))


def _max_pool_forward(x, window, strides, padding):
    largest = _window_max(x, window, strides, padding)
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, [(low, high, 0) for low, high in padding])
    places = _places(window)
    winner = jnp.full(largest.shape, len(places) - 1, jnp.uint8 if len(places) < 256 else jnp.int32)
    for number, place in reversed(list(enumerate(places[:-1]))):
        here = _strided(padded, place, largest.shape, strides)
        # NaN is the largest of its window, and does not equal itself.
        wins = (here == largest) | (here != here)
        winner = jnp.where(wins, jnp.asarray(number, winner.dtype), winner)
    return largest, (winner, jnp.zeros((0, *x.shape), x.dtype))


def _strided(padded, start, shape, strides):
    stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, shape, strides, strict=True)]
    return lax.slice(padded, start, stop, strides)


def _max_pool_backward(window, strides, padding, kept, gradient):
    winner, empty = kept
    shape = empty.shape[1:]
    if window == strides and not any(low or high for low, high in padding):
        return (_spread_tiles(winner, gradient, shape, window),)
    return (_spread_overlapping(winner, gradient, shape, window, strides, padding),)


def _spread_tiles(winner, gradient, shape, window):
    """Windows lie side by side: every place belongs to one window."""
    tiled = [size for n in gradient.shape for size in (n, 1)]
    last = [n * w for n, w in zip(gradient.shape, window, strict=True)]
    numbers = np.arange(math.prod(window)).reshape([size for w in window for size in (1, w)])
    mine = winner.reshape(tiled) == numbers.astype(winner.dtype)
    zero = jnp.zeros((), gradient.dtype)
    spread = jnp.where(mine, gradient.reshape(tiled), zero).reshape(last)
    # Rows and columns at the end that no window reaches.
    return jnp.pad(spread, [(0, n - m) for n, m in zip(shape, last, strict=True)])


def _spread_overlapping(winner, gradient, shape, window, strides, padding):
    """Windows overlap or leave gaps: each place of the window adds its share."""
    total = None
    zero = jnp.zeros((), gradient.dtype)
    for number, place in enumerate(_places(window)):
        share = jnp.where(winner == number, gradient, zero)
        config = []
        for start, n, g, s, (low, _) in zip(
            place, shape, gradient.shape, strides, padding, strict=True
        ):
            before = start - low
            config.append((before, n - before - ((g - 1) * s + 1), s - 1))
        share = lax.pad(share, zero, config)
        total = share if total is None else total + share
    return total


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


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
