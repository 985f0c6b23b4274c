"""Arrays, dtypes and control flow.  Source: Keras: Core ops."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import is_sparse, is_sparse_of_jax, standardize_dtype
from cornu.core.operation import operation
from cornu.core.symbolic import KerasTensor, UnknownSize, known_sizes, plain


def shape(x) -> tuple:
    """The sizes of an array; None in it where a symbolic tensor's is not known."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def dtype(x) -> str:
    """The name of an array's dtype."""
    return standardize_dtype(x.dtype)


def size(x):
    """The number of elements; None where a symbolic tensor's is not known."""
    sizes = shape(x)
    return None if None in sizes else int(np.prod(sizes))


def ndim(x) -> int:
    """The number of axes."""
    return len(shape(x))


def is_tensor(x) -> bool:
    """Whether something is an array of JAX, or a sparse matrix of it."""
    return isinstance(x, jax.Array) or is_sparse_of_jax(x)


def convert_to_numpy(x) -> np.ndarray:
    """An array of NumPy with the same elements, those that a sparse matrix leaves out too."""
    return np.array(x.todense() if is_sparse(x) else x)


@registry.register("op", "convert_to_tensor", module="keras.ops")
def convert_to_tensor(x, dtype=None, sparse=None, ragged=None):
    """A JAX array with the same elements, of the given dtype; of a sparse matrix with `sparse=False`."""
    if sparse or ragged:
        raise ValueError("Arrays are dense: leave `sparse` and `ragged` at None or False.")
    if sparse is False and is_sparse(x):
        x = x.todense()
    if isinstance(x, KerasTensor):
        return x if dtype is None or standardize_dtype(dtype) == x.dtype else cast(x, dtype)
    x = plain(x)
    if dtype is None and isinstance(x, float):
        dtype = standardize_dtype(None)
    return jnp.asarray(x, None if dtype is None else standardize_dtype(dtype))


@operation
def cast(x, dtype):
    """The same values in another dtype."""
    return jnp.asarray(x).astype(standardize_dtype(dtype))


@operation
def saturate_cast(x, dtype):
    """The values in another dtype, those beyond its range clipped to it."""
    x, dtype = jnp.asarray(x), standardize_dtype(dtype)
    if dtype == "bool":
        return x != 0
    exact = jnp.issubdtype(dtype, jnp.integer)
    limits = jnp.iinfo(dtype) if exact else jnp.finfo(dtype)
    if jnp.issubdtype(x.dtype, jnp.integer):
        if not exact:
            return x.astype(dtype)
        own = jnp.iinfo(x.dtype)
        ends = max(int(limits.min), own.min), min(int(limits.max), own.max)
        return jnp.clip(x, *(np.array(end, x.dtype) for end in ends)).astype(dtype)
    low, high = (np.array(limit, x.dtype) for limit in (limits.min, limits.max))
    if exact and float(high) > int(limits.max):
        # The largest integer may fall between two values of the dtype.
        high = np.nextafter(high, np.array(0, x.dtype))
    return jnp.clip(x, low, high).astype(dtype)


@operation
def slice(inputs, start_indices, shape):
    """The part of an array that begins at `start_indices`; -1 in the shape means all the rest."""
    inputs = jnp.asarray(inputs)
    if not len(start_indices) == len(shape) == inputs.ndim:
        raise ValueError(
            "The number of dimensions in `inputs` must match that in `start_indices` and `shape`. "
            f"Received: inputs.shape={inputs.shape}, {len(start_indices)} start indices, "
            f"shape={tuple(shape)}"
        )
    sizes = [
        n - start if m == -1 else m
        for n, start, m in zip(inputs.shape, start_indices, shape, strict=True)
    ]
    return jax.lax.dynamic_slice(inputs, start_indices, sizes)


@operation
def slice_update(inputs, start_indices, updates):
    """The array with the part that begins at `start_indices` replaced."""
    return jax.lax.dynamic_update_slice(jnp.asarray(inputs), jnp.asarray(updates), start_indices)


@operation
def scatter(indices, values, shape):
    """Zeros with values added at the given indices."""
    values = jnp.asarray(values)
    index = tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))
    return jnp.zeros(shape, values.dtype).at[index].add(values)


@operation
def scatter_update(inputs, indices, updates, reduction=None):
    """The array with values set, or combined by `add`, `max`, `min` or `mul`, at the indices."""
    at = jnp.asarray(inputs).at[tuple(jnp.transpose(jnp.asarray(indices)))]
    names = {None: "set", "add": "add", "max": "max", "min": "min", "mul": "multiply"}
    if reduction not in names:
        raise ValueError(f"`reduction` must be one of {list(names)}. Received: {reduction!r}")
    return getattr(at, names[reduction])(updates)


@operation
def unstack(x, num=None, axis=0):
    """The list of an array's parts along an axis."""
    x = jnp.asarray(x)
    sizes = known_sizes(x.shape)
    if num is None and sizes[axis] is None:
        raise UnknownSize(
            f"The number of parts along axis {axis} of shape {sizes} is not known: give `num`."
        )
    if num not in (None, x.shape[axis]):
        raise ValueError(f"Axis {axis} of shape {x.shape} does not have num={num} parts.")
    return [jax.lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]


@operation
def stop_gradient(variable):
    """The same value, through which no gradient goes."""
    return jax.lax.stop_gradient(variable)


@operation
def cond(pred, true_fn, false_fn):
    """`true_fn()` or `false_fn()`; only one of them is computed."""
    return jax.lax.cond(pred, true_fn, false_fn)


@operation
def switch(index, branches, *operands):
    """The branch number `index`, called on the operands."""
    return jax.lax.switch(index, branches, *operands)


@operation
def scan(f, init, xs=None, length=None, reverse=False, unroll=1):
    """`carry, y = f(carry, x)` along the first axis: the last carry and all the `y`."""
    return jax.lax.scan(f, init, xs, length, reverse, unroll)


@operation
def associative_scan(f, elems, reverse=False, axis=0):
    """All prefixes of a sequence combined by an associative function."""
    return jax.lax.associative_scan(f, elems, reverse, axis)


@operation
def map(f, xs):
    """`f` on each entry along the first axis, one after the other."""
    return jax.lax.map(f, xs)


@operation
def vectorized_map(function, elements):
    """`function` on each entry along the first axis, all at once."""
    return jax.vmap(function)(elements)


@operation
def fori_loop(lower, upper, body_fun, init_val):
    """`value = body_fun(i, value)` for each `i`."""
    return jax.lax.fori_loop(lower, upper, body_fun, init_val)


@operation
def while_loop(cond, body, loop_vars, maximum_iterations=None):
    """`loop_vars = body(*loop_vars)` as long as `cond(*loop_vars)` holds."""
    several = isinstance(loop_vars, (tuple, list))

    def go_on(state):
        count, values = state
        again = cond(*values)
        return again if maximum_iterations is None else again & (count < maximum_iterations)

    def step(state):
        count, values = state
        values = body(*values)
        return count + 1, tuple(values) if several else (values,)

    start = tuple(loop_vars) if several else (loop_vars,)
    _, values = jax.lax.while_loop(go_on, step, (0, start))
    return values if several else values[0]


def custom_gradient(f):
    """Decorator for a function that returns its result and its own gradient function."""
    inner = jax.custom_gradient(f)
    return lambda *args, **kwargs: inner(*plain(args), **plain(kwargs))


def vectorize(pyfunc, *, excluded=None, signature=None):
    """A function of scalars as a function of arrays."""
    return jnp.vectorize(pyfunc, excluded=excluded or (), signature=signature)
