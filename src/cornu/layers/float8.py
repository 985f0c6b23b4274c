"""Products of floats of 8 bits: rounded factors, and rounded gradients, with scales that follow them."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes

from cornu.quantizers import (
    compute_float8_amax_history,
    compute_float8_scale,
    quantize_and_dequantize,
)

# The factors have more digits, their gradients a wider range.
_FACTORS, _GRADIENTS = "float8_e4m3fn", "float8_e5m2"

# A scale and the history of the largest values that it comes from, for each of these.
ROUNDED = ("inputs", "kernel", "outputs_grad")


def _next(values, scale, history, dtype: str) -> tuple:
    """The scale and the history for the next step."""
    limit = jnp.float32(float(ml_dtypes.finfo(dtype).max))
    scale = compute_float8_scale(jnp.max(history, axis=0), scale, limit)
    return scale, compute_float8_amax_history(values, history)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def rounded(values, scale, history, compute_dtype):
    """`values` rounded to 8 bits. The "gradients" of `scale` and `history` are their next values."""
    return quantize_and_dequantize(values, scale, _FACTORS, compute_dtype)


def _rounded_forward(values, scale, history, compute_dtype):
    return rounded(values, scale, history, compute_dtype), (values, scale, history)


def _rounded_backward(compute_dtype, kept, upstream):
    values, scale, history = kept
    return upstream.astype(values.dtype), *_next(values, scale, history, _FACTORS)


rounded.defvjp(_rounded_forward, _rounded_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def with_rounded_gradient(outputs, scale, history, compute_dtype):
    """`outputs` as they are; their gradient is rounded to 8 bits."""
    return outputs


def _gradient_forward(outputs, scale, history, compute_dtype):
    return outputs, (scale, history)


def _gradient_backward(compute_dtype, kept, upstream):
    scale, history = kept
    gradient = quantize_and_dequantize(upstream, scale, _GRADIENTS, compute_dtype)
    return gradient, *_next(upstream, scale, history, _GRADIENTS)


with_rounded_gradient.defvjp(_gradient_forward, _gradient_backward)
