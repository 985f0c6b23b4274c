"""Fourier transforms, of whole signals and of their frames.  Source: Keras: Math ops.

Complex numbers are pairs of arrays, the real and the imaginary part.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from cornu.core.dtype import is_discrete, is_float
from cornu.core.operation import operation


def _complex(x):
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(
            f"Complex numbers are a pair: (real part, imaginary part). Received: {type(x).__name__}"
        )
    real, imaginary = (jnp.asarray(part) for part in x)
    if real.shape != imaginary.shape:
        raise ValueError(
            "The real and the imaginary part must have the same shape. "
            f"Received: {real.shape} and {imaginary.shape}"
        )
    if not (is_float(real.dtype) and is_float(imaginary.dtype)):
        raise ValueError(
            "The real and the imaginary part must be floats. "
            f"Received: {real.dtype} and {imaginary.dtype}"
        )
    # JAX has no complex numbers of 2 * 16 bits.
    wide = jnp.promote_types(jnp.promote_types(real.dtype, imaginary.dtype), "float32")
    return real.astype(wide) + 1j * imaginary.astype(wide)


def _pair(x) -> tuple:
    return jnp.real(x), jnp.imag(x)


@operation
def fft(x):
    """The discrete Fourier transform along the last axis of a pair; a pair.

    >>> from cornu import ops
    >>> real, imaginary = ops.fft((ops.array([1.0, 0.0, -1.0, 0.0]), ops.zeros(4)))
    >>> real.tolist()
    [0.0, 2.0, 0.0, 2.0]
    """
    return _pair(jnp.fft.fft(_complex(x)))


@operation
def fft2(x):
    """The discrete Fourier transform along the last two axes of a pair; a pair."""
    return _pair(jnp.fft.fft2(_complex(x)))


@operation
def ifft2(x):
    """What `fft2` transforms to this pair; a pair."""
    return _pair(jnp.fft.ifft2(_complex(x)))


@operation
def rfft(x, fft_length=None):
    """The transform of real numbers along the last axis; a pair, the first `fft_length // 2 + 1` entries.

    Args:
        x: an array; with integers it is computed in floats.
        fft_length: the signal is cut, or filled up with zeros, to this length; default: its own.
    """
    return _pair(jnp.fft.rfft(_real(x), n=fft_length))


@operation
def irfft(x, fft_length=None):
    """The real numbers that `rfft` transforms to this pair.

    Args:
        x: a pair.
        fft_length: how many numbers; default: `2 * (entries - 1)`.
    """
    return jnp.fft.irfft(_complex(x), n=fft_length)


def _real(x):
    x = jnp.asarray(x)
    return x.astype("float32") if is_discrete(x.dtype) or x.dtype.itemsize < 4 else x


@operation
def extract_sequences(x, sequence_length, sequence_stride):
    """All frames of the last axis, `sequence_stride` apart: (…, frames, sequence_length).

    >>> from cornu import ops
    >>> ops.extract_sequences(ops.arange(6), 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    x = jnp.asarray(x)
    _check_frames(sequence_length, sequence_stride)
    if x.shape[-1] < sequence_length:
        raise ValueError(
            f"A signal of {x.shape[-1]} samples has no frame of sequence_length={sequence_length}."
        )
    starts = np.arange(0, x.shape[-1] - sequence_length + 1, sequence_stride)
    return x[..., starts[:, None] + np.arange(sequence_length)]


def _check_frames(sequence_length, sequence_stride) -> None:
    for name, value in (("sequence_length", sequence_length), ("sequence_stride", sequence_stride)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")


def _window(window, sequence_length: int, fft_length: int, dtype):
    """The weight of each sample of a frame, which is in the middle of `fft_length` samples."""
    before = (fft_length - sequence_length) // 2
    after = fft_length - sequence_length - before
    if window is None:
        return jnp.ones(fft_length, dtype)
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                f"A window by name is 'hann' or 'hamming'. Received: window={window!r}. Pass any other as "
                "an array."
            )
        from scipy.signal import get_window  # comes with JAX; slow to load

        window = get_window(window, sequence_length)
    window = jnp.asarray(window, dtype)
    if window.shape != (sequence_length,):
        raise ValueError(
            f"The window must have sequence_length={sequence_length} numbers. "
            f"Received: window shape {window.shape}"
        )
    return jnp.pad(window, (before, after))


def _check_lengths(sequence_length, sequence_stride, fft_length) -> None:
    _check_frames(sequence_length, sequence_stride)
    if fft_length < sequence_length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. Received: "
            f"sequence_length={sequence_length}, fft_length={fft_length}"
        )


@operation
def stft(x, sequence_length, sequence_stride, fft_length, window="hann", center=True):
    """The short-time Fourier transform along the last axis: `rfft` of each frame times a window; a pair.

    Args:
        x: floats of 32 or 64 bits.
        sequence_length: samples of a frame.
        sequence_stride: samples between the beginnings of two frames.
        fft_length: samples that are transformed; a shorter frame is in the middle of zeros.
        window: `"hann"`, `"hamming"`, an array, or None.
        center: whether frames are centred on multiples of the stride: the signal is continued by its mirror
            image.

    Shapes: (…, samples) -> (…, frames, fft_length // 2 + 1).
    """
    x = jnp.asarray(x)
    if x.dtype not in ("float32", "float64"):
        raise TypeError(f"`stft` takes float32 or float64. Received: {x.dtype}")
    _check_lengths(sequence_length, sequence_stride, fft_length)
    weights = _window(window, sequence_length, fft_length, x.dtype)
    if center:
        half = fft_length // 2
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    frames = extract_sequences(x, fft_length, sequence_stride)
    return _pair(jnp.fft.rfft(frames * lax.broadcast_to_rank(weights, frames.ndim)))


@operation
def istft(x, sequence_length, sequence_stride, fft_length, length=None, window="hann", center=True):
    """The signal that `stft` with the same arguments transforms to this pair.

    Args:
        x: a pair.
        sequence_length, sequence_stride, fft_length, window, center: as of `stft`.
        length: how many samples; default: all that the frames reach.

    Where no window is, samples are zero. Shapes: (…, frames, fft_length // 2 + 1) -> (…, samples).
    """
    x = _complex(x)
    if x.ndim < 2:
        raise ValueError(f"Frames and frequencies are two axes. Received: shape {x.shape}")
    _check_lengths(sequence_length, sequence_stride, fft_length)
    frames = jnp.fft.irfft(x, n=fft_length)
    weights = _window(window, sequence_length, fft_length, frames.dtype)
    count = x.shape[-2]
    size = fft_length + sequence_stride * (count - 1)
    places = (np.arange(count)[:, None] * sequence_stride + np.arange(fft_length)).reshape(-1)
    flat = (frames * weights).reshape(*x.shape[:-2], -1)
    signal = jnp.zeros((*x.shape[:-2], size), frames.dtype).at[..., places].add(flat)
    squares = jnp.tile(weights**2, count)
    norm = jnp.zeros(size, frames.dtype).at[places].add(squares)
    signal = signal / jnp.where(norm > 1e-10, norm, 1)
    start = fft_length // 2 if center else 0
    end = size - start if length is None else start + length
    return signal[..., start:end]
