"""One element of a data set: arrays, or a tuple or dict of them; and how several become a batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Tensor(np.ndarray):
    """An array as `for x in dataset` gives it: NumPy's, with the method `numpy()` of TensorFlow's.

    >>> from cornu.data import Dataset
    >>> for x in Dataset.from_tensor_slices([1, 2]):
    ...     print(x.numpy())
    1
    2
    """

    def numpy(self):
        """The array, or number, of NumPy; text as bytes."""
        if self.dtype.kind in "OU":
            coded = [text.encode() if isinstance(text, str) else text for text in self.flat]
            return np.array([*coded, None], object)[:-1].reshape(self.shape)[()]
        return self.view(np.ndarray)[()]

    def __getitem__(self, index):
        return with_numpy(super().__getitem__(index))

    def __iter__(self):
        return map(with_numpy, self.view(np.ndarray))


class Text(str):
    """A text as `for x in dataset` gives it: Python's, with what a tensor of TensorFlow's has besides."""

    __slots__ = ()
    shape, dtype = (), "string"

    def numpy(self) -> bytes:
        """The text in UTF-8."""
        return self.encode()


def with_numpy(leaf):
    """A leaf of an element with the method `numpy()`, and free to be changed."""
    if isinstance(leaf, str):
        return Text(leaf)
    if isinstance(leaf, np.ndarray | np.generic) and not isinstance(leaf, str | bytes):
        return np.array(leaf).view(Tensor)
    return leaf


def copied(leaf):
    """A leaf that nobody else can change."""
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def read_only(leaf):
    """A leaf that is given again later, and so must not be changed."""
    if isinstance(leaf, np.ndarray):
        leaf = leaf.view()
        leaf.flags.writeable = False
    return leaf


class TensorSpec(NamedTuple):
    """The shape and dtype of an array in a data set; None is a size that differs between elements.

    Args:
        shape: such as `(None, 28, 28)`; None if not even the number of axes is known.
        dtype: such as `"float32"`; `"string"` for text and bytes.
        name: a name for it, which nothing depends on.

    >>> from cornu.data import Dataset
    >>> Dataset.range(5).batch(2).element_spec
    TensorSpec(shape=(None,), dtype='int64', name=None)
    """

    shape: tuple | None
    dtype: str
    name: str | None = None


def map_structure(function: Callable, first, *more):
    """The function of each leaf of a structure of tuples and dicts, or of several such structures."""
    kind = type(first)
    if kind is tuple and not more:
        # Most elements are such, and there are many.
        return tuple([map_structure(function, part) for part in first])
    if kind is np.ndarray:
        return function(first, *more)
    if isinstance(first, dict):
        for other in more:
            if set(other) != set(first):
                raise KeyError(f"keys {list(first)} beside {list(other)}")
        return {key: map_structure(function, first[key], *(m[key] for m in more)) for key in first}
    if isinstance(first, tuple) and kind is not TensorSpec:
        parts = [map_structure(function, *leaves) for leaves in zip(first, *more, strict=True)]
        return kind(*parts) if hasattr(first, "_fields") else tuple(parts)
    return None if first is None else function(first, *more)


def leaves_of(structure) -> list:
    """The leaves of a structure, in order."""
    found: list = []
    map_structure(found.append, structure)
    return found


def as_element(value):
    """What a function gave, as an element: its leaves are arrays or numbers of NumPy, or text.

    Python's numbers become int32 (int64 if too large), float32 and bool, as in TensorFlow.
    """
    return map_structure(as_leaf, value)


def as_leaf(value):
    """One array or number of NumPy, or text."""
    if isinstance(value, np.ndarray | np.generic | str | bytes) or hasattr(
        value, "as_numpy_iterator"
    ):
        return value.view(np.ndarray) if type(value) is Tensor else value
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"Rows of several lengths are no array: {error}") from error
    if array.dtype.kind in "SU":
        array = np.asarray(value, object)
    elif not hasattr(value, "dtype"):
        array = _in_tensorflows_dtype(array)
    # Numbers, not arrays without axes, as an array of NumPy gives them.
    return array[()]


def _in_tensorflows_dtype(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64 and (array.astype(np.int32) == array).all():
        return array.astype(np.int32)
    return array


def stack(elements: Sequence[Any]):
    """The batch of some elements: each leaf has one more axis, the first."""
    try:
        return map_structure(lambda *leaves: stack_leaves(leaves), *elements)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(
            "Elements of several structures cannot be batched: "
            f"{' and '.join(dict.fromkeys(repr(spec_of(e)) for e in elements))}"
        ) from error


def stack_leaves(leaves: Sequence[Any]) -> np.ndarray:
    """Leaves of one shape as one array; text stays as Python's `str` or `bytes`, in an array of objects."""
    is_text = [isinstance(leaf, str | bytes) for leaf in leaves]
    if any(is_text) != all(is_text) or any(isinstance(leaf, dict | tuple) for leaf in leaves):
        raise TypeError("text, or a structure, beside numbers")
    if is_text[0]:
        batch = np.empty(len(leaves), object)
        batch[:] = [str(x) if isinstance(x, np.str_) else x for x in leaves]
        return batch
    shapes = {np.shape(leaf) for leaf in leaves}
    if len(shapes) > 1:
        raise ValueError(
            f"Elements of several shapes cannot be batched: {', '.join(map(str, sorted(shapes)))}. "
            "Make them alike with `map`, or use `padded_batch`."
        )
    return np.stack(leaves)


def unstack(batch) -> list:
    """The elements of a batch."""
    leaves = leaves_of(batch)
    sizes = {len(leaf) if np.ndim(leaf) else -1 for leaf in leaves}
    if len(sizes) != 1 or -1 in sizes:
        shapes = [np.shape(leaf) for leaf in leaves]
        raise ValueError(
            "Only elements whose arrays have a first axis of one size can be taken apart. Received "
            f"shapes: {shapes}"
        )
    return [row_of(batch, i) for i in range(sizes.pop())]


def row_of(batch, index):
    """One element of a batch, or for an array of indices the batch of those."""
    return map_structure(lambda leaf: leaf[index], batch)


def padded(elements: Sequence[Any], shapes=None, values=None):
    """The batch of elements whose sizes differ: each array is filled up at the end of its axes.

    Args:
        elements: what to batch.
        shapes: structure of shapes; None, also for one axis, is the largest in the batch.
        values: structure of what fills up; default: 0, or an empty string.
    """
    flat = [leaves_of(element) for element in elements]
    wanted = [None] * len(flat[0]) if shapes is None else _shapes_of(shapes)
    fill = [None] * len(flat[0]) if values is None else leaves_of(values)
    if len(fill) == 1:
        fill = fill * len(flat[0])
    for what, given in (("padded_shapes", wanted), ("padding_values", fill)):
        if len(given) != len(flat[0]):
            raise ValueError(
                f"`{what}` has {len(given)} parts, and an element has {len(flat[0])} arrays."
            )
    parts = iter(
        [_padded(*each) for each in zip(zip(*flat, strict=True), wanted, fill, strict=True)]
    )
    return map_structure(lambda _: next(parts), elements[0])


def _shapes_of(shapes) -> list:
    """The shapes in a structure of them: a tuple or list of integers and None, or a `TensorShape`."""
    if isinstance(shapes, dict):
        return [s for part in shapes.values() for s in _shapes_of(part)]
    if isinstance(shapes, list | tuple) and not all(
        isinstance(n, int | type(None)) for n in shapes
    ):
        return [s for part in shapes for s in _shapes_of(part)]
    return [shapes]


def _padded(leaves, shape, value):
    if isinstance(leaves[0], str | bytes):
        return stack_leaves(leaves)
    sizes = np.max([np.shape(leaf) for leaf in leaves], axis=0).astype(int).tolist()
    if shape is not None:
        for axis, (asked, has) in enumerate(zip(shape, sizes, strict=True)):
            if asked is not None and asked not in (-1, has):
                if has > asked:
                    raise ValueError(
                        f"An element has size {has} along axis {axis}, more than the {asked} of "
                        "`padded_shapes`."
                    )
                sizes[axis] = asked
    dtype = np.result_type(*leaves)
    if value is None:
        value = "" if dtype.kind == "O" else 0
    if dtype.kind in "iu" and (np.isnan(value) or dtype.type(value) != value):
        raise ValueError(f"`padding_values`: {value!r} does not fit an array of {dtype.name}.")
    batch = np.full((len(leaves), *sizes), value, dtype)
    for i, leaf in enumerate(leaves):
        place: Any = (i, *map(slice, np.shape(leaf)))
        batch[place] = leaf
    return batch


def spec_of(element):
    """The `TensorSpec`s of one element."""

    def spec(leaf):
        if hasattr(leaf, "as_numpy_iterator"):
            return leaf.element_spec
        return TensorSpec(tuple(np.shape(leaf)), dtype_name(leaf))

    return map_structure(spec, element)


def dtype_name(value) -> str:
    """The name of an array's dtype, `"string"` for text."""
    dtype = getattr(value, "dtype", None)
    if isinstance(value, str | bytes) or getattr(dtype, "kind", "") in "OSU":
        return "string"
    return str(np.dtype(dtype))
