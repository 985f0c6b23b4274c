"""First values of weights.

An initializer is called with a shape and a dtype. A random one with the same seed gives the same
numbers every time, and the same as in Keras on JAX. Source: Keras: Layer weight initializers.
"""

import math
import typing

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry, threefry
from cornu.core.configurable import Configurable
from cornu.core.dtype import as_array, standardize_dtype
from cornu.core.random import SeedGenerator, draw_seed, make_default_seed


class Initializer(Configurable):
    """A rule for the first values of a weight.

    >>> import cornu
    >>> cornu.initializers.Constant(2.0)((2,)).tolist()
    [2.0, 2.0]
    """

    def __call__(self, shape, dtype=None):
        """An array of that shape and dtype (`floatx()` if not given)."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")

    def clone(self):
        """An equal initializer."""
        return type(self).from_config(self.get_config())


@registry.register("initializer", "Zeros", "zeros", "zero", module="keras.initializers")
class Zeros(Initializer):
    """Zeros."""

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, standardize_dtype(dtype))


@registry.register("initializer", "Ones", "ones", "one", module="keras.initializers")
class Ones(Initializer):
    """Ones."""

    def __call__(self, shape, dtype=None):
        return np.ones(shape, standardize_dtype(dtype))


@registry.register("initializer", "Constant", "constant", module="keras.initializers")
class Constant(Initializer):
    """One value, or an array of them that is broadcast to the shape."""

    # Whether the value must have the weight's shape, as an array has that stands for an initializer.
    _is_exact = False

    def __init__(self, value=0.0):
        self.value = value

    @classmethod
    def exactly(cls, array) -> "Constant":
        """The initializer that an array stands for: its own numbers, for a weight of its shape."""
        initializer = cls(np.array(array))
        initializer._is_exact = True
        return initializer

    def __call__(self, shape, dtype=None):
        if self._is_exact and tuple(shape) != self.value.shape:
            raise ValueError(
                f"Expected `shape` to be {self.value.shape}, that of an array which is used as an "
                f"initializer. Received: shape={tuple(shape)}. Constant(array) is broadcast to any."
            )
        return jnp.broadcast_to(as_array(self.value, standardize_dtype(dtype)), shape)


@registry.register(
    "initializer", "Identity", "IdentityInitializer", "identity", module="keras.initializers"
)
class Identity(Initializer):
    """The identity matrix times `gain`; only for matrices."""

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, shape, dtype=None):
        if len(shape) != 2:
            raise ValueError(
                "Identity matrix initializer can only be used for 2D matrices. Received: "
                f"shape={shape} of rank {len(shape)}."
            )
        return self.gain * jnp.eye(shape[0], shape[1], dtype=standardize_dtype(dtype))


class RandomInitializer(Initializer):
    """The common part of the random ones.

    Args:
        seed: an integer or a `SeedGenerator`; None draws an integer from Python's generator.
    """

    def __init__(self, seed=None):
        if isinstance(seed, dict):
            seed = registry.deserialize(seed)
        if seed is not None and not isinstance(seed, int | np.integer | SeedGenerator):
            raise ValueError(
                "`seed` argument should be an instance of `keras.random.SeedGenerator()` or an "
                f"integer. Received: seed={seed}"
            )
        self._given_seed = seed
        self.seed = make_default_seed() if seed is None else seed

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": registry.serialize(self._given_seed)}

    def _uniform(self, shape, low, high, dtype):
        key, shape, dtype = draw_seed(self.seed), tuple(shape), standardize_dtype(dtype)
        if _is_for_numpy(key, dtype):
            return threefry.uniform(key, shape, low, high)
        return jax.random.uniform(key, shape, dtype, low, high)

    def _normal(self, shape, mean, stddev, dtype):
        key, shape, dtype = draw_seed(self.seed), tuple(shape), standardize_dtype(dtype)
        if _is_for_numpy(key, dtype):
            return threefry.normal(key, shape, mean, stddev)
        return jax.random.normal(key, shape, dtype) * stddev + mean

    def _truncated_normal(self, shape, mean, stddev, dtype):
        key, shape, dtype = draw_seed(self.seed), tuple(shape), standardize_dtype(dtype)
        if _is_for_numpy(key, dtype):
            return threefry.truncated_normal(key, shape, mean, stddev)
        return jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype) * stddev + mean


def _is_for_numpy(key, dtype: str) -> bool:
    """Whether a draw needs no program for its shape."""
    return dtype == "float32" and not isinstance(key, jax.core.Tracer)


@registry.register(
    "initializer", "RandomNormal", "random_normal", "normal", module="keras.initializers"
)
class RandomNormal(RandomInitializer):
    """A normal distribution with a mean and a standard deviation."""

    def __init__(self, mean=0.0, stddev=0.05, seed=None):
        self.mean, self.stddev = mean, stddev
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        return self._normal(shape, self.mean, self.stddev, dtype)


@registry.register(
    "initializer", "TruncatedNormal", "truncated_normal", module="keras.initializers"
)
class TruncatedNormal(RandomInitializer):
    """A normal distribution, truncated at two standard deviations."""

    def __init__(self, mean=0.0, stddev=0.05, seed=None):
        self.mean, self.stddev = mean, stddev
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        return self._truncated_normal(shape, self.mean, self.stddev, dtype)


@registry.register(
    "initializer", "RandomUniform", "random_uniform", "uniform", module="keras.initializers"
)
class RandomUniform(RandomInitializer):
    """Evenly spread over `[minval, maxval)`."""

    def __init__(self, minval=-0.05, maxval=0.05, seed=None):
        self.minval, self.maxval = minval, maxval
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        return self._uniform(shape, self.minval, self.maxval, dtype)


@registry.register(
    "initializer", "VarianceScaling", "variance_scaling", module="keras.initializers"
)
class VarianceScaling(RandomInitializer):
    """Random with variance `scale / n`, where `n` is the number of inputs or outputs of a unit.

    Args:
        scale: positive factor.
        mode: what `n` is: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"`, `"untruncated_normal"` or `"uniform"`.
        seed: an integer or a `SeedGenerator`.
        input_axes, output_axes: which axes count as inputs and outputs, if not the usual ones;
            both must be given.

    >>> import cornu
    >>> initializer = cornu.initializers.VarianceScaling(2.0, "fan_in", "uniform", seed=1)
    >>> bool(abs(initializer((100, 100))).max() < (3 * 2 / 100) ** 0.5)
    True
    """

    def __init__(
        self,
        scale=1.0,
        mode="fan_in",
        distribution="truncated_normal",
        seed=None,
        input_axes=None,
        output_axes=None,
    ):
        if scale <= 0.0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(
                f"Invalid `mode` argument: {mode}. Please use one of fan_in, fan_out, fan_avg."
            )
        distribution = str(distribution).lower()
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise ValueError(
                f"Invalid `distribution` argument: {distribution}. Please use one of uniform, "
                "truncated_normal, untruncated_normal."
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}
        scale = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * scale)
            return self._uniform(shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, 0.0, math.sqrt(scale), dtype)
        # The standard deviation of what truncation leaves of a normal distribution.
        stddev = math.sqrt(scale) / 0.87962566103423978
        return self._truncated_normal(shape, 0.0, stddev, dtype)


class _Named(VarianceScaling):
    """A `VarianceScaling` with settings that have a name of their own."""

    settings: typing.ClassVar[tuple] = ()

    def __init__(self, seed=None, input_axes=None, output_axes=None):
        scale, mode, distribution = self.settings
        super().__init__(scale, mode, distribution, seed, input_axes, output_axes)


def _named(name, scale, mode, distribution, source):
    text = f'`VarianceScaling({scale}, "{mode}", "{distribution}")`. Source: {source}.'
    cls = type(
        name,
        (_Named,),
        {"settings": (scale, mode, distribution), "__doc__": text, "__module__": __name__},
    )
    snake = registry.to_snake_case(name)
    return registry.register("initializer", name, snake, module="keras.initializers")(cls)


_GLOROT, _HE, _LECUN = "Glorot and Bengio 2010", "He et al. 2015", "LeCun et al. 1998"
GlorotUniform = _named("GlorotUniform", 1.0, "fan_avg", "uniform", _GLOROT)
GlorotNormal = _named("GlorotNormal", 1.0, "fan_avg", "truncated_normal", _GLOROT)
HeUniform = _named("HeUniform", 2.0, "fan_in", "uniform", _HE)
HeNormal = _named("HeNormal", 2.0, "fan_in", "truncated_normal", _HE)
LecunUniform = _named("LecunUniform", 1.0, "fan_in", "uniform", _LECUN)
LecunNormal = _named("LecunNormal", 1.0, "fan_in", "truncated_normal", _LECUN)


@registry.register(
    "initializer", "Orthogonal", "OrthogonalInitializer", "orthogonal", module="keras.initializers"
)
class Orthogonal(RandomInitializer):
    """Orthonormal columns (or rows) times `gain`, from the QR decomposition of a normal matrix.

    Axes before the last are taken as one. Source: Saxe et al. 2014.
    """

    def __init__(self, gain=1.0, seed=None):
        self.gain = gain
        super().__init__(seed)

    def __call__(self, shape, dtype=None):
        if len(shape) < 2:
            raise ValueError(
                "The tensor to initialize must be at least two-dimensional. Received: "
                f"shape={shape} of rank {len(shape)}."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        dtype = standardize_dtype(dtype)
        # There is no QR decomposition of halves.
        precise = "float32" if dtype in ("bfloat16", "float16") else dtype
        q, r = jnp.linalg.qr(self._normal(tall, 0.0, 1.0, precise))
        q = q * jnp.sign(jnp.diag(r))[None, :]
        q = q.T if rows < columns else q
        return (self.gain * q.reshape(shape)).astype(dtype)


@registry.register("initializer", "STFT", "STFTInitializer", "stft", module="keras.initializers")
class STFT(Initializer):
    """Kernels that make `Conv1D` a short-time Fourier transform: cosines, or sines, times a window.

    Entry `(t, 0, k)` is `window[t] * cos(-2 pi t k / n) / scale`, for frames of `shape[0]` samples
    and `shape[2] = n / 2 + 1` frequencies.

    Args:
        side: `"real"` for cosines, `"imag"` for sines.
        window: a name for `scipy.signal.get_window`, an array, or None.
        scaling: `"density"` divides by the root of the window's squares, `"spectrum"` by its sum.
        periodic: whether a named window is periodic instead of symmetric.

    Source: Keras: STFTInitializer.
    """

    def __init__(self, side="real", window="hann", scaling="density", periodic=False):
        if side not in ("real", "imag"):
            raise ValueError(f"`side` must be 'real' or 'imag'. Received: side={side}")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(
                f"`scaling` must be None, 'density' or 'spectrum'. Received: scaling={scaling}"
            )
        if isinstance(window, str) and window != "hann":
            _window(window, 1, periodic)
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, shape, dtype=None):
        length, _, frequencies = shape
        steps = np.arange(length)[:, None, None] * np.arange(frequencies)
        angles = -2 * np.pi * steps / (2 * (frequencies - 1))
        kernel = np.cos(angles) if self.side == "real" else np.sin(angles)
        if self.window is not None:
            window = self.window
            if isinstance(window, str):
                window = _window(window, length, self.periodic)
            if np.shape(window) != (length,):
                raise ValueError(
                    f"The window must have {length} values, as the kernel has. Received: "
                    f"a window of shape {np.shape(window)}"
                )
            window = np.asarray(window)
            scale = {
                None: 1.0,
                "density": np.sqrt(np.sum(window**2)),
                "spectrum": np.sum(np.abs(window)),
            }[self.scaling]
            kernel = kernel * window[:, None, None] / scale
        return jnp.asarray(kernel, standardize_dtype(dtype))


STFTInitializer = stft = STFT


def _window(name: str, length: int, periodic: bool) -> np.ndarray:
    from scipy.signal import get_window  # comes with JAX; slow to load

    return get_window(name, length, periodic)


def compute_fans(shape, input_axes=None, output_axes=None) -> tuple[int, int]:
    """Numbers of inputs and outputs of one unit of a weight.

    >>> from cornu.initializers import compute_fans
    >>> compute_fans((3, 3, 16, 32))
    (144, 288)
    """
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return (
            math.prod(shape[axis] for axis in _axes(input_axes)),
            math.prod(shape[axis] for axis in _axes(output_axes)),
        )
    if len(shape) < 1:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _axes(axes) -> tuple:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def get(identifier):
    """The initializer that a name, configuration or callable means; an array means itself.

    >>> import cornu
    >>> type(cornu.initializers.get("glorot_uniform")).__name__
    'GlorotUniform'
    """
    return registry.get("initializer", identifier)


def serialize(initializer):
    """The configuration of an initializer."""
    return registry.serialize(initializer)


def deserialize(config, custom_objects=None):
    """The initializer that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="initializer")


zeros, ones, constant, identity = Zeros, Ones, Constant, Identity
IdentityInitializer, OrthogonalInitializer, orthogonal = Identity, Orthogonal, Orthogonal
random_normal, random_uniform = RandomNormal, RandomUniform
truncated_normal, variance_scaling = TruncatedNormal, VarianceScaling
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal
