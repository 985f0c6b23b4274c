"""Layers that normalize each example by itself."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import at_least_single
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers import weight_arguments
from cornu.ops import lengths


def _normalized_axes(layer: Layer, axis, input_shape) -> tuple[int, ...]:
    """The axes as non-negative numbers, in the order of the weights' axes."""
    ndim = len(input_shape)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    for one in axes:
        if not -ndim <= one < ndim:
            raise ValueError(
                f"Layer '{layer.name}': axis {one} is out of bounds for input shape {input_shape}. "
                f"Received: axis={axis}"
            )
        if input_shape[one] is None:
            raise ValueError(
                f"Layer '{layer.name}': axis {one} of the input tensor should have a defined dimension but "
                f"the layer received an input with shape {input_shape}."
            )
    return tuple(one % ndim for one in sorted(axes))


def _check_axis_type(axis):
    if isinstance(axis, list | tuple):
        return list(axis)
    if isinstance(axis, int):
        return axis
    raise TypeError(
        "Invalid value for `axis` argument: expected an int or a list/tuple of ints. "
        f"Received: axis={axis!r}"
    )


class _Scaled(Layer):
    """What `LayerNormalization` and `GroupNormalization` share: `gamma` and `beta`."""

    _calculates = True
    gamma: Any
    beta: Any

    def __init__(
        self,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        weight_arguments.keep(self, locals(), "beta", "gamma")
        self.supports_masking = True
        # Statistics are computed in float32, so inputs are better not rounded before.
        self.autocast = False

    def _add_scale_and_offset(self, shape, scale: bool, center: bool) -> None:
        self.gamma = self.beta = None
        if scale:
            self.gamma = weight_arguments.add(self, "gamma", shape, autocast=False)
        if center:
            self.beta = weight_arguments.add(self, "beta", shape, autocast=False)

    def _standardize(self, inputs, axes, weight_shape):
        """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, in float32 at least."""
        x = inputs.astype(at_least_single(inputs.dtype))
        mean = jnp.mean(x, axes, keepdims=True)
        factor = jax.lax.rsqrt(jnp.var(x, axes, keepdims=True) + self.epsilon)
        if self.gamma is not None:
            factor = factor * self.gamma.value.astype(x.dtype).reshape(weight_shape)
        offset = -mean * factor
        if self.beta is not None:
            offset = offset + self.beta.value.astype(x.dtype).reshape(weight_shape)
        return (x * factor + offset).astype(self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@registry.register("layer", module="keras.layers")
class LayerNormalization(_Scaled):
    """Brings the features of each example to mean zero and variance one, then scales and shifts.

    `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, the statistics over `axis`.

    Args:
        axis: axis, or several, of the features.
        epsilon: added to the variance, against division by zero.
        center, scale: whether there is a `beta`, a `gamma`.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint,
            gamma_constraint: names or callables.
        rms_scaling: deprecated: only divide by the deviation; use `RMSNormalization`.

    Source: Keras: LayerNormalization layer; Ba et al. 2016, "Layer normalization".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.LayerNormalization(epsilon=0.0)(jnp.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        axis=-1,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        rms_scaling=False,
        **kwargs,
    ):
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        if rms_scaling:
            warnings.warn(
                "You passed `rms_scaling=True`, which is deprecated: it scales the input by the "
                "variance, not the root mean square. Use `RMSNormalization` instead.",
                stacklevel=2,
            )
        self.axis = _check_axis_type(axis)
        self.rms_scaling = rms_scaling

    def build(self, input_shape):
        axes = _normalized_axes(self, self.axis, input_shape)
        self._add_scale_and_offset(
            tuple(input_shape[i] for i in axes),
            scale=self.scale or self.rms_scaling,
            center=self.center and not self.rms_scaling,
        )

    def call(self, inputs):
        axes = _normalized_axes(self, self.axis, inputs.shape)
        shape = [n if i in axes else 1 for i, n in enumerate(inputs.shape)]
        if self.rms_scaling:
            x = inputs.astype(at_least_single(inputs.dtype))
            factor = jax.lax.rsqrt(jnp.var(x, axes, keepdims=True) + self.epsilon)
            return (x * factor * self.gamma.value.reshape(shape)).astype(self.compute_dtype)
        return self._standardize(inputs, axes, shape)


@registry.register("layer", module="keras.layers")
class GroupNormalization(_Scaled):
    """Brings groups of channels of each example to mean zero and variance one, scales and shifts.

    Args:
        groups: number of groups, which must divide the number of channels; 1 is like
            `LayerNormalization` over all axes, -1 makes each channel a group.
        axis: the axis of the channels.
        epsilon: added to the variance, against division by zero.
        center, scale: whether there is a `beta`, a `gamma`, for each channel.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint,
            gamma_constraint: names or callables.

    Source: Keras: GroupNormalization layer; Wu and He 2018, "Group normalization".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.GroupNormalization(groups=2, epsilon=0.0)
    >>> layer(jnp.array([[1.0, 3.0, 20.0, 40.0]])).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        groups=32,
        axis=-1,
        epsilon=0.001,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        **kwargs,
    ):
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        if not isinstance(groups, int) or (groups <= 0 and groups != -1):
            raise ValueError(
                "Received an invalid value for argument `groups`, expected a positive integer (or "
                f"`-1` for instance normalization). Received: groups={groups}"
            )
        self.groups = groups
        self.axis = axis

    def build(self, input_shape):
        (axis,) = _normalized_axes(self, self.axis, input_shape)
        size = input_shape[axis]
        if self.groups == -1:
            self.groups = size
        if self.groups > size:
            raise ValueError(
                f"Layer '{self.name}': the number of groups ({self.groups}) cannot be more than the number "
                f"of channels ({size}). Received an input with shape {input_shape}."
            )
        if size % self.groups:
            raise ValueError(
                f"Layer '{self.name}': the number of channels ({size}) must be a multiple of the "
                f"number of groups ({self.groups}). Received an input with shape {input_shape}."
            )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: size})
        self._add_scale_and_offset((size,), scale=self.scale, center=self.center)

    def call(self, inputs):
        (axis,) = _normalized_axes(self, self.axis, inputs.shape)
        shape = list(inputs.shape)
        shape[axis : axis + 1] = [self.groups, shape[axis] // self.groups]
        axes = tuple(i for i in range(1, len(shape)) if i != axis)
        weight_shape = [n if i in (axis, axis + 1) else 1 for i, n in enumerate(shape)]
        outputs = self._standardize(inputs.reshape(shape), axes, weight_shape)
        return outputs.reshape(inputs.shape)


@registry.register("layer", module="keras.layers")
class RMSNormalization(Layer):
    """Divides by the root of the mean square: `scale * x / sqrt(mean(x²) + epsilon)`.

    Args:
        axis: axis, or several, of the features.
        epsilon: added to the mean square, against division by zero.

    Source: Keras: RMSNormalization layer; Zhang and Sennrich 2019, "Root mean square layer
    normalization".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RMSNormalization()(jnp.array([[3.0, 3.0]])).round(3).tolist()
    [[1.0, 1.0]]
    """

    _calculates = True

    def __init__(self, axis=-1, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon

    def build(self, input_shape):
        axes = _normalized_axes(self, self.axis, input_shape)
        shape = tuple(input_shape[i] for i in axes)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")

    def call(self, x):
        axes, dtype = _normalized_axes(self, self.axis, x.shape), x.dtype
        x = x.astype(at_least_single(dtype))
        square = jnp.mean(jnp.square(x), axes, keepdims=True)
        shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
        scale = self.scale.value.astype(x.dtype).reshape(shape)
        return (x * jax.lax.rsqrt(square + self.epsilon) * scale).astype(dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@registry.register("layer", module="keras.layers")
class UnitNormalization(Layer):
    """Scales to length one: `x / sqrt(sum(x²))`. Zero stays zero, with a gradient of 0 (Keras: NaN).

    Args:
        axis: axis, or several, to sum over.

    Source: Keras: UnitNormalization layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.UnitNormalization()(jnp.array([[0.0, 4.0]])).tolist()
    [[0.0, 1.0]]
    """

    _calculates = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = _check_axis_type(axis)
        self.supports_masking = True

    def call(self, inputs):
        axes = _normalized_axes(self, self.axis, inputs.shape)
        return lengths.to_unit_length(inputs, axes, 1e12)
