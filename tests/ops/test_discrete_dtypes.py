"""Operations on integers and booleans, beside NumPy."""

import numpy as np
import pytest

from cornu import ops

BYTES = np.random.RandomState(0).randint(0, 256, (1, 4, 4, 2)).astype("uint8")
# The two by two windows that do not overlap, one behind the other.
WINDOWS = BYTES.reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 2, 2, 2, 4)


def test_pooling():
    np.testing.assert_array_equal(ops.average_pool(BYTES, 2), WINDOWS.mean(-1))
    np.testing.assert_array_equal(ops.max_pool(BYTES, 2), WINDOWS.max(-1))
    white = BYTES > 200
    np.testing.assert_array_equal(ops.max_pool(white, 2), (WINDOWS > 200).any(-1))
    np.testing.assert_array_equal(ops.average_pool(white, 2), (WINDOWS > 200).mean(-1))


@pytest.mark.parametrize(
    "image, kernel, result",
    [
        ("uint8", "float32", "float32"),
        ("bool", "float32", "float32"),
        ("uint8", "int8", "int32"),
        ("bool", "bool", "int32"),
        ("float32", "int8", "float32"),
    ],
)
def test_convolution(image, kernel, result):
    x = BYTES.astype(image)
    ones = np.ones((2, 2, 2, 3), kernel)
    output = ops.conv(x, ones, strides=2)
    assert output.dtype == result
    sums = x.astype("float64").reshape(1, 2, 2, 2, 2, 2).sum((2, 4, 5))
    np.testing.assert_array_equal(output, np.repeat(sums[..., None], 3, -1))
    apart = ops.depthwise_conv(x, np.ones((2, 2, 2, 1), kernel), strides=2)
    np.testing.assert_array_equal(np.sum(apart, -1), sums)


def test_numbers_of_bytes():
    x = BYTES.astype("float64")
    np.testing.assert_allclose(
        ops.rms_normalization(BYTES), x / np.sqrt((x**2).mean(-1, keepdims=True)), rtol=1e-5
    )
    error = np.mean((x - x[:, ::-1]) ** 2)
    np.testing.assert_allclose(
        ops.psnr(BYTES, BYTES[:, ::-1], 255), 10 * np.log10(255**2 / error), rtol=1e-5
    )
