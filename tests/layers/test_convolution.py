"""Convolutions of every kind against real Keras, and their mistakes."""

import numpy as np
import pytest
from oracle import compare_with_keras

import cornu
from cornu import layers

RANDOM = np.random.RandomState(0)
SIGNAL = RANDOM.randn(2, 9, 4).astype("float32")
IMAGE = RANDOM.randn(2, 7, 8, 4).astype("float32")
VOLUME = RANDOM.randn(1, 4, 5, 6, 2).astype("float32")

# Sums of up to a hundred products, in an order of XLA's choice.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def first(array):
    """Channels first."""
    return np.moveaxis(array, -1, 1)


CONVOLUTIONS = [
    ("Conv1D", {"kernel_size": 3}, SIGNAL),
    ("Conv1D", {"kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"}, SIGNAL),
    ("Conv1D", {"kernel_size": 3, "padding": "causal", "dilation_rate": 2}, SIGNAL),
    ("Conv1D", {"kernel_size": 3, "groups": 2, "use_bias": False}, SIGNAL),
    ("Conv1D", {"kernel_size": 3, "data_format": "channels_first"}, first(SIGNAL)),
    ("Conv2D", {"kernel_size": 3}, IMAGE),
    ("Conv2D", {"kernel_size": (2, 3), "strides": (2, 1), "padding": "same"}, IMAGE),
    ("Conv2D", {"kernel_size": 3, "strides": 2, "padding": "same", "groups": 4}, IMAGE),
    ("Conv2D", {"kernel_size": 3, "dilation_rate": (1, 2)}, IMAGE),
    ("Conv2D", {"kernel_size": 1, "activation": "softmax", "kernel_regularizer": "l2"}, IMAGE),
    (
        "Conv2D",
        {"kernel_size": 3, "padding": "same", "data_format": "channels_first", "groups": 2},
        first(IMAGE),
    ),
    (
        "Conv2D",
        {
            "kernel_size": 3,
            "kernel_initializer": "he_normal",
            "bias_initializer": "ones",
            "bias_regularizer": "l2",
            "activity_regularizer": "l2",
            "kernel_constraint": "max_norm",
        },
        IMAGE,
    ),
    ("Conv3D", {"kernel_size": 2}, VOLUME),
    ("Conv3D", {"kernel_size": (1, 2, 3), "strides": (1, 2, 2), "padding": "same"}, VOLUME),
    ("Conv3D", {"kernel_size": 2, "data_format": "channels_first"}, first(VOLUME)),
    ("Conv1DTranspose", {"kernel_size": 3, "strides": 2}, SIGNAL),
    ("Conv1DTranspose", {"kernel_size": 2, "strides": 3, "padding": "same"}, SIGNAL),
    ("Conv2DTranspose", {"kernel_size": 3}, IMAGE),
    ("Conv2DTranspose", {"kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("Conv2DTranspose", {"kernel_size": (2, 4), "strides": 2}, IMAGE),
    ("Conv2DTranspose", {"kernel_size": 3, "strides": 2, "output_padding": 1}, IMAGE),
    (
        "Conv2DTranspose",
        {"kernel_size": 3, "strides": 2, "output_padding": (1, 0), "padding": "same"},
        IMAGE,
    ),
    (
        "Conv2DTranspose",
        {"kernel_size": 4, "strides": 3, "output_padding": 2, "padding": "same"},
        IMAGE,
    ),
    ("Conv2DTranspose", {"kernel_size": 3, "dilation_rate": 2}, IMAGE),
    (
        "Conv2DTranspose",
        {"kernel_size": 3, "strides": 2, "data_format": "channels_first"},
        first(IMAGE),
    ),
    ("Conv3DTranspose", {"kernel_size": 2, "strides": 2, "padding": "same"}, VOLUME),
    ("SeparableConv1D", {"kernel_size": 3, "depth_multiplier": 2}, SIGNAL),
    ("SeparableConv2D", {"kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    (
        "SeparableConv2D",
        {"kernel_size": 3, "dilation_rate": 2, "activation": "relu", "use_bias": False},
        IMAGE,
    ),
]
DEPTHWISE = [
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, SIGNAL),
    ("DepthwiseConv2D", {"kernel_size": 3}, IMAGE),
    ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("DepthwiseConv2D", {"kernel_size": 2, "dilation_rate": 2, "depth_multiplier": 3}, IMAGE),
    ("DepthwiseConv2D", {"kernel_size": 3, "data_format": "channels_first"}, first(IMAGE)),
]


@pytest.mark.parametrize("name, arguments, inputs", CONVOLUTIONS, ids=lambda v: str(v)[:80])
def test_convolution(name, arguments, inputs):
    compare_with_keras(name, {"filters": 4, **arguments}, inputs, **TOLERANCE)


@pytest.mark.parametrize("name, arguments, inputs", DEPTHWISE, ids=lambda v: str(v)[:80])
def test_depthwise(name, arguments, inputs):
    compare_with_keras(name, arguments, inputs, **TOLERANCE)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(dtype):
    # Sums of 36 products in a format of 8 (or 11) bits.
    arguments = {"filters": 4, "kernel_size": 3, "dtype": dtype}
    compare_with_keras("Conv2D", arguments, IMAGE, rtol=2e-2, atol=2e-2)


def test_unknown_sizes_stay_unknown():
    layer = layers.Conv2D(3, 5, strides=2)
    assert layer(layers.Input((None, 28, 1))).shape == (None, None, 12, 3)
    layer = layers.Conv2DTranspose(3, 5, strides=2, padding="same")
    assert layer(layers.Input((None, 28, 1))).shape == (None, None, 56, 3)


@pytest.mark.parametrize(
    "make, shape, message",
    [
        (lambda: layers.Conv2D(4, 3), (8, 8), "expected min_ndim=4, found ndim=3"),
        (lambda: layers.Conv2D(4, 9), (8, 8, 1), r"layer 'conv2d' slides a window of \(9, 9\)"),
        (
            lambda: layers.Conv2D(4, 3),
            (8, 8, None),
            "channel dimension of the inputs should be def",
        ),
        (lambda: layers.Conv2D(4, 3, groups=2), (8, 8, 3), "evenly divisible by the number of gro"),
        (lambda: layers.Conv2D(5, 3, groups=2), None, "filters must be evenly divisible"),
        (lambda: layers.Conv2D(0, 3), None, "argument `filters`.* In layer 'conv2d'"),
        (lambda: layers.Conv2D(4, (3, 3, 3)), None, "`kernel_size` argument must be a tuple of 2"),
        (lambda: layers.Conv2D(4, 3, padding="causal"), None, "`padding` argument of layer"),
        (lambda: layers.Conv2D(4, 3, strides=2, dilation_rate=2), None, "not supported in conj"),
        (lambda: layers.Conv2D(4, 3, activation="rleu"), None, "Did you mean 'relu'"),
        (lambda: layers.Conv2DTranspose(4, 3, output_padding=2), None, "must be greater than"),
    ],
)
def test_mistakes(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make()(layers.Input(shape))


def test_other_channels_than_it_was_built_for():
    layer = layers.Conv2D(4, 3)
    layer(IMAGE)
    with pytest.raises(ValueError, match=r"'conv2d' .*expected axis -1 .* value 4, but .*8, 3\)"):
        layer(IMAGE[..., :3])


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose"])
def test_convolution_op_may_be_overridden(name):
    class Halved(getattr(layers, name)):
        def convolution_op(self, inputs, kernel):
            return super().convolution_op(inputs, kernel / 2)

    rank = int(name[4])
    x = np.random.default_rng(0).normal(size=(2, *[4] * rank, 2)).astype("float32")
    plain = getattr(layers, name)(3, 2, activation="relu", bias_initializer="ones")
    halved = Halved(3, 2, activation="relu", bias_initializer="ones")
    plain.build(x.shape)
    model = cornu.Sequential([cornu.Input(x.shape[1:]), halved])
    halved.set_weights(plain.get_weights())
    kernel, bias = plain.get_weights()
    plain.set_weights([kernel / 2, bias])
    np.testing.assert_allclose(halved(x), plain(x), rtol=1e-5)
    # Compiled and fused it is called, too.
    np.testing.assert_allclose(model.predict(x, verbose=0), plain(x), rtol=1e-4, atol=1e-6)


def test_a_subclass_may_have_an_attribute_named_window():
    class Own(cornu.layers.Conv2D):
        def __init__(self, **kwargs):
            super().__init__(2, 3, **kwargs)
            self.window = 7

    inputs = cornu.Input((8, 8, 1))
    assert cornu.Model(inputs, Own()(inputs)).output_shape == (None, 6, 6, 2)


def test_keras_1_gave_the_sides_of_a_window_one_by_one():
    for name, sides in [("Convolution2D", (3, 2)), ("Convolution3D", (3, 2, 1))]:
        with pytest.warns(UserWarning, match=r"use `Conv.D\(4, \(3, 2"):
            layer = getattr(layers, name)(4, *sides, activation="relu")
        assert type(layer) is getattr(layers, name.replace("olution", ""))
        assert layer.kernel_size == sides and layer.strides == (1,) * len(sides)
        with pytest.raises(TypeError, match="what follows by its name"):
            getattr(layers, name)(4, *sides, "glorot_uniform")
    for layer in (
        layers.Convolution2D(4, 3, strides=2),
        layers.Convolution2D(4, (3, 3), (2, 2)),
        layers.Convolution2D(filters=4, kernel_size=3, strides=2, name="c"),
    ):
        assert (layer.kernel_size, layer.strides) == ((3, 3), (2, 2))
        copy = layers.deserialize(layers.serialize(layer))
        assert type(copy) is layers.Conv2D and copy.get_config() == layer.get_config()
    assert layers.Convolution1D(4, 3, 2).strides == (2,)

    class Mine(layers.Convolution2D):
        pass

    assert Mine(4, 3).kernel_size == (3, 3) and type(Mine(4, 3)) is Mine
