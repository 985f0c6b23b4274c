"""Hashes: TensorFlow's numbers, on the host and in compiled programs."""

import jax
import numpy as np
import pytest

from cornu.ops.hashes import cross, cross_integers, hash_integers, hash_text

# tf.strings.to_hash_bucket_fast(text, 2**62 + 1) of TensorFlow 2.21, and to_hash_bucket_strong with the key
# [133, 137].
COMPUTED = {
    "": (1936946117179621453, 316627932347062995),
    "ab": (3066228220894225692, 3814769135020288330),
    "abcd": (1897425971756105985, 3196519216900852164),
    "hello wo": (3616420679985843595, 2130758417722720042),
    "0123456789abcdefg": (2800675501336285768, 2112349501170619355),
    "The quick brown fox jumps over the lazy d": (1277184750272096323, 1771502318783691602),
    "y" * 64: (4471793200125962424, 1805651083953470002),
    "y" * 65: (4023130470993650266, 4475297591810910813),
    "abcdefghij" * 20: (920586471271343741, 1534441494856863132),
    "日本語": (1846174170784512068, 1858862337448039278),
}
NUMBERS = [0, 1, -1, 9, 10, 99, -100, 2**31 - 1, -(2**31), 123456]


def test_text():
    for column, salt in ((0, None), (1, [133, 137])):
        found = hash_text(list(COMPUTED), salt) % np.uint64(2**62 + 1)
        assert found.tolist() == [numbers[column] for numbers in COMPUTED.values()]


@pytest.mark.parametrize("salt", [None, (5, -6)])
def test_integers_in_compiled_programs(salt):
    numbers = np.array(NUMBERS, np.int32).reshape(2, 5)
    on_host = hash_integers(numbers, 1000, salt)
    expected = hash_text([str(n) for n in NUMBERS], salt) % np.uint64(1000)
    assert on_host.reshape(-1).tolist() == expected.tolist()
    compiled = jax.jit(lambda x: hash_integers(x, 1000, salt))(numbers)
    assert compiled.dtype == "int32" and compiled.tolist() == on_host.tolist()


def test_combinations():
    # tf.sparse.cross_hashed([["a", …], [1, …]], 2**40) of TensorFlow 2.21.
    texts, numbers = hash_text(["a", "hello world", "x"]), np.array([1, -5, 2**40])
    assert cross([texts, numbers], 2**40).tolist() == [102112895485, 932864489259, 666410948617]
    pair = [np.array(NUMBERS, np.int32), np.arange(10, dtype="int32")]
    compiled = jax.jit(lambda *x: cross_integers(x, 1000))(*pair)
    assert compiled.tolist() == cross(pair, 1000).tolist()
