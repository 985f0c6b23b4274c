"""The kernels' attention beside JAX's own: values, and derivatives of any order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cornu.ops.attention import dot_product_attention


def operands(batch, queries, keys, heads, key_heads, features, dtype="float32"):
    random = np.random.default_rng(0)
    shapes = (queries, heads), (keys, key_heads), (keys, key_heads)
    return tuple(
        jnp.asarray(random.standard_normal((batch, *shape, features)), dtype) for shape in shapes
    )


def reference(*arrays, **how):
    return jax.nn.dot_product_attention(*arrays, implementation="xla", **how)


def total(function, **how):
    """A number that depends on every output in another way."""

    def of(*arrays):
        output = function(*arrays, **how)
        weights = jnp.cos(jnp.arange(output.size, dtype="float32")).reshape(output.shape)
        return jnp.sum(weights * output.astype("float32") ** 2)

    return of


def close(mine, other, tolerance=2e-5):
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + float(abs(b).max())))


def mask_of(*shape, drop=0.4):
    return jnp.asarray(np.random.default_rng(1).random(shape) > drop)


CASES = {
    "plain": ((2, 5, 5, 3, 3, 4), {}),
    "one of each": ((1, 1, 1, 1, 1, 1), {}),
    "shared keys": ((2, 7, 9, 6, 2, 5), {"scale": 0.3}),
    "causal": ((2, 20, 20, 2, 1, 8), {"is_causal": True}),
    "padding": ((2, 6, 40, 2, 2, 17), {"mask": mask_of(2, 1, 1, 40)}),
    "all masks": ((2, 30, 20, 2, 2, 4), {"mask": mask_of(2, 2, 30, 20), "is_causal": True}),
    "nothing seen": ((1, 3, 4, 1, 1, 2), {"mask": mask_of(1, 1, 3, 4, drop=2)}),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case):
    sizes, how = CASES[case]
    given = operands(*sizes)
    both = dot_product_attention, reference
    close(*(jax.jit(functools.partial(f, **how))(*given) for f in both))
    close(*(jax.jit(jax.grad(total(f, **how), (0, 1, 2)))(*given) for f in both))


def test_derivatives_of_any_order_and_mode():
    given, how = operands(2, 4, 5, 2, 2, 3), {"mask": mask_of(1, 1, 4, 5)}
    tangents = tuple(jnp.cos(3 * a) for a in given)

    def forward_over_reverse(function):
        return jax.jvp(jax.grad(function, (0, 1, 2)), given, tangents)

    def reverse_over_reverse(function):
        def dot(*arrays):
            gradients = jax.grad(function, (0, 1, 2))(*arrays)
            return sum(jnp.vdot(t, g) for t, g in zip(tangents, gradients, strict=True))

        return jax.grad(dot, (0, 1, 2))(*given)

    def mapped(function):
        several = jnp.stack([given[0], -given[0]])
        return jax.vmap(jax.grad(function), (0, None, None))(several, *given[1:])

    for derivative in (forward_over_reverse, reverse_over_reverse, mapped):
        both = total(dot_product_attention, **how), total(reference, **how)
        close(*(jax.jit(functools.partial(derivative, f))() for f in both))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    given, how = operands(2, 5, 5, 2, 2, 8, dtype), {"is_causal": True}
    gradient = jax.grad(total(dot_product_attention, **how), (0, 1, 2))(*given)
    exact = jax.jit(jax.grad(total(reference, **how), (0, 1, 2)))(*operands(2, 5, 5, 2, 2, 8))
    for a, b in zip(gradient, exact, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype("float32"), b, atol=0.06 * float(abs(b).max()))
