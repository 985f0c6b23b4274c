"""Convolution, bias, relu and max-pooling as one operation, wherever they follow each other.

`fuse` looks for them in a traced program, so it does not matter how a model was put together. They are
fused only if nothing else reads what stands between them: who takes an intermediate output, or
penalizes it, gets the plain operations.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching

from cornu.core import masking
from cornu.ops import convolution, pooling
from cornu.ops.kernels import Geometry, native, primitive

# The pick of a window whose numbers relu has cut.
DEAD = np.uint8(255)


def _relu(x):
    return jnp.maximum(x, 0)


relu = primitive("relu", lambda x: (x.shape, x.dtype), _relu)
ad.defjvp2(relu, lambda t, result, x: jnp.where(x > 0, t, jnp.zeros_like(t)))
batching.primitive_batchers[relu] = lambda operands, axes: (relu.bind(*operands), axes[0])


def _pools(geometry: Geometry, pool: tuple) -> Geometry:
    rank = len(pool)
    return Geometry(geometry.output, pool, pool, ((0, 0),) * rank, (1,) * rank)


# ---- the fused operation


def _whole(image, kernel, bias, *, geometry, pool):
    results = convolution.convolution.bind(image, kernel, geometry=geometry)
    results = relu.bind(results + bias)
    if set(pool) == {1}:
        best, winners = results, jnp.zeros(results.shape, jnp.uint8)
    else:
        best, winners = pooling.largest.bind(results, geometry=_pools(geometry, pool))
    return [best, jnp.where(best > 0, winners, DEAD)]


def _results_of_whole(image, kernel, bias, *, geometry, pool):
    shape = (image.shape[0], *_pools(geometry, pool).output, kernel.shape[-1])
    return [(shape, image.dtype), (shape, jnp.dtype(jnp.uint8))]


convolution_relu_pool = primitive(
    "convolution_relu_pool",
    _results_of_whole,
    _whole,
    lambda image, kernel, bias, *, geometry, pool: geometry.attributes(
        image.shape[0], image.shape[-1], kernel.shape[-1], pool
    ),
    several=True,
)


# ---- its derivative: what a convolution gives in the places that were picked


def _picked(image, kernel, picks, *, geometry, pool):
    results = convolution._convolution(image, kernel, geometry=geometry)
    return pooling._pick(results, picks, geometry=_pools(geometry, pool))


def _picked_input_gradient(gradient, kernel, picks, *, geometry, pool):
    full = pooling._put(gradient, picks, geometry=_pools(geometry, pool))
    return convolution._input_gradient(full, kernel, geometry=geometry)


def _picked_kernel_gradient(image, gradient, picks, *, geometry, pool):
    full = pooling._put(gradient, picks, geometry=_pools(geometry, pool))
    return convolution._kernel_gradient(image, full, geometry=geometry)


picked = primitive(
    "picked_convolution",
    lambda image, kernel, picks, *, geometry, pool: (picks.shape, image.dtype),
    _picked,
    batched=(0, 2),
)
picked_input_gradient = primitive(
    "picked_input_gradient",
    lambda gradient, kernel, picks, *, geometry, pool: convolution._image_of(
        gradient, kernel, geometry=geometry
    ),
    _picked_input_gradient,
    lambda gradient, kernel, picks, *, geometry, pool: geometry.attributes(
        gradient.shape[0], kernel.shape[-2] * geometry.groups, kernel.shape[-1], pool
    ),
    batched=(0, 2),
)
picked_kernel_gradient = primitive(
    "picked_kernel_gradient",
    lambda image, gradient, picks, *, geometry, pool: convolution._kernel_of(
        image, gradient, geometry=geometry
    ),
    _picked_kernel_gradient,
    lambda image, gradient, picks, *, geometry, pool: geometry.attributes(
        image.shape[0], image.shape[-1], gradient.shape[-1], pool
    ),
    batched=(),
)


def _define_bilinear(made, of_first, of_second):
    """Derivatives of something linear in its first two operands, picks being the third."""
    ad.defjvp(
        made,
        lambda t, a, b, picks, **how: made.bind(t, b, picks, **how),
        lambda t, a, b, picks, **how: made.bind(a, t, picks, **how),
        None,
    )

    def transpose(ct, a, b, picks, **how):
        if ad.is_undefined_primal(a):
            zero = isinstance(ct, ad.Zero)
            return (ad.Zero(a.aval) if zero else of_first(ct, b, picks, **how)), None, None
        zero = isinstance(ct, ad.Zero)
        return None, (ad.Zero(b.aval) if zero else of_second(a, ct, picks, **how)), None

    ad.primitive_transposes[made] = transpose


_define_bilinear(picked, picked_input_gradient.bind, picked_kernel_gradient.bind)
_define_bilinear(
    picked_input_gradient,
    picked.bind,
    lambda gradient, ct, picks, **how: picked_kernel_gradient.bind(ct, gradient, picks, **how),
)
_define_bilinear(
    picked_kernel_gradient,
    lambda ct, gradient, picks, **how: picked_input_gradient.bind(gradient, ct, picks, **how),
    picked.bind,
)


# A bias goes to all places of its channel that relu has not cut; its gradient is the sum of theirs.


def _spread(bias, picks):
    wide = jnp.broadcast_to(bias, picks.shape)
    return jnp.where(picks != DEAD, wide, jnp.zeros_like(wide))


def _channel_sum(gradient, picks):
    alive = jnp.where(picks != DEAD, gradient, jnp.zeros_like(gradient))
    return jnp.sum(alive, range(picks.ndim - 1))


spread = primitive("spread", lambda bias, picks: (picks.shape, bias.dtype), _spread, batched=())
channel_sum = primitive(
    "channel_sum",
    lambda gradient, picks: (picks.shape[-1:], gradient.dtype),
    _channel_sum,
    lambda gradient, picks: {},
    batched=(),
)
for _one, _other in ((spread, channel_sum), (channel_sum, spread)):
    ad.defjvp(_one, lambda t, x, picks, _one=_one: _one.bind(t, picks), None)
    ad.primitive_transposes[_one] = lambda ct, x, picks, _other=_other: (
        ad.Zero(x.aval) if isinstance(ct, ad.Zero) else _other.bind(ct, picks),
        None,
    )


def _jvp(primals, tangents, **how):
    image, kernel, _ = primals
    image_tangent, kernel_tangent, bias_tangent = tangents
    result, picks = convolution_relu_pool.bind(*primals, **how)
    parts = []
    if not isinstance(image_tangent, ad.Zero):
        parts.append(picked.bind(image_tangent, kernel, picks, **how))
    if not isinstance(kernel_tangent, ad.Zero):
        parts.append(picked.bind(image, kernel_tangent, picks, **how))
    if not isinstance(bias_tangent, ad.Zero):
        parts.append(spread.bind(bias_tangent, picks))
    zeros = [ad.Zero(jax.typeof(r).to_tangent_aval()) for r in (result, picks)]
    return [result, picks], [sum(parts[1:], start=parts[0]) if parts else zeros[0], zeros[1]]


ad.primitive_jvps[convolution_relu_pool] = _jvp


# ---- finding it


def fuse(function):
    """`function`, which JAX must be tracing, with what can be fused in one operation.

    It takes and returns pytrees of arrays. Without the native kernels it stays as it is.
    """

    @functools.wraps(function)
    def fused(*args):
        leaves, structure = jax.tree.flatten(args)
        if not native().in_use or not any(isinstance(x, jax.core.Tracer) for x in leaves):
            return function(*args)

        def flat(*leaves):
            results = function(*jax.tree.unflatten(structure, leaves))
            # Masks ride along beside the tensors, and would be left behind.
            return results, [masking.get_mask(leaf) for leaf in jax.tree.leaves(results)]

        closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        rewritten = _rewrite(closed.jaxpr)
        if rewritten is not None:
            closed = core.ClosedJaxpr(rewritten, closed.consts)
        outputs = core.jaxpr_as_fun(closed)(*leaves)
        results, masks = jax.tree.unflatten(jax.tree.structure(shapes), outputs)
        for leaf, mask in zip(jax.tree.leaves(results), masks, strict=True):
            if mask is not None:
                masking.set_mask(leaf, mask)
        return results

    return fused


def _rewrite(jaxpr):
    """The program with fused operations; None if there is nothing to fuse."""
    readers: dict = {}
    for equation in jaxpr.eqns:
        for var in equation.invars:
            if not isinstance(var, core.Literal):
                readers.setdefault(var, []).append(equation)
    makers = {var: equation for equation in jaxpr.eqns for var in equation.outvars}
    results = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}

    def only_reader(equation, made_by):
        """The equation that alone reads the (first) result of one, if it is of the given kind."""
        var, found = equation.outvars[0], readers.get(equation.outvars[0], [])
        alone = len(found) == 1 and var not in results and found[0].primitive is made_by
        return found[0] if alone else None

    gone: set[int] = set()
    fused = {}
    for equation in jaxpr.eqns:
        if equation.primitive is not convolution.convolution:
            continue
        if equation.outvars[0].aval.dtype != jnp.float32:
            continue
        addition = only_reader(equation, lax.add_p)
        rectified = only_reader(addition, relu) if addition else None
        bias = _bias(addition, equation.outvars[0], makers) if rectified else None
        if rectified is None or bias is None:
            continue
        geometry = equation.params["geometry"]
        pool, last = (1,) * len(geometry.size), rectified
        pooled = only_reader(rectified, pooling.largest)
        if pooled and not readers.get(pooled.outvars[1]) and _is_plain(pooled.params["geometry"]):
            pool, last = pooled.params["geometry"].window, pooled
        gone.update(id(e) for e in (equation, addition, rectified))
        shape = last.outvars[0].aval.shape
        fused[id(last)] = last.replace(
            primitive=convolution_relu_pool,
            invars=[*equation.invars, bias],
            outvars=[last.outvars[0], core.DropVar(jax.core.ShapedArray(shape, jnp.uint8))],
            params={"geometry": geometry, "pool": pool},
        )
    if not fused:
        return None
    equations = [fused.get(id(e), e) for e in jaxpr.eqns if id(e) in fused or id(e) not in gone]
    return jaxpr.replace(eqns=equations)


def _bias(addition, result, makers):
    """What is added to the result of a convolution, if it is a vector of its channels."""
    others = [v for v in addition.invars if v is not result]
    if len(others) != 1 or isinstance(others[0], core.Literal) or others[0] not in makers:
        return None
    shape, maker = others[0].aval.shape, makers[others[0]]
    spread = maker.primitive in (lax.reshape_p, lax.broadcast_in_dim_p)
    if not spread or isinstance(maker.invars[0], core.Literal):
        return None
    vector = maker.invars[0]
    channels = result.aval.shape[-1]
    fits = shape[-1] == channels and math.prod(shape) == channels
    return vector if fits and vector.aval.shape == (channels,) else None


def _is_plain(geometry: Geometry) -> bool:
    """Whether windows neither overlap, nor leave gaps, nor reach beyond the image."""
    return geometry.strides == geometry.window and not any(map(any, geometry.padding))
