"""Noise in training and penalties on outputs, so that a model learns less by heart."""

import math

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import floatx, standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.random import SeedGenerator
from cornu.ops.random_bits import bernoulli


def _check_fraction(name: str, value, below_one: bool = False) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= 1 or (below_one and value == 1):
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected a float value between 0 and 1"
            f"{' and less than 1' if below_one else ''}. Received: {name}={value!r}"
        )


class _RandomLayer(Layer):
    """A layer that adds noise of one strength in training and is the identity otherwise."""

    _calculates = True

    def __init__(self, amount, seed, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        # Like Keras: without noise there is no generator, and so no state in a file.
        if amount > 0:
            self.seed_generator = SeedGenerator(seed)
        self.supports_masking = True


def _fill_in(noise_shape, shape):
    if noise_shape is None:
        return shape
    if len(noise_shape) != len(shape):
        raise ValueError(
            "`noise_shape` must have one size, or None, for each axis of the inputs. "
            f"Received: noise_shape={noise_shape}, inputs of shape {shape}"
        )
    return tuple(n if m is None else m for m, n in zip(noise_shape, shape, strict=True))


@registry.register("layer", module="keras.layers")
class Dropout(_RandomLayer):
    """In training, sets a random fraction of elements to zero and scales the others up.

    Elements that are kept become `x / (1 - rate)`, so that the expected sum is unchanged. Outside of
    training the input is returned.

    Args:
        rate: fraction to drop, between 0 and 1.
        noise_shape: sizes of the random mask, which is broadcast to the inputs; None in it for the
            inputs' own. `(None, 1, 10)` drops the same features in all time steps.
        seed: an integer for noise that can be repeated.

    Call arguments:
        training: whether to drop.

    Source: Keras: Dropout layer; Srivastava et al. 2014, "Dropout".

    >>> import cornu, jax.numpy as jnp
    >>> sorted(set(cornu.layers.Dropout(0.5, seed=0)(jnp.ones(100), training=True).tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        _check_fraction("rate", rate)
        super().__init__(rate, seed, **kwargs)
        self.rate = rate
        self.noise_shape = self._check_noise_shape(noise_shape)

    def _check_noise_shape(self, noise_shape):
        if noise_shape is None:
            return None
        sizes = () if isinstance(noise_shape, str | int | float) else tuple(noise_shape)
        known = [n for n in sizes if n is not None]
        wanted = None
        if not sizes:
            wanted = "a tuple or list of positive integers or None"
        elif not all(isinstance(n, int) for n in known):
            wanted = "all elements to be integers or None"
        elif any(n <= 0 for n in known):
            wanted = "all dimensions to be positive integers or None"
        if wanted:
            raise ValueError(
                f"Invalid value received for argument `noise_shape`. Expected {wanted}. "
                f"Received: noise_shape={noise_shape!r}"
            )
        return sizes

    def _noise_shape(self, shape):
        return _fill_in(self.noise_shape, shape)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return jnp.zeros_like(inputs)
        keep = 1.0 - self.rate
        shape = self._noise_shape(inputs.shape)
        kept = bernoulli(self.seed_generator.next(), keep, shape)
        return jnp.where(kept, inputs / keep, jnp.zeros((), inputs.dtype))


class _SpatialDropout(Dropout):
    """Drops whole feature maps: neighbouring pixels are alike, so single ones are no loss."""

    def __init__(self, rate, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)

    def _noise_shape(self, shape):
        ones = (1,) * (len(shape) - 2)
        if getattr(self, "data_format", "channels_last") == "channels_first":
            return (*shape[:2], *ones)
        return (shape[0], *ones, shape[-1])

    def _config_names(self) -> list[str]:
        # Keras' own constructors take no more than these.
        return [n for n in super()._config_names() if n not in ("trainable", "noise_shape")]


@registry.register("layer", module="keras.layers")
class SpatialDropout1D(_SpatialDropout):
    """`Dropout` of whole features of a sequence.

    Args:
        rate: fraction of features to drop.
        seed: an integer for noise that can be repeated.

    Shapes: (batch, steps, channels) -> the same.

    Source: Keras: SpatialDropout1D layer; Tompson et al. 2014, "Efficient object localization using
    convolutional networks".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.SpatialDropout1D(0.5)(jnp.ones((1, 3, 2))).shape
    (1, 3, 2)
    """

    def __init__(self, rate, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.input_spec = InputSpec(ndim=3)


@registry.register("layer", module="keras.layers")
class SpatialDropout2D(_SpatialDropout):
    """`Dropout` of whole feature maps of an image.

    Args:
        rate: fraction of feature maps to drop.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        seed: an integer for noise that can be repeated.

    Shapes: (batch, rows, columns, channels) -> the same.

    Source: Keras: SpatialDropout2D layer; Tompson et al. 2014.

    >>> import cornu, jax.numpy as jnp
    >>> maps = cornu.layers.SpatialDropout2D(0.5, seed=1)(jnp.ones((1, 2, 2, 3)), training=True)
    >>> bool((maps == maps[:, :1, :1]).all())
    True
    """

    def __init__(self, rate, data_format=None, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=4)


@registry.register("layer", module="keras.layers")
class SpatialDropout3D(_SpatialDropout):
    """`Dropout` of whole feature maps of a volume.

    Args:
        rate: fraction of feature maps to drop.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        seed: an integer for noise that can be repeated.

    Shapes: (batch, depth, rows, columns, channels) -> the same.

    Source: Keras: SpatialDropout3D layer; Tompson et al. 2014.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.SpatialDropout3D(0.5)(jnp.ones((1, 2, 2, 2, 3))).shape
    (1, 2, 2, 2, 3)
    """

    def __init__(self, rate, data_format=None, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=5)


@registry.register("layer", module="keras.layers")
class GaussianNoise(_RandomLayer):
    """In training, adds normal noise of mean zero.

    Args:
        stddev: standard deviation of the noise, between 0 and 1.
        seed: an integer for noise that can be repeated.

    Call arguments:
        training: whether to add noise.

    Source: Keras: GaussianNoise layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.GaussianNoise(0.1)(jnp.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, stddev, seed=None, **kwargs):
        _check_fraction("stddev", stddev)
        super().__init__(stddev, seed, **kwargs)
        self.stddev = stddev

    def call(self, inputs, training=False):
        if not training or self.stddev == 0:
            return inputs
        noise = jax.random.normal(self.seed_generator.next(), inputs.shape, self.compute_dtype)
        return inputs + noise * self.stddev


@registry.register("layer", module="keras.layers")
class GaussianDropout(_RandomLayer):
    """In training, multiplies by normal noise of mean one and variance `rate / (1 - rate)`.

    Args:
        rate: as in `Dropout`; at least 0 and less than 1.
        seed: an integer for noise that can be repeated.

    Call arguments:
        training: whether to add noise.

    Source: Keras: GaussianDropout layer; Srivastava et al. 2014, "Dropout", section 10.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.GaussianDropout(0.1)(jnp.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, rate, seed=None, **kwargs):
        _check_fraction("rate", rate, below_one=True)
        super().__init__(rate, seed, **kwargs)
        self.rate = rate

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        noise = jax.random.normal(self.seed_generator.next(), inputs.shape, self.compute_dtype)
        return inputs * (noise * math.sqrt(self.rate / (1.0 - self.rate)) + 1.0)


@registry.register("layer", module="keras.layers")
class AlphaDropout(_RandomLayer):
    """`Dropout` that keeps mean and variance, for networks with the `selu` activation.

    Args:
        rate: fraction to drop, at least 0 and less than 1.
        noise_shape: sizes of the random mask, as in `Dropout`.
        seed: an integer for noise that can be repeated.

    Call arguments:
        training: whether to drop.

    Source: Keras: AlphaDropout layer; Klambauer et al. 2017, "Self-normalizing neural networks".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.AlphaDropout(0.1)(jnp.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        _check_fraction("rate", rate, below_one=True)
        super().__init__(rate, seed, **kwargs)
        self.rate = rate
        self.noise_shape = noise_shape

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        # What `selu` tends to for very negative inputs: -alpha * scale.
        low = -1.6732632423543772 * 1.0507009873554805
        shape = _fill_in(self.noise_shape, inputs.shape)
        noise = jax.random.uniform(self.seed_generator.next(), shape, floatx())
        kept = (noise >= self.rate).astype(inputs.dtype)
        factor = ((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5
        return factor * (inputs * kept + low * (1 - kept)) - factor * low * self.rate


@registry.register("layer", module="keras.layers")
class ActivityRegularization(Layer):
    """Adds `(l1 * sum(|x|) + l2 * sum(x²)) / batch_size` to the loss and returns its input.

    Args:
        l1, l2: factors of the two penalties.

    Source: Keras: ActivityRegularization layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.ActivityRegularization(l1=0.5)
    >>> x = layer(jnp.ones((1, 4)))
    >>> [float(loss) for loss in layer.losses]
    [2.0]
    """

    def __init__(self, l1=0.0, l2=0.0, **kwargs):
        super().__init__(
            activity_regularizer=registry.find("regularizer", "L1L2")(l1=l1, l2=l2), **kwargs
        )
        self.supports_masking = True
        self.l1, self.l2 = l1, l2

    def call(self, inputs):
        return inputs

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n != "activity_regularizer"]
