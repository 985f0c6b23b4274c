"""The bits of `jax.random`, computed by NumPy.

`jax.random` compiles a program for each new shape, some 50 ms for every weight of a new model.
NumPy gives the same bits at once. A process that draws many of them compiles one program, for any shape.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import jax
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


# So many words at a time stay in the processor's cache.
_CHUNK = 1 << 16
# Compiling takes as long as NumPy takes for so many words.
_WORTH_COMPILING = 1 << 23
_num_drawn = 0


def random_bits(key, count: int) -> np.ndarray:
    """The first `count` 32-bit words of the stream of a key `uint32[2]`."""
    bits = np.empty(count, np.uint32)
    for first in range(0, count, _CHUNK):
        part = bits[first : first + _CHUNK]
        part[:] = _chunk(key, part.size, first)
    return bits


def _chunk(key, count: int, first: int) -> np.ndarray:
    global _num_drawn
    _num_drawn += count
    low, high = np.uint32(first & 0xFFFFFFFF), np.uint32(first >> 32)
    key = np.asarray(key, np.uint32)
    if count == _CHUNK and _num_drawn > _WORTH_COMPILING:
        # An array, also while shapes are inferred.
        with jax.ensure_compile_time_eval():
            return np.asarray(_compiled(key, low, high))
    with np.errstate(over="ignore"):
        return _words(key, np.arange(count, dtype=np.uint32) + low, high)


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


@jax.jit
def _compiled(key, low, high):
    return _words(key, jax.lax.iota(np.uint32, _CHUNK) + low, high)


def uniform(key, shape, minval: float, maxval: float) -> np.ndarray:
    """What `jax.random.uniform(key, shape, float32, minval, maxval)` gives, to the bit."""
    key = np.asarray(key, np.uint32)
    low, high = _flushed(minval), _flushed(maxval)
    width = np.float64(_flushed(high - low))
    # Numbers so much larger are no multiples of so little that a sum of theirs could be subnormal.
    is_normal = width > 1e-20 and (low == 0 or abs(low) > 1e-20)
    numbers = np.empty(int(np.prod(shape, dtype=np.int64)), np.float32)
    for first in range(0, numbers.size, _CHUNK):
        part = numbers[first : first + _CHUNK]
        bits = (_chunk(key, part.size, first) >> np.uint32(9)) | np.uint32(0x3F800000)
        floats = bits.view(np.float32) - np.float32(1.0)
        # XLA rounds once, after the multiplication and the addition.
        scaled = floats * width
        scaled += low
        part[:] = scaled if is_normal else _flushed(scaled)
        np.maximum(part, low, out=part)
    return numbers.reshape(shape)


def _flushed(x):
    """`x` in float32, with subnormal values flushed to zero as in an XLA program."""
    x = np.float32(x)
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x)
