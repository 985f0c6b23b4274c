"""What devices sum, they sum at once, and find what one device finds."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cornu.ops import normalization
from cornu.ops.joined_sums import joined

MESH = Mesh(np.array(jax.devices()[:2]), ("batch",))
X = np.random.default_rng(0).standard_normal((8, 3, 3, 4), np.float32)


def losses(x, w):
    """Two sums of different kinds that wait for nothing, and their gradient."""

    def loss(w):
        y = jnp.einsum("bhwc,cd->bd", x, w)
        return jnp.mean(jnp.square(y)) + jnp.sum(w), jnp.sum(y > 0)

    return jax.value_and_grad(loss, has_aux=True)(w)


def normalized(x, w):
    """Sums that wait for others: moments, a loss and its gradient."""

    def loss(w):
        mean, variance = normalization.moments(x * w[0])
        y = normalization.normalize(x * w[0], mean, lax.rsqrt(variance + 1e-3), w[1])
        return jnp.sum(jnp.tanh(y)[:, 0, 0] @ w), mean

    return jax.value_and_grad(loss, has_aux=True)(w)


def of_few(x, w):
    """No sum over the batch, one that is no batch, and results that are arguments and numbers."""
    return jnp.sum(w, 0), x.max(1), w, 3.0, lax.cumsum(x, 1)


def of_two_dtypes(x, w):
    """Products of 16 bits, whose parts are summed with those of float32."""
    y = x.reshape(8, -1).astype(jnp.bfloat16)
    return jnp.einsum("bi,bj->ij", y, y), jnp.sum(x, 0)


@pytest.mark.parametrize(
    "function, most",
    [(losses, 2), (normalized, 5), (of_few, 0), (of_two_dtypes, 1)],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_one_sum_for_all_that_wait_for_equally_many(function, most):
    w = np.random.default_rng(1).standard_normal((4, 4), np.float32)

    def run(x, w):
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(x, w)
        program = joined(traced, MESH, 8)
        found = jax.core.eval_jaxpr(program.jaxpr, program.consts, x, w)
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    batched, whole = (NamedSharding(MESH, PartitionSpec(*axes)) for axes in (["batch"], []))
    step = jax.jit(run, in_shardings=(batched, whole))
    compiled = step.lower(X, w).compile()
    for found, expected in zip(
        jax.tree.leaves(compiled(X, w)), jax.tree.leaves(jax.jit(function)(X, w)), strict=True
    ):
        assert found.dtype == expected.dtype
        # Of 16 bits, each device's part is rounded.
        close = 2.0**-6 if found.dtype == jnp.bfloat16 else 1e-5
        np.testing.assert_allclose(
            np.asarray(found, "float32"), np.asarray(expected, "float32"), rtol=close, atol=close
        )
    sums = re.findall(r" = (.*) all-(?:reduce|gather)\(", compiled.as_text())
    assert len(sums) <= most
    # Each operand of a collective would be a message of its own.
    assert not any(each.startswith("(") for each in sums), sums
