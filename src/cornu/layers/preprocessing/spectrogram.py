"""Sound as images: `STFTSpectrogram` and `MelSpectrogram`."""

import math
import warnings

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon, is_float, standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.initializers import STFT
from cornu.layers.preprocessing.data_layer import DataLayer
from cornu.ops.convolution import conv
from cornu.ops.signal import stft

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


@registry.register("layer", module="keras.layers")
class STFTSpectrogram(Layer):
    """How strong each frequency is in each frame of a signal, by convolutions that can be trained.

    Args:
        mode: `"log"` of the `"magnitude"`; `"psd"`, the power spectral density; the `"real"` or the
            `"imag"` part, or both behind each other, `"stft"`; or `"angle"`.
        frame_length: samples of a frame.
        frame_step: samples between the beginnings of two frames; default: half a frame.
        fft_length: samples that are transformed; default: the next power of two.
        window: a name for `scipy.signal.get_window`, or an array of `frame_length` numbers.
        periodic: whether a named window is periodic instead of symmetric.
        scaling: `"density"`, `"spectrum"` or None: what the window is divided by.
        padding: `"valid"`, or `"same"` with zeros at both ends.
        expand_dims: whether frequencies and channels are two axes, as of an image.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Shapes: (batch, samples, channels) -> (batch, frames, channels * frequencies), or with
    `expand_dims` (batch, frames, frequencies, channels), where there are `fft_length // 2 + 1`
    frequencies. In `"psd"` all but the first and the last count twice.

    Source: Keras: STFTSpectrogram layer; Cheuk et al. 2020, "nnAudio".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.STFTSpectrogram(frame_length=64, trainable=False)
    >>> layer(jnp.ones((2, 256, 1))).shape
    (2, 7, 33)
    """

    def __init__(
        self,
        mode="log",
        frame_length=256,
        frame_step=None,
        fft_length=None,
        window="hann",
        periodic=False,
        scaling="density",
        padding="valid",
        expand_dims=False,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value, known in (
            ("mode", mode, _MODES),
            ("scaling", scaling, (None, "density", "spectrum")),
            ("padding", padding, ("valid", "same")),
        ):
            if value not in known:
                raise ValueError(
                    f"Layer '{self.name}': `{name}` is invalid, it must be one of {known}. "
                    f"Received: {name}={value!r}"
                )
        if frame_step is not None and not 1 <= frame_step <= frame_length:
            raise ValueError(
                f"Layer '{self.name}': `frame_step` should be a positive integer not greater than "
                f"`frame_length`. Received: frame_step={frame_step}, frame_length={frame_length}"
            )
        if fft_length is not None and fft_length < frame_length:
            raise ValueError(
                f"Layer '{self.name}': `fft_length` should be not less than `frame_length`. "
                f"Received: fft_length={fft_length}, frame_length={frame_length}"
            )
        if fft_length is not None and fft_length & (fft_length - 1):
            warnings.warn(
                f"`fft_length` is recommended to be a power of two. Received: fft_length={fft_length}",
                stacklevel=2,
            )
        if isinstance(window, str):
            from scipy.signal import get_window  # comes with JAX; slow to load

            # It raises ValueError for a name that it does not know.
            get_window(window, 1)
        self.mode, self.window, self.periodic = mode, window, periodic
        self.frame_length, self.frame_step, self.fft_length = frame_length, frame_step, fft_length
        self.scaling, self.padding, self.expand_dims = scaling, padding, expand_dims
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=3)

    _calculates = True

    @property
    def _frequencies(self) -> int:
        length = self.fft_length or 2 ** math.ceil(math.log2(self.frame_length))
        return length // 2 + 1

    def build(self, input_shape=None):
        shape = (self.frame_length, 1, self._frequencies)
        for side in ("real", "imag"):
            if self.mode == side or self.mode not in ("real", "imag"):
                start = STFT(side, self.window, self.scaling, self.periodic)
                setattr(
                    self, f"{side}_kernel", self.add_weight(shape, start, name=f"{side}_kernel")
                )

    def call(self, inputs):
        signals = inputs if self.data_format == "channels_first" else jnp.swapaxes(inputs, 1, 2)
        if self.mode in ("real", "imag"):
            return self._arranged(self._transformed(signals, self.mode))
        real, imaginary = (self._transformed(signals, side) for side in ("real", "imag"))
        if self.mode == "angle":
            return self._arranged(jnp.arctan2(imaginary, real))
        if self.mode == "stft":
            return self._arranged(jnp.concatenate([real, imaginary], axis=2))
        power = jnp.square(real) + jnp.square(imaginary)
        if self.mode == "psd":
            return self._arranged(power.at[:, :, 1:-1].multiply(2))
        magnitude = jnp.sqrt(jnp.maximum(power, epsilon()))
        if self.mode == "log":
            magnitude = jnp.log(jnp.maximum(magnitude, epsilon()))
        return self._arranged(magnitude)

    def _transformed(self, signals, side: str):
        """One part of each frame's transform: (batch, channels, frequencies, frames)."""
        kernel = getattr(self, f"{side}_kernel").value.astype(signals.dtype)
        step = self.frame_step or self.frame_length // 2
        batch, channels, samples = signals.shape
        flat = signals.reshape(batch * channels, samples, 1)
        found = conv(flat, kernel, step, self.padding, "channels_last", 1)
        return jnp.swapaxes(found.reshape(batch, channels, *found.shape[1:]), 2, 3)

    def _arranged(self, x):
        """From (batch, channels, frequencies, frames) to the shape of the output."""
        batch, channels, frequencies, frames = x.shape
        first = self.data_format == "channels_first"
        if self.expand_dims:
            return x.transpose(0, 1, 3, 2) if first else x.transpose(0, 3, 2, 1)
        x = x.reshape(batch, channels * frequencies, frames)
        return x if first else jnp.swapaxes(x, 1, 2)

    def compute_output_shape(self, input_shape):
        batch, samples, channels = input_shape
        last: tuple
        first = self.data_format == "channels_first"
        if first:
            samples, channels = channels, samples
        step = self.frame_step or self.frame_length // 2
        frames = samples
        if samples is not None:
            begins = samples if self.padding == "same" else samples - self.frame_length + 1
            frames = -(-begins // step)
        frequencies = self._frequencies * (2 if self.mode == "stft" else 1)
        if self.expand_dims:
            last = (channels, frames, frequencies) if first else (frames, frequencies, channels)
        else:
            width = None if channels is None else channels * frequencies
            last = (width, frames) if first else (frames, width)
        return (batch, *last)


@registry.register("layer", module="keras.layers")
class MelSpectrogram(DataLayer):
    """How strong each band of the mel scale is in each frame of a signal.

    Args:
        fft_length: samples that are transformed.
        sequence_stride: samples between two frames.
        sequence_length: samples of a frame; default: `fft_length`.
        window: `"hann"`, `"hamming"`, an array, or None.
        sampling_rate: samples per second.
        num_mel_bins: how many bands there are, of equal width on the mel scale.
        min_freq, max_freq: where the first begins and the last ends, in hertz; default end: half of
            `sampling_rate`.
        power_to_db: whether the output is in decibels.
        top_db: how far below the largest number decibels are cut off.
        mag_exp: exponent of magnitudes: 1 for magnitudes, 2 for power.
        min_power: smallest power, for the logarithm.
        ref_power: the power of zero decibels.

    Shapes: (samples,) or (batch, samples) -> (…, num_mel_bins, frames). The largest number is that of the
    whole batch, as in Keras.

    Source: Keras: MelSpectrogram layer; Young et al., The HTK Book: `mel = 1127 log(1 + hertz / 700)`.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.MelSpectrogram(num_mel_bins=8, sampling_rate=8000, fft_length=256)
    >>> layer(jnp.ones((2, 4000))).shape
    (2, 8, 8)
    """

    def __init__(
        self,
        fft_length=2048,
        sequence_stride=512,
        sequence_length=None,
        window="hann",
        sampling_rate=16000,
        num_mel_bins=128,
        min_freq=20.0,
        max_freq=None,
        power_to_db=True,
        top_db=80.0,
        mag_exp=2.0,
        min_power=1e-10,
        ref_power=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.fft_length, self.sequence_stride = fft_length, sequence_stride
        self.sequence_length = sequence_length or fft_length
        if self.fft_length < self.sequence_length:
            raise ValueError(
                f"Layer '{self.name}': `fft_length` must be greater than or equal to `sequence_length`. "
                f"Received: sequence_length={self.sequence_length}, fft_length={fft_length}"
            )
        self.window, self.sampling_rate, self.num_mel_bins = window, sampling_rate, num_mel_bins
        self.min_freq, self.max_freq = min_freq, max_freq or int(sampling_rate / 2)
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power

    def call(self, inputs):
        wide = self.compute_dtype if self.compute_dtype == "float64" else "float32"
        x = as_array(inputs).astype(wide)
        real, imaginary = stft(
            x, self.sequence_length, self.sequence_stride, self.fft_length, self.window
        )
        spectrum = jnp.sqrt(jnp.square(real) + jnp.square(imaginary)) ** self.mag_exp
        weights = self.linear_to_mel_weight_matrix(
            self.num_mel_bins,
            spectrum.shape[-1],
            self.sampling_rate,
            self.min_freq,
            self.max_freq,
            wide,
        )
        mel = spectrum @ weights
        if self.power_to_db:
            mel = 10 * jnp.log10(jnp.maximum(mel, self.min_power))
            mel = mel - 10 * math.log10(max(abs(self.ref_power), self.min_power))
            mel = jnp.maximum(mel, mel.max(initial=-jnp.inf) - self.top_db)
        return jnp.swapaxes(mel, -1, -2).astype(self.compute_dtype)

    def compute_output_shape(self, input_shape):
        samples = input_shape[-1]
        # Half a transform is added at both ends.
        frames = None
        if samples is not None:
            frames = (
                samples + self.fft_length // 2 * 2 - self.fft_length
            ) // self.sequence_stride + 1
        return (*input_shape[:-1], self.num_mel_bins, frames)

    def linear_to_mel_weight_matrix(
        self,
        num_mel_bins=20,
        num_spectrogram_bins=129,
        sampling_rate=8000,
        lower_edge_hertz=125.0,
        upper_edge_hertz=3800.0,
        dtype="float32",
    ):
        """The matrix that takes a spectrum to bands of the mel scale.

        Args:
            num_mel_bins: how many bands.
            num_spectrogram_bins: how many frequencies, from 0 to half of `sampling_rate`.
            sampling_rate: samples per second.
            lower_edge_hertz, upper_edge_hertz: where the first band begins and the last ends.
            dtype: a float dtype.

        Each band is a triangle of height 1 between the centres of its neighbours; frequency 0 is in none.
        Shape: (num_spectrogram_bins, num_mel_bins).
        """
        if not is_float(dtype):
            raise ValueError(f"`dtype` must be a float dtype. Received: {dtype!r}")
        hertz = np.linspace(0, sampling_rate / 2, num_spectrogram_bins)[1:, None]
        edges = np.linspace(_mel(lower_edge_hertz), _mel(upper_edge_hertz), num_mel_bins + 2)
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        rising = (_mel(hertz) - low) / (centre - low)
        falling = (high - _mel(hertz)) / (high - centre)
        triangles = np.maximum(0, np.minimum(rising, falling))
        return jnp.asarray(np.pad(triangles, ((1, 0), (0, 0))), dtype)


def _mel(hertz):
    return 1127 * np.log(1 + np.asarray(hertz) / 700)
