"""Pooling operations against XLA's own reductions and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cornu.ops.pooling import average_pool, l2_pool, max_pool

RANDOM = np.random.RandomState(0)
# Many equal numbers, as after relu.
IMAGE = jnp.asarray(np.maximum(RANDOM.randint(-3, 4, (2, 7, 9, 3)), 0), "float32")


def by_lax(x, window, strides, padding):
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), padding.upper()
    )


@pytest.mark.parametrize(
    "window, strides, padding",
    [
        ((2, 2), (2, 2), "valid"),
        ((2, 2), (2, 2), "same"),
        ((3, 3), (2, 2), "same"),
        ((3, 2), (1, 1), "valid"),
        ((1, 2), (2, 3), "valid"),
        ((1, 1), (2, 2), "valid"),
        ((7, 9), (1, 1), "same"),
        ((8, 9), (1, 1), "same"),
    ],
)
def test_ties_go_to_the_first_as_in_xla(window, strides, padding):
    def ours(x):
        return max_pool(x, window, strides, padding)

    output, pull = jax.vjp(ours, IMAGE)
    expected, expected_pull = jax.vjp(lambda x: by_lax(x, window, strides, padding), IMAGE)
    np.testing.assert_array_equal(output, expected)
    cotangent = jnp.asarray(RANDOM.randint(-9, 9, output.shape), "float32")
    np.testing.assert_array_equal(pull(cotangent)[0], expected_pull(cotangent)[0])


@pytest.mark.parametrize("strides", [(2, 2), (1, 1)])
def test_max_pooling_avoids_the_slow_gradient(strides):
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 2, strides).sum()))
    assert "select_and_scatter" not in gradient.lower(IMAGE).as_text()


def test_channels_first():
    first = jnp.moveaxis(IMAGE, -1, 1)
    for pool in (max_pool, average_pool, l2_pool):
        output = pool(first, 2, 2, "same", "channels_first")
        np.testing.assert_array_equal(jnp.moveaxis(output, 1, -1), pool(IMAGE, 2, 2, "same"))


@pytest.mark.parametrize("position", list(np.ndindex(2, 2)))
def test_nan_is_the_largest(position):
    image = IMAGE.at[(0, *position, 0)].set(jnp.nan)
    output = max_pool(image, 2)
    assert np.isnan(output[0, 0, 0, 0]) and np.isnan(output).sum() == 1
    gradient = jax.grad(lambda x: jnp.nansum(2 * max_pool(x, 2)[0, :1, :1, 0]))(image)
    assert gradient[0, :2, :2, 0].sum() == 0


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bfloat16", "float16"])
def test_dtypes(dtype):
    x = IMAGE.astype(dtype)
    output = max_pool(x, 3, 2, "same")
    assert output.dtype == dtype
    np.testing.assert_array_equal(output.astype("float32"), max_pool(IMAGE, 3, 2, "same"))


def test_negative_infinity():
    x = jnp.full((1, 3, 3, 1), -jnp.inf)
    np.testing.assert_array_equal(max_pool(x, 2, 2, "same"), jnp.full((1, 2, 2, 1), -jnp.inf))


@pytest.mark.parametrize("pool", [max_pool, l2_pool, average_pool])
def test_derivatives_of_every_kind(pool):
    x = jnp.asarray(RANDOM.randn(2, 4, 5, 1), "float32")

    def score(x):
        return jnp.sum(jnp.sin(pool(x, 3, 2, "same")))

    tangent = jnp.asarray(RANDOM.randn(*x.shape), "float32")
    _, forward = jax.jvp(score, (x,), (tangent,))
    np.testing.assert_allclose(forward, jnp.vdot(jax.grad(score)(x), tangent), rtol=1e-4)
    step = 1e-2
    numeric = (score(x + step * tangent) - score(x - step * tangent)) / (2 * step)
    np.testing.assert_allclose(forward, numeric, rtol=2e-2)
    np.testing.assert_allclose(
        jax.jacfwd(jax.grad(score))(x), jax.jacrev(jax.grad(score))(x), rtol=1e-5, atol=1e-6
    )
    each = jax.vmap(jax.grad(score))(x[:, None])
    np.testing.assert_allclose(each[:, 0], jax.grad(score)(x), rtol=1e-6)


def test_l2_of_nothing_has_no_slope():
    output, pull = jax.vjp(lambda x: l2_pool(x, 2), jnp.zeros((1, 4, 4, 1)))
    assert not output.any()
    np.testing.assert_array_equal(pull(jnp.ones_like(output))[0], jnp.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize("pool", [max_pool, l2_pool, average_pool])
def test_mistakes(pool):
    with pytest.raises(ValueError, match=r"zero or negative.*\(8, 2\) over \(7, 9\)"):
        pool(IMAGE, (8, 2))
    with pytest.raises(ValueError, match="`padding` must be 'valid' or 'same'"):
        pool(IMAGE, 2, padding="causal")
    with pytest.raises(ValueError, match="`pool_size` argument must be a tuple of 2 positive"):
        pool(IMAGE, (2, 0))
