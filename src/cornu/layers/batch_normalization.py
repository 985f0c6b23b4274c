"""`BatchNormalization`: zero mean and unit variance for each channel, measured over the batch."""

from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import at_least_single
from cornu.core.dtype import epsilon as fuzz
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.placement import shard_axes
from cornu.layers import weight_arguments
from cornu.ops.normalization import moments, normalize


@registry.register("layer", module="keras.layers")
class BatchNormalization(Layer):
    """Brings each channel to mean zero and variance one, then scales and shifts it.

    `gamma * (x - mean) / sqrt(variance + epsilon) + beta`. In training mean and variance are those
    of the batch, over all axes but one, and moving averages follow them:
    `moving = moving * momentum + batch * (1 - momentum)`. In inference, and always while the layer
    is frozen (`trainable=False`), the moving averages are used and left alone.

    Args:
        axis: the axis of the channels.
        momentum: of the moving averages.
        epsilon: added to the variance, against division by zero.
        center: whether `beta` is added.
        scale: whether `gamma` is multiplied.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
            beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: names or
            callables.
        renorm: batch renormalization: in training, correct towards the moving averages too.
        renorm_clipping: dict with limits `"rmin"`, `"rmax"` and `"dmax"` of that correction.
        renorm_momentum: of the averages it corrects towards.
        synchronized: within `jax.shard_map`, where each device runs the layer on its own part, whether the
            statistics are those of all parts. Elsewhere they always are, on however many devices.

    Call arguments:
        training: whether to use and follow the batch's statistics.
        mask: True for the time steps that count; one axis less than the inputs.

    Computes in float32 whatever the inputs' dtype.

    Source: Keras: BatchNormalization layer; Ioffe and Szegedy 2015, "Batch normalization"; Ioffe
    2017, "Batch renormalization".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.BatchNormalization(epsilon=0.0)
    >>> layer(jnp.array([[1.0], [3.0]]), training=True).tolist()
    [[-1.0], [1.0]]
    """

    _calculates = True
    gamma: Any
    beta: Any
    moving_mean_initializer: Any
    moving_variance_initializer: Any

    def __init__(
        self,
        axis=-1,
        momentum=0.99,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        moving_mean_initializer="zeros",
        moving_variance_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        renorm=False,
        renorm_clipping=None,
        renorm_momentum=0.99,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = int(axis)
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        weight_arguments.keep(self, locals(), "beta", "gamma", "moving_mean", "moving_variance")
        self.renorm = renorm
        self.renorm_clipping = _check_clipping(renorm_clipping or {}) if renorm else renorm_clipping
        self.renorm_momentum = renorm_momentum
        self.synchronized = synchronized
        self.supports_masking = True

    def build(self, input_shape):
        ndim = len(input_shape)
        if not -ndim <= self.axis < ndim:
            raise ValueError(
                f"Layer '{self.name}': axis {self.axis} is out of bounds for input shape "
                f"{input_shape}."
            )
        size = input_shape[self.axis]
        if size is None:
            raise ValueError(
                f"Layer '{self.name}': axis {self.axis} of the input must have a defined dimension, "
                f"but the layer received an input with shape {input_shape}."
            )
        self.input_spec = InputSpec(ndim=ndim, axes={self.axis: size})

        def statistic(name, initializer):
            # In half precision they would not move: a small step is rounded away.
            return self.add_weight((size,), initializer, trainable=False, autocast=False, name=name)

        self.gamma = self.beta = None
        if self.scale:
            self.gamma = weight_arguments.add(self, "gamma", (size,), autocast=False)
        if self.center:
            self.beta = weight_arguments.add(self, "beta", (size,), autocast=False)
        self.moving_mean = statistic("moving_mean", self.moving_mean_initializer)
        self.moving_variance = statistic("moving_variance", self.moving_variance_initializer)
        if self.renorm:

            def deviation(shape, dtype=None):
                return jnp.sqrt(self.moving_variance_initializer(shape, dtype=dtype))

            self.moving_stddev = statistic("moving_stddev", deviation)
            self.renorm_mean = statistic("renorm_mean", self.moving_mean_initializer)
            self.renorm_stddev = statistic("renorm_stddev", deviation)

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs, training=None, mask=None):
        if mask is not None and mask.ndim != inputs.ndim - 1:
            raise ValueError(
                f"Layer '{self.name}': the mask provided should be one dimension less than the "
                f"inputs. Received: mask.shape={mask.shape}, inputs.shape={inputs.shape}"
            )
        x = inputs.astype(at_least_single(inputs.dtype))
        gamma = self.gamma.value.astype(x.dtype) if self.scale else None
        beta = self.beta.value.astype(x.dtype) if self.center else None
        if training and self.trainable:
            mean, variance = self._batch_statistics(x, mask)
            if self.renorm:
                gamma, beta = self._renormalized(mean, variance, gamma, beta)
            else:
                _follow(self.moving_mean, mean, self.momentum)
                _follow(self.moving_variance, variance, self.momentum)
        else:
            mean = self.moving_mean.value.astype(x.dtype)
            variance = self.moving_variance.value.astype(x.dtype)
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if gamma is not None:
            factor = factor * gamma
        if beta is None:
            beta = jnp.zeros_like(mean)
        x = normalize(jnp.moveaxis(x, self.axis, -1), mean, factor, beta)
        return jnp.moveaxis(x, -1, self.axis).astype(self.compute_dtype)

    def _batch_statistics(self, x, mask):
        if mask is None:
            return moments(jnp.moveaxis(x, self.axis, -1), self.synchronized)
        names = shard_axes() if self.synchronized else ()
        axes = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        counted = jnp.broadcast_to(mask[..., None].astype(bool), x.shape)

        def total(values):
            found = jnp.sum(values, axes, keepdims=True, dtype=x.dtype)
            return jax.lax.psum(found, names) if names else found

        count = total(counted) + fuzz()
        mean = total(jnp.where(counted, x, 0.0)) / count
        variance = total(jnp.square(jnp.where(counted, x - mean, 0.0))) / count
        return mean.reshape(-1), variance.reshape(-1)

    def _renormalized(self, mean, variance, gamma, beta):
        limits = self.renorm_clipping
        deviation = jnp.sqrt(variance + self.epsilon)
        usual = jnp.maximum(self.renorm_stddev.value, self.epsilon**0.5)
        ratio = jnp.clip(deviation / usual, limits.get("rmin"), limits.get("rmax"))
        shift = (mean - self.renorm_mean.value) / usual
        if limits.get("dmax") is not None:
            shift = jnp.clip(shift, -limits["dmax"], limits["dmax"])
        ratio, shift = jax.lax.stop_gradient((ratio, shift))
        _follow(self.renorm_mean, mean, self.renorm_momentum)
        _follow(self.renorm_stddev, deviation, self.renorm_momentum)
        _follow(self.moving_mean, mean, self.momentum)
        _follow(self.moving_stddev, deviation, self.momentum)
        squared = jnp.square(self.moving_stddev.value)
        self.moving_variance.assign(jnp.maximum(squared - self.epsilon, 0.0))
        if gamma is not None:
            ratio, shift = ratio * gamma, shift * gamma
        return ratio, shift if beta is None else shift + beta


def _follow(average, value, momentum: float) -> None:
    average.assign(average.value * momentum + value * (1.0 - momentum))


def _check_clipping(limits: dict) -> dict:
    known = ("rmax", "rmin", "dmax")
    if set(limits) - set(known):
        raise ValueError(
            f"Received invalid keys for `renorm_clipping` argument: {limits}. "
            f"Supported values: {list(known)}."
        )
    rmax, rmin, dmax = (limits.get(name) for name in known)
    if rmax is not None and rmin is not None and rmax < rmin:
        raise ValueError(
            "rmax should be greater than rmin in the `renorm_clipping` argument. "
            f"Received: rmax={rmax}, rmin={rmin}."
        )
    if dmax is not None and dmax < 0:
        raise ValueError(
            f"dmax should be non-negative in the `renorm_clipping` argument. Received: dmax={dmax}."
        )
    return limits
