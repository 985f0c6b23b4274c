"""The bits of `jax.random`, computed by NumPy.

`jax.random` compiles a program for each new shape, some 50 ms for every weight of a new model.
NumPy gives the same bits at once.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def random_bits(key, count: int) -> np.ndarray:
    """The first `count` 32-bit words of the stream of a key `uint32[2]`."""
    key = np.asarray(key, np.uint32)
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    numbers = np.arange(count, dtype=np.uint64)
    a = (numbers >> np.uint64(32)).astype(np.uint32)
    b = numbers.astype(np.uint32)
    with np.errstate(over="ignore"):
        a += keys[0]
        b += keys[1]
        for turn in range(5):
            for rotation in _ROTATIONS[turn % 2]:
                a += b
                b = (b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation))
                b ^= a
            a += keys[(turn + 1) % 3]
            b += keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return a ^ b


def uniform(key, shape, minval: float, maxval: float) -> np.ndarray:
    """What `jax.random.uniform(key, shape, float32, minval, maxval)` gives, to the bit."""
    bits = random_bits(key, int(np.prod(shape, dtype=np.int64)))
    floats = ((bits >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1.0)
    low, high = _flushed(minval), _flushed(maxval)
    # XLA rounds once, after the multiplication and the addition.
    scaled = _flushed(floats.astype(np.float64) * np.float64(_flushed(high - low)) + low)
    return np.maximum(scaled, low).reshape(shape)


def _flushed(x):
    """`x` in float32, with subnormal values flushed to zero as in an XLA program."""
    x = np.float32(x)
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x)
