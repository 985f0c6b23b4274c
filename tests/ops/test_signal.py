"""Fourier transforms compared with Keras'."""

import jax
import keras
import numpy as np
import pytest

from cornu import ops

RANDOM = np.random.RandomState(0)
PAIR = tuple(RANDOM.randn(2, 7, 20).astype("float32"))
SIGNAL = RANDOM.randn(2, 200).astype("float32")
OWN = np.hanning(15)[1:-1].astype("float32")


def same(ours, theirs, tolerance=1e-4):
    for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert mine.shape == other.shape and mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["fft", "fft2", "ifft2", "irfft"])
def test_pairs(name):
    same(getattr(ops, name)(PAIR), getattr(keras.ops, name)(PAIR), 1e-5)
    with pytest.raises(ValueError, match="pair"):
        getattr(ops, name)(PAIR[0])
    with pytest.raises(ValueError, match="same shape"):
        getattr(ops, name)((PAIR[0], PAIR[0][:3]))


def test_real_numbers():
    for length in (None, 16, 32):
        same(ops.rfft(PAIR[0], length), keras.ops.rfft(PAIR[0], length), 1e-5)
    same(ops.extract_sequences(PAIR[0], 5, 3), keras.ops.extract_sequences(PAIR[0], 5, 3))
    with pytest.raises(ValueError, match="no frame"):
        ops.extract_sequences(PAIR[0], 30, 3)


@pytest.mark.parametrize("length, window", [(16, "hann"), (13, "hamming"), (13, None), (13, OWN)])
@pytest.mark.parametrize("center", [True, False])
def test_frames(length, window, center):
    arguments = length, 4, 16, window, center
    frames = ops.stft(SIGNAL, *arguments)
    same(frames, keras.ops.stft(SIGNAL, *arguments))
    ours = ops.istft(frames, *arguments[:3], 150, window, center)
    if window is not None:
        theirs = keras.ops.istft(frames, *arguments[:3], 150, window, center)
        same(ours, theirs, 1e-3)
    # Keras' has another scale without a window. A window's first number may be zero.
    np.testing.assert_allclose(ours[:, 8:], SIGNAL[:, 8:150], atol=1e-4)


def test_refusals():
    with pytest.raises(TypeError, match="float32"):
        ops.stft(np.ones(20, "int32"), 4, 2, 4)
    with pytest.raises(ValueError, match="fft_length"):
        ops.stft(SIGNAL, 8, 2, 4)
    with pytest.raises(ValueError, match="window"):
        ops.stft(SIGNAL, 8, 2, 8, window="square")
    with pytest.raises(ValueError, match="window must have"):
        ops.stft(SIGNAL, 8, 2, 8, window=OWN)
    with pytest.raises(ValueError, match="positive integer"):
        ops.stft(SIGNAL, 8, 0, 8)
