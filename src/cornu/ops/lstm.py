"""A long short-term memory over a whole sequence, whose weight gradient is one product for all steps.

In a loop of XLA, each step would wait for the one before in every operation, and add its part to the
weight gradient. Here the tangent of the weights enters outside the loop: with the outputs known, what it
adds to the sums of all steps is one product, and so is its transpose.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from cornu.core.kernels import Split, primitive
from cornu.ops.convolution import dense


def _form(projected, kernel, output, carry, kept):
    """Gates, outputs and carries of all steps, in terms of `lax`."""

    def step(states, inputs):
        projected, kept = inputs
        output, carry = states
        sums = projected + dense(output, kernel)
        into, keep, candidate, out = jnp.split(sums, 4, axis=-1)
        gates = [
            jax.nn.sigmoid(into),
            jax.nn.sigmoid(keep),
            jnp.tanh(candidate),
            jax.nn.sigmoid(out),
        ]
        new = gates[1] * carry + gates[0] * gates[2]
        is_kept = kept[:, None] != 0
        states = (
            jnp.where(is_kept, gates[3] * jnp.tanh(new), output),
            jnp.where(is_kept, new, carry),
        )
        return states, (jnp.concatenate(gates, -1), *states)

    return list(lax.scan(step, (output, carry), (projected, kept))[1])


def _push(projected, output, carry, gates, carries, kernel, first_carry, kept):
    """The tangents of gates, outputs and carries, from those of the sums and of the first states."""
    before = jnp.concatenate([first_carry[None], carries[:-1]])

    def step(tangents, inputs):
        projected, gates, carry_before, carry, kept = inputs
        output, of_carry = tangents
        sums = projected + dense(output, kernel)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        slopes = jnp.concatenate([i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)], -1)
        of_gates = sums * slopes
        di, df, dg, do = jnp.split(of_gates, 4, axis=-1)
        curve = jnp.tanh(carry)
        new = df * carry_before + f * of_carry + di * g + i * dg
        is_kept = kept[:, None] != 0
        tangents = (
            jnp.where(is_kept, do * curve + o * (1 - curve * curve) * new, output),
            jnp.where(is_kept, new, of_carry),
        )
        return tangents, (of_gates, *tangents)

    steps = (projected, gates, before, carries, kept)
    return list(lax.scan(step, (output, carry), steps)[1])


def _pull(gates, of_outputs, of_carries, carries, kernel, first_carry, kept):
    """From gradients of outputs and carries, those of the sums and of the first states."""

    def push(projected, output, carry):
        return _push(projected, output, carry, gates, carries, kernel, first_carry, kept)[1:]

    likes = (gates, first_carry, first_carry)
    return list(_transposed(push, *likes)([of_outputs, of_carries]))


def _transposed(push, *likes):
    """The transpose of a linear function; `jax.linear_transpose` fails for a scan with JAX 0.7."""
    return jax.vjp(push, *(jnp.zeros(a.shape, a.dtype) for a in likes))[1]


_lstm = primitive(
    "lstm",
    lambda projected, kernel, output, *others: [
        (projected.shape, projected.dtype),
        *[((projected.shape[0], *output.shape), projected.dtype)] * 2,
    ],
    _form,
    lambda *operands: {},
    batched=(),
    split=Split((1, None, 0, 0, 1), (1, 1, 1)),
    several=True,
    in_place=1,
)
_tangents = primitive(
    "lstm_tangents",
    lambda projected, output, carry, gates, carries, *others: [
        (a.shape, projected.dtype) for a in (gates, carries, carries)
    ],
    _push,
    batched=(),
    several=True,
)
_gradient = primitive(
    "lstm_gradient",
    lambda gates, of_outputs, of_carries, carries, kernel, first_carry, kept: [
        (a.shape, gates.dtype) for a in (gates, first_carry, first_carry)
    ],
    _pull,
    lambda *operands: {},
    batched=(),
    split=Split((1, 1, 1, 1, None, 0, 1), (1, 0, 0)),
    several=True,
    in_place=1,
)


def _jvp(primals, tangents):
    projected, kernel, output, carry, kept = primals
    gates, outputs, carries = results = _lstm.bind(*primals)
    of_projected, of_kernel, of_output, of_carry, _ = tangents
    of_projected, of_output, of_carry = map(
        ad.instantiate_zeros, (of_projected, of_output, of_carry)
    )
    if not isinstance(of_kernel, ad.Zero):
        before = jnp.concatenate([output[None], outputs[:-1]])
        sums = dense(before.reshape(-1, before.shape[-1]), of_kernel)
        of_projected = of_projected + sums.reshape(projected.shape)
    return results, _tangents.bind(
        of_projected, of_output, of_carry, gates, carries, kernel, carry, kept
    )


def _jvp_of(form):
    def jvp(primals, tangents):
        return jax.jvp(form, tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))

    return jvp


def _transpose(cotangents, projected, output, carry, gates, carries, kernel, first_carry, kept):
    of_gates, of_outputs, of_carries = cotangents
    if all(isinstance(c, ad.Zero) for c in cotangents):
        found = [ad.Zero(o.aval) for o in (projected, output, carry)]
    elif isinstance(of_gates, ad.Zero):
        of_outputs, of_carries = map(ad.instantiate_zeros, (of_outputs, of_carries))
        found = _gradient.bind(gates, of_outputs, of_carries, carries, kernel, first_carry, kept)
    else:  # Of a derivative of the derivative.

        def push(projected, output, carry):
            return _push(projected, output, carry, gates, carries, kernel, first_carry, kept)

        transposed = _transposed(push, projected.aval, output.aval, carry.aval)
        found = transposed(list(map(ad.instantiate_zeros, cotangents)))
    return [*found, None, None, None, None, None]


ad.primitive_jvps[_lstm] = _jvp
ad.primitive_jvps[_tangents] = _jvp_of(_push)
ad.primitive_jvps[_gradient] = _jvp_of(_pull)
ad.primitive_transposes[_tangents] = _transpose


def lstm(projected, kernel, output, carry, kept=None):
    """Outputs and carries of all steps of a long short-term memory, each (steps, batch, units).

    With `i, f, g, o = projected + output @ kernel`, the carry becomes
    `sigmoid(f) * carry + sigmoid(i) * tanh(g)` and the output `sigmoid(o) * tanh(carry)`.

    Args:
        projected: (steps, batch, 4 units), what enters the sums besides the output before.
        kernel: (units, 4 units).
        output, carry: (batch, units), those before the first step.
        kept: (steps, batch); where it is False, output and carry stay as they were. None for everywhere.
    """
    if kept is None:
        kept = jnp.ones(projected.shape[:2])
    _, outputs, carries = _lstm.bind(projected, kernel, output, carry, kept.astype(jnp.float32))
    return outputs, carries
