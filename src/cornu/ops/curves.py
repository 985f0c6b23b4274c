"""Activations that bend a result and its bias, with the gradients of both in one pass.

What both have in common: their derivative is known from their result, and is its own transpose.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from cornu.core.kernels import Split, primitive


def _curve(name, function, slope):
    """The primitive `function(x + bias)`.

    Args:
        name: that of the kernels, `biased_{name}` and `{name}_gradient`.
        slope: `(tangent, result)` to the tangent of the result. For each element, it is a symmetric
            matrix times the tangent's channels.
    """

    def value(x, bias):
        return function(x + lax.broadcast_to_rank(bias, x.ndim))

    def push(x, bias, result):
        return slope(x + lax.broadcast_to_rank(bias, x.ndim), result)

    def pull(cotangent, result):
        back = slope(cotangent, result)
        return [back, jnp.sum(back, range(back.ndim - 1))]

    made = primitive(
        f"biased_{name}",
        lambda x, bias: (x.shape, x.dtype),
        value,
        lambda x, bias: {},
        in_place=1,
    )
    pushed = primitive(
        f"{name}_slope", lambda x, bias, result: (x.shape, x.dtype), push, batched=(0, 2)
    )
    pulled = primitive(
        f"{name}_gradient",
        lambda cotangent, result: [(result.shape, result.dtype), (result.shape[-1:], result.dtype)],
        pull,
        lambda cotangent, result: {},
        batched=(),
        split=Split((0, 0), (0, None)),
        several=True,
        in_place=1,
    )

    def jvp(primals, tangents):
        result = made.bind(*primals)
        return result, pushed.bind(*map(ad.instantiate_zeros, tangents), result)

    def jvp_of(lax_form):
        return lambda primals, tangents: jax.jvp(
            lax_form, tuple(primals), tuple(map(ad.instantiate_zeros, tangents))
        )

    def transpose(cotangent, x, bias, result):
        operands = [x, bias]
        if isinstance(cotangent, ad.Zero):
            found = [ad.Zero(o.aval) if ad.is_undefined_primal(o) else None for o in operands]
        else:
            parts = pulled.bind(cotangent, result)
            found = [
                part if ad.is_undefined_primal(o) else None
                for o, part in zip(operands, parts, strict=True)
            ]
        return *found, None

    ad.primitive_jvps[made] = jvp
    ad.primitive_jvps[pushed] = jvp_of(push)
    ad.primitive_jvps[pulled] = jvp_of(pull)
    ad.primitive_transposes[pushed] = transpose
    return made


def _slope_of_softmax(tangent, result):
    weighted = tangent * result
    return weighted - result * jnp.sum(weighted, axis=-1, keepdims=True)


biased_tanh = _curve("tanh", jnp.tanh, lambda tangent, result: tangent * (1 - jnp.square(result)))
biased_softmax = _curve("softmax", jax.nn.softmax, _slope_of_softmax)
