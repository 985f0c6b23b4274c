"""Settings and dtypes under Keras' names, and the functions of `K` that Keras 2 scripts use.

New code finds the functions in `cornu.ops`.  Source: Keras: keras.backend; Keras 2: Backend utilities.

>>> from cornu import backend as K
>>> K.image_data_format(), float(K.mean(K.square([1.0, 3.0])))
('channels_last', 5.0)
"""

import warnings

import jax.numpy as jnp
import numpy as np

from cornu import ops, random
from cornu.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from cornu.core import naming
from cornu.core.dtype import is_float, standardize_dtype
from cornu.core.old_arguments import takes_old_arguments
from cornu.core.symbolic import is_keras_tensor
from cornu.core.variable import Variable
from cornu.utils import clear_session

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]


def get_uid(prefix="") -> int:
    """How often this was called for a prefix, this time included."""
    return naming.next_number(prefix)


def is_float_dtype(dtype) -> bool:
    """Whether a dtype is one of floats."""
    return is_float(standardize_dtype(dtype))


def is_int_dtype(dtype) -> bool:
    """Whether a dtype is one of integers, with or without sign."""
    return standardize_dtype(dtype).startswith(("int", "uint"))


def result_type(*dtypes) -> str:
    """The dtype of a result of arrays of these dtypes; `int` and `float` stand for Python's numbers.

    >>> from cornu import backend
    >>> backend.result_type("int32", "float16"), backend.result_type("bfloat16", float)
    ('float16', 'bfloat16')
    """
    if not dtypes:
        return floatx()
    return str(jnp.result_type(*(floatx() if dtype is None else dtype for dtype in dtypes)))


# Keras 2's names that `cornu.ops` has with the same arguments.
_SAME = frozenset(
    "abs all any arange argmax argmin binary_crossentropy cast categorical_crossentropy clip "
    "concatenate cos cumprod cumsum dot elu equal exp expand_dims eye greater greater_equal "
    "hard_sigmoid in_top_k less less_equal log logsumexp max maximum mean min minimum not_equal "
    "one_hot ones ones_like prod relu reshape round shape sigmoid sign sin softmax softplus softsign "
    "sparse_categorical_crossentropy sqrt square squeeze stack std stop_gradient sum tanh tile "
    "transpose var zeros zeros_like".split()
)
_RENAMED = {"pow": "power", "permute_dimensions": "transpose", "reverse": "flip"}


def _flatten(x):
    return ops.reshape(x, (-1,))


def _batch_flatten(x):
    return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))


def _set_value(x, value):
    x.assign(value)


@takes_old_arguments(std="stddev")
def _random_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    return random.normal(shape, mean, stddev, dtype, seed)


@takes_old_arguments(low="minval", high="maxval")
def _random_uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    return random.uniform(shape, minval, maxval, dtype, seed)


def _random_bernoulli(shape, p=0.0, dtype=None, seed=None):
    return ops.cast(random.uniform(shape, seed=seed) < p, dtype or floatx())


def _batch_dot(x, y, axes=None):
    """Sums over one axis of `x` and one of `y`, for each example of a batch."""
    if axes is None:
        axes = (x.ndim - 1, y.ndim - 1 if y.ndim == 2 else y.ndim - 2)
    first, second = (axes, axes) if isinstance(axes, int) else axes
    first, second = first % x.ndim, second % y.ndim
    if 0 in (first, second) or x.shape[first] != y.shape[second]:
        raise ValueError(
            f"`batch_dot` sums over an axis of each, not that of the batch, and both must be of one size. "
            f"Received shapes {tuple(x.shape)} and {tuple(y.shape)}, axes={axes}. (Before Keras 2.3, more "
            "axes than the first could be those of the batch: use `ops.einsum`.)"
        )
    # Letters of the axes: `a` is the batch, `z` what is summed over.
    in_x = "a" + "bcdefgh"[: x.ndim - 1]
    in_y = "a" + "nopqrst"[: y.ndim - 1]
    in_x = in_x.replace(in_x[first], "z")
    in_y = in_y.replace(in_y[second], "z")
    out = "a" + (in_x + in_y).replace("a", "").replace("z", "")
    result = ops.einsum(f"{in_x},{in_y}->{out}", x, y)
    return ops.expand_dims(result, 1) if result.ndim == 1 else result


def _conv(x, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    return ops.conv(x, kernel, strides, padding, data_format, dilation_rate)


def _pool(x, pool_size, strides=1, padding="valid", data_format=None, pool_mode="max"):
    pool = {"max": ops.max_pool, "avg": ops.average_pool}[pool_mode]
    return pool(x, pool_size, strides, padding, data_format)


def _set_image_dim_ordering(dim_ordering):
    format = {"th": "channels_first", "tf": "channels_last"}.get(dim_ordering)
    if format is None:
        raise ValueError(f"`dim_ordering` must be 'th' or 'tf'. Received: {dim_ordering!r}")
    warnings.warn(
        f"`set_image_dim_ordering({dim_ordering!r})` is an old spelling; use "
        f"`set_image_data_format({format!r})` instead.",
        stacklevel=2,
    )
    set_image_data_format(format)


_CHANGED = {
    "batch_dot": _batch_dot,
    "batch_flatten": _batch_flatten,
    "constant": lambda value, dtype=None, shape=None, name=None: (
        ops.full(shape, value, dtype) if shape else ops.convert_to_tensor(value, dtype or floatx())
    ),
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "count_params": lambda x: int(np.prod(x.shape)),
    "dtype": lambda x: standardize_dtype(x.dtype),
    "eval": np.asarray,
    "flatten": _flatten,
    "gather": lambda reference, indices: ops.take(reference, indices, axis=0),
    "get_value": np.asarray,
    "image_dim_ordering": lambda: "tf" if image_data_format() == "channels_last" else "th",
    "int_shape": lambda x: tuple(x.shape),
    "l2_normalize": lambda x, axis=None: ops.normalize(x, axis=-1 if axis is None else axis),
    "map_fn": lambda fn, elems, name=None, dtype=None: ops.map(fn, elems),
    "ndim": lambda x: len(x.shape),
    "pool2d": _pool,
    "pool3d": _pool,
    "random_bernoulli": _random_bernoulli,
    "random_binomial": _random_bernoulli,
    "random_normal": _random_normal,
    "random_uniform": _random_uniform,
    "repeat": lambda x, n: ops.repeat(ops.expand_dims(x, 1), n, axis=1),
    "repeat_elements": lambda x, rep, axis: ops.repeat(x, rep, axis=axis),
    "set_image_dim_ordering": _set_image_dim_ordering,
    "set_value": _set_value,
    "truncated_normal": lambda shape, mean=0.0, stddev=1.0, dtype=None, seed=None: (
        random.truncated_normal(shape, mean, stddev, dtype, seed)
    ),
    "update": _set_value,
    "update_add": lambda x, increment: x.assign_add(increment),
    "update_sub": lambda x, decrement: x.assign_sub(decrement),
    "variable": lambda value, dtype=None, name=None: Variable(value, dtype=dtype, name=name),
}


def __getattr__(name):
    if name in _CHANGED:
        return _CHANGED[name]
    if name in _SAME or name in _RENAMED:
        return getattr(ops, _RENAMED.get(name, name))
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"cornu.backend has no {name!r}. Look for it in cornu.ops, cornu.random and cornu.config, or "
        "write it with jax.numpy."
    )
