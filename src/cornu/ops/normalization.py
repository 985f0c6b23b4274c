"""Batch normalization: statistics of channels, and bringing numbers to them.

`x` is `(..., channels)`; the rest are vectors of channels.
"""

import jax.numpy as jnp
from jax.interpreters import ad

from cornu.core.kernels import primitive
from cornu.ops import pooling
from cornu.ops.windows import Geometry


def _rows(x) -> range:
    return range(x.ndim - 1)


# ---- mean and variance


def _moments(x):
    mean = jnp.mean(x, _rows(x))
    # The mean of squares minus the square of the mean would cancel badly where the mean is large.
    return [mean, jnp.mean(jnp.square(x - mean), _rows(x))]


_moments_of = primitive(
    "batch_norm_statistics",
    lambda x: [(x.shape[-1:], x.dtype)] * 2,
    _moments,
    lambda x: {},
    batched=(),
    several=True,
)


def _moments_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    mean, variance = _moments_of.bind(x)
    slopes = [jnp.mean(t, _rows(x)), 2 * jnp.mean((x - mean) * t, _rows(x))]
    return [mean, variance], slopes


ad.primitive_jvps[_moments_of] = _moments_jvp


def moments(x):
    """The mean and the variance of each channel, over all other axes."""
    return tuple(_moments_of.bind(x))


# ---- (x - center) * factor + offset
#
# Its derivative by factor and offset is the same function of their tangents, and the transpose of that
# is two sums for each channel. `picks` are those of relu and max-pooling that come after it, if any.


def _affine(x, center, factor, offset):
    return (x - center) * factor + offset


def _totals(gradient, x, center):
    dot = jnp.sum(gradient * (x - center), _rows(x))
    return [dot, jnp.sum(gradient, _rows(x))]


affine = primitive("affine", lambda x, *vectors: (x.shape, x.dtype), _affine)
totals = primitive(
    "batch_norm_sums",
    lambda gradient, x, center: [(center.shape, x.dtype)] * 2,
    _totals,
    lambda gradient, x, center: {},
    batched=(),
    several=True,
)


def pick(x, picks, geometry: Geometry):
    """What relu and max-pooling have picked of `x`."""
    if set(geometry.window) == {1}:
        return jnp.where(picks == 0, x, jnp.zeros_like(x))
    return pooling.pick.bind(x, picks, geometry=geometry)


def _picked_affine(x, center, factor, offset, picks, *, geometry):
    return pick(_affine(x, center, factor, offset), picks, geometry)


def _relu_pool_batch_norm_sums(gradient, x, center, picks, *, geometry):
    here = pooling._pick(x - center, picks, geometry=geometry)
    alive = jnp.where(picks < 255, gradient, jnp.zeros_like(gradient))
    return [jnp.sum(alive * here, _rows(x)), jnp.sum(alive, _rows(x))]


picked_affine = primitive(
    "picked_affine",
    lambda x, center, factor, offset, picks, *, geometry: (picks.shape, x.dtype),
    _picked_affine,
    batched=(0, 4),
)
relu_pool_batch_norm_sums = primitive(
    "relu_pool_batch_norm_sums",
    lambda gradient, x, center, picks, *, geometry: [(center.shape, x.dtype)] * 2,
    _relu_pool_batch_norm_sums,
    lambda gradient, x, center, picks, *, geometry: geometry.attributes(
        x.shape[0], x.shape[-1], x.shape[-1]
    ),
    batched=(),
    several=True,
)


def _define(affine, totals, taken):
    """The derivatives of both; `taken(x, *picks, **how)` is what the picks leave of x."""

    def affine_jvp(primals, tangents, **how):
        x, center, factor, _, *picks = primals
        tx, tc, tf, to = map(ad.instantiate_zeros, tangents[:4])
        moving = taken(tx, *picks, **how) * factor
        # A tangent of the center is one of the offset.
        return affine.bind(*primals, **how), moving + affine.bind(
            x, center, tf, to - factor * tc, *picks, **how
        )

    def affine_transpose(ct, x, center, factor, offset, *picks, **how):
        by_factor, by_offset = (ad.is_undefined_primal(v) for v in (factor, offset))
        dot, total = totals.bind(ct, x, center, *picks, **how)
        return [None, None, dot if by_factor else None, total if by_offset else None] + [
            None for _ in picks
        ]

    def totals_jvp(primals, tangents, **how):
        gradient, x, center, *picks = primals
        tg, tx, tc = map(ad.instantiate_zeros, tangents[:3])
        dot, total = totals.bind(tg, x, center, *picks, **how)
        moving = jnp.sum(gradient * taken(tx - tc, *picks, **how), _rows(gradient))
        return totals.bind(*primals, **how), [dot + moving, total]

    def totals_transpose(cts, gradient, x, center, *picks, **how):
        dot, total = map(ad.instantiate_zeros, cts)
        spread = affine.bind(x, center, dot, total, *picks, **how)
        return [spread, None, None] + [None for _ in picks]

    ad.primitive_jvps[affine], ad.primitive_transposes[affine] = affine_jvp, affine_transpose
    ad.primitive_jvps[totals], ad.primitive_transposes[totals] = totals_jvp, totals_transpose


_define(affine, totals, lambda x: x)
_define(
    picked_affine, relu_pool_batch_norm_sums, lambda x, picks, geometry: pick(x, picks, geometry)
)


def normalize(x, center, factor, offset):
    """`(x - center) * factor + offset`, by channel."""
    return affine.bind(x, center, factor, offset)
