"""What users pass as data, as numeric arrays."""

import functools
import math
import reprlib
from typing import Any

import jax
import numpy as np

from cornu.core.dtype import floatx, for_jax, is_float, standardize_dtype

# `x`, `y` and `sample_weight`.
Parts = tuple[Any, Any, Any]


def in_memory(x) -> bool:
    """Whether data are arrays, or a structure of them, and not something that makes batches."""
    leaves = jax.tree.leaves(x, is_leaf=is_leaf)
    return bool(leaves) and all(_is_array(leaf) for leaf in leaves)


def converted(x, y=None, sample_weight=None) -> Parts:
    """What the user gave: data in memory as `to_arrays` makes them, anything else as it is."""
    return to_arrays(x, y, sample_weight) if in_memory(x) else (x, y, sample_weight)


def to_arrays(x, y=None, sample_weight=None) -> Parts:
    """Each part with every array in it, of whatever kind, as a NumPy, JAX or scipy.sparse array.

    Their dtypes are unchanged: arrays in files are not read here.

    >>> from cornu.data.arrays import to_arrays
    >>> to_arrays([[1.0, 2.0]], {"a": [3]}, None)
    (array([[1., 2.]]), {'a': array([3])}, None)
    """

    def arrays_of(part, name):
        return jax.tree.map(functools.partial(_to_array, name=name), part, is_leaf=is_leaf)

    return arrays_of(x, "x"), arrays_of(y, "y"), arrays_of(sample_weight, "sample_weight")


def is_leaf(value) -> bool:
    """Whether a value is one array, or whatever else, and not a structure of several."""
    return _is_numbers(value) or not (value is None or isinstance(value, dict | list | tuple))


def _is_array(value) -> bool:
    return (
        hasattr(value, "__array__")
        or (hasattr(value, "shape") and hasattr(value, "dtype"))
        or _is_numbers(value)
    )


def _is_numbers(value) -> bool:
    """Whether a value is a list of numbers, or of such lists, and not a list of arrays."""
    if not isinstance(value, list | tuple):
        return False
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, int | float | bool | np.generic)


def _is_pandas(value) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "to_numpy")


def _to_array(value, name: str):
    """A numeric array: of NumPy, of JAX, a sparse one of scipy's, or one in a file.

    Raises ValueError, which calls it `name`, if it is not numeric.
    """
    given = value
    if isinstance(value, StoredRows):
        return value
    if _is_pandas(value):
        value = _from_pandas(value)
    elif hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    elif hasattr(value, "tocsr"):
        value = value.tocsr()
    elif hasattr(value, "todense"):
        value = value.todense()
    elif hasattr(value, "chunks") and hasattr(value, "dtype"):
        # Of h5py, zarr or dask.
        value = StoredRows(value)
    elif not isinstance(value, np.ndarray | jax.Array):
        try:
            value = np.asarray(value)
        except ValueError:
            value = np.empty(0, object)
    if getattr(value.dtype, "kind", "") in "OSUTMm":
        what = "Python objects" if value.dtype == object else "text or dates"
        raise ValueError(
            f"`{name}`: the data hold {what} and not numbers (dtype {value.dtype}). "
            f"{_how_to_number(given, name)}"
        )
    return value


def _how_to_number(value, name: str) -> str:
    """How to fix data that are not numeric."""
    if hasattr(value, "columns"):
        columns = zip(value.columns, value.dtypes, strict=True)
        wrong = [column for column, dtype in columns if dtype.kind not in "biuf"]
        shown = reprlib.repr(list(map(str, wrong)))
        return (
            f"It is the columns {shown}: leave them out, or turn text into numbers with "
            "pandas.get_dummies, and numbers that are kept as objects with frame.astype('float32')."
        )
    if name == "y":
        return (
            "Number the classes from 0: classes, y = np.unique(y, return_inverse=True). If they are rows "
            "of numbers, give every row the same length."
        )
    return "Give every row the same length, and turn text, dates and other objects into numbers."


def _from_pandas(value) -> np.ndarray:
    """The values of a frame or, as one column, of a series; missing ones are NaN."""
    array = value.to_numpy()
    dtypes = [value.dtype] if value.ndim == 1 else value.dtypes
    if array.dtype == object and all(dtype.kind in "biuf" for dtype in dtypes):
        # Columns of several dtypes, or of pandas' own.
        array = value.to_numpy(dtype=floatx(), na_value=np.nan)
    return array[:, None] if value.ndim == 1 else array


def in_default_dtype(value):
    """The rows of a batch in memory: floats in the default dtype, the rest as JAX takes it."""
    value = for_jax(dense(value) if not isinstance(value, StoredRows) else np.asarray(value))
    if is_float(standardize_dtype(value.dtype)):
        return value if value.dtype == floatx() else value.astype(floatx())
    return value


def is_batch(value) -> bool:
    """Whether something is an array of examples as it is, with nothing to convert."""
    return (
        type(value) is np.ndarray
        and value.dtype == np.float32
        and value.size > 0
        and value.ndim > 0
        and floatx() == "float32"
    )


class StoredRows:
    """An array that is read from its file batch by batch, or a range of rows of it.

    Args:
        array: one of `h5py`, or of another library with the same interface.
        rows: which of its rows; default: all.
    """

    def __init__(self, array, rows: range | None = None):
        self._array, self._rows = array, range(len(array)) if rows is None else rows
        self.dtype = array.dtype
        self.shape = (len(self._rows), *array.shape[1:])
        self.ndim = len(self.shape)
        self.nbytes = math.prod(self.shape) * array.dtype.itemsize

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        """For a slice, another such array; for a vector of indices, those rows in memory."""
        if isinstance(rows, slice):
            return StoredRows(self._array, self._rows[rows])
        # These libraries read rows that are in order, each once.
        wanted, inverse = np.unique(np.asarray(rows) + self._rows.start, return_inverse=True)
        return np.asarray(self._array[wanted])[inverse]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array[self._rows.start : self._rows.stop], dtype)


def is_in_file(value) -> bool:
    """Whether an array is read from a file, rows as they are needed."""
    while isinstance(value, np.ndarray):
        if isinstance(value, np.memmap):
            return True
        value = value.base
    return isinstance(value, StoredRows)


def dense(value):
    return value.toarray() if hasattr(value, "toarray") else value


def check_lengths(x, y=None, sample_weight=None) -> int:
    named = [("x", x), ("y", y), ("sample_weight", sample_weight)]
    lengths = {
        name: [a.shape[0] if a.ndim else 0 for a in jax.tree.leaves(part)] for name, part in named
    }
    sizes = {size for values in lengths.values() for size in values}
    if len(sizes) > 1:
        listed = "\n".join(
            f"'{name}' sizes: {', '.join(map(str, values[:8]))}{', …' if len(values) > 8 else ''}"
            for name, values in lengths.items()
            if values
        )
        lists = [name for name, part in named if isinstance(part, list) and len(part) > 1]
        hint = "".join(
            f"\nA list of arrays is taken for several inputs or outputs. If `{name}` is a list of "
            f"samples, make one array of it: np.stack({name})."
            for name in lists
        )
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples.\n{listed}{hint}"
        )
    if not sizes or sizes == {0}:
        raise ValueError("The data hold no samples: the first axis of `x` has size 0.")
    return sizes.pop()


def train_validation_split(arrays: Parts, validation_split: float) -> tuple[Parts, Parts]:
    """Split what `converted` returned at the same row: the last part is for validation.

    >>> import numpy as np
    >>> from cornu.data.arrays import train_validation_split
    >>> train, validation = train_validation_split((np.arange(10), None, None), 0.2)
    >>> len(train[0]), len(validation[0])
    (8, 2)
    """
    if not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1. Received: {validation_split}"
        )
    if not in_memory(arrays[0]):
        raise ValueError(
            "Argument `validation_split` is only supported for arrays in memory. Received: "
            f"{type(arrays[0]).__name__}. Pass `validation_data` instead."
        )
    size = check_lengths(*arrays)
    split = int(np.floor(size * (1 - validation_split)))
    if split == 0 or split == size:
        raise ValueError(
            f"Training data contains {size} samples, which is not sufficient to split it into a "
            f"validation and training set as specified by `validation_split={validation_split}`. "
            "Either provide more data, or a different value for the `validation_split` argument."
        )

    def part(rows):
        return jax.tree.map(lambda a: a[rows], arrays)

    return part(slice(None, split)), part(slice(split, None))
