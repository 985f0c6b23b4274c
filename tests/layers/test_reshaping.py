import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers

IMAGES = np.random.RandomState(0).randn(2, 4, 6, 3).astype("float32")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Flatten", {}),
        ("Flatten", {"data_format": "channels_first"}),
        ("Reshape", {"target_shape": (72,)}),
        ("Reshape", {"target_shape": [8, 9]}),
        ("Reshape", {"target_shape": (-1, 2, 4)}),
        ("Reshape", {"target_shape": (72, -1)}),
        ("Permute", {"dims": (3, 1, 2)}),
        ("Permute", {"dims": [2, 3, 1]}),
    ],
)
def test_like_keras(name, arguments):
    compare_with_keras(name, arguments, IMAGES)


def test_repeat_vector():
    compare_with_keras("RepeatVector", {"n": 3}, IMAGES[0, 0])


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_flatten_a_vector(data_format):
    assert layers.Flatten(data_format)(np.ones(4)).shape == (4, 1)


def test_whatever_dtype():
    for name, arguments in (
        ("Flatten", {}),
        ("Reshape", {"target_shape": (-1,)}),
        ("Permute", {"dims": (1,)}),
        ("RepeatVector", {"n": 2}),
    ):
        layer = getattr(layers, name)(**arguments)
        assert layer(np.ones((2, 3), "int32")).dtype == "int32"
        assert layer(layers.Input((3,), dtype="int32")).dtype == "int32"


@pytest.mark.parametrize(
    "shape, target, expected",
    [
        ((None, 3), (-1, 7), (None, None, 7)),
        ((None, 3), (3, -1), (None, 3, None)),
        ((None, 3), (21,), (None, 21)),
        ((0, 3), (3, 0), (None, 3, 0)),
    ],
)
def test_unknown_sizes(shape, target, expected):
    for dtype in ("float32", "uint8"):
        assert layers.Reshape(target)(layers.Input(shape, dtype=dtype)).shape == expected
    assert layers.Flatten()(layers.Input((None, 3))).shape == (None, None)
    assert layers.Permute((2, 1))(layers.Input((None, 3))).shape == (None, 3, None)


def test_elements_that_do_not_fit():
    for target in ((5, 5), (-1, 7), (0, -1)):
        with pytest.raises(ValueError, match="total size of the tensor must be unchanged"):
            layers.Reshape(target)(layers.Input((4, 6, 3)))
        with pytest.raises(ValueError, match="total size of the tensor must be unchanged"):
            layers.Reshape(target)(IMAGES)


@pytest.mark.parametrize(
    "name, arguments, error, message",
    [
        ("Reshape", {"target_shape": (-1, -1)}, ValueError, "at most one unknown dimension"),
        ("Reshape", {"target_shape": (2, -3)}, ValueError, "must be a non-negative integer"),
        ("Reshape", {"target_shape": (2, None)}, ValueError, "must be a non-negative integer"),
        ("Permute", {"dims": (0, 1)}, ValueError, "must be consecutive and start from 1"),
        ("Permute", {"dims": (1, 3)}, ValueError, "must be consecutive and start from 1"),
        ("RepeatVector", {"n": 0}, ValueError, "should be a positive integer"),
        ("RepeatVector", {"n": 2.0}, TypeError, "Expected an integer value for `n`"),
        ("Flatten", {"data_format": "NHWC"}, ValueError, "`data_format` argument must be one of"),
    ],
)
def test_bad_arguments(name, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(layers, name)(**arguments)


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (lambda: layers.Flatten(), (), "expected min_ndim=1, found ndim=0"),
        (lambda: layers.Permute((2, 1)), (2, 3), "expected ndim=3, found ndim=2"),
        (lambda: layers.RepeatVector(2), (2, 3, 4), "expected ndim=2, found ndim=3"),
    ],
)
def test_wrong_rank(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer()(np.ones(shape))
