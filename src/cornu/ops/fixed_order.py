"""Sums in the same order with any number of threads, so that the same seed gives the same bits.

XLA splits long sums, and products of matrices with long sums, among the threads that it has. In a compiled
step the kernels compute these instead, in parts that depend on the sizes alone; short ones are left to
XLA's own loops, which keep the order.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from cornu.core.kernels import HALF_PRECISION, native, primitive
from cornu.ops import convolution

# With fewer values or products, a kernel call would take longer than XLA's own code.
_FEW = 1 << 13

# ---- sums, and the largest of many, which XLA's loops take long to find


def _kept(shape, axes) -> tuple:
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def _sizes(shape, axes) -> list[int]:
    """Of an array with axes side by side as one, and all that is before and after them as one each."""
    start, end = min(axes), max(axes) + 1
    return [math.prod(part) for part in (shape[:start], shape[start:end], shape[end:])]


def _reduction(name, plain):
    """The primitives of a reduction over axes side by side, which has a kernel, and over others."""
    along = primitive(
        name,
        lambda x, *, axes: (_kept(x.shape, axes), x.dtype),
        lambda x, *, axes: plain(x, axes),
        lambda x, *, axes: {"sizes": np.array(_sizes(x.shape, axes), np.int64)},
        batched=(),
    )

    def longest_first(x, *, axes):
        longest = _longest(x, axes)
        shorter = [
            axis - len(longest) * (axis > longest[0]) for axis in axes if axis not in longest
        ]
        # These reduce few values.
        return plain(along.bind(x, axes=longest), tuple(shorter))

    apart = primitive(
        f"{name}_apart",
        lambda x, *, axes: (_kept(x.shape, axes), x.dtype),
        longest_first,
        batched=(),
    )
    return along, apart


def _runs(axes) -> list[tuple]:
    """Axes, those side by side together."""
    runs: list[tuple] = []
    for axis in sorted(axes):
        if runs and runs[-1][-1] == axis - 1:
            runs[-1] += (axis,)
        else:
            runs.append((axis,))
    return runs


def _longest(x, axes) -> tuple:
    return max(_runs(axes), key=lambda run: math.prod(x.shape[axis] for axis in run))


def _is_long(x, axes) -> bool:
    if x.dtype != jnp.float32 or math.prod(x.shape) < _FEW:
        return False
    # XLA adds shorter rows as quickly, and fuses the computation of their values.
    outer, length, inner = _sizes(x.shape, _longest(x, axes))
    return length >= (512 if inner == 1 and outer > 1 else 16)


_REDUCTIONS = {
    lax.reduce_sum_p: _reduction("sum", jnp.sum),
    lax.reduce_max_p: _reduction("largest", jnp.max),
}


# ---- products of matrices


def _matrix(x, summed: tuple):
    """An array as a matrix whose rows, or else columns, are summed over; and whether it is columns."""
    kept = [axis for axis in range(x.ndim) if axis not in summed]
    terms = math.prod(x.shape[axis] for axis in summed)
    if [*summed, *kept] == [*range(x.ndim)]:
        return x.reshape(terms, -1), True
    return x.transpose(*kept, *summed).reshape(-1, terms), False


def _product(a, b, *, summed):
    shape = _shape_of_product(a, b, summed=summed)[0]
    (a, a_by_columns), (b, b_by_columns) = map(_matrix, (a, b), summed)
    if a_by_columns and b_by_columns:
        result = convolution.weight_gradient.bind(a, b, geometry=convolution.NOWHERE)
    elif a_by_columns:
        result = convolution.convolution.bind(b, a, geometry=convolution.NOWHERE).T
    elif b_by_columns:
        result = convolution.convolution.bind(a, b, geometry=convolution.NOWHERE)
    else:
        result = convolution.input_gradient.bind(a, b, geometry=convolution.NOWHERE)
    return result.reshape(shape)


def _shape_of_product(a, b, *, summed):
    pairs = zip((a, b), summed, strict=True)
    return tuple(n for x, axes in pairs for i, n in enumerate(x.shape) if i not in axes), a.dtype


_ordered_product = primitive("ordered_product", _shape_of_product, _product, batched=())


def _is_long_product(a, b, dimension_numbers, preferred_element_type) -> bool:
    summed, together = dimension_numbers
    if any(together) or a.dtype != b.dtype or a.dtype not in (jnp.float32, *HALF_PRECISION):
        return False
    if preferred_element_type not in (None, a.dtype):
        return False
    terms = math.prod(a.shape[axis] for axis in summed[0])
    sizes = [math.prod(x.shape) // terms if terms else 0 for x in (a, b)]
    # By a vector, XLA multiplies in order.
    return min(sizes) > 1 and terms > 1 and math.prod(sizes) * terms >= _FEW


# ---- finding them

# Whose parts are programs.
_CALLS = {"jit", "pjit", "closed_call", "while", "scan", "cond", "checkpoint", "shard_map"}
_CALLS |= {"custom_jvp_call", "custom_vjp_call"}


def _ordered(equation):
    avals, params = [v.aval for v in equation.invars], equation.params
    if equation.primitive in _REDUCTIONS and params["axes"] and _is_long(avals[0], params["axes"]):
        axes = tuple(params["axes"])
        made = _REDUCTIONS[equation.primitive][len(_runs(axes)) > 1]
        return equation.replace(primitive=made, params={"axes": axes})
    if equation.primitive is lax.dot_general_p:
        numbers, dtype = params["dimension_numbers"], params["preferred_element_type"]
        if _is_long_product(avals[0], avals[1], numbers, dtype):
            summed = numbers[0]
            return equation.replace(
                primitive=_ordered_product, params={"summed": tuple(map(tuple, summed))}
            )
    if equation.primitive.name in _CALLS:
        return equation.replace(params={name: _inside(part) for name, part in params.items()})
    return equation


def _inside(part):
    """A program, or several, with its long sums in fixed order; anything else as it is."""
    # First this one: from JAX 0.12 on, both are one class.
    if isinstance(part, core.Jaxpr):
        return part.replace(eqns=[_ordered(equation) for equation in part.eqns])
    if isinstance(part, core.ClosedJaxpr):
        return core.ClosedJaxpr(_inside(part.jaxpr), part.consts)
    if type(part) is tuple and any(isinstance(p, core.ClosedJaxpr) for p in part):
        return tuple(map(_inside, part))
    return part


def ordered(program):
    """A traced program with its long sums in fixed order; without the native kernels it stays as it is."""
    return _inside(program) if native().in_use else program


def in_fixed_order(function, then=lambda program, *args: program):
    """`function`, of pytrees of arrays, which JAX must be tracing, with its long sums in fixed order.

    `then(program, *arguments after the second)` may make another program of that.
    """

    @functools.wraps(function)
    def with_order(*args):
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        program = then(ordered(traced), *args[2:])
        results = core.jaxpr_as_fun(program)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return with_order


@functools.cache
def compiler_options() -> dict:
    """Options with which XLA adds short sums in its own loops, and not in its library's threads.

    Without the native kernels it would be in vain, for what XLA multiplies is split among threads, too.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"}
    try:
        if native().in_use:
            jax.jit(lambda x: x, compiler_options=options).lower(0).compile()
            return options
    except Exception:
        pass  # a version of XLA without that library
    return {}
