"""Hashes of text: FarmHash64 and SipHash-2-4, as TensorFlow's `to_hash_bucket` functions compute them.

Rows of bytes of one length are hashed at once. `xp` is `numpy`, or `jax.numpy` where 64 bits are enabled.

Sources: Pike and Alakuijala 2014, FarmHash (`farmhashna`); Aumasson and Bernstein 2012, "SipHash: a fast
short-input PRF"; TensorFlow: `FingerprintCat64` for pairs of hashes.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
# `-2147483648` is the longest of the integers that JAX keeps by default, `-9223372036854775808` of all.
_MOST_DIGITS = {4: 10, 8: 20}
# JAX before 0.8 has it elsewhere.
_in_64_bits: Any = (
    jax.enable_x64
    if hasattr(jax, "enable_x64")
    else importlib.import_module("jax.experimental").enable_x64
)


def hash_text(texts, salt=None) -> np.ndarray:
    """The 64 bits of each text of a flat list: FarmHash64, or SipHash with a salt of two integers.

    >>> from cornu.ops.hashes import hash_text
    >>> [int(h % 10) for h in hash_text(["a", "b"])]
    [9, 2]
    """
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    hashes = np.empty(len(encoded), np.uint64)
    by_length: dict[int, list[int]] = {}
    for index, text in enumerate(encoded):
        by_length.setdefault(len(text), []).append(index)
    hash_rows = _hash_of(salt)
    with np.errstate(over="ignore"):
        for length, indices in by_length.items():
            together = b"".join([encoded[i] for i in indices])
            rows = np.frombuffer(together, np.uint8).reshape(len(indices), length)
            hashes[indices] = hash_rows(np, rows)
    return hashes


def hash_integers(integers, num_buckets: int, salt=None):
    """`hash % num_buckets` of the decimal digits of an array of integers, which may be traced.

    >>> import jax, jax.numpy as jnp
    >>> from cornu.ops.hashes import hash_integers
    >>> jax.jit(hash_integers, static_argnums=1)(jnp.array([1, -2]), 10).tolist()
    [9, 5]
    """
    dtype = jax.dtypes.canonicalize_dtype(np.int64)
    if not isinstance(integers, jax.core.Tracer):
        integers = np.asarray(integers)
        hashes = hash_text([str(i) for i in integers.reshape(-1).tolist()], salt)
        return (hashes % np.uint64(num_buckets)).astype(dtype).reshape(integers.shape)
    with _in_64_bits(True):
        values = jnp.asarray(integers)
        negative = values < 0
        # The smallest integer has no positive counterpart of its own dtype.
        size = values.astype(jnp.int64).astype(jnp.uint64)
        size = jnp.where(negative, jnp.uint64(0) - size, size)
        hash_rows, flat = _hash_of(salt), size.reshape(-1)
        signed = negative.reshape(-1)
        found = jnp.zeros(flat.shape, jnp.uint64)
        for count in range(1, _MOST_DIGITS[max(values.dtype.itemsize, 4)] + 1):
            powers = jnp.asarray([10**i for i in reversed(range(count))], jnp.uint64)
            digits = (flat[:, None] // powers % jnp.uint64(10)).astype(jnp.uint8) + jnp.uint8(48)
            minus = jnp.full((len(flat), 1), 45, jnp.uint8)
            here = flat >= np.uint64(10 ** (count - 1) if count > 1 else 0)
            found = jnp.where(here & ~signed, hash_rows(jnp, digits), found)
            with_sign = hash_rows(jnp, jnp.concatenate([minus, digits], axis=1))
            found = jnp.where(here & signed, with_sign, found)
        return (found % jnp.uint64(num_buckets)).astype(dtype).reshape(values.shape)


def cross(features, num_buckets: int) -> np.ndarray:
    """`hash % num_buckets` of combinations: of arrays of equal shapes, hashes of text or integers.

    >>> import numpy as np
    >>> from cornu.ops.hashes import cross, hash_text
    >>> cross([hash_text(["A"]), np.array([101])], 5).tolist()
    [1]
    """
    with np.errstate(over="ignore"):
        return (_joined(np, features) % np.uint64(num_buckets)).astype(np.int64)


def cross_integers(features, num_buckets: int):
    """The same of integers in arrays of JAX, which may be traced."""
    dtype = jax.dtypes.canonicalize_dtype(np.int64)
    with _in_64_bits(True):
        features = [jnp.asarray(f).astype(jnp.int64) for f in features]
        return (_joined(jnp, features) % jnp.uint64(num_buckets)).astype(dtype)


def _joined(xp, features):
    multiplier = xp.uint64(0xC6A4A7935BD1E995)
    joint = xp.full(features[0].shape, xp.uint64(0xDECAFCAFFE))
    for feature in features:
        joint = (joint ^ multiplier) ^ (_mix(feature.astype(xp.uint64) * multiplier) * multiplier)
        joint = _mix(_mix(joint * multiplier) * multiplier)
    return joint


def _hash_of(salt) -> Callable:
    return _farm_hash if salt is None else lambda xp, rows: _sip_hash(xp, rows, salt)


def _word(xp, rows, start: int, size: int = 8):
    """The unsigned integer that some bytes of each row are, the lowest first."""
    word = xp.zeros(len(rows), xp.uint64)
    for i in range(size):
        word = word | (rows[:, start + i].astype(xp.uint64) << xp.uint64(8 * i))
    return word


def _right(word, count: int):
    kind = np.uint64
    return (word >> kind(count)) | (word << kind(64 - count))


def _left(word, count: int):
    return _right(word, 64 - count)


def _mix(word):
    return word ^ (word >> np.uint64(47))


def _pair(first, second, multiplier):
    mixed = _mix((first ^ second) * multiplier)
    return _mix((second ^ mixed) * multiplier) * multiplier


def _farm_hash(xp, rows):
    length = rows.shape[1]
    for most, function in ((16, _to_16), (32, _to_32), (64, _to_64)):
        if length <= most:
            return function(xp, rows, length)
    return _beyond_64(xp, rows, length)


def _constants(xp, length: int):
    k = xp.uint64
    return k(_K0), k(_K1), k(_K2), k((_K2 + 2 * length) & (2**64 - 1))


def _to_16(xp, rows, length: int):
    k0, _, k2, multiplier = _constants(xp, length)
    if length >= 8:
        a, b = _word(xp, rows, 0) + k2, _word(xp, rows, length - 8)
        c = _right(b, 37) * multiplier + a
        return _pair(c, (_right(a, 25) + b) * multiplier, multiplier)
    if length >= 4:
        first = xp.uint64(length) + (_word(xp, rows, 0, 4) << xp.uint64(3))
        return _pair(first, _word(xp, rows, length - 4, 4), multiplier)
    if not length:
        return xp.full(len(rows), k2, xp.uint64)
    a, b, c = (rows[:, i].astype(xp.uint64) for i in (0, length >> 1, length - 1))
    y = a + (b << xp.uint64(8))
    z = xp.uint64(length) + (c << xp.uint64(2))
    return _mix((y * k2) ^ (z * k0)) * k2


def _to_32(xp, rows, length: int):
    _, k1, k2, multiplier = _constants(xp, length)
    a, b = _word(xp, rows, 0) * k1, _word(xp, rows, 8)
    c, d = _word(xp, rows, length - 8) * multiplier, _word(xp, rows, length - 16) * k2
    first = _right(a + b, 43) + _right(c, 30) + d
    return _pair(first, a + _right(b + k2, 18) + c, multiplier)


def _to_64(xp, rows, length: int):
    _, _, k2, multiplier = _constants(xp, length)
    a, b = _word(xp, rows, 0) * k2, _word(xp, rows, 8)
    c, d = _word(xp, rows, length - 8) * multiplier, _word(xp, rows, length - 16) * k2
    y = _right(a + b, 43) + _right(c, 30) + d
    z = _pair(y, a + _right(b + k2, 18) + c, multiplier)
    e, f = _word(xp, rows, 16) * multiplier, _word(xp, rows, 24)
    g = (y + _word(xp, rows, length - 32)) * multiplier
    h = (z + _word(xp, rows, length - 24)) * multiplier
    first = _right(e + f, 43) + _right(g, 30) + h
    return _pair(first, e + _right(f + a, 18) + g, multiplier)


def _weak(xp, rows, start: int, a, b):
    """Two sums of 32 bytes and two words."""
    w, x, y, z = (_word(xp, rows, start + 8 * i) for i in range(4))
    a = a + w
    b = _right(b + a + z, 21)
    total = a + x + y
    return total + z, b + _right(total, 44) + a


def _beyond_64(xp, rows, length: int):
    k0, k1, k2, _ = _constants(xp, length)
    word = xp.uint64
    x = _word(xp, rows, 0) + word(81) * k2
    y = xp.full(len(rows), (81 * _K1 + 113) & (2**64 - 1), xp.uint64)
    z = _mix(y * k2 + word(113)) * k2
    zero = xp.zeros(len(rows), xp.uint64)
    v, w = (zero, zero), (zero, zero)

    def step(x, y, z, v, w, start, multiplier, weight_w, weight_v):
        x = _right(x + y + v[0] + _word(xp, rows, start + 8), 37) * multiplier
        y = _right(y + v[1] + _word(xp, rows, start + 48), 42) * multiplier
        x = x ^ (w[1] * weight_w)
        y = y + v[0] * weight_v + _word(xp, rows, start + 40)
        z = _right(z + w[0], 33) * multiplier
        v = _weak(xp, rows, start, v[1] * multiplier, x + w[0])
        w = _weak(xp, rows, start + 32, z + w[1], y + _word(xp, rows, start + 16))
        return z, y, x, v, w

    for start in range(0, (length - 1) // 64 * 64, 64):
        x, y, z, v, w = step(x, y, z, v, w, start, k1, word(1), word(1))
    multiplier = k1 + ((z & word(0xFF)) << word(1))
    w = (w[0] + word((length - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = step(x, y, z, v, w, length - 64, multiplier, word(9), word(9))
    first = _pair(v[0], w[0], multiplier) + _mix(y) * k0 + z
    return _pair(first, _pair(v[1], w[1], multiplier) + x, multiplier)


def _sip_hash(xp, rows, salt):
    word, length = xp.uint64, rows.shape[1]
    keys = [word(int(key) & (2**64 - 1)) for key in salt]
    starts = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    state = [xp.full(len(rows), word(s) ^ keys[i % 2], xp.uint64) for i, s in enumerate(starts)]
    whole = length // 8 * 8
    last = _word(xp, rows, whole, length - whole) | word((length & 0xFF) << 56)
    for message in [*(_word(xp, rows, start) for start in range(0, whole, 8)), last]:
        state[3] = state[3] ^ message
        state = _sip_round(_sip_round(state))
        state[0] = state[0] ^ message
    state[2] = state[2] ^ word(0xFF)
    for _ in range(4):
        state = _sip_round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_round(state) -> list:
    a, b, c, d = state
    a, c = a + b, c + d
    b, d = _left(b, 13) ^ a, _left(d, 16) ^ c
    a = _left(a, 32)
    a, c = a + d, c + b
    d, b = _left(d, 21) ^ a, _left(b, 17) ^ c
    return [a, b, _left(c, 32), d]
