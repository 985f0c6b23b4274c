"""Pooling to a given size: windows that cover the input as evenly as whole numbers allow."""

import jax.numpy as jnp
import numpy as np

from cornu.ops import pooling
from cornu.ops.windows import as_tuple


def pixels_read(first: int, last: int, size: int, output_size: int) -> tuple[int, int]:
    """The first and last input position, of `size`, that output positions `first` to `last` read."""
    return first * size // output_size, -(-(last + 1) * size // output_size) - 1


def adaptive_max_pool(x, output_size, data_format="channels_last"):
    """The largest number of each of `output_size` windows along each spatial axis."""
    return _pool(jnp.asarray(x), output_size, data_format, is_mean=False)


def adaptive_average_pool(x, output_size, data_format="channels_last"):
    """The mean of each of `output_size` windows along each spatial axis."""
    return _pool(pooling.as_floats(x), output_size, data_format, is_mean=True)


def _pool(x, output_size, data_format, is_mean: bool):
    rank = x.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError(
            "Adaptive pooling needs inputs of rank 3, 4 or 5: a batch, one to three spatial axes, "
            f"channels. Received: inputs of shape {x.shape}"
        )
    first = 1 if data_format == "channels_last" else 2
    # Axis by axis, as Keras does it: of equal numbers, the gradient then goes to the same one.
    for axis, size in enumerate(as_tuple(output_size, rank, "output_size")):
        x = _pool_axis(x, axis + first, size, data_format, is_mean)
    return x


def _pool_axis(x, axis: int, output_size: int, data_format: str, is_mean: bool):
    size = x.shape[axis]
    if not size:
        raise ValueError(f"Adaptive pooling of nothing: the inputs have the shape {x.shape}.")
    ranges = [pixels_read(i, i, size, output_size) for i in range(output_size)]
    longest = max(last - first + 1 for first, last in ranges)
    if size % output_size:
        # Windows overlap and differ in length: each is copied, and filled up with its last element.
        positions = np.array([np.arange(longest) + first for first, _ in ranges])
        lasts = np.array([last for _, last in ranges])[:, None]
        x = jnp.take(x, np.minimum(positions, lasts).ravel(), axis=axis, mode="clip")
        if is_mean:
            counts = (positions <= lasts).sum(axis=1, keepdims=True)
            weights = np.where(positions <= lasts, longest / counts, 0)
            shape = [-1 if i == axis else 1 for i in range(x.ndim)]
            factors = jnp.asarray(weights.reshape(shape), x.dtype)
            # Not a product with 0, for what fills up may be infinite.
            x = jnp.where(factors > 0, x * factors, jnp.zeros((), x.dtype))
    window = [1] * (x.ndim - 2)
    window[axis - (1 if data_format == "channels_last" else 2)] = longest
    pool = pooling.average_pool if is_mean else pooling.max_pool
    return pool(x, window, data_format=data_format)
