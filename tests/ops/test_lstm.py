"""The operation for a whole sequence beside the loop of its steps: values, and derivatives of any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cornu.ops.lstm import lstm


def by_steps(projected, kernel, output, carry, kept):
    outputs, carries = [], []
    for sums, keep in zip(projected, kept, strict=True):
        i, f, g, o = jnp.split(sums + output @ kernel, 4, axis=-1)
        new = jax.nn.sigmoid(f) * carry + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jnp.where(keep[:, None], jax.nn.sigmoid(o) * jnp.tanh(new), output)
        carry = jnp.where(keep[:, None], new, carry)
        outputs.append(output)
        carries.append(carry)
    return jnp.stack(outputs), jnp.stack(carries)


def operands(steps, batch, units, dtype="float32"):
    random = np.random.default_rng(0)
    shapes = (steps, batch, 4 * units), (units, 4 * units), (batch, units), (batch, units)
    made = [jnp.asarray(0.5 * random.standard_normal(shape), dtype) for shape in shapes]
    return tuple(made), jnp.asarray(random.random((steps, batch)) < 0.7)


def total(function, kept):
    """A number that depends on every output and carry in another way."""

    def of(*operands):
        outputs, carries = function(*operands, kept)
        weights = jnp.cos(jnp.arange(outputs.size, dtype="float32")).reshape(outputs.shape)
        return jnp.sum(weights * outputs) + jnp.sum(jnp.sin(carries))

    return of


def close(mine, other, tolerance=2e-5):
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + abs(b).max()))


@pytest.mark.parametrize("sizes", [(5, 7, 19), (1, 1, 3), (3, 14, 64), (4, 13, 70)], ids=str)
def test_values_and_gradients(sizes):
    given, kept = operands(*sizes)
    close(jax.jit(lstm)(*given, kept), by_steps(*given, kept))
    close(lstm(*given), by_steps(*given, jnp.ones_like(kept)))
    gradient = jax.jit(jax.grad(total(lstm, kept), (0, 1, 2, 3)))(*given)
    close(gradient, jax.jit(jax.grad(total(by_steps, kept), (0, 1, 2, 3)))(*given))


def test_derivatives_of_any_order_and_mode():
    given, kept = operands(3, 4, 5)
    tangents = tuple(jnp.cos(3 * a) for a in given)
    expected, mine = total(by_steps, kept), total(lstm, kept)

    def forward(function):
        return jax.jvp(function, given, tangents)

    def forward_over_reverse(function):
        return jax.jvp(jax.grad(function, (0, 1, 2, 3)), given, tangents)

    def reverse_over_reverse(function):
        def dot(*operands):
            gradients = jax.grad(function, (0, 1, 2, 3))(*operands)
            return sum(jnp.vdot(t, g) for t, g in zip(tangents, gradients, strict=True))

        return jax.grad(dot, (0, 1, 2, 3))(*given)

    for derivative in (forward, forward_over_reverse, reverse_over_reverse):
        compiled = jax.jit(derivative, static_argnums=0)
        close(compiled(mine), compiled(expected))


def test_vmap_and_half_precision():
    given, kept = operands(3, 4, 5)
    several = jnp.stack([given[0], -given[0]])
    mapped = jax.vmap(jax.grad(total(lstm, kept)), (0, None, None, None))(several, *given[1:])
    close(mapped[1], jax.jit(jax.grad(total(by_steps, kept)))(-given[0], *given[1:]))
    half, _ = operands(3, 4, 5, "bfloat16")
    gradient = jax.grad(total(lstm, kept), (0, 1))(*half)
    assert {g.dtype for g in gradient} == {jnp.dtype("bfloat16")}
    expected = jax.jit(jax.grad(total(by_steps, kept), (0, 1)))(*given)
    for a, b in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(a.astype("float32"), b, atol=0.05 * float(abs(b).max()))
