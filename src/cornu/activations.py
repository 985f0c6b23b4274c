"""Activation functions: what a layer applies to each of its results.

All take and return arrays of any shape. Source: Keras: Layer activation functions.
"""

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from cornu.core import registry
from cornu.core.dtype import at_least_single, floatx, is_discrete
from cornu.core.kernels import primitive
from cornu.core.operation import operation


def _register(function):
    return registry.register("activation", module="keras.activations")(operation(function))


# A primitive of its own, for `ops.fusion` to find.
rectified = primitive("relu", lambda x: (x.shape, x.dtype), lambda x: jnp.maximum(x, 0))
# The slope is computed from the result, which the next layer needs anyway.
ad.defjvp2(rectified, lambda t, result, x: jnp.where(result > 0, t, jnp.zeros_like(t)))
batching.primitive_batchers[rectified] = lambda operands, axes: (
    rectified.bind(*operands),
    axes[0],
)


def _as_floats(x):
    """An array to calculate with: integers become floats, as results may be fractions or not fit."""
    x = jnp.asarray(x)
    return x.astype(floatx()) if is_discrete(x.dtype) else x


def _smooth_jvp(primals, tangents):
    result, tangent = smooth.bind(*primals), ad.instantiate_zeros(tangents[0])
    weighted = result * tangent
    return result, weighted - result * jnp.sum(weighted, axis=-1, keepdims=True)


# Softmax of the last axis; a primitive for the same reason.
smooth = primitive("softmax", lambda x: (x.shape, x.dtype), jax.nn.softmax)
ad.primitive_jvps[smooth] = _smooth_jvp


@_register
def linear(x):
    """`f(x) = x`."""
    return x


@_register
def relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    """Rectified linear unit, `f(x) = max(x, 0)`.

    With its arguments: `max_value` above it, `x` from `threshold` on, and
    `negative_slope * (x - threshold)` below.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.activations.relu(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    x = jnp.asarray(x)
    if x.dtype == bool:
        x = x.astype("int32")
    if is_discrete(x.dtype):
        most = jnp.iinfo(x.dtype).max
        if max_value is not None and max_value >= most:
            max_value = None
        if negative_slope != 0 or (max_value is not None and max_value != int(max_value)):
            x = _as_floats(x)
    if negative_slope != 0 and threshold == 0 and max_value is None:
        return jax.nn.leaky_relu(x, negative_slope)
    if threshold != 0:
        result = jnp.where(x > threshold, x, jnp.zeros_like(x))
    else:
        # These two differ from a clip in their gradient at the corners.
        result = jax.nn.relu6(x) if max_value == 6 else rectified.bind(x)
    if max_value is not None and (max_value != 6 or threshold != 0):
        result = jnp.clip(result, 0, jnp.asarray(max_value, x.dtype))
    if negative_slope != 0:
        result = result - negative_slope * jax.nn.relu(threshold - x)
    return result


@_register
def leaky_relu(x, negative_slope=0.2):
    """`f(x) = x` above zero, `negative_slope * x` below (Maas et al. 2013)."""
    return jax.nn.leaky_relu(_as_floats(x), negative_slope)


@_register
def relu6(x):
    """`f(x) = min(max(x, 0), 6)`."""
    return jax.nn.relu6(_as_floats(x))


@_register
def softmax(x, axis=-1):
    """`f(x)_i = exp(x_i) / sum_j exp(x_j)` along an axis: positive values that sum to one.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.activations.softmax(jnp.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    x = _as_floats(x)
    if axis in (-1, x.ndim - 1) and x.ndim > 1:
        return smooth.bind(x)
    return jax.nn.softmax(x, axis=axis)


@_register
def log_softmax(x, axis=-1):
    """The logarithm of `softmax`, without its rounding."""
    return jax.nn.log_softmax(_as_floats(x), axis=axis)


@_register
def elu(x, alpha=1.0):
    """`f(x) = x` above zero, `alpha * (exp(x) - 1)` below (Clevert et al. 2016)."""
    return jax.nn.elu(_as_floats(x), alpha=alpha)


@_register
def selu(x):
    """`1.0507 * elu(x, 1.6733)`: keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return jax.nn.selu(_as_floats(x))


@_register
def celu(x, alpha=1.0):
    """`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))` (Barron 2017)."""
    return jax.nn.celu(_as_floats(x), alpha=alpha)


@_register
def softplus(x):
    """`f(x) = log(exp(x) + 1)`."""
    return jax.nn.softplus(_as_floats(x))


@_register
def softsign(x):
    """`f(x) = x / (|x| + 1)`."""
    return jax.nn.soft_sign(_as_floats(x))


@_register
def sigmoid(x):
    """`f(x) = 1 / (1 + exp(-x))`."""
    return jax.nn.sigmoid(_as_floats(x))


@_register
def log_sigmoid(x):
    """`f(x) = log(1 / (1 + exp(-x)))`."""
    return jax.nn.log_sigmoid(_as_floats(x))


@_register
def hard_sigmoid(x):
    """`f(x) = relu6(x + 3) / 6`, a sigmoid of straight lines."""
    return jax.nn.hard_sigmoid(_as_floats(x))


@registry.register("activation", "silu", "swish", module="keras.activations")
@operation
def silu(x):
    """`f(x) = x * sigmoid(x)`, also called swish (Ramachandran et al. 2017)."""
    return jax.nn.silu(_as_floats(x))


@registry.register("activation", "hard_silu", "hard_swish", module="keras.activations")
@operation
def hard_silu(x):
    """`f(x) = x * hard_sigmoid(x)` (Howard et al. 2019)."""
    return jax.nn.hard_silu(_as_floats(x))


@_register
def gelu(x, approximate=False):
    """`f(x) = x * P(X <= x)` for normal `X` (Hendrycks and Gimpel 2016)."""
    return jax.nn.gelu(_as_floats(x), approximate=approximate)


@_register
def glu(x, axis=-1):
    """Gated linear unit: the first half along an axis times the sigmoid of the second."""
    return jax.nn.glu(_as_floats(x), axis=axis)


@_register
def tanh(x):
    """Hyperbolic tangent."""
    return jnp.tanh(_as_floats(x))


@_register
def hard_tanh(x):
    """`f(x) = min(max(x, -1), 1)`."""
    x = jnp.asarray(x)
    return jax.nn.hard_tanh(x if x.dtype.kind == "i" else _as_floats(x))


@_register
def tanh_shrink(x):
    """`f(x) = x - tanh(x)`."""
    x = _as_floats(x)
    return x - jnp.tanh(x)


@_register
def soft_shrink(x, threshold=0.5):
    """`x` moved towards zero by `threshold`, and zero within it."""
    x = _as_floats(x)
    return jnp.where(x > threshold, x - threshold, jnp.where(x < -threshold, x + threshold, 0.0))


@_register
def hard_shrink(x, threshold=0.5):
    """`x` where `|x| > threshold`, zero elsewhere."""
    x = _as_floats(x)
    return jnp.where(jnp.abs(x) > threshold, x, 0.0)


@registry.register("activation", "threshold", module="keras.activations")
@operation
def threshold(x, threshold, default_value):
    """`x` where `x > threshold`, `default_value` elsewhere."""
    x = _as_floats(x)
    return jnp.where(x > threshold, x, default_value)


@_register
def sparse_plus(x):
    """`0` below -1, `((x + 1) / 2)^2` up to 1, `x` above."""
    return jax.nn.sparse_plus(_as_floats(x))


@_register
def sparse_sigmoid(x):
    """`0` below -1, `(x + 1) / 2` up to 1, `1` above."""
    return jax.nn.sparse_sigmoid(_as_floats(x))


@_register
def squareplus(x, b=4):
    """`f(x) = (x + sqrt(x^2 + b)) / 2` (Barron 2021)."""
    return jax.nn.squareplus(_as_floats(x), b)


@_register
def exponential(x):
    """`f(x) = exp(x)`."""
    return jnp.exp(_as_floats(x))


@_register
def mish(x):
    """`f(x) = x * tanh(softplus(x))` (Misra 2019)."""
    x = _as_floats(x)
    return x * jnp.tanh(jax.nn.softplus(x))


@_register
def sparsemax(x, axis=-1):
    """The nearest point of the probability simplex, which is often on its border.

    Source: Martins and Astudillo 2016, "From softmax to sparsemax".
    """
    x = jnp.moveaxis(_as_floats(x), axis, -1)
    dtype = x.dtype
    x = x.astype(at_least_single(dtype))
    # This does not change the result, but avoids rounding in sums of large values.
    x = x - jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    ranked = -jnp.sort(-x, axis=-1)
    sums = jnp.cumsum(ranked, axis=-1)
    count = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    supported = 1 + count * ranked > sums
    size = jnp.sum(supported, axis=-1, keepdims=True)
    total = jnp.take_along_axis(sums, size - 1, axis=-1)
    result = jnp.maximum(x - (total - 1) / size.astype(x.dtype), 0)
    return jnp.moveaxis(result.astype(dtype), -1, axis)


swish = silu
hard_swish = hard_silu


def get(identifier):
    """The activation that a name, configuration or callable means; None means `linear`.

    >>> import cornu
    >>> cornu.activations.get("relu").__name__
    'relu'
    """
    return linear if identifier is None else registry.get("activation", identifier)


def serialize(activation):
    """The name, or configuration, of an activation."""
    return registry.serialize(activation)


def deserialize(config, custom_objects=None):
    """The activation that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="activation")
