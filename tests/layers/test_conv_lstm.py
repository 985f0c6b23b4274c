"""Convolutional LSTMs beside Keras'."""

import keras
import numpy as np
import pytest
from oracle import compare_with_keras, same, twins

import cornu
from cornu import layers

random = np.random.RandomState(0)
SIGNALS = random.normal(size=(2, 3, 5, 2)).astype("float32")
IMAGES = random.normal(size=(2, 3, 4, 5, 2)).astype("float32")
VOLUMES = random.normal(size=(1, 2, 3, 3, 3, 2)).astype("float32")


@pytest.mark.parametrize(
    "kind, inputs, arguments",
    [
        ("ConvLSTM1D", SIGNALS, {"padding": "same", "strides": 2, "return_sequences": True}),
        ("ConvLSTM1D", SIGNALS, {"dilation_rate": 2, "unroll": True, "use_bias": False}),
        ("ConvLSTM2D", IMAGES, {"go_backwards": True}),
        ("ConvLSTM3D", VOLUMES, {"kernel_size": 2}),
    ],
)
def test_values_and_gradients(kind, inputs, arguments):
    arguments = {"filters": 2, "kernel_size": 3, "seed": 1, **arguments}
    compare_with_keras(kind, arguments, inputs, rtol=1e-5, atol=1e-5)


def test_dropout_is_that_of_keras():
    rates = {"dropout": 0.4, "recurrent_dropout": 0.3, "padding": "same", "seed": 2}
    arguments = {"filters": 2, "kernel_size": 2, **rates}
    compare_with_keras("ConvLSTM1D", arguments, SIGNALS, training=True, rtol=1e-5, atol=1e-5)


def test_channels_first():
    first = np.moveaxis(IMAGES, -1, 2)
    last = layers.ConvLSTM2D(3, 2, return_sequences=True)
    ours = layers.ConvLSTM2D(3, 2, return_sequences=True, data_format="channels_first")
    outputs = last(IMAGES), ours(first)
    ours.set_weights(last.get_weights())
    assert ours.compute_output_shape(first.shape) == outputs[1].shape
    same(np.moveaxis(np.asarray(ours(first)), 2, -1), np.asarray(outputs[0]), tolerance=1e-5)


def test_states_and_first_weights():
    found = []
    for k in (cornu, keras):
        k.utils.set_random_seed(4)
        layer = k.layers.ConvLSTM1D(2, 2, return_state=True, stateful=True, padding="same")
        outputs = [layer(SIGNALS), layer(SIGNALS)]
        found.append([outputs, [np.asarray(v) for v in layer.weights]])
        assert layer.compute_output_shape(SIGNALS.shape) == ((2, 5, 2),) * 3
    same(*found, tolerance=1e-5)


def test_initial_state():
    ours, theirs = twins(lambda k: k.ConvLSTM1D(2, 2), SIGNALS)
    states = [np.full((2, 4, 2), value, "float32") for value in (0.3, -0.4)]
    same(ours(SIGNALS, initial_state=states), theirs(SIGNALS, initial_state=states), 1e-5)


def test_a_masked_step_leaves_the_state():
    layer = layers.ConvLSTM1D(2, 2, return_sequences=True)
    mask = np.array([[True, False, True], [True, True, False]])
    masked = np.asarray(layer(SIGNALS, mask=mask))
    shorter = np.asarray(layer(SIGNALS[:1, [0, 2]]))
    np.testing.assert_allclose(masked[:1, [0, 2]], shorter, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(masked[0, 1], masked[0, 0])
    np.testing.assert_array_equal(masked[1, 2], masked[1, 1])


def test_bidirectional():
    ours, theirs = twins(
        lambda k: k.Bidirectional(k.ConvLSTM1D(2, 2, return_sequences=True)), SIGNALS
    )
    same(ours(SIGNALS), theirs(SIGNALS), tolerance=1e-5)


@pytest.mark.parametrize("writer, reader", [(cornu, keras), (keras, cornu)], ids=["to", "from"])
def test_files_are_exchanged(writer, reader, tmp_path):
    k = writer.layers
    model = writer.Sequential(
        [
            writer.Input((3, 4, 5, 2)),
            k.ConvLSTM2D(2, 2, dropout=0.1, seed=1, return_sequences=True),
            k.ConvLSTM2D(3, (1, 2), padding="same"),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = reader.saving.load_model(tmp_path / "model.keras")
    same(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0), 1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`filters`"):
        layers.ConvLSTM1D(0, 2)
    with pytest.raises(ValueError, match="must be 'valid' or 'same'"):
        layers.ConvLSTM1D(2, 2, padding="causal")
    with pytest.raises(ValueError, match="`strides > 1` not supported"):
        layers.ConvLSTM2D(2, 2, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="the spatial sizes must be known"):
        layers.ConvLSTM1D(2, 2)(layers.Input((3, None, 2)))
    with pytest.raises(ValueError, match="expected ndim=5, found ndim=4"):
        layers.ConvLSTM2D(2, 2)(SIGNALS)
