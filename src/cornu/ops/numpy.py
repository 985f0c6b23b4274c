"""NumPy's functions under Keras' names for their arguments.  Source: Keras: NumPy ops."""

import jax
import jax.numpy as jnp

from cornu.core.dtype import floatx, standardize_dtype
from cornu.core.operation import operation
from cornu.ops.core import ndim, size, vectorize  # noqa: F401
from cornu.ops.public import from_table


def _sequence(target):
    """For functions that take several arrays in one list."""

    def function(xs, **kwargs):
        return target([jnp.asarray(x) for x in xs], **kwargs)

    function.__name__, function.__module__ = target.__name__, "jax.numpy"
    return function


def _of_floats(target):
    """For functions whose results are floats, even for integers."""

    def function(x):
        x = jnp.asarray(x)
        return target(x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx()))

    function.__name__, function.__module__ = target.__name__, target.__module__
    return function


def _full(shape, fill_value, dtype=None):
    return jnp.full(shape, fill_value, standardize_dtype(dtype))


_full.__name__, _full.__module__ = "full", "jax.numpy"


class _Named:
    # Without a dtype it is `floatx()`, as of `zeros` and `ones`, whatever the number's is.
    full = _full
    logsumexp = jax.nn.logsumexp
    slogdet = jnp.linalg.slogdet


class _Floats:
    ceil, floor, erf, erfc, erfinv, rsqrt = map(
        _of_floats,
        (jnp.ceil, jnp.floor, jax.lax.erf, jax.lax.erfc, jax.lax.erf_inv, jax.lax.rsqrt),
    )


class _Lists:
    concatenate, stack, hstack, vstack, dstack = map(
        _sequence, (jnp.concatenate, jnp.stack, jnp.hstack, jnp.vstack, jnp.dstack)
    )


_UNARY = """
    abs absolute angle arccos arccosh arcsin arcsinh arctan arctanh bitwise_invert bitwise_not cbrt
    ceil conj conjugate copy cos cosh deg2rad exp exp2 expm1 fabs fliplr flipud floor i0 imag
    isfinite isinf isnan isneginf isposinf isreal log log10 log1p log2 logical_not negative nonzero
    rad2deg ravel real reciprocal sign signbit sin sinc sinh sqrt square tan tanh trunc corrcoef
    erf erfc erfinv rsqrt
"""
_BINARY = """
    add arctan2 divide dot equal floor_divide fmax fmin fmod gcd greater greater_equal heaviside
    hypot inner kron lcm ldexp less less_equal logaddexp logaddexp2 logical_and logical_or
    logical_xor maximum minimum mod multiply nextafter not_equal outer power subtract
    true_divide vdot
"""
_BITS = """
    bitwise_and bitwise_left_shift=left_shift bitwise_or bitwise_right_shift=right_shift bitwise_xor
    left_shift right_shift
"""
_REDUCTIONS = """
    all amax amin any argmax argmin logsumexp mean median nanargmax nanargmin nanmax nanmean
    nanmedian nanmin nanprod nanstd nansum nanvar ptp std sum var
"""
_TABLE = [
    (lambda x: 0, _UNARY),
    (lambda x1, x2: 0, _BINARY),
    (lambda x, y: 0, _BITS),
    (lambda x, axis=None, keepdims=False: 0, _REDUCTIONS),
    (lambda x, axis=None, keepdims=False, initial=None: 0, "max min"),
    (lambda x, axis=None, keepdims=False, dtype=None: 0, "prod"),
    (lambda x, axis=None, dtype=None: 0, "cumsum cumprod nancumsum nancumprod"),
    (
        lambda x, q, axis=None, method="linear", keepdims=False: 0,
        "quantile percentile nanquantile nanpercentile",
    ),
    (lambda x, axis=None: 0, "count_nonzero flip squeeze"),
    (lambda x, axis=None, weights=None: 0, "average"),
    (lambda x, axis=-1: 0, "sort argsort"),
    (lambda x, kth, axis=-1: 0, "argpartition"),
    (lambda x, axis: 0, "expand_dims"),
    (lambda x, axis1, axis2: 0, "swapaxes"),
    (lambda x, source, destination: 0, "moveaxis"),
    (lambda x, axes=None: 0, "transpose"),
    (lambda x, newshape: 0, "reshape"),
    (lambda x, shape: 0, "broadcast_to"),
    (lambda x, repeats, axis=None: 0, "repeat"),
    (lambda x, repeats: 0, "tile"),
    (lambda x, shift, axis=None: 0, "roll"),
    (lambda array, k=1, axes=(0, 1): 0, "rot90"),
    (lambda x, indices, axis=None: 0, "take take_along_axis"),
    (lambda x, indices_or_sections, axis=0: 0, "split array_split"),
    (lambda x, indices_or_sections: 0, "hsplit vsplit dsplit"),
    (lambda xs, axis=0: 0, "concatenate"),
    (lambda x, axis=0: 0, "stack"),
    (lambda xs: 0, "hstack vstack dstack"),
    (lambda x1, x2, axis=None: 0, "append"),
    (lambda x1, x2, axes=2: 0, "tensordot"),
    (lambda x1, x2, mode="valid": 0, "correlate"),
    (lambda x1, x2, axisa=-1, axisb=-1, axisc=-1, axis=None: 0, "cross"),
    (lambda x1, x2, rtol=1e-05, atol=1e-08, equal_nan=False: 0, "isclose allclose"),
    (lambda x1, x2, assume_unique=False, invert=False: 0, "isin"),
    (lambda x, x_min, x_max: 0, "clip"),
    (lambda x, decimals=0: 0, "round"),
    (lambda x, nan=0.0, posinf=None, neginf=None: 0, "nan_to_num"),
    (lambda x, k=0: 0, "diag diagflat tril triu"),
    (lambda x, offset=0, axis1=0, axis2=1: 0, "diagonal trace"),
    (lambda a, n=1, axis=-1: 0, "diff"),
    (lambda x, bins: 0, "digitize"),
    (lambda x, bins=10, range=None: 0, "histogram"),
    (lambda sorted_sequence, values, side="left": 0, "searchsorted"),
    (lambda y, x=None, dx=1.0, axis=-1: 0, "trapezoid"),
    (lambda x, N=None, increasing=False: 0, "vander"),
    (lambda indices, shape: 0, "unravel_index"),
    (lambda shape, dtype=None: 0, "zeros ones empty"),
    (lambda x, dtype=None: 0, "zeros_like ones_like empty_like array"),
    (lambda shape, fill_value, dtype=None: 0, "full"),
    (lambda x, fill_value, dtype=None: 0, "full_like"),
    (lambda start, stop=None, step=None, dtype=None: 0, "arange"),
    (
        lambda start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0: 0,
        "linspace",
    ),
    (
        lambda start, stop, num=50, endpoint=True, base=10, dtype=None, axis=0: 0,
        "logspace",
    ),
    (lambda start, stop, num=50, endpoint=True, dtype=None, axis=0: 0, "geomspace"),
    (lambda N, M=None, k=0, dtype=None: 0, "eye tri"),
    (lambda n, dtype=None: 0, "identity"),
    (lambda x: 0, "slogdet bartlett blackman hamming hanning"),
    (lambda x, beta: 0, "kaiser"),
]
globals().update(from_table(_TABLE, _Lists, _Floats, _Named, jnp, jax.lax))


@operation
def where(condition, x1=None, x2=None):
    """`x1` where the condition holds, else `x2`; the indices where it holds if neither is given."""
    return jnp.where(jnp.asarray(condition), x1, x2)


@operation
def select(condlist, choicelist, default=0):
    """From the first of the choices whose condition holds."""
    return jnp.select([jnp.asarray(c) for c in condlist], choicelist, default)


@operation
def pad(x, pad_width, mode="constant", constant_values=None):
    """A border around an array: `constant`, `edge`, `reflect`, `symmetric` …"""
    if constant_values is None:
        return jnp.pad(jnp.asarray(x), pad_width, mode=mode)
    if mode != "constant":
        raise ValueError(
            "Argument `constant_values` can only be provided when `mode == 'constant'`. "
            f"Received: mode={mode}"
        )
    return jnp.pad(jnp.asarray(x), pad_width, mode=mode, constant_values=constant_values)


def _dtype_of_sums(*arrays):
    """Of products of 8 bits alone, 32 bits: they would overflow. Else JAX's."""
    return jnp.int32 if {x.dtype.name for x in arrays} == {"int8"} else None


@operation
def matmul(x1, x2):
    """The product of matrices; of two of int8, in int32."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    return jnp.matmul(x1, x2, preferred_element_type=_dtype_of_sums(x1, x2))


@operation
def einsum(subscripts, *operands, **kwargs):
    """Products of arrays summed over indices, in Einstein's notation; of int8 alone, in int32."""
    operands = tuple(jnp.asarray(x) for x in operands)
    kwargs.setdefault("preferred_element_type", _dtype_of_sums(*operands))
    return jnp.einsum(subscripts, *operands, **kwargs)


@operation
def meshgrid(*x, indexing="xy"):
    """The coordinates of a grid."""
    return jnp.meshgrid(*x, indexing=indexing)


@operation
def bincount(x, weights=None, minlength=0, sparse=False):
    """How often each integer is there."""
    if sparse:
        raise ValueError("`sparse=True` is not supported: arrays are dense. Leave it False.")
    x = jnp.asarray(x).astype("int32")
    if x.ndim < 2:
        return jnp.bincount(x, weights=weights, minlength=minlength)
    # Rows are counted each by itself, up to the largest integer in any of them.
    length = int(jnp.maximum(jnp.max(x, initial=-1) + 1, minlength))
    weights = jnp.ones(x.shape, "int32") if weights is None else jnp.asarray(weights)
    return jax.vmap(lambda row, weight: jnp.bincount(row, weight, length=length))(x, weights)


@operation
def divide_no_nan(x1, x2):
    """`x1 / x2`, and zero where `x2` is zero."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    return jnp.where(x2 == 0, 0, x1 / jnp.where(x2 == 0, 1, x2))


@operation
def get_item(x, key):
    """`x[key]`; a list counts as a tuple, which is what it becomes in a file."""
    return x[tuple(key) if isinstance(key, list) else key]


@operation
def view(x, dtype=None):
    """The same bits as numbers of another dtype."""
    x = jnp.asarray(x)
    return x if dtype is None else x.view(standardize_dtype(dtype))


@operation
def unique(
    x,
    sorted=True,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    size=None,  # noqa: F811
    fill_value=None,
):
    """What is there, each once, in ascending order whatever `sorted` says.

    Args:
        x: an array.
        sorted: may be False: in ascending order is one of all orders.
        return_index, return_inverse, return_counts: whether to return where each is first, which one each
            element of `x` is, and how often each is there.
        axis: the axis whose parts are compared; None for all elements.
        size: how many there are in the result; needed in compiled functions.
        fill_value: what fills the result up to `size`; default: the least.
    """
    del sorted
    return jnp.unique(
        jnp.asarray(x),
        return_index=return_index,
        return_inverse=return_inverse,
        return_counts=return_counts,
        axis=axis,
        size=size,
        fill_value=fill_value,
    )
