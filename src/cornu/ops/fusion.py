"""Convolution or normalization, relu and max-pooling as one operation, wherever they follow each other.

So are a bias and tanh or softmax after it.

`fuse` looks for them in a traced program, so it does not matter how a model was put together. They are
fused only if nothing else reads what is between them: a model that takes an intermediate output, or
penalizes it, gets the plain operations.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad

from cornu.activations import rectified as relu
from cornu.activations import smooth
from cornu.core import masking
from cornu.core.kernels import HALF_PRECISION, Split, native, primitive
from cornu.core.variable import taking_out
from cornu.ops import convolution, normalization, pooling
from cornu.ops.curves import biased_softmax, biased_tanh
from cornu.ops.windows import Geometry

# The argmax of a window whose maximum relu has set to zero.
DEAD = np.uint8(255)

# Until JAX 0.8 it was elsewhere.
_DropVar: Any = getattr(core, "DropVar", None) or jax.core.DropVar  # type: ignore[attr-defined]


def _pools(geometry: Geometry, pool: tuple) -> Geometry:
    rank = len(pool)
    return Geometry(geometry.output, pool, pool, ((0, 0),) * rank, (1,) * rank)


# ---- the fused operation


def _whole(image, kernel, bias, *, geometry, pool):
    results = convolution.convolution.bind(image, kernel, geometry=geometry)
    results = relu.bind(results + lax.broadcast_to_rank(bias, results.ndim))
    if math.prod(pool) == 1:
        best, argmax = results, jnp.zeros(results.shape, jnp.uint8)
    else:
        best, argmax = pooling.largest.bind(results, geometry=_pools(geometry, pool))
    return [best, jnp.where(best > 0, argmax, DEAD)]


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
    summed=lambda image, kernel, bias, *, geometry, pool: kernel.shape[-2],
)


# ---- its derivative: what a convolution gives at the argmax


def _convolution_at_argmax(image, kernel, argmax, *, geometry, pool):
    results = convolution._convolution(image, kernel, geometry=geometry)
    return pooling._at_argmax(results, argmax, geometry=_pools(geometry, pool))


def _relu_pool_input_gradient(gradient, kernel, argmax, *, geometry, pool):
    full = pooling._unpool(gradient, argmax, geometry=_pools(geometry, pool))
    return convolution._input_gradient(full, kernel, geometry=geometry)


def _relu_pool_weight_gradient(image, gradient, argmax, *, geometry, pool):
    full = pooling._unpool(gradient, argmax, geometry=_pools(geometry, pool))
    return convolution._weight_gradient(image, full, geometry=geometry)


convolution_at_argmax = primitive(
    "convolution_at_argmax",
    lambda image, kernel, argmax, *, geometry, pool: (argmax.shape, image.dtype),
    _convolution_at_argmax,
    batched=(0, 2),
)
relu_pool_input_gradient = primitive(
    "relu_pool_input_gradient",
    lambda gradient, kernel, argmax, *, geometry, pool: convolution._image_of(
        gradient, kernel, geometry=geometry
    ),
    _relu_pool_input_gradient,
    lambda gradient, kernel, argmax, *, geometry, pool: geometry.attributes(
        gradient.shape[0], kernel.shape[-2] * geometry.groups, kernel.shape[-1], pool
    ),
    batched=(0, 2),
)
relu_pool_weight_gradient = primitive(
    "relu_pool_weight_gradient",
    lambda image, gradient, argmax, *, geometry, pool: convolution._kernel_of(
        image, gradient, geometry=geometry
    ),
    _relu_pool_weight_gradient,
    lambda image, gradient, argmax, *, geometry, pool: geometry.attributes(
        image.shape[0], image.shape[-1], gradient.shape[-1], pool
    ),
    batched=(),
    split=Split((0, 0, 0), (None,)),
)


def _define_bilinear(made, of_first, of_second):
    """Derivatives of something linear in its first two operands, the argmax being the third."""
    ad.defjvp(
        made,
        lambda t, a, b, argmax, **how: made.bind(t, b, argmax, **how),
        lambda t, a, b, argmax, **how: made.bind(a, t, argmax, **how),
        None,
    )

    def transpose(ct, a, b, argmax, **how):
        if ad.is_undefined_primal(a):
            zero = isinstance(ct, ad.Zero)
            return (ad.Zero(a.aval) if zero else of_first(ct, b, argmax, **how)), None, None
        zero = isinstance(ct, ad.Zero)
        return None, (ad.Zero(b.aval) if zero else of_second(a, ct, argmax, **how)), None

    ad.primitive_transposes[made] = transpose


_define_bilinear(
    convolution_at_argmax, relu_pool_input_gradient.bind, relu_pool_weight_gradient.bind
)
_define_bilinear(
    relu_pool_input_gradient,
    convolution_at_argmax.bind,
    lambda gradient, ct, argmax, **how: relu_pool_weight_gradient.bind(ct, gradient, argmax, **how),
)
_define_bilinear(
    relu_pool_weight_gradient,
    lambda ct, gradient, argmax, **how: relu_pool_input_gradient.bind(gradient, ct, argmax, **how),
    convolution_at_argmax.bind,
)


# A bias goes to all outputs of its channel that relu has not cut; the bias gradient is the sum of theirs.


def _spread(bias, argmax):
    wide = jnp.broadcast_to(bias, argmax.shape)
    return jnp.where(argmax != DEAD, wide, jnp.zeros_like(wide))


def _bias_gradient(gradient, argmax):
    alive = jnp.where(argmax != DEAD, gradient, jnp.zeros_like(gradient))
    return jnp.sum(alive, range(argmax.ndim - 1))


spread = primitive("spread", lambda bias, argmax: (argmax.shape, bias.dtype), _spread, batched=())
bias_gradient = primitive(
    "bias_gradient",
    lambda gradient, argmax: (argmax.shape[-1:], gradient.dtype),
    _bias_gradient,
    lambda gradient, argmax: {},
    batched=(),
    split=Split((0, 0), (None,)),
)
for _one, _other in ((spread, bias_gradient), (bias_gradient, spread)):
    ad.defjvp(_one, lambda t, x, argmax, _one=_one: _one.bind(t, argmax), None)
    ad.primitive_transposes[_one] = lambda ct, x, argmax, _other=_other: (
        ad.Zero(x.aval) if isinstance(ct, ad.Zero) else _other.bind(ct, argmax),
        None,
    )


def _jvp(primals, tangents, **how):
    image, kernel, _ = primals
    image_tangent, kernel_tangent, bias_tangent = tangents
    result, argmax = convolution_relu_pool.bind(*primals, **how)
    parts = []
    if not isinstance(image_tangent, ad.Zero):
        parts.append(convolution_at_argmax.bind(image_tangent, kernel, argmax, **how))
    if not isinstance(kernel_tangent, ad.Zero):
        parts.append(convolution_at_argmax.bind(image, kernel_tangent, argmax, **how))
    if not isinstance(bias_tangent, ad.Zero):
        parts.append(spread.bind(bias_tangent, argmax))
    zeros = [ad.Zero(jax.typeof(r).to_tangent_aval()) for r in (result, argmax)]
    return [result, argmax], [sum(parts[1:], start=parts[0]) if parts else zeros[0], zeros[1]]


ad.primitive_jvps[convolution_relu_pool] = _jvp


# ---- normalization, relu and max-pooling


def _affine_relu_pool(x, center, factor, offset, *, geometry):
    results = relu.bind(normalization._affine(x, center, factor, offset))
    if math.prod(geometry.window) == 1:
        best, argmax = results, jnp.zeros(results.shape, jnp.uint8)
    else:
        best, argmax = pooling.largest.bind(results, geometry=geometry)
    return [best, jnp.where(best > 0, argmax, DEAD)]


affine_relu_pool = primitive(
    "affine_relu_pool",
    lambda x, *vectors, geometry: [
        pooling._result_of(x, geometry=geometry),
        (pooling._result_of(x, geometry=geometry)[0], jnp.dtype(jnp.uint8)),
    ],
    _affine_relu_pool,
    lambda x, *vectors, geometry: geometry.attributes(x.shape[0], x.shape[-1], x.shape[-1]),
    several=True,
)


def _affine_jvp(primals, tangents, *, geometry):
    x, center, factor, _ = primals
    tx, tc, tf, to = tangents
    result, argmax = affine_relu_pool.bind(*primals, geometry=geometry)
    zeros = [ad.Zero(jax.typeof(r).to_tangent_aval()) for r in (result, argmax)]
    parts = []
    if not isinstance(tx, ad.Zero):
        parts.append(
            normalization.at_argmax(tx, argmax, geometry) * lax.broadcast_to_rank(factor, tx.ndim)
        )
    if not all(isinstance(t, ad.Zero) for t in (tc, tf, to)):
        tc, tf, to = map(ad.instantiate_zeros, (tc, tf, to))
        parts.append(
            normalization.affine_at_argmax.bind(
                x, center, tf, to - factor * tc, argmax, geometry=geometry
            )
        )
    return [result, argmax], [sum(parts[1:], start=parts[0]) if parts else zeros[0], zeros[1]]


ad.primitive_jvps[affine_relu_pool] = _affine_jvp


# ---- convolution and normalization by constants, as in inference: the kernel is scaled instead


def _scaled_convolution(image, kernel, center, factor, offset, *bias, geometry, pool):
    center = center - bias[0] if bias else center
    kernel = kernel * lax.broadcast_to_rank(factor, kernel.ndim)
    offset = offset - center * factor
    if pool is None:
        results = convolution.convolution.bind(image, kernel, geometry=geometry)
        return results + lax.broadcast_to_rank(offset, results.ndim)
    return convolution_relu_pool.bind(image, kernel, offset, geometry=geometry, pool=pool)[0]


def _result_of_scaled(image, kernel, *vectors, geometry, pool):
    pools = _pools(geometry, pool or (1,) * len(geometry.size))
    return (image.shape[0], *pools.output, kernel.shape[-1]), image.dtype


scaled_convolution = primitive("scaled_convolution", _result_of_scaled, _scaled_convolution)


def _scaled_jvp(primals, tangents, **how):
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    return jax.jvp(functools.partial(_scaled_convolution, **how), tuple(primals), tangents)


ad.primitive_jvps[scaled_convolution] = _scaled_jvp


# ---- finding them

CURVES = {lax.tanh_p: biased_tanh, smooth: biased_softmax}


def fuse(function):
    """`function`, which JAX must be tracing, with what can be fused in one operation.

    It takes and returns pytrees of arrays. Without the native kernels it stays as it is.
    """

    @functools.wraps(function)
    def fused(*args):
        leaves, structure = jax.tree.flatten(args)
        if not native().in_use or not any(isinstance(x, jax.core.Tracer) for x in leaves):
            return function(*args)

        run, put = taking_out(function)

        def flat(*leaves):
            results, assigned = run(*jax.tree.unflatten(structure, leaves))
            # Masks ride along beside the tensors, and would be left behind.
            return results, [masking.get_mask(leaf) for leaf in jax.tree.leaves(results)], assigned

        closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        rewritten = _rewrite(closed.jaxpr)
        if rewritten is not None:
            closed = core.ClosedJaxpr(rewritten, closed.consts)
        outputs = core.jaxpr_as_fun(closed)(*leaves)
        results, masks, assigned = jax.tree.unflatten(jax.tree.structure(shapes), outputs)
        put(assigned)
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
    fused: dict[int, Any] = {}

    def replace(found, primitive, operands, **params):
        """Replace the operations `found` by one, at the position of the last."""
        gone.update(id(e) for e in found)
        last, result = found[-1], found[-1].outvars[0]
        argmax = _DropVar(jax.core.ShapedArray(result.aval.shape, jnp.uint8))
        results = [result, argmax] if primitive.multiple_results else [result]
        fused[id(last)] = last.replace(
            primitive=primitive, invars=operands, outvars=results, params=params
        )

    def relu_and_pool(equation, rank):
        """Relu after an equation, with the pooling after that if any, and the pooling's window."""
        rectified = only_reader(equation, relu)
        pooled = only_reader(rectified, pooling.largest) if rectified else None
        if pooled and not readers.get(pooled.outvars[1]) and _is_plain(pooled.params["geometry"]):
            return [rectified, pooled], pooled.params["geometry"].window
        return ([rectified], (1,) * rank) if rectified else ([], None)

    for equation in jaxpr.eqns:
        if id(equation) in gone or not equation.outvars:
            continue
        result = equation.outvars[0]
        if getattr(result.aval, "dtype", None) not in (jnp.float32, *HALF_PRECISION):
            continue
        rank = result.aval.ndim - 2
        if equation.primitive is convolution.convolution:
            found, operands = [equation], list(equation.invars)
            addition = only_reader(equation, lax.add_p)
            bias = _bias(addition, result, makers) if addition else None
            if bias is not None:
                found.append(addition)
            scaling = only_reader(found[-1], normalization.affine)
            if scaling and scaling.invars[0] is found[-1].outvars[0]:
                found.append(scaling)
                operands += scaling.invars[1:]
            if bias is not None:
                operands.append(bias)
            rest, pool = relu_and_pool(found[-1], rank)
            params = {"geometry": equation.params["geometry"], "pool": pool}
            if scaling in found:
                replace(found + rest, scaled_convolution, operands, **params)
            elif bias is not None and rest:
                replace(found + rest, convolution_relu_pool, operands, **params)
        elif equation.primitive is lax.add_p:
            for activation, curve in CURVES.items():
                curved = only_reader(equation, activation)
                plain = curved and curved.params.get("accuracy") is None
                for x in equation.invars if plain else ():
                    bias = _bias(equation, x, makers)
                    if bias is not None and id(equation) not in gone:
                        replace([equation, curved], curve, [x, bias])
        elif equation.primitive is normalization.affine and 1 <= rank <= 3:
            rest, pool = relu_and_pool(equation, rank)
            if rest:
                ones = (1,) * rank
                whole = Geometry(result.aval.shape[1:-1], ones, ones, ((0, 0),) * rank, ones)
                replace(
                    [equation, *rest],
                    affine_relu_pool,
                    equation.invars,
                    geometry=_pools(whole, pool),
                )
    if not fused:
        return None
    equations = [fused.get(id(e), e) for e in jaxpr.eqns if id(e) in fused or id(e) not in gone]
    return jaxpr.replace(eqns=equations)


def _bias(addition, result, makers):
    """What is added to a result, if it is a vector of its channels."""
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
