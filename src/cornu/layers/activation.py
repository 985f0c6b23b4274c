"""Activation functions as layers."""

import warnings

import jax
import jax.numpy as jnp

from cornu import activations
from cornu.core import registry
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers import weight_arguments


@registry.register("layer", module="keras.layers")
class Identity(Layer):
    """Hands its input on: a placeholder where a layer is optional.  Source: Keras: Identity layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Identity()(jnp.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    _keeps_zeros = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs


@registry.register("layer", module="keras.layers")
class Activation(Layer):
    """A function applied to every element.

    Args:
        activation: its name, such as `"relu"`, or a callable.

    Source: Keras: Activation layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Activation("relu")(jnp.array([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.activation = registry.get("activation", "linear" if activation is None else activation)

    def call(self, inputs):
        return self.activation(inputs)

    def _has_closed_form(self) -> bool:
        """Whether the output is known to be like the input: what a user wrote may change anything."""
        known = vars(activations).get(getattr(self.activation, "__name__", ""))
        is_known = self.activation is known and known is not activations.glu
        return is_known and type(self).call is Activation.call

    def compute_output_shape(self, input_shape):
        return input_shape if self._has_closed_form() else super().compute_output_shape(input_shape)


@registry.register("layer", module="keras.layers")
class ReLU(Layer):
    """Rectified linear unit: `max(x, 0)`, with a slope, a cap and a threshold if wanted.

    `f(x) = max_value` if `x >= max_value`, `x` if `threshold <= x < max_value`, else
    `negative_slope * (x - threshold)`.

    Args:
        max_value: largest output; None for no limit.
        negative_slope: slope below the threshold.
        threshold: where the slope changes.

    Source: Keras: ReLU layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.ReLU(max_value=3.0)(jnp.array([-2.0, 1.0, 9.0])).tolist()
    [0.0, 1.0, 3.0]
    """

    def __init__(self, max_value=None, negative_slope=0.0, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0:
            raise ValueError(
                f"max_value of a ReLU layer cannot be a negative value. Received: {max_value=}"
            )
        for name, value in (("negative_slope", negative_slope), ("threshold", threshold)):
            if value is None or value < 0:
                raise ValueError(
                    f"{name} of a ReLU layer cannot be None or a negative value. "
                    f"Received: {name}={value}"
                )
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold
        self.supports_masking = True

    def call(self, inputs):
        return activations.relu(
            inputs,
            negative_slope=self.negative_slope,
            max_value=self.max_value,
            threshold=self.threshold,
        )


@registry.register("layer", module="keras.layers")
class LeakyReLU(Layer):
    """`x` if `x >= 0`, else `negative_slope * x`: a ReLU that passes some gradient everywhere.

    Args:
        negative_slope: slope below zero; `alpha` is its old name.

    Source: Keras: LeakyReLU layer; Maas et al. 2013, "Rectifier nonlinearities improve neural
    network acoustic models".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.LeakyReLU(negative_slope=0.5)(jnp.array([-2.0, 1.0])).tolist()
    [-1.0, 1.0]
    """

    _calculates = True

    def __init__(self, negative_slope=0.3, **kwargs):
        if "alpha" in kwargs:
            warnings.warn(
                "Argument `alpha` is deprecated. Use `negative_slope` instead.", stacklevel=2
            )
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError(
                "The negative_slope value of a Leaky ReLU layer cannot be None or negative value. "
                f"Expected a float. Received: negative_slope={negative_slope}"
            )
        self.negative_slope = negative_slope
        self.supports_masking = True

    def call(self, inputs):
        return activations.leaky_relu(inputs, negative_slope=self.negative_slope)


@registry.register("layer", module="keras.layers")
class PReLU(Layer):
    """`x` if `x >= 0`, else `alpha * x`, where every element has an `alpha` that is learned.

    Args:
        alpha_initializer, alpha_regularizer, alpha_constraint: names or callables.
        shared_axes: axes along which `alpha` is shared; `[1, 2]` gives one for each channel of an
            image.

    Source: Keras: PReLU layer; He et al. 2015, "Delving deep into rectifiers".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.PReLU(alpha_initializer="ones", shared_axes=[1])
    >>> layer(jnp.array([[-2.0, 1.0]])).tolist(), layer.alpha.shape
    ([[-2.0, 1.0]], (1,))
    """

    _calculates = True

    def __init__(
        self,
        alpha_initializer="Zeros",
        alpha_regularizer=None,
        alpha_constraint=None,
        shared_axes=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        weight_arguments.keep(self, locals(), "alpha")
        if shared_axes is not None:
            shared_axes = [shared_axes] if isinstance(shared_axes, int) else list(shared_axes)
        self.shared_axes = shared_axes

    def build(self, input_shape):
        shape = list(input_shape[1:])
        for axis in self.shared_axes or []:
            if not 1 <= axis < len(input_shape):
                raise ValueError(
                    f"Layer '{self.name}': `shared_axes` must lie between 1 and "
                    f"{len(input_shape) - 1} for inputs of shape {input_shape}. "
                    f"Received: shared_axes={self.shared_axes}"
                )
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(
                f"Layer '{self.name}': PReLU keeps one `alpha` for each element, so sizes must be "
                f"known. Found None in {input_shape}; share these axes with `shared_axes`."
            )
        self.alpha = weight_arguments.add(self, "alpha", shape)
        fixed = {i: n for i, n in enumerate(input_shape) if i and i not in (self.shared_axes or [])}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=fixed)

    def call(self, inputs):
        alpha = jnp.expand_dims(self.alpha.value, 0)
        return jax.nn.relu(inputs) - alpha * jax.nn.relu(-inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@registry.register("layer", module="keras.layers")
class ELU(Layer):
    """Exponential linear unit: `x` if `x >= 0`, else `alpha * (exp(x) - 1)`.

    Args:
        alpha: the limit on the negative side, with its sign turned.

    Source: Keras: ELU layer; Clevert et al. 2016, "Fast and accurate deep network learning by
    exponential linear units".

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.ELU()(jnp.array([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """

    _calculates = True

    def __init__(self, alpha=1.0, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.supports_masking = True

    def call(self, inputs):
        return activations.elu(inputs, alpha=self.alpha)


@registry.register("layer", module="keras.layers")
class Softmax(Layer):
    """`exp(x) / sum(exp(x))` along an axis: positive values that sum to one.

    Args:
        axis: axis, or several, to sum over.

    Call arguments:
        mask: True where an element takes part; it must broadcast to the inputs. The others give 0.

    Source: Keras: Softmax layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Softmax()(jnp.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    _calculates = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs, mask=None):
        axis = tuple(self.axis) if isinstance(self.axis, list | tuple) else self.axis
        if mask is None:
            return jax.nn.softmax(inputs, axis=axis)
        _check_broadcast(mask.shape, inputs.shape)
        mask = mask if mask.dtype == bool else mask > 0.5
        # Finite, so that a row that is masked all over gives no NaN.
        low = jnp.asarray(-3e4 if inputs.dtype == jnp.float16 else -1e9, inputs.dtype)
        outputs = jax.nn.softmax(jnp.where(mask, inputs, low), axis=axis)
        return jnp.where(mask, outputs, jnp.zeros((), outputs.dtype))


def _check_broadcast(mask_shape, shape) -> None:
    fits = all(m in (1, n) for m, n in zip(mask_shape[::-1], shape[::-1], strict=False))
    if len(mask_shape) > len(shape) or not fits:
        raise ValueError(
            "The `mask` must be broadcastable to `inputs`: it must not have more dimensions, and each of "
            f"its sizes must be 1 or that of the inputs. Received: inputs.shape={shape}, "
            f"mask.shape={mask_shape}"
        )
