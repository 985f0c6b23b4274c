import numpy as np
import pytest
from oracle import compare_with_keras
from scipy import sparse

import cornu
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
        (lambda: layers.Cropping1D((2, 3)), (3, 5, 7), "must be smaller than the number of steps"),
        (
            lambda: layers.Cropping2D(((4, 4), (0, 0))),
            (1, 8, 9, 5),
            "smaller than the corresponding",
        ),
    ],
)
def test_wrong_rank(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer()(np.ones(shape))


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": (4,)},
        {"batch_size": 5},
        {"batch_shape": (3, 3)},
        {"dtype": "float16"},
        {"sparse": True},
    ],
)
def test_an_input_says_nothing_else_than_its_tensor(arguments):
    tensor = cornu.KerasTensor((2, 3))
    with pytest.raises(ValueError, match=f"incompatible `{next(iter(arguments))}`"):
        layers.InputLayer(input_tensor=tensor, **arguments)
    assert layers.InputLayer((3,), 2, "float32", False, input_tensor=tensor).output is tensor


def test_arguments_of_an_input():
    for arguments, message in (
        ({"batch_size": 2, "batch_shape": (2, 3)}, "both `batch_size` and `batch_shape`"),
        ({"shape": (3,), "ragged": True}, "`ragged=True` is not supported"),
        ({"shape": (3,), "input_tensor": np.ones((2, 3))}, "must be a KerasTensor"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.InputLayer(**arguments)
    x = sparse.random_array((8, 3), density=0.5, rng=0).astype("float32")
    model = cornu.Sequential([cornu.Input((3,), sparse=True), layers.Dense(2)])
    np.testing.assert_array_equal(model.predict(x.tocsr()), model.predict(x.toarray()))
    assert layers.deserialize(layers.serialize(model._layers[0])).sparse
