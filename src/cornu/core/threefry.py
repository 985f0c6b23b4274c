"""The numbers of `jax.random`, to the bit, without a program for each shape.

`jax.random` compiles for each new shape, some 50 ms for every weight of a new model. NumPy makes the same
bits at once. A process that draws many of them compiles one program, for any shape; normal distributions
take two.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


# So many words at a time stay in the processor's cache.
_CHUNK = 1 << 16
_SMALL_CHUNK = 1 << 12
# Compiling takes as long as NumPy takes for so many words.
_WORTH_COMPILING = 1 << 23
_num_drawn = 0


def _bits(key, count: int, first: int) -> np.ndarray:
    """`count` 32-bit words of the stream of a key `uint32[2]`, from a number on."""
    low, high = _halves(first)
    with np.errstate(over="ignore"):
        return _words(key, np.arange(count, dtype=np.uint32) + low, high)


def _halves(number: int) -> tuple:
    return np.uint32(number & 0xFFFFFFFF), np.uint32(number >> 32)


def _words(key, b, high):
    """The words of counters with these halves, by NumPy, or by JAX, which makes one loop of it."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    a = np.uint32(0) * b + (high + keys[0])
    b = b + keys[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            a = a + b
            b = ((b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation))) ^ a
        a = a + keys[(turn + 1) % 3]
        b = b + (keys[(turn + 2) % 3] + np.uint32(turn + 1))
    return a ^ b


def uniform(key, shape, minval: float, maxval: float) -> np.ndarray:
    """What `jax.random.uniform(key, shape, float32, minval, maxval)` gives, to the bit."""
    global _num_drawn
    key = np.asarray(key, np.uint32)
    low, width = np.float32(minval), np.float32(maxval) - np.float32(minval)
    numbers = np.empty(int(np.prod(shape, dtype=np.int64)), np.float32)
    _num_drawn += numbers.size
    # Arrays, also while shapes are inferred.
    with jax.ensure_compile_time_eval():
        if not _is_exact(low, width):
            return np.array(jax.random.uniform(key, shape, np.float32, minval, maxval))
        for first in range(0, numbers.size, _CHUNK):
            part = numbers[first : first + _CHUNK]
            if part.size == _CHUNK and _num_drawn > _WORTH_COMPILING:
                part[:] = np.asarray(_uniform_chunk(key, *_halves(first), low, width))
                continue
            bits = _as_mantissas(_bits(key, part.size, first))
            # XLA rounds once, after the multiplication and the addition.
            scaled = (bits.view(np.float32) - np.float32(1)) * np.float64(width)
            scaled += low
            np.maximum(scaled, low, out=part, casting="same_kind")
    return numbers.reshape(shape)


def _is_exact(low, width) -> bool:
    """Whether float64 holds the product of `width` and a fraction of 23 bits, and its sum with `low`.

    They must also be far from what XLA takes for zero.
    """
    if width == 0:
        return abs(low) > 1e-20
    if not 1e-20 < abs(width) < np.inf:
        return False
    return low == 0 or -28 <= np.frexp(low)[1] - np.frexp(width)[1] <= 5


@jax.jit
def _uniform_chunk(key, first_low, first_high, low, width):
    bits = _as_mantissas(_words(key, jax.lax.iota(np.uint32, _CHUNK) + first_low, first_high))
    fractions = jax.lax.bitcast_convert_type(bits, np.float32) - np.float32(1)
    return jnp.maximum(low, fractions * width + low)


def _as_mantissas(words):
    """The bits of floats from 1 to 2."""
    return (words >> np.uint32(9)) | np.uint32(0x3F800000)


def normal(key, shape, mean: float, stddev: float) -> np.ndarray:
    """What `jax.random.normal(key, shape, float32) * stddev + mean` gives, to the bit."""
    smallest = np.nextafter(np.float32(-1), np.float32(0))
    numbers = uniform(key, shape, float(smallest), 1.0)
    return _with_normal_distribution(numbers, -np.inf, np.inf, mean, stddev)


# The share of a normal distribution within two standard deviations, in float32.
_WITHIN_TWO = 0.95449972


def truncated_normal(key, shape, mean: float, stddev: float) -> np.ndarray:
    """What `jax.random.truncated_normal(key, -2.0, 2.0, shape, float32) * stddev + mean` gives."""
    low, high = np.nextafter(np.array([-2, 2], np.float32), np.float32(0))
    numbers = uniform(key, shape, -_WITHIN_TWO, _WITHIN_TWO)
    return _with_normal_distribution(numbers, low, high, mean, stddev)


def _with_normal_distribution(numbers: np.ndarray, low, high, mean, stddev) -> np.ndarray:
    """Numbers from -1 to 1, evenly spread, made normally distributed ones, in place.

    XLA computes them in parts of two sizes, so that two programs serve all shapes.
    """
    flat = numbers.reshape(-1)
    size = _CHUNK if flat.size > _SMALL_CHUNK else _SMALL_CHUNK
    low, high = np.float32(low), np.float32(high)
    mean, stddev = _flushed(mean), _flushed(stddev)
    full = np.zeros(size, np.float32)
    with jax.ensure_compile_time_eval():
        for first in range(0, flat.size, size):
            part = flat[first : first + size]
            full[: part.size] = part
            part[:] = np.asarray(_normal_quantiles(full, low, high))[: part.size]
            part *= stddev
            if abs(stddev) < 1e-20:
                part[:] = _flushed(part)
            part += mean
    return numbers


@jax.jit
def _normal_quantiles(numbers, low, high):
    return jnp.clip(np.float32(np.sqrt(2)) * jax.lax.erf_inv(numbers), low, high)


def _flushed(x):
    """`x` in float32, with subnormal values flushed to zero as in an XLA program."""
    x = np.float32(x)
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x)
