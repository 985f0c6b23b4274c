"""Arithmetic of quantization: floats as integers of few bits and their scales, and as floats of 8 bits."""

import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from cornu.core.dtype import as_array
from cornu.core.operation import operation
from cornu.core.symbolic import plain


def abs_max_quantize(
    inputs, axis, value_range=(-127, 127), dtype="int8", epsilon=1e-7, to_numpy=False
):
    """Integers, and the scale that they were multiplied by, so that the largest absolute value fits.

    `scale = value_range[1] / (max |inputs| + epsilon)` along `axis`, and
    `outputs = clip(round(inputs * scale), *value_range)`; `outputs / scale` is about `inputs`.

    Args:
        inputs: floats.
        axis: the axis or axes that share a scale.
        value_range: the least and the largest integer.
        dtype: of the integers.
        epsilon: keeps the division finite where all are zero.
        to_numpy: whether NumPy computes, so that the accelerator needs no memory for it.

    Returns:
        `(outputs, scale)`; the scale has the dtype of `inputs`, and size one along `axis`.

    Source: Keras: quantizers.abs_max_quantize.

    >>> import numpy as np
    >>> from cornu import quantizers
    >>> values, scale = quantizers.abs_max_quantize(np.array([[0.5, -1.0, 0.25]], "float32"), axis=-1)
    >>> values.tolist(), round(float(scale[0, 0]), 3)
    ([[63, -127, 32]], 127.0)
    """
    inputs = as_array(plain(inputs))
    number = np if to_numpy else jnp
    values = np.asarray(inputs) if to_numpy else inputs
    axis = tuple(axis) if isinstance(axis, list) else axis
    largest = number.max(number.abs(values), axis=axis, keepdims=True)
    scale = number.divide(value_range[1], number.add(largest, epsilon))
    # As in Keras: NumPy's scale of a bfloat16 is a float32, and is rounded only when it is returned.
    scale = scale if to_numpy else scale.astype(inputs.dtype)
    outputs = number.clip(number.round(values * scale), *value_range)
    return jnp.asarray(outputs.astype(dtype)), jnp.asarray(scale.astype(inputs.dtype))


def abs_max_quantize_grouped_with_zero_point(
    inputs, block_size, value_range=(-8, 7), dtype="int8", epsilon=1e-7, to_numpy=False
):
    """Integers of a matrix whose rows form groups, each column of a group with a scale and a zero point.

    In a group, `scale = (max - min + epsilon) / (value_range[1] - value_range[0])`,
    `zero = round(-min / scale) + value_range[0]` and `outputs = round(inputs / scale) + zero`, clipped;
    `(outputs - zero) * scale` is about `inputs`.

    Args:
        inputs: floats, `(rows, columns)`.
        block_size: number of rows in a group; the last group may have fewer.
        value_range: the least and the largest integer.
        dtype: of the integers.
        epsilon: keeps the division finite where a group is constant.
        to_numpy: whether NumPy computes.

    Returns:
        `(outputs, scale, zero)`, the last two of shape `(groups, columns)`; `zero` is int8.

    Source: Keras: quantizers.abs_max_quantize_grouped_with_zero_point.

    >>> import numpy as np
    >>> from cornu import quantizers
    >>> kernel = np.linspace(-1, 1, 12, dtype="float32").reshape(6, 2)
    >>> values, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(kernel, block_size=4)
    >>> values.shape, scale.shape, zero.dtype.name
    ((6, 2), (2, 2), 'int8')
    """
    inputs = as_array(plain(inputs))
    if inputs.ndim != 2:
        raise ValueError(
            f"A matrix is expected, (rows, columns). Received an array of shape {inputs.shape}."
        )
    rows, columns = inputs.shape
    num_groups = math.ceil(rows / block_size)
    number = np if to_numpy else jnp
    values = np.asarray(inputs) if to_numpy else inputs
    # A group that is not full is filled up with zeros, which count for its range.
    values = number.pad(values, ((0, num_groups * block_size - rows), (0, 0)))
    values = values.reshape(num_groups, block_size, columns)
    least, largest = (
        function(values, axis=1, keepdims=True) for function in (number.min, number.max)
    )
    first, last = value_range
    scale = number.divide(largest - least + epsilon, last - first)
    zero = number.clip(number.round(number.divide(-least, scale)) + first, first, last)
    outputs = number.clip(number.round(number.divide(values, scale)) + zero, first, last)
    outputs = outputs.astype(dtype).reshape(-1, columns)[:rows]
    return (
        jnp.asarray(outputs),
        jnp.asarray(scale[:, 0].astype(inputs.dtype)),
        jnp.asarray(zero[:, 0].astype("int8")),
    )


def dequantize(values, scale, zero, groups, group_axis=0):
    """`(values - zero) * scale`, with the scale and zero of each one's group along an axis."""
    groups = groups.astype("int32")
    scale, zero = (jnp.take(each, groups, axis=group_axis) for each in (scale, zero))
    return (values - zero.astype(scale.dtype)) * scale


def _as_bytes(array, dtype: str):
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"Expected dtype to be 'int8' or 'uint8', but got '{dtype}'.")
    return as_array(plain(array))


def pack_int4(arr, axis=0, dtype="int8"):
    """Two integers of 4 bits in each byte: the first of a pair in its low half, the second in its high one.

    Args:
        arr: an array of `dtype` with values from -8 to 7.
        axis: the axis along which neighbours form pairs; a zero is added if its size is odd.
        dtype: `"int8"` or `"uint8"`.

    Returns:
        `(packed, its shape, the size of the axis before)`.

    Source: Keras: quantizers.pack_int4.

    >>> import numpy as np
    >>> from cornu import quantizers
    >>> packed, shape, size = quantizers.pack_int4(np.array([[-3, 7], [2, -8], [1, 0]], "int8"))
    >>> packed.tolist(), size
    ([[45, -121], [1, 0]], 3)
    """
    array = _as_bytes(arr, dtype)
    if array.dtype != dtype:
        raise TypeError(f"Expected {dtype} tensor for packing, got {array.dtype}.")
    bits = np.moveaxis(np.asarray(array).view("uint8"), axis, 0)
    size = len(bits)
    bits = np.pad(bits, ((0, size % 2), *((0, 0),) * (bits.ndim - 1)))
    packed = (bits[::2] & 0x0F) | ((bits[1::2] & 0x0F) << 4)
    packed = np.ascontiguousarray(np.moveaxis(packed, 0, axis)).view(dtype)
    return jnp.asarray(packed), packed.shape, size


def unpack_int4(packed, orig_len, axis=0, dtype="int8"):
    """What `pack_int4` packed.

    Args:
        packed: bytes.
        orig_len: the size of the axis before.
        axis: the axis along which neighbours formed pairs.
        dtype: `"int8"` for values from -8 to 7, `"uint8"` for 0 to 15.

    Source: Keras: quantizers.unpack_int4.

    >>> import numpy as np
    >>> from cornu import quantizers
    >>> quantizers.unpack_int4(np.array([[45, -121], [1, 0]], "int8"), 3).tolist()
    [[-3, 7], [2, -8], [1, 0]]
    """
    array = _as_bytes(packed, dtype)
    if array.dtype not in ("int8", "uint8"):
        raise TypeError(f"Expected int8 or uint8 tensor for unpacking, got {array.dtype}")
    array = jnp.moveaxis(array, axis, 0)
    # Of signed bytes the high half keeps its sign; for the low half it is shifted up first.
    halves = jax.lax.bitcast_convert_type(array, dtype)
    both = jnp.stack([jnp.right_shift(jnp.left_shift(halves, 4), 4), jnp.right_shift(halves, 4)], 1)
    unpacked = both.reshape(-1, *array.shape[1:])[:orig_len]
    return jnp.moveaxis(unpacked, 0, axis)


def compute_float8_scale(amax, scale, dtype_max, margin=0):
    """The scale for floats of 8 bits: `amax / dtype_max * 2 ** margin`, or the old one if `amax` is none.

    Args:
        amax: the largest absolute value lately; where it is zero or not finite, the scale stays.
        scale: the old scale.
        dtype_max: the largest number of the format.
        margin: how many powers of two to stay below it.

    Source: Keras: quantizers.compute_float8_scale; NVIDIA's Transformer Engine.

    >>> from cornu import quantizers
    >>> float(quantizers.compute_float8_scale(896.0, 1.0, 448.0))
    2.0
    """
    amax, scale = as_array(plain(amax)), as_array(plain(scale))
    # Both are reciprocals on purpose: so the rounding is Keras'.
    factor = dtype_max / amax / 2**margin
    before = jnp.reciprocal(jnp.asarray(scale, jnp.result_type(scale, "float32")))
    factor = jnp.where(jnp.isfinite(amax) & (amax > 0), factor, before)
    return jnp.reciprocal(factor)


def compute_float8_amax_history(x, amax_history):
    """The history one step on: `[max |x|, history[2], …, history[-1], history[0]]`.

    Source: Keras: quantizers.compute_float8_amax_history.

    >>> import jax.numpy as jnp
    >>> from cornu import quantizers
    >>> quantizers.compute_float8_amax_history(jnp.array([-5.0, 2.0]), jnp.zeros(3)).tolist()
    [5.0, 0.0, 0.0]
    """
    history = as_array(plain(amax_history))
    largest = jnp.max(jnp.abs(as_array(plain(x)))).astype(history.dtype)
    return jnp.roll(history, -1).at[0].set(largest)


def quantize_and_dequantize(inputs, scale, quantized_dtype, compute_dtype):
    """`inputs` as they are after a rounding to `quantized_dtype`: `cast(inputs / scale) * scale`.

    Source: Keras: quantizers.quantize_and_dequantize.

    >>> import jax.numpy as jnp
    >>> from cornu import quantizers
    >>> quantizers.quantize_and_dequantize(jnp.array([1.03]), 1.0, "float8_e4m3fn", "float32").tolist()
    [1.0]
    """
    scale = as_array(plain(scale)).astype(compute_dtype)
    limit = as_array(float(ml_dtypes.finfo(quantized_dtype).max)).astype(compute_dtype)
    values = jnp.clip(as_array(plain(inputs)) / scale, -limit, limit).astype(quantized_dtype)
    return values.astype(compute_dtype) * scale


@operation
def fake_quant_with_min_max_vars(
    inputs, min_vals, max_vals, num_bits=8, narrow_range=False, axis=None
):
    """`inputs` as they are after a rounding to `num_bits` within a range, which can be trained.

    The range is moved a little, so that zero is one of its steps. Gradients pass where the input is
    within the range; where it is not, they go to the limit that it was clipped to.

    Args:
        inputs: floats.
        min_vals, max_vals: the range: scalars, or one for each index along `axis`.
        num_bits: of the integers between.
        narrow_range: whether the smallest of these is 1 instead of 0.
        axis: the axis of the channels; None for one range. Keras on JAX needs it to be the last one.

    Source: Keras: quantizers.fake_quant_with_min_max_vars.

    >>> import jax.numpy as jnp
    >>> from cornu import quantizers
    >>> x = jnp.array([-0.1, 0.3, 1.2])
    >>> quantizers.fake_quant_with_min_max_vars(x, 0.0, 1.0, num_bits=2).round(3).tolist()
    [0.0, 0.3330000042915344, 1.0]
    """
    inputs, low, high = as_array(inputs), as_array(min_vals), as_array(max_vals)
    if axis is not None:
        channels = [1] * inputs.ndim
        channels[axis] = -1
        low, high = low.reshape(channels), high.reshape(channels)
    steps = (1 << int(num_bits)) - 1
    return _fake_quantized(inputs, low, high, int(narrow_range), steps)


def _nudged(low, high, first, last):
    """The range with zero at a step, and the size of a step and its inverse."""
    low, high = (limit.astype(jnp.result_type(limit, "float32")) for limit in (low, high))
    scale, inverse = (high - low) / (last - first), (last - first) / (high - low)
    zero = jnp.round(jnp.clip(first - low / scale, first, last))
    return (first - zero) * scale, (last - zero) * scale, scale, inverse


def _rounded(inputs, low, high, first, last):
    low, high, scale, inverse = _nudged(low, high, first, last)
    zero = jnp.floor(-low * inverse + 0.5)
    shifted = jnp.clip(inputs.astype(low.dtype), low, high) - low
    return (jnp.floor(shifted * inverse - zero + 0.5) * scale).astype(inputs.dtype)


_fake_quantized = jax.custom_vjp(_rounded, nondiff_argnums=(3, 4))


def _forward(inputs, low, high, first, last):
    return _rounded(inputs, low, high, first, last), (inputs, low, high)


def _backward(first, last, kept, upstream):
    inputs, low, high = kept
    least, largest, _, _ = _nudged(low, high, first, last)
    below, above = inputs <= least, inputs >= largest

    def summed(where, limit):
        gradient = jnp.where(where, upstream, 0)
        sizes = (1,) * (gradient.ndim - limit.ndim) + limit.shape
        axes = [i for i, size in enumerate(sizes) if size == 1]
        return jnp.sum(gradient, axes).reshape(limit.shape).astype(limit.dtype)

    within = (inputs >= least) & (inputs <= largest)
    gradient = jnp.where(within, upstream, 0).astype(inputs.dtype)
    return gradient, summed(below, low), summed(above, high)


_fake_quantized.defvjp(_forward, _backward)
