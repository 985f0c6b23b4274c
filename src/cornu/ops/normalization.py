"""Batch normalization: statistics of channels, and normalizing by them.

`x` is `(..., channels)`; the rest are vectors of channels.
"""

import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from cornu.core.kernels import Split, primitive
from cornu.core.placement import shard_axes
from cornu.ops import pooling
from cornu.ops.windows import Geometry


def _rows(x) -> range:
    return range(x.ndim - 1)


# ---- mean and variance


def _moments(x):
    mean = jnp.mean(x, _rows(x))
    # The mean of squares minus the square of the mean would cancel badly where the mean is large.
    return [mean, jnp.mean(jnp.square(x - lax.broadcast_to_rank(mean, x.ndim)), _rows(x))]


def moments_of_all(names, mean, variance):
    """Moments over all devices along axes of a mesh, from each one's own of equally many numbers."""
    of_all = lax.pmean(mean, names)
    return of_all, lax.pmean(variance + jnp.square(mean - of_all), names)


def _moments_of_parts(means, variances):
    """The same, where those of all devices are there."""
    mean = jnp.mean(means, 0)
    return [mean, jnp.mean(variances + jnp.square(means - mean), 0)]


_statistics = primitive(
    "batch_norm_statistics",
    lambda x: [(x.shape[-1:], x.dtype)] * 2,
    _moments,
    lambda x: {},
    batched=(),
    split=Split((0,), (None, None), _moments_of_parts),
    several=True,
)


def _statistics_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    mean, variance = _statistics.bind(x)
    apart = x - lax.broadcast_to_rank(mean, x.ndim)
    slopes = [jnp.mean(t, _rows(x)), 2 * jnp.mean(apart * t, _rows(x))]
    return [mean, variance], slopes


ad.primitive_jvps[_statistics] = _statistics_jvp


def moments(x, synchronized=False):
    """The mean and the variance of each channel, over all other axes.

    Within `jax.shard_map` they are those of each device's part, unless `synchronized`.
    """
    mean, variance = _statistics.bind(x)
    names = shard_axes() if synchronized else ()
    return moments_of_all(names, mean, variance) if names else (mean, variance)


# ---- (x - center) * factor + offset
#
# Its derivative by factor and offset is the same function of their tangents, and the transpose of that
# is two sums for each channel. `argmax` is that of relu and max-pooling that come after it, if any.


def _affine(x, *vectors):
    center, factor, offset = (lax.broadcast_to_rank(v, x.ndim) for v in vectors)
    return (x - center) * factor + offset


def _batch_norm_sums(gradient, x, center):
    dot = jnp.sum(gradient * (x - lax.broadcast_to_rank(center, x.ndim)), _rows(x))
    return [dot, jnp.sum(gradient, _rows(x))]


affine = primitive("affine", lambda x, *vectors: (x.shape, x.dtype), _affine)
batch_norm_sums = primitive(
    "batch_norm_sums",
    lambda gradient, x, center: [(center.shape, x.dtype)] * 2,
    _batch_norm_sums,
    lambda gradient, x, center: {},
    batched=(),
    split=Split((0, 0, None), (None, None)),
    several=True,
)


def at_argmax(x, argmax, geometry: Geometry):
    """What relu and max-pooling have let through of `x`."""
    if set(geometry.window) == {1}:
        return jnp.where(argmax == 0, x, jnp.zeros_like(x))
    return pooling.at_argmax.bind(x, argmax, geometry=geometry)


def _affine_at_argmax(x, center, factor, offset, argmax, *, geometry):
    return at_argmax(_affine(x, center, factor, offset), argmax, geometry)


def _relu_pool_batch_norm_sums(gradient, x, center, argmax, *, geometry):
    here = x - lax.broadcast_to_rank(center, x.ndim)
    here = pooling._at_argmax(here, argmax, geometry=geometry)
    alive = jnp.where(argmax < 255, gradient, jnp.zeros_like(gradient))
    return [jnp.sum(alive * here, _rows(x)), jnp.sum(alive, _rows(x))]


affine_at_argmax = primitive(
    "affine_at_argmax",
    lambda x, center, factor, offset, argmax, *, geometry: (argmax.shape, x.dtype),
    _affine_at_argmax,
    batched=(0, 4),
)
relu_pool_batch_norm_sums = primitive(
    "relu_pool_batch_norm_sums",
    lambda gradient, x, center, argmax, *, geometry: [(center.shape, x.dtype)] * 2,
    _relu_pool_batch_norm_sums,
    lambda gradient, x, center, argmax, *, geometry: geometry.attributes(
        x.shape[0], x.shape[-1], x.shape[-1]
    ),
    batched=(),
    split=Split((0, 0, None, 0), (None, None)),
    several=True,
)


def _define(affine, sums, taken):
    """The derivatives of both; `taken(x, *argmax, **how)` is what the argmax leaves of x."""

    def affine_jvp(primals, tangents, **how):
        x, center, factor, _, *argmax = primals
        tx, tc, tf, to = map(ad.instantiate_zeros, tangents[:4])
        moving = taken(tx, *argmax, **how) * lax.broadcast_to_rank(factor, tx.ndim)
        # A tangent of the center is one of the offset.
        return affine.bind(*primals, **how), moving + affine.bind(
            x, center, tf, to - factor * tc, *argmax, **how
        )

    def affine_transpose(ct, x, center, factor, offset, *argmax, **how):
        by_factor, by_offset = (ad.is_undefined_primal(v) for v in (factor, offset))
        dot, total = sums.bind(ct, x, center, *argmax, **how)
        return [None, None, dot if by_factor else None, total if by_offset else None] + [
            None for _ in argmax
        ]

    def sums_jvp(primals, tangents, **how):
        gradient, x, center, *argmax = primals
        tg, tx, tc = map(ad.instantiate_zeros, tangents[:3])
        dot, total = sums.bind(tg, x, center, *argmax, **how)
        of_x = taken(tx - lax.broadcast_to_rank(tc, tx.ndim), *argmax, **how)
        moving = jnp.sum(gradient * of_x, _rows(gradient))
        return sums.bind(*primals, **how), [dot + moving, total]

    def sums_transpose(cts, gradient, x, center, *argmax, **how):
        dot, total = map(ad.instantiate_zeros, cts)
        spread = affine.bind(x, center, dot, total, *argmax, **how)
        return [spread, None, None] + [None for _ in argmax]

    ad.primitive_jvps[affine], ad.primitive_transposes[affine] = affine_jvp, affine_transpose
    ad.primitive_jvps[sums], ad.primitive_transposes[sums] = sums_jvp, sums_transpose


_define(affine, batch_norm_sums, lambda x: x)
_define(
    affine_at_argmax,
    relu_pool_batch_norm_sums,
    lambda x, argmax, geometry: at_argmax(x, argmax, geometry),
)


def normalize(x, center, factor, offset):
    """`(x - center) * factor + offset`, by channel."""
    return affine.bind(x, center, factor, offset)
