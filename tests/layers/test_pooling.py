"""Pooling against real Keras, l2 pooling against its formula, and resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers

RANDOM = np.random.RandomState(0)
# Many equal numbers, as after relu: the gradient must go where Keras sends it.
SIGNAL, IMAGE, VOLUME = (
    np.maximum(np.round(RANDOM.randn(*shape) * 2), 0).astype("float32")
    for shape in ((2, 9, 3), (2, 7, 8, 3), (2, 4, 5, 6, 2))
)


def first(array):
    """Channels first."""
    return np.moveaxis(array, -1, 1)


WINDOWS = [
    ({"pool_size": 2}, 1),
    ({"pool_size": 3, "strides": 2, "padding": "same"}, 1),
    ({"pool_size": 2, "strides": 3}, 1),
    ({"pool_size": 2, "padding": "same"}, 1),
    ({"pool_size": 2, "data_format": "channels_first"}, 0),
]


@pytest.mark.parametrize("kind", ["MaxPooling", "AveragePooling"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("arguments, last", WINDOWS, ids=str)
def test_pooling(kind, rank, arguments, last):
    inputs = (SIGNAL, IMAGE, VOLUME)[rank - 1]
    compare_with_keras(f"{kind}{rank}D", arguments, inputs if last else first(inputs))


@pytest.mark.parametrize("kind", ["GlobalMaxPooling", "GlobalAveragePooling"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("arguments", [{}, {"keepdims": True}, {"data_format": "channels_first"}])
def test_global_pooling(kind, rank, arguments):
    inputs = RANDOM.randn(*(SIGNAL, IMAGE, VOLUME)[rank - 1].shape).astype("float32")
    inputs = first(inputs) if arguments.get("data_format") else inputs
    compare_with_keras(f"{kind}{rank}D", arguments, inputs)


def test_nan_goes_through_max_pooling():
    image = IMAGE.copy()
    image[0, 2, 3, 1] = np.nan
    output = np.asarray(layers.MaxPooling2D()(image))
    assert np.isnan(output[0, 1, 1, 1]) and np.isnan(output).sum() == 1


def test_masked_mean():
    embedding = layers.Embedding(5, 3, mask_zero=True)
    x = np.array([[1, 2, 0], [3, 0, 0]])
    output = layers.GlobalAveragePooling1D()(embedding(x))
    table = embedding.weights[0].numpy()
    np.testing.assert_allclose(output, [table[[1, 2]].mean(0), table[3]], rtol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_l2_pooling_is_the_root_of_the_sum_of_squares(rank, padding):
    inputs = (SIGNAL, IMAGE, VOLUME)[rank - 1]
    layer = getattr(layers, f"L2Pooling{rank}D")(2, padding=padding)
    mean_of_squares = getattr(layers, f"AveragePooling{rank}D")(2, padding="valid")
    padded = inputs
    if padding == "same":
        padded = np.pad(inputs, [(0, 0), *((0, n % 2) for n in inputs.shape[1:-1]), (0, 0)])
    expected = np.sqrt(np.asarray(mean_of_squares(padded**2)) * 2**rank)
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-6)
    assert layer.compute_output_shape((None, *inputs.shape[1:])) == (None, *expected.shape[1:])


def test_l2_pooling_has_a_gradient_of_zero_at_zero():
    layer = layers.L2Pooling1D(2)
    x = jnp.array([[[0.0], [0.0], [3.0], [4.0]]])
    gradient = jax.grad(lambda x: layer(x).sum())(x)
    np.testing.assert_allclose(gradient[0, :, 0], [0, 0, 0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    "name, arguments, inputs",
    [
        ("ZeroPadding1D", {"padding": 2}, SIGNAL),
        ("ZeroPadding1D", {"padding": (1, 0)}, SIGNAL),
        ("ZeroPadding2D", {}, IMAGE),
        ("ZeroPadding2D", {"padding": (1, 2)}, IMAGE),
        ("ZeroPadding2D", {"padding": ((1, 0), (2, 3)), "data_format": "channels_first"}, IMAGE),
        ("ZeroPadding3D", {"padding": ((1, 0), (2, 3), (0, 1))}, VOLUME),
        ("Cropping1D", {"cropping": (1, 2)}, SIGNAL),
        ("Cropping2D", {"cropping": 1}, IMAGE),
        (
            "Cropping2D",
            {"cropping": ((1, 0), (0, 2)), "data_format": "channels_first"},
            first(IMAGE),
        ),
        ("Cropping3D", {"cropping": ((1, 0), (0, 2), (1, 1))}, VOLUME),
        ("UpSampling1D", {"size": 3}, SIGNAL),
        ("UpSampling2D", {}, IMAGE),
        ("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, IMAGE),
        (
            "UpSampling2D",
            {"interpolation": "bicubic", "data_format": "channels_first"},
            first(IMAGE),
        ),
        ("UpSampling3D", {"size": (1, 2, 3)}, VOLUME),
    ],
    ids=lambda v: str(v)[:60],
)
def test_resampling(name, arguments, inputs):
    compare_with_keras(name, arguments, inputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "make, shape, message",
    [
        (lambda: layers.MaxPooling2D(), (8, 8), "expected ndim=4, found ndim=3"),
        (lambda: layers.MaxPooling2D(9), (8, 8, 1), "slides a window of .* padding='same'"),
        (lambda: layers.MaxPooling2D(2, padding="full"), None, "must be 'valid' or 'same'"),
        (lambda: layers.MaxPooling2D((2, 2, 2)), None, "`pool_size` argument must be a tuple of 2"),
        (
            lambda: layers.Cropping2D(4),
            (8, 8, 1),
            "smaller than the corresponding spatial dimension",
        ),
        (lambda: layers.UpSampling2D(2, interpolation="area"), None, "must be one of"),
    ],
)
def test_mistakes(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make()(layers.Input(shape))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_mean_of_equal_numbers_is_their_value(size):
    """Also where a padded window is as large as the input."""
    x = np.ones((2, size, size, 3), "float32")
    layer = layers.AveragePooling2D(3, strides=1, padding="same")
    np.testing.assert_allclose(layer(x), x, rtol=1e-6)
