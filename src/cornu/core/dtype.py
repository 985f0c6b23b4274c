"""Dtypes: the default float, and how arrays of any kind become those that JAX takes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_FLOATS = ("bfloat16", "float16", "float32", "float64")
_ALLOWED = frozenset(
    {*_FLOATS, "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "bool"}
    | {"string", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"}
)

_settings: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
}


def floatx() -> str:
    """The default float dtype, `"float32"` unless changed.  Source: Keras: floatx.

    >>> import cornu
    >>> cornu.config.floatx()
    'float32'
    """
    return _settings["floatx"]


def set_floatx(value: str) -> None:
    """Set the default float dtype: `"bfloat16"`, `"float16"`, `"float32"` or `"float64"`."""
    if value not in _FLOATS:
        raise ValueError(f"Unknown `floatx` value: {value!r}. Expected one of {_FLOATS}.")
    _settings["floatx"] = value


def epsilon() -> float:
    """The small number that keeps a division or a logarithm finite, 1e-7 unless changed."""
    return _settings["epsilon"]


def set_epsilon(value: float) -> None:
    """Set what `epsilon()` returns."""
    _settings["epsilon"] = float(value)


def image_data_format() -> str:
    """`"channels_last"` (rows, columns, channels) or `"channels_first"`."""
    return _settings["image_data_format"]


def set_image_data_format(data_format: str) -> None:
    """Set the default of every layer's `data_format`."""
    _settings["image_data_format"] = standardize_data_format(data_format)


def standardize_data_format(data_format: str | None) -> str:
    """Check a `data_format` argument; None means the default."""
    if data_format is None:
        return image_data_format()
    data_format = str(data_format).lower()
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            "The `data_format` argument must be one of {'channels_first', 'channels_last'}. "
            f"Received: data_format={data_format!r}"
        )
    return data_format


@functools.cache
def _standardize(dtype) -> str:
    # Like Keras, on an engine that computes in 32 bits: "int" and "float" mean the 32-bit dtypes.
    special = {"int": "int32", "float": floatx(), int: "int32", float: floatx(), bool: "bool"}
    if dtype in special:
        return special[dtype]
    if isinstance(dtype, str):
        name = dtype
    elif type(dtype).__module__ == "torch":
        name = str(dtype).rpartition(".")[2]
    else:
        name = getattr(dtype, "name", None) or np.dtype(dtype).name
    if name not in _ALLOWED:
        raise ValueError(
            f"Invalid dtype: {dtype!r}. Expected one of {', '.join(sorted(_ALLOWED))}."
        )
    return name


def standardize_dtype(dtype=None) -> str:
    """The name of a dtype given as a name, a NumPy or a JAX dtype; None means `floatx()`.

    >>> import numpy as np
    >>> from cornu.core.dtype import standardize_dtype
    >>> standardize_dtype(np.float32)
    'float32'
    """
    if dtype is None:
        return floatx()
    if dtype in (float, "float"):
        return floatx()
    return _standardize(dtype)


@functools.cache
def is_float(dtype) -> bool:
    """Whether a dtype is a floating-point one."""
    return dtype != "string" and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)


def check_real(value, dtype) -> None:
    """Raise TypeError if a cast to `dtype` would drop the imaginary part of an array."""
    if str(value.dtype).startswith("complex") and not str(dtype).startswith("complex"):
        raise TypeError(
            f"Real numbers are expected here. Received: an array of dtype {value.dtype} and shape "
            f"{value.shape}. Pass its absolute value, or its real and imaginary parts as channels: "
            "np.concatenate([x.real, x.imag], axis=-1)."
        )


@functools.cache
def is_discrete(dtype) -> bool:
    """Whether a dtype holds integers or booleans."""
    return dtype != "string" and jnp.dtype(dtype).kind in "biu"


def is_sparse(value) -> bool:
    """Whether a value is a matrix of SciPy or JAX that keeps only what is not zero."""
    return is_sparse_of_jax(value) or type(value).__module__.startswith("scipy.sparse")


def is_sparse_of_jax(value) -> bool:
    """Whether a value is a matrix of JAX that keeps only what is not zero."""
    return type(value).__module__.startswith("jax.experimental.sparse")


def for_jax(value, dtype: str | None = None):
    """A NumPy array as JAX takes it, of a dtype if one is given; anything else unchanged.

    Of any byte order it becomes one of the machine's, a float of more than 64 bits one of 64.

    Raises ValueError where JAX would silently change values: an integer that 32 bits cannot hold,
    or an array with masked elements.

    >>> import numpy as np
    >>> from cornu.core.dtype import for_jax
    >>> for_jax(np.array([1, 2], ">i4")).dtype.isnative
    True
    """
    if not isinstance(value, np.ndarray | np.generic):
        if is_sparse(value):
            raise TypeError(
                f"Arrays are dense here. Received: a {type(value).__name__} of shape {value.shape}, which "
                "keeps only what is not zero. Pass `x.todense()`. (`fit`, `evaluate` and `predict` take "
                "matrices of scipy.sparse, and make each batch dense.)"
            )
        return value
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise ValueError(
                "An array with masked elements (numpy.ma) was passed, and what is behind its mask would "
                "count. Fill the gaps (x.filled(0)), or pass the mask as a mask or as `sample_weight`."
            )
        value = value.data
    if dtype is not None and is_float(dtype) and value.dtype.kind in "biuf":
        return value.astype(jnp.dtype(dtype), copy=False)
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    kind, kept = value.dtype.kind, jax.dtypes.canonicalize_dtype
    if kind == "f" and value.dtype.itemsize > 8:
        return value.astype(np.float64)
    if kind in "iu" and kept(value.dtype) != value.dtype:
        limits = np.iinfo(kept(value.dtype))
        if value.size and (value.max() > limits.max or value.min() < limits.min):
            wrong = value.max() if value.max() > limits.max else value.min()
            raise ValueError(
                f"An array of {value.dtype.name} holds {wrong}, which does not fit the 32 bits that JAX "
                "keeps of it. Convert it to floats (x.astype('float32')), number its values anew "
                "(np.unique(x, return_inverse=True)[1]), or set JAX_ENABLE_X64=1 for 64 bits."
            )
    return value


def as_array(value, dtype: str | None = None) -> jax.Array:
    """`jax.numpy.asarray` for whatever a user may pass: see `for_jax`."""
    return jnp.asarray(for_jax(value, dtype), dtype)


def new_array(value, dtype: str | None = None) -> jax.Array:
    """`jax.numpy.array`: a copy, of an array of NumPy without compiling a program for its shape."""
    value = for_jax(value, dtype)
    is_plain = type(value) is np.ndarray and value.dtype.kind in "biufcV"
    if is_plain and value.dtype == jnp.dtype(dtype or value.dtype):
        # JAX may take the memory as it lies.
        return jax.device_put(value.copy())
    return jnp.array(value, dtype)


def at_least_single(dtype):
    """The dtype in which sums of numbers of a dtype are kept: `float64` for itself, else `float32`."""
    return jnp.dtype("float64" if dtype == jnp.float64 else "float32")


def in_single(value):
    """Floats of at least 32 bits: of 16, `1 - epsilon()` is 1 and squares are infinite."""
    value = as_array(value)
    if is_discrete(value.dtype):
        return value.astype(floatx())
    return value.astype(at_least_single(value.dtype))


def widened(value):
    """Integers of few bits as `int32`: in a user's function, `1 - y_true` of bytes would wrap."""
    value = as_array(value)
    few = value.dtype.kind in "iu" and value.dtype.itemsize < 4
    return value.astype(jnp.int32) if few else value
