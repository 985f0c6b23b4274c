"""From whatever holds the data to batches.

An adapter has `num_batches` (None if unknown), `first_batch()`, and `batches()`, which starts a pass
over the data; with a number of steps the pass goes on where the one before stopped, unless
`rewind()` came between. Arrays in memory go to the device once, as `source`, and a batch is only the
numbers of its rows, which the compiled step gathers there: shuffling copies nothing in Python. Where
`source` is None, batches are the data themselves.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import floatx, is_float, standardize_dtype
from cornu.utils.py_dataset import PyDataset
from cornu.utils.py_dataset import iterate as iterate_py_dataset
from cornu.utils.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight

# Larger data stay where they are, and each batch is gathered in Python.
DEVICE_LIMIT_BYTES = 2 * 1024**3


def class_weights_of(y, class_weight: dict):
    """The weight of each sample, looked up by its label (an integer, or one-hot)."""
    y = np.asarray(y)
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(-1)
    labels = np.rint(labels).astype(int)
    weights = np.ones(labels.shape, floatx())
    for label, weight in class_weight.items():
        weights[labels == int(label)] = weight
    return weights


def gather(source, rows):
    """The rows of a batch; runs within the compiled step."""
    return jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), source)


class ArrayData:
    """Arrays in memory, or structures of them, all with one row a sample."""

    def __init__(self, x, y, sample_weight, batch_size, shuffle, steps=None, class_weight=None):
        x, y, sample_weight = (
            np.asarray(part) if _is_numbers(part) else part for part in (x, y, sample_weight)
        )
        x, y, sample_weight = (
            jax.tree.map(_to_array, part, is_leaf=is_leaf) for part in (x, y, sample_weight)
        )
        self.num_samples = _check_lengths(x, y, sample_weight)
        if class_weight:
            sample_weight = _weigh_classes(y, sample_weight, class_weight)
        if batch_size is not None:
            _check_count("batch_size", batch_size)
        self.batch_size = min(int(batch_size or 32), max(self.num_samples, 1))
        self.shuffle = shuffle
        self._steps = steps
        self._running: Iterator | None = None
        self.num_batches: int | None = steps or -(-self.num_samples // self.batch_size)
        self._host = pack_x_y_sample_weight(x, y, sample_weight)
        leaves = jax.tree.leaves(self._host)
        self._gather_in_step = not any(hasattr(a, "toarray") for a in leaves) and (
            sum(a.nbytes for a in leaves) <= DEVICE_LIMIT_BYTES
        )
        self.source = None
        if self._gather_in_step:
            self.source = jax.tree.map(jnp.asarray, self._host)
            self._host = None

    def first_batch(self):
        """The start of the data, for finding out shapes."""
        if self.shuffle and self.shuffle != "batch":
            # Keras shuffles for this look as well; the same draw keeps runs with one seed equal.
            np.random.permutation(self.num_samples)
        return self._rows(np.arange(self.batch_size))

    def _rows(self, indices):
        host = self.source if self._gather_in_step else self._host
        return jax.tree.map(lambda a: _dense(a[indices]), host)

    def batches(self) -> Iterator[Any]:
        """One pass: row numbers, or the rows themselves if the data are too big for the device.

        With a number of steps, each pass goes on where the one before stopped.
        """
        if self._steps is None:
            return self._pass()
        if self._running is None:
            self._running = itertools.chain.from_iterable(self._pass() for _ in itertools.count())
        return itertools.islice(self._running, self._steps)

    def rewind(self) -> None:
        """Let the next pass begin at the first sample."""
        self._running = None

    def _pass(self) -> Iterator[Any]:
        order = np.arange(self.num_samples, dtype=np.int32)
        if self.shuffle and self.shuffle != "batch":
            order = np.random.permutation(self.num_samples).astype(np.int32)
        for start in range(0, self.num_samples, self.batch_size):
            indices = order[start : start + self.batch_size]
            if self.shuffle == "batch":
                indices = np.random.permutation(indices)
            yield indices if self._gather_in_step else self._rows(indices)


class StreamData:
    """A `PyDataset`, a generator, or anything else that yields batches."""

    source = None

    def __init__(self, data, steps=None, shuffle=False, class_weight=None):
        self._data, self._shuffle, self._class_weight = data, shuffle, class_weight
        self._running: Iterator | None = None
        self._first: Any = None
        self._endless = isinstance(data, Iterator)
        self._py_dataset = data if isinstance(data, PyDataset) else None
        self._steps = steps
        length = self._py_dataset.num_batches if self._py_dataset else _length(data)
        self.num_batches = steps or length

    def first_batch(self):
        """The first batch, which the first pass will yield again."""
        if self._first is None:
            if self._py_dataset:
                self._first = self._standardize(self._py_dataset[0])
            else:
                self._running = self._start()
                self._first = next(self._running, None)
            if self._first is None:
                raise ValueError(
                    "The dataset yielded no batch at all, so there is nothing to work on. If it is "
                    "a generator, it may be used up already."
                )
        return self._first

    def _start(self) -> Iterator:
        if self._py_dataset is not None:
            raw: Iterable = iterate_py_dataset(self._py_dataset, self._order())
        elif hasattr(self._data, "as_numpy_iterator"):
            raw = self._data.as_numpy_iterator()
        else:
            raw = self._data
        return map(self._standardize, raw)

    def _order(self):
        count = self._py_dataset.num_batches
        order = np.arange(count) if count is not None else itertools.count()
        return np.random.permutation(count) if self._shuffle and count is not None else order

    def rewind(self) -> None:
        """Let the next pass begin at the first batch, if the data can be read again."""
        if not self._endless:
            self._running = self._first = None

    def batches(self) -> Iterator[Any]:
        """One pass: all there is, or `steps` batches."""
        if self._py_dataset is not None:
            self._first = None
            self._py_dataset.on_epoch_begin()
            running = self._start()
            yield from itertools.islice(running, self.num_batches)
            self._py_dataset.on_epoch_end()
            return
        stream: Iterator
        if self._running is not None and self._first is not None:
            stream = itertools.chain([self._first], self._running)
            self._first = None
        elif self._steps and self._running is not None:
            # With a number of steps, the next epoch goes on where this one stopped.
            stream = self._running
        else:
            self._running = stream = self._start()
        count = 0
        for batch in itertools.islice(stream, self._steps):
            count += 1
            yield batch
        if not self._steps:
            self._running = None
        elif count < self._steps and not self._endless:
            self._running = stream = self._start()
            yield from itertools.islice(stream, self._steps - count)

    def _standardize(self, batch):
        x, y, sample_weight = unpack_x_y_sample_weight(batch)
        x, y, sample_weight = (
            jax.tree.map(_to_array, part, is_leaf=is_leaf) for part in (x, y, sample_weight)
        )
        x, y, sample_weight = (jax.tree.map(_dense, part) for part in (x, y, sample_weight))
        if self._class_weight:
            sample_weight = _weigh_classes(y, sample_weight, self._class_weight)
        return pack_x_y_sample_weight(x, y, sample_weight)


def adapt(
    x,
    y=None,
    sample_weight=None,
    batch_size=None,
    steps=None,
    shuffle=False,
    class_weight=None,
):
    """Choose the adapter for what the user passed as `x`."""
    if steps is not None:
        _check_count("steps", steps)
    leaves = jax.tree.leaves(x, is_leaf=is_leaf)
    if leaves and all(_is_array(leaf) for leaf in leaves):
        return ArrayData(x, y, sample_weight, batch_size, shuffle, steps, class_weight)
    if _is_numbers(x):
        return ArrayData(x, y, sample_weight, batch_size, shuffle, steps, class_weight)
    if isinstance(x, PyDataset) or hasattr(x, "__iter__") or hasattr(x, "__getitem__"):
        kind = type(x).__name__
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(
                    f"When providing `x` as a {kind}, `{name}` should not be passed: each batch "
                    f"holds `(x, y)` or `(x, y, sample_weight)`. Received: {name}={type(value)}"
                )
        return StreamData(x, steps, shuffle, class_weight)
    raise ValueError(
        f"Cannot take data of type {type(x).__name__} ({x!r}). Pass arrays, pandas frames, a "
        "PyDataset, a generator, or anything else that yields batches `(x, y)`."
    )


def train_validation_split(arrays, validation_split: float):
    """Split each array at the same row: the last part is for validation.

    >>> import numpy as np
    >>> from cornu.data.adapters import train_validation_split
    >>> train, validation = train_validation_split((np.arange(10), None), 0.2)
    >>> len(train[0]), len(validation[0])
    (8, 2)
    """
    if not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1. Received: {validation_split}"
        )
    leaves = jax.tree.leaves(arrays, is_leaf=is_leaf)
    if not all(_is_array(leaf) for leaf in leaves):
        raise ValueError(
            "Argument `validation_split` is only supported for arrays in memory. Received: "
            f"{[type(leaf).__name__ for leaf in leaves]}. Pass `validation_data` instead."
        )
    leaves = [_to_array(leaf) for leaf in leaves]
    size = leaves[0].shape[0]
    split = int(np.floor(size * (1 - validation_split)))
    if split == 0 or split == size:
        raise ValueError(
            f"Training data contains {size} samples, which is not sufficient to split it into a "
            f"validation and training set as specified by `validation_split={validation_split}`. "
            "Either provide more data, or a different value for the `validation_split` argument."
        )

    def part(rows):
        return jax.tree.map(lambda a: _to_array(a)[rows], arrays, is_leaf=is_leaf)

    return part(slice(None, split)), part(slice(split, None))


def _is_array(value) -> bool:
    return (hasattr(value, "shape") and hasattr(value, "dtype")) or _is_pandas(value)


def is_leaf(value) -> bool:
    """Whether a value is one array, or whatever else, and not a structure of several."""
    return value is not None and not isinstance(value, dict | list | tuple)


def _is_pandas(value) -> bool:
    return type(value).__module__.split(".")[0] == "pandas"


def _check_count(name: str, value) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` must be at least 1, an integer. Received: {name}={value!r}")


def _is_numbers(value) -> bool:
    """Whether a value is a list of numbers, or of such lists, and not a list of arrays."""
    if not isinstance(value, list | tuple):
        return False
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, int | float | bool | np.generic)


def _to_array(value):
    """An array (NumPy, JAX, or scipy's sparse), floats in the default float format."""
    if _is_pandas(value):
        is_series = type(value).__name__ == "Series"
        value = value.to_numpy()
        value = value[:, None] if is_series else value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if not isinstance(value, np.ndarray | jax.Array) and not hasattr(value, "toarray"):
        value = np.asarray(value)
    if value.dtype == object:
        raise ValueError(
            "The data hold Python objects and not numbers (dtype object): rows of different "
            "lengths, or text. Give every row the same length, and turn text into numbers."
        )
    if is_float(standardize_dtype(value.dtype)) and value.dtype != floatx():
        return value.astype(floatx())
    if value.dtype in (np.int64, np.uint64):
        return value.astype(np.int32)
    return value


def _dense(value):
    return value.toarray() if hasattr(value, "toarray") else value


def _length(data) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None


def _check_lengths(x, y, sample_weight) -> int:
    named = [("x", x), ("y", y), ("sample_weight", sample_weight)]
    lengths = {
        name: [a.shape[0] if a.ndim else 0 for a in jax.tree.leaves(part)] for name, part in named
    }
    sizes = {size for values in lengths.values() for size in values}
    if len(sizes) > 1:
        listed = "\n".join(
            f"'{name}' sizes: {', '.join(map(str, values))}"
            for name, values in lengths.items()
            if values
        )
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples.\n{listed}"
        )
    if not sizes or sizes == {0}:
        raise ValueError("The data hold no samples: the first axis of `x` has size 0.")
    return sizes.pop()


def _weigh_classes(y, sample_weight, class_weight):
    if y is None:
        raise ValueError("`class_weight` needs labels, but no `y` was passed.")
    if len(jax.tree.leaves(y)) > 1:
        raise ValueError(
            "`class_weight` is only supported for models with a single output. Pass "
            "`sample_weight`, one array for each output, instead."
        )
    weights = class_weights_of(jax.tree.leaves(y)[0], class_weight)
    if sample_weight is not None:
        weights = weights * np.asarray(sample_weight).reshape(weights.shape)
    return weights
