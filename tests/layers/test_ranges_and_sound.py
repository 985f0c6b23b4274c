"""`Discretization`, `CategoryEncoding` and spectrograms, compared with Keras'."""

import keras
import numpy as np
import pytest

from cornu import layers

RANDOM = np.random.RandomState(0)
SIGNAL = RANDOM.randn(2, 300, 2).astype("float32")


def pair(name, **arguments):
    return [getattr(module, name)(name="same", **arguments) for module in (layers, keras.layers)]


def same(ours, theirs, tolerance=1e-5):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "arguments",
    [{"bin_boundaries": [-1.0, 0.5, 2.0]}, {"num_bins": 7, "epsilon": 0.1}],
)
def test_ranges(arguments):
    for mode in ("int", "one_hot", "multi_hot", "count"):
        ours, theirs = pair("Discretization", output_mode=mode, **arguments)
        if "num_bins" in arguments:
            batches = [RANDOM.randn(40, 3) for _ in range(3)]
            ours.adapt(iter(batches))
            for batch in batches:
                theirs.update_state(batch)
            theirs.finalize_state()
        assert ours.get_config() == theirs.get_config()
        assert type(ours).from_config(theirs.get_config()).bin_boundaries == ours.bin_boundaries
        integers = RANDOM.randint(0, 3, (4, 1)).astype("uint8")
        volume = RANDOM.randn(2, 3, 4)
        for x in (volume, integers, np.array([0.5, np.nan, -np.inf])):
            same(ours(x), theirs(x))
            assert ours.compute_output_shape(x.shape) == ours(x).shape


def test_ranges_of_large_integers():
    layer = layers.Discretization([2.0**24 + 0.5, 2.0**40])
    assert layer(np.array([2**24, 2**24 + 1, 2**31 - 1])).tolist() == [0, 1, 1]
    layer = layers.Discretization([0.5, 300.0])
    assert layer(np.array([0, 1, 255], "uint8")).tolist() == [0, 1, 1]
    assert layers.Discretization([])(np.array([0, 7])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "either"),
        ({"num_bins": 2, "bin_boundaries": [1.0]}, "either"),
        ({"num_bins": -1}, "0 or greater"),
        ({"bin_boundaries": [2.0, 1.0]}, "ascending"),
        ({"num_bins": 2, "output_mode": "x"}, "output_mode"),
        ({"num_bins": 2, "output_mode": "count", "sparse": True}, "not supported"),
    ],
)
def test_refused_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.Discretization(**arguments)
    with pytest.raises(ValueError, match="no boundaries yet"):
        layers.Discretization(num_bins=3)(SIGNAL)
    with pytest.raises(ValueError, match="cannot `adapt`"):
        layers.Discretization([1.0]).adapt(SIGNAL)


def test_categories():
    for mode in ("one_hot", "multi_hot", "count"):
        ours, theirs = pair("CategoryEncoding", num_tokens=5, output_mode=mode)
        assert ours.get_config() == theirs.get_config()
        for shape in ((4, 3), (4, 1), (4,), ()):
            x = np.asarray(RANDOM.randint(0, 7, shape))
            if shape or mode != "one_hot":
                same(ours(x), theirs(x))
                same(ours(x.astype("uint8")), theirs(x))
            assert ours.compute_output_shape(shape) == ours(x).shape
    weights = RANDOM.rand(4, 3).astype("float32")
    x = RANDOM.randint(0, 5, (4, 3))
    same(ours(x, count_weights=weights), theirs(x, count_weights=weights))
    # The last axis is one example, whatever comes before it.
    rows = RANDOM.randint(0, 5, (2, 3, 4))
    np.testing.assert_array_equal(ours(rows)[1], ours(rows[1]))
    with pytest.raises(ValueError, match="count_weights"):
        layers.CategoryEncoding(5)(x, count_weights=weights)
    for wrong in (None, 0):
        with pytest.raises(ValueError, match="num_tokens"):
            layers.CategoryEncoding(wrong)


@pytest.mark.parametrize("mode", ["log", "psd", "imag", "stft"])
def test_spectrograms(mode):
    arguments = [
        {"frame_length": 15, "frame_step": 5, "padding": "same", "expand_dims": True},
        {"frame_length": 16, "data_format": "channels_first", "scaling": None, "window": "hamming"},
        {"frame_length": 9, "fft_length": 32, "expand_dims": True, "data_format": "channels_first"},
    ]
    for each in arguments:
        ours, theirs = pair("STFTSpectrogram", mode=mode, **each)
        x = SIGNAL.swapaxes(1, 2) if "data_format" in each else SIGNAL
        assert ours.get_config() == theirs.get_config()
        same(ours(x), theirs(x), 2e-3 if mode == "log" else 1e-4)
        assert ours.compute_output_shape(x.shape) == ours(x).shape


def test_refused_spectrograms():
    for arguments, message in (
        ({"mode": "x"}, "mode"),
        ({"scaling": "x"}, "scaling"),
        ({"padding": "x"}, "padding"),
        ({"frame_step": 300}, "frame_step"),
        ({"fft_length": 8}, "fft_length"),
        ({"window": "x"}, "window"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.STFTSpectrogram(**arguments)
    with pytest.warns(UserWarning, match="power of two"):
        layers.STFTSpectrogram(frame_length=8, fft_length=12)
    with pytest.raises(ValueError, match="sequence_length"):
        layers.MelSpectrogram(fft_length=8, sequence_length=9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"power_to_db": False, "mag_exp": 1.0, "window": None},
        {"window": "hamming", "sequence_length": 200, "min_freq": 100.0, "max_freq": 3000.0},
        {"ref_power": 2.0, "top_db": 20.0, "dtype": "mixed_bfloat16"},
    ],
)
def test_mel_spectrograms(arguments):
    arguments = {"fft_length": 256, "num_mel_bins": 20, "sequence_stride": 64, **arguments}
    ours, theirs = pair("MelSpectrogram", **arguments)
    assert ours.get_config() == theirs.get_config()
    x = SIGNAL[0, :, 0] if "ref_power" in arguments else SIGNAL[:, :, 0]
    same(ours(x), theirs(x), 1e-2 if "dtype" in arguments else 1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_counts_are_whole_in_mixed_precision(policy):
    indices = np.zeros((1, 2051), "int32")
    for layer in (
        layers.CategoryEncoding(3, output_mode="count", dtype=policy),
        layers.Discretization([1.0], output_mode="count", dtype=policy),
    ):
        assert float(layer(indices)[0, 0]) == 2051
        assert layer(layers.Input((4,), dtype="int32")).dtype == "float32"
