"""From whatever holds the data to batches.

An adapter has `num_batches` (None if unknown), `first_batch()`, and `batches()`, which starts a pass
over the data; with a number of steps the pass goes on where the one before stopped, unless
`rewind()` came between. Arrays in memory go to the device once, as `source`, and a batch is only the
numbers of its rows, which the compiled step gathers there: shuffling copies nothing in Python. Where
`source` is None, batches are the data themselves.

`position()` says where the data stand, in plain values, and `resume(position, step)` puts the same data
there in another process, after `step` batches of the epoch that goes on: the next pass gives the rest.
"""

import functools
import itertools
import math
import random
import reprlib
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import floatx, for_jax, is_float, standardize_dtype
from cornu.data.position import random_state, set_random_state
from cornu.ops.rows import take_rows
from cornu.utils.py_dataset import PyDataset, get_batch, iterate
from cornu.utils.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight

# Larger data stay where they are, and each batch is gathered in Python.
DEVICE_LIMIT_BYTES = 2 * 1024**3


def class_weights_of(y, class_weight: dict):
    """The weight of each sample, looked up by its label (an integer, or one-hot)."""
    if not isinstance(class_weight, dict):
        raise ValueError(
            "`class_weight` must be a dict from a class to the weight of its samples, such as "
            f"{{0: 1.0, 1: 5.0}}. Received: class_weight={class_weight!r}"
        )
    y = np.asarray(_dense(y))
    if y.ndim > 1:
        y = y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
    labels = np.rint(y).astype(int)
    weights = np.ones(labels.shape, floatx())
    for label, weight in class_weight.items():
        if not np.isfinite(weight):
            raise ValueError(f"`class_weight` of the class {label} must be a number: {weight!r}.")
        weights[labels == int(label)] = weight
    return weights


def gather(source, rows):
    """The rows of a batch; runs within the compiled step."""
    return jax.tree.map(lambda a: take_rows(a, rows), source)


class ArrayData:
    """Arrays in memory, or structures of them, all with one row a sample."""

    def __init__(
        self,
        x,
        y,
        sample_weight,
        batch_size,
        shuffle,
        steps=None,
        class_weight=None,
        repeat=True,
        gather_in_step=True,
    ):
        x, y, sample_weight = to_arrays(x, y, sample_weight)
        self.num_samples = _check_lengths(x, y, sample_weight)
        if class_weight is not None:
            sample_weight = _weigh_classes(y, sample_weight, class_weight)
        if batch_size is None:
            batch_size = -(-self.num_samples // steps) if steps else 32
        _check_count("batch_size", batch_size)
        self.batch_size = min(int(batch_size), self.num_samples)
        self.shuffle = shuffle
        self._steps, self._repeat = steps, repeat
        self._running: Iterator | None = None
        # Of the pass that runs: random numbers at its start, and how many batches it has given.
        self._pass_start: dict | None = None
        self._done = 0
        # Batches of the epoch that another process has done.
        self._epoch_done = 0
        self.num_batches: int | None = steps or -(-self.num_samples // self.batch_size)
        self._host = pack_x_y_sample_weight(x, y, sample_weight)
        leaves = jax.tree.leaves(self._host)
        self._gather_in_step = (
            gather_in_step
            and not any(hasattr(a, "toarray") or is_in_file(a) for a in leaves)
            and sum(a.nbytes for a in leaves) <= DEVICE_LIMIT_BYTES
        )
        self.source = None
        if self._gather_in_step:
            self.source = jax.tree.map(lambda a: jnp.asarray(in_format(a)), self._host)
            self._host = None

    def first_batch(self):
        """The start of the data, for finding out shapes."""
        if self.shuffle and self.shuffle != "batch":
            # Keras shuffles for this look as well; the same draw keeps runs with one seed equal.
            np.random.permutation(self.num_samples)
        return self._rows(slice(0, self.batch_size))

    def _rows(self, indices):
        if self._gather_in_step:
            return jax.tree.map(lambda a: a[indices], self.source)
        return jax.tree.map(lambda a: in_format(a[indices]), self._host)

    def batches(self) -> Iterator[Any]:
        """One pass: row numbers, or the rows themselves if the data are too big for the device.

        With a number of steps, each pass goes on where the one before stopped.
        """
        if self._steps is None:
            running, self._running = self._running or self._pass(), None
            return running
        if self._running is None:
            passes = itertools.count() if self._repeat else range(1)
            self._running = itertools.chain.from_iterable(self._pass() for _ in passes)
        rest, self._epoch_done = self._steps - self._epoch_done, 0
        return itertools.islice(self._running, rest)

    def rewind(self) -> None:
        """Let the next pass begin at the first sample."""
        self._running = None

    def is_used_up(self) -> bool:
        """Arrays can be read again."""
        return False

    def position(self) -> dict:
        """Where the pass stands that runs."""
        return {"start": self._pass_start, "done": self._done}

    def resume(self, position: dict, step: int) -> None:
        """Go on there. The global random numbers are left as they were at this place of the pass."""
        if position["start"] is None or not (step or self._steps):
            return
        self._epoch_done = step
        set_random_state(position["start"])
        rest = self._pass()
        for _ in range(position["done"]):
            next(rest)
        self._running = rest
        if self._steps is not None and self._repeat:
            later = (self._pass() for _ in itertools.count())
            self._running = itertools.chain(rest, itertools.chain.from_iterable(later))

    def _pass(self) -> Iterator[Any]:
        self._pass_start, self._done = random_state(), 0
        for batch in self._one_pass():
            self._done += 1
            yield batch

    def _one_pass(self) -> Iterator[Any]:
        if not (self.shuffle or self._gather_in_step):
            for start in range(0, self.num_samples, self.batch_size):
                yield self._rows(slice(start, start + self.batch_size))
            return
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

    def __init__(self, data, steps=None, shuffle=False, class_weight=None, repeat=True):
        self._data, self._shuffle, self._class_weight = data, shuffle, class_weight
        self._steps, self._repeat = steps, repeat
        self._once = isinstance(data, Iterator)
        self._py_dataset = data if isinstance(data, PyDataset) else None
        length = self._py_dataset.num_batches if self._py_dataset is not None else _length(data)
        if length == 0:
            raise ValueError(f"{type(data).__name__} has length 0: it yielded no batch to work on.")
        self.num_batches = steps or length
        # Where the data stand: batches, or for a `PyDataset` the numbers of batches.
        self._running: Iterator | None = None
        self._first: Any = None
        # Random numbers at the start of all and of the pass that runs; how many passes have
        # ended, and how many batches were given, in the pass and in all.
        self._starts = [random_state(), None]
        self._passes = self._in_pass = self._in_all = 0
        self._has_begun = False
        self._epoch_done = 0

    def first_batch(self):
        """The first batch, which the first pass will yield again."""
        if self._first is None and self._py_dataset is not None:
            return self._standardize(get_batch(self._py_dataset, next(iter(self._order()))))
        if self._first is None:
            self._running = self._start()
            self._first = next(self._running, None)
            if self._first is None:
                raise ValueError(self._no_batch())
        return self._first

    def is_used_up(self) -> bool:
        """Whether data that can be read only once have given some batches, and have none left."""
        if not self._once or not self._in_all or self._first is not None:
            return False
        self._running = self._running or self._start()
        self._first = next(self._running, None)
        return self._first is None

    def rewind(self) -> None:
        """Let the next pass begin at the first batch, if the data can be read again."""
        if not self._once and self._first is None:
            self._running = None

    def batches(self) -> Generator[Any, None, None]:
        """One pass: all there is, or `steps` batches from where the pass before stopped."""
        running = self._running or self._start()
        self._running = running if self._steps else None
        done, self._epoch_done = self._epoch_done, 0
        rest = None if self._steps is None else self._steps - done
        if self._py_dataset is not None:
            if not self._has_begun:
                self._py_dataset.on_epoch_begin()
            self._has_begun = False
            try:
                with closing(iterate(self._py_dataset, itertools.islice(running, rest))) as raw:
                    for batch in raw:
                        yield self._count(self._standardize(batch))
            finally:
                self._py_dataset.on_epoch_end()
                self._passes += 1
            return
        if self._first is not None:
            running, self._first = itertools.chain([self._first], running), None
        for batch in itertools.islice(running, rest):
            yield self._count(batch)
        if not self._in_all:
            raise ValueError(self._no_batch())

    def _count(self, batch):
        self._in_pass += 1
        self._in_all += 1
        return batch

    def position(self) -> dict:
        """Where the data stand."""
        return {
            "starts": self._starts,
            "passes": self._passes,
            "in_pass": self._in_pass,
            "in_all": self._in_all,
        }

    def resume(self, position: dict, step: int) -> None:
        """Go on there: what came before is read again and dropped, unless a `PyDataset` can be asked.

        A `PyDataset` is told of the epochs that have ended, beginning with the random numbers of the start.
        """
        start, pass_start = position["starts"]
        if pass_start is None:
            return
        self._starts, self._epoch_done = [start, pass_start], step
        if self._py_dataset is not None:
            set_random_state(start)
            for _ in range(position["passes"]):
                self._py_dataset.on_epoch_begin()
                self._py_dataset.on_epoch_end()
            self._has_begun = step > 0
            if step:
                self._py_dataset.on_epoch_begin()
        if self._once:
            skipped = position["in_all"] - (self._first is not None)
            self._running, self._first = self._running or self._start(), None
            _skip(self._running, skipped)
        elif step or self._steps:
            self._first = None
            set_random_state(pass_start)
            self._running = self._start()
            _skip(self._running, position["in_pass"])
        self._passes, self._in_pass = position["passes"], position["in_pass"]
        self._in_all = position["in_all"]

    def _begin(self, one_pass: Callable[[], Iterable]) -> Iterator:
        self._starts[1], self._in_pass = random_state(), 0
        yield from one_pass()

    def _start(self) -> Iterator:
        """What there is to read: once, or again and again if a number of steps says where to stop."""
        one_pass = self._order if self._py_dataset is not None else self._read
        again, empty = True, False
        while again and not empty:
            again, empty = self._steps and self._repeat and not self._once, True
            for each in self._begin(one_pass):
                empty = False
                yield each

    def _order(self) -> Iterable[int]:
        count = self._py_dataset.num_batches
        if count is None:
            return itertools.count()
        order = list(range(count))
        if self._shuffle:
            random.shuffle(order)
        return order

    def _read(self) -> Iterator:
        raw: Iterable = self._data
        if hasattr(raw, "as_numpy_iterator"):
            raw = raw.as_numpy_iterator()
        elif not hasattr(raw, "__iter__") and hasattr(raw, "__len__"):
            raw = (self._data[i] for i in range(len(self._data)))
        for batch in raw:
            yield self._standardize(batch)

    def _no_batch(self) -> str:
        hint = (
            " A generator can be read only once, and this one is used up: pass one that does not end, "
            "with a number of steps, or a new one."
            if self._once
            else ""
        )
        return f"The dataset ({type(self._data).__name__}) yielded no batch.{hint}"

    def _standardize(self, batch):
        x, y, sample_weight = to_arrays(*unpack_x_y_sample_weight(batch))
        x, y, sample_weight = (jax.tree.map(in_format, part) for part in (x, y, sample_weight))
        if not any(a.ndim and a.size for a in jax.tree.leaves(x)):
            raise ValueError(
                f"A batch of the dataset ({type(self._data).__name__}) holds no samples, which the "
                f"first axis of its arrays counts. Received: {reprlib.repr(batch)}"
            )
        if self._class_weight is not None:
            sample_weight = _weigh_classes(y, sample_weight, self._class_weight)
        return pack_x_y_sample_weight(x, y, sample_weight)


def _skip(batches: Iterator, count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def adapt(
    x,
    y=None,
    sample_weight=None,
    batch_size=None,
    steps=None,
    shuffle=False,
    class_weight=None,
    repeat=True,
    gather_in_step=True,
):
    """Choose the adapter for what the user passed as `x`.

    With `repeat`, data that run out before `steps` batches start again if they can. Without
    `gather_in_step`, arrays come as batches too, so that the compiled step does not depend on how many
    rows they have in all.
    """
    if steps is not None:
        _check_count("steps", steps)
    if batch_size is not None:
        _check_count("batch_size", batch_size)
    if in_memory(x):
        return ArrayData(
            x, y, sample_weight, batch_size, shuffle, steps, class_weight, repeat, gather_in_step
        )
    yields = isinstance(x, PyDataset) or hasattr(x, "__iter__") or hasattr(x, "__getitem__")
    if yields and not isinstance(x, dict | list | tuple | str | bytes):
        kind = type(x).__name__
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(
                    f"When providing `x` as a {kind}, `{name}` should not be passed: each batch "
                    f"holds `(x, y)` or `(x, y, sample_weight)`. Received: {name}={type(value)}"
                )
        if batch_size is not None:
            warnings.warn(
                f"`batch_size` has no effect: x, a {kind}, makes the batches itself.", stacklevel=3
            )
        return StreamData(x, steps, shuffle, class_weight, repeat)
    raise ValueError(
        f"Cannot take data of type {type(x).__name__} ({reprlib.repr(x)}). Pass arrays, pandas frames, a "
        "PyDataset, a generator, or anything else that yields batches `(x, y)`."
    )


def in_memory(x) -> bool:
    """Whether data are arrays, or a structure of them, and not something that makes batches."""
    leaves = jax.tree.leaves(x, is_leaf=is_leaf)
    return bool(leaves) and all(_is_array(leaf) for leaf in leaves)


def train_validation_split(arrays, validation_split: float):
    """Split `x`, `y` and `sample_weight` at the same row: the last part is for validation.

    >>> import numpy as np
    >>> from cornu.data.adapters import train_validation_split
    >>> train, validation = train_validation_split((np.arange(10), None, None), 0.2)
    >>> len(train[0]), len(validation[0])
    (8, 2)
    """
    if not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1. Received: {validation_split}"
        )
    leaves = [leaf for part in arrays for leaf in jax.tree.leaves(part, is_leaf=is_leaf)]
    if not leaves or not all(_is_array(leaf) for leaf in leaves):
        raise ValueError(
            "Argument `validation_split` is only supported for arrays in memory. Received: "
            f"{[type(leaf).__name__ for leaf in leaves]}. Pass `validation_data` instead."
        )
    arrays = to_arrays(*arrays)
    size = _check_lengths(*arrays)
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


def to_arrays(*parts) -> tuple:
    """Each part with every array in it, of whatever kind, as a NumPy, JAX or scipy.sparse array.

    Their formats are what they were: arrays that lie in files are not read here.

    >>> from cornu.data.adapters import to_arrays
    >>> to_arrays([[1.0, 2.0]], {"a": [3]}, None)
    (array([[1., 2.]]), {'a': array([3])}, None)
    """
    names = ("x", "y", "sample_weight")
    return tuple(
        jax.tree.map(functools.partial(_to_array, name=name), part, is_leaf=is_leaf)
        for name, part in zip(names, parts, strict=False)
    )


def _is_array(value) -> bool:
    return (
        hasattr(value, "__array__")
        or (hasattr(value, "shape") and hasattr(value, "dtype"))
        or _is_numbers(value)
    )


def is_leaf(value) -> bool:
    """Whether a value is one array, or whatever else, and not a structure of several."""
    return _is_numbers(value) or not (value is None or isinstance(value, dict | list | tuple))


def _is_pandas(value) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "to_numpy")


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


def _to_array(value, name: str):
    """An array of numbers: of NumPy, of JAX, a sparse one of scipy's, or one in a file.

    Raises ValueError, which calls it `name`, if it holds no numbers.
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
    """What to do with data that are no numbers."""
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


def in_format(value):
    """The rows of a batch in memory: floats in the default format, the rest as JAX takes it."""
    value = for_jax(_dense(value) if not isinstance(value, StoredRows) else np.asarray(value))
    if is_float(standardize_dtype(value.dtype)):
        return value if value.dtype == floatx() else value.astype(floatx())
    return value


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
        """The rows of a slice as another such array, those of a vector of numbers in memory."""
        if isinstance(rows, slice):
            return StoredRows(self._array, self._rows[rows])
        # These libraries read rows that are in order, each once.
        wanted, places = np.unique(np.asarray(rows) + self._rows.start, return_inverse=True)
        return np.asarray(self._array[wanted])[places]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array[self._rows.start : self._rows.stop], dtype)


def is_in_file(value) -> bool:
    """Whether an array is read from a file as its rows are asked for."""
    while isinstance(value, np.ndarray):
        if isinstance(value, np.memmap):
            return True
        value = value.base
    return isinstance(value, StoredRows)


def is_batch(value) -> bool:
    """Whether something is an array of examples as it is, with nothing to convert."""
    return (
        type(value) is np.ndarray
        and value.dtype == np.float32
        and value.size > 0
        and value.ndim > 0
        and floatx() == "float32"
    )


def _from_pandas(value) -> np.ndarray:
    """The numbers of a frame or, as one column, of a series; missing ones are NaN."""
    array = value.to_numpy()
    dtypes = [value.dtype] if value.ndim == 1 else value.dtypes
    if array.dtype == object and all(dtype.kind in "biuf" for dtype in dtypes):
        # Columns of several formats, or of pandas' own.
        array = value.to_numpy(dtype=floatx(), na_value=np.nan)
    return array[:, None] if value.ndim == 1 else array


def _dense(value):
    return value.toarray() if hasattr(value, "toarray") else value


def _length(data) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


def _check_lengths(x, y=None, sample_weight=None) -> int:
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
        given = jax.tree.leaves(sample_weight)[0]
        weights = weights * np.asarray(given).reshape(weights.shape)
    return weights
