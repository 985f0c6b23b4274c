"""`Dataset`: elements one after another, and data sets made of them step by step."""

import glob as files
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cornu.data import nodes
from cornu.data.ahead import AUTOTUNE, num_threads
from cornu.data.cache_file import CachedInFile
from cornu.data.elements import (
    Tensor,
    as_element,
    as_leaf,
    copied,
    leaves_of,
    map_structure,
    stack_leaves,
    with_numpy,
)
from cornu.data.from_files import FromFiles
from cornu.data.generated import converter
from cornu.data.passes import Indexed, Stream

# What data sets of TensorFlow can do besides, and what to do instead.
_ABSENT = {
    "bucket_by_sequence_length": "Sort the elements by length, and use `padded_batch`.",
    "group_by_window": "Group the elements in Python, and pass a generator to `from_generator`.",
    "ragged_batch": "Use `padded_batch`: there are no ragged arrays.",
    "sparse_batch": "Use `batch`, and scipy's sparse matrices in `fit`.",
    "rejection_resample": "Use `sample_from_datasets` with a data set for each class.",
    "save": "Use `cache(filename)`, which writes in the first pass.",
    "load": "Use `cache(filename)`, which reads what it wrote before.",
    "snapshot": "Use `cache(filename)`.",
    "scan": "Use `from_generator` with a generator that keeps the state.",
    "unique": "Use `from_tensor_slices(np.unique(…))`.",
    "options": "Threads are set by `map(…, num_parallel_calls)` and `prefetch`.",
}


class Dataset(FromFiles):
    """Elements one after another: arrays, or tuples or dicts of arrays, with the methods of `tf.data`.

    Each method returns a new data set and computes nothing; elements are made when they are read. `fit`,
    `evaluate`, `predict` and `adapt` take a data set whose elements are batches.

    Elements are arrays and numbers of NumPy, and text is Python's. A function that is given to `map` and
    its kin sees them; a tuple is spread over its arguments. It may call layers, `cornu.ops` and anything
    of Python, and is not compiled. What it returns becomes arrays of NumPy.

    Where elements can be had by number (arrays, folders, and what `map`, `batch`, `shuffle`, `take`, `zip`
    and so on make of them), `dataset[i]` is one of the first pass, and shuffling moves numbers, not
    elements. Such a data set can be the source of a `grain.MapDataset`, too.

    A function that changes variables, as an augmentation does with its seed, or that draws from the
    global generators of NumPy or Python, is called once for each element, in their order, and once more to
    find that out where elements can be had by number. Any other is called once for each element that is
    read, by several threads if asked to (`num_parallel_calls`).

    In `for x in dataset`, arrays and text have the method `numpy()`, as those of TensorFlow, where text
    becomes bytes; `as_numpy_iterator()` gives plain ones.

    Source: TensorFlow: tf.data.Dataset.

    >>> import cornu
    >>> data = cornu.data.Dataset.range(6).map(lambda i: i * 10).batch(4)
    >>> [x.tolist() for x in data]
    [[0, 10, 20, 30], [40, 50]]
    """

    # Of a folder: the names of its classes, and its files.
    class_names: list[str] | None
    file_paths: list[str]

    def __init__(self, node: nodes.Node):
        self._node = node

    @staticmethod
    def from_tensor_slices(tensors, name=None) -> "Dataset":
        """The rows of arrays.

        Args:
            tensors: an array, or a tuple or dict of arrays with equally many rows. Lists are arrays.
            name: nothing depends on it, here and in the other methods.

        >>> from cornu.data import Dataset
        >>> list(Dataset.from_tensor_slices(([1, 2], ["a", "b"])).as_numpy_iterator())
        [(np.int32(1), 'a'), (np.int32(2), 'b')]
        """
        arrays = map_structure(_as_rows, tensors)
        shapes = [np.shape(leaf) for leaf in leaves_of(arrays)]
        if not shapes or any(not shape for shape in shapes) or len({s[0] for s in shapes}) > 1:
            raise ValueError(
                "`from_tensor_slices` needs arrays with equally many rows. Received shapes: "
                f"{', '.join(map(str, shapes)) or 'none'}"
            )
        return Dataset(nodes.Slices(arrays))

    @staticmethod
    def from_tensors(tensors, name=None) -> "Dataset":
        """One element.

        >>> from cornu.data import Dataset
        >>> [x.tolist() for x in Dataset.from_tensors([1, 2])]
        [[1, 2]]
        """
        element = as_element(tensors)
        return Dataset(nodes.Slices(map_structure(lambda leaf: stack_leaves([leaf]), element)))

    @staticmethod
    def from_generator(
        generator,
        output_types=None,
        output_shapes=None,
        args=None,
        output_signature=None,
        name=None,
    ) -> "Dataset":
        """What a function's iterator gives, anew in each pass.

        Args:
            generator: a function that returns an iterator, as a generator function does.
            output_types, output_shapes: structures of the dtypes and shapes of its elements.
            args: what the function is called with.
            output_signature: a structure of `TensorSpec`s instead of these; with neither, the elements
                may be of any dtypes and shapes.

        An element that does not fit what is said of it raises ValueError.

        >>> from cornu.data import Dataset
        >>> def count(stop):
        ...     yield from range(stop)
        >>> [int(x) for x in Dataset.from_generator(count, args=(3,)).skip(1)]
        [1, 2]
        """
        if not callable(generator):
            raise TypeError(f"`generator` must be callable. Received: {generator!r}")
        if output_signature is not None and (output_types, output_shapes) != (None, None):
            raise TypeError(
                "Pass either `output_signature`, or `output_types` and `output_shapes`, not both."
            )
        spec, convert = converter(output_types, output_shapes, output_signature)
        arguments = () if args is None else tuple(as_leaf(each) for each in args)
        return Dataset(nodes.Generated(lambda: iter(generator(*arguments)), convert, spec))

    @staticmethod
    def range(*args, output_type="int64", name=None) -> "Dataset":
        """Whole numbers, as `range(stop)`, `range(start, stop)` or `range(start, stop, step)` of Python.

        >>> from cornu.data import Dataset
        >>> list(Dataset.range(1, 6, 2).as_numpy_iterator())
        [np.int64(1), np.int64(3), np.int64(5)]
        """
        numbers = range(*[_whole("args", each) for each in args])
        dtype = np.dtype(getattr(output_type, "as_numpy_dtype", output_type))
        return Dataset(nodes.Numbers(numbers.start, numbers.step, len(numbers), dtype.name))

    @staticmethod
    def counter(start=0, step=1, dtype="int64", name=None) -> "Dataset":
        """Whole numbers without end.

        >>> from cornu.data import Dataset
        >>> [int(i) for i in Dataset.counter(5).take(2)]
        [5, 6]
        """
        dtype = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
        return Dataset(
            nodes.Numbers(_whole("start", start), _whole("step", step), None, dtype.name)
        )

    @staticmethod
    def random(seed=None, rerandomize_each_iteration=None, name=None) -> "Dataset":
        """Random whole numbers from 0 to 2**32 - 1, without end, as a seed for each element of another set.

        Args:
            seed: makes the numbers the same in each run; None draws one from NumPy's global generator.
            rerandomize_each_iteration: whether each pass has other numbers; None: as True.

        A function that makes its random numbers from such a seed may be called by any number of threads,
        and changes each element in the same way.

        >>> import numpy as np
        >>> from cornu.data import Dataset
        >>> def with_noise(x, seed):
        ...     return x + np.random.default_rng(seed).normal(size=x.shape)
        >>> data = Dataset.zip(Dataset.from_tensor_slices(np.zeros((4, 2))), Dataset.random(seed=0))
        >>> [len(x) for x in data.map(with_noise, num_parallel_calls=2).batch(4)]
        [4]
        """
        seed = np.random.randint(1_000_000) if seed is None else abs(int(seed))
        again = rerandomize_each_iteration is None or bool(rerandomize_each_iteration)
        return Dataset(nodes.RandomNumbers(seed, again))

    @staticmethod
    def list_files(file_pattern, shuffle=None, seed=None, name=None) -> "Dataset":
        """The paths of the files that match a pattern, or a list of patterns, such as `"photos/*.jpg"`.

        They are mixed anew in each pass, unless `shuffle` is False; they are sorted then.
        """
        patterns = [file_pattern] if isinstance(file_pattern, str | os.PathLike) else file_pattern
        found = sorted(path for p in patterns for path in files.glob(os.fspath(p)))
        if not found:
            raise FileNotFoundError(f"No files match {file_pattern!r}.")
        listed = Dataset.from_tensor_slices(found)
        return listed if shuffle is False else listed.shuffle(len(found), seed)

    @staticmethod
    def zip(*args, datasets=None, name=None) -> "Dataset":
        """Tuples of the elements of several data sets, until the shortest ends.

        Args:
            args: data sets, or one structure of them.
            datasets: the same, by name.

        >>> from cornu.data import Dataset
        >>> list(Dataset.zip(Dataset.range(2), Dataset.range(5, 7)).as_numpy_iterator())
        [(np.int64(0), np.int64(5)), (np.int64(1), np.int64(6))]
        """
        if bool(args) == (datasets is not None):
            raise TypeError("`zip` takes data sets, or `datasets=`: one of the two.")
        structure = datasets if datasets is not None else args[0] if len(args) == 1 else args
        return Dataset(nodes.Zipped(map_structure(_node_of, structure)))

    @staticmethod
    def sample_from_datasets(
        datasets,
        weights=None,
        seed=None,
        stop_on_empty_dataset=False,
        rerandomize_each_iteration=None,
    ) -> "Dataset":
        """Elements of several data sets, each from one that is drawn at random.

        Args:
            datasets: a list of data sets.
            weights: how often each is drawn, as a list of numbers; default: equally often.
            seed: makes the draws the same in each run.
            stop_on_empty_dataset: whether to end where one has ended; else the others go on.
            rerandomize_each_iteration: whether each pass draws anew; None: as True.

        >>> from cornu.data import Dataset
        >>> parts = [Dataset.range(3), Dataset.range(10, 13)]
        >>> sorted(int(x) for x in Dataset.sample_from_datasets(parts, seed=0))
        [0, 1, 2, 10, 11, 12]
        """
        weights = [1.0] * len(datasets) if weights is None else list(weights)
        if len(weights) != len(datasets) or min(weights) < 0 or not sum(weights):
            raise ValueError(
                "`weights` must have a number of at least 0 for each data set, and one above. Received: "
                f"{weights} for {len(datasets)} data sets"
            )
        seed = np.random.randint(1_000_000) if seed is None else abs(int(seed))
        # What is never drawn would never end.
        used = [(d, w) for d, w in zip(datasets, weights, strict=True) if w]
        again = rerandomize_each_iteration is None or bool(rerandomize_each_iteration)
        draws = nodes.Draws([w for _, w in used], seed, again)
        parents = [_node_of(d) for d, _ in used]
        return Dataset(nodes.Chosen(parents, draws, bool(stop_on_empty_dataset)))

    @staticmethod
    def choose_from_datasets(datasets, choice_dataset, stop_on_empty_dataset=True) -> "Dataset":
        """Elements of several data sets, each from that whose number `choice_dataset` yields.

        >>> from cornu.data import Dataset
        >>> parts = [Dataset.from_tensors("a").repeat(), Dataset.from_tensors("b").repeat()]
        >>> [*Dataset.choose_from_datasets(parts, Dataset.from_tensor_slices([0, 1, 1]))]
        ['a', 'b', 'b']
        """
        parents = [_node_of(d) for d in datasets]
        choice = _node_of(choice_dataset)
        return Dataset(nodes.Chosen(parents, choice, bool(stop_on_empty_dataset)))

    def map(
        self,
        map_func: Callable,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        synchronous: bool | None = None,
        use_unbounded_threadpool=False,
        name=None,
        processes: int | None = None,
    ) -> "Dataset":
        """A function of each element.

        Args:
            map_func: the function; a tuple is spread over its arguments.
            num_parallel_calls: how many threads call it, ahead of what is needed; `AUTOTUNE` for as
                many as there are processors, at most 8. Functions that change variables or draw
                from global generators are called in one thread all the same.
            deterministic: elements keep their order whatever it says.
            synchronous: True is as `num_parallel_calls=None`.
            use_unbounded_threadpool: no effect: there are no more threads than calls.
            processes: how many processes call it, for a function that is slow Python itself, which threads
                cannot do at the same time. Elements and results are copied to them and back, and each needs
                a few seconds to start and has the function's modules in memory. The elements and their
                order are the same. The function must be one of a module, or `cloudpickle` be installed, and
                a script must start its work below `if __name__ == "__main__":`. TensorFlow has no such
                argument.

        Raises `ValueError` for `processes` of a function that changes variables or draws from global
        generators, and `RuntimeError` if one of them is killed.

        >>> from cornu.data import Dataset
        >>> data = Dataset.from_tensor_slices({"a": [1, 2], "b": [3, 4]})
        >>> [int(x) for x in data.map(lambda row: row["a"] * row["b"])]
        [3, 8]
        """
        _check_count("num_parallel_calls", num_parallel_calls, or_none=True)
        _check_count("processes", processes, or_none=True)
        if synchronous and processes:
            raise ValueError(
                "`map` is `synchronous`, or has `processes`: leave one of the two out."
            )
        if processes == AUTOTUNE:
            processes = min(8, os.cpu_count() or 1)
        threads = None if synchronous else num_parallel_calls
        return Dataset(nodes.Mapped(self._node, _callable(map_func), threads, processes or 0))

    def batch(
        self,
        batch_size: int,
        drop_remainder=False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name=None,
    ) -> "Dataset":
        """Several elements as one, whose arrays have one more axis, the first.

        Args:
            batch_size: how many.
            drop_remainder: whether to leave out the last ones, if they are fewer.
            num_parallel_calls, deterministic: as for `map`.
        """
        _check_count("batch_size", batch_size)
        _check_count("num_parallel_calls", num_parallel_calls, or_none=True)
        threads = num_threads(num_parallel_calls)
        return Dataset(nodes.Batched(self._node, int(batch_size), bool(drop_remainder), threads))

    def padded_batch(
        self, batch_size, padded_shapes=None, padding_values=None, drop_remainder=False, name=None
    ) -> "Dataset":
        """Batches of elements whose sizes differ: arrays are filled up at the end of each axis.

        Args:
            batch_size: how many elements.
            padded_shapes: a structure of the shapes to fill up to; None, also for one axis, is the
                largest size in the batch.
            padding_values: a structure of what fills up; default: 0.
            drop_remainder: as for `batch`.

        >>> from cornu.data import Dataset
        >>> [x.tolist() for x in Dataset.range(1, 4).map(lambda n: [7] * n).padded_batch(3)]
        [[[7, 0, 0], [7, 7, 0], [7, 7, 7]]]
        """
        _check_count("batch_size", batch_size)
        return Dataset(
            nodes.Padded(self._node, int(batch_size), padded_shapes, padding_values, drop_remainder)
        )

    def unbatch(self, name=None) -> "Dataset":
        """The rows of each element, one by one."""
        node = self._node
        if type(node) is nodes.Batched and not node.drop_remainder:
            return Dataset(node.parents[0])
        return Dataset(nodes.Unbatched(node))

    def rebatch(self, batch_size, drop_remainder=False, name=None) -> "Dataset":
        """Batches of another size."""
        return self.unbatch().batch(batch_size, drop_remainder)

    def window(self, size, shift=None, stride=1, drop_remainder=False, name=None) -> "Dataset":
        """Data sets of `size` successive elements; the next begins `shift` (default: `size`) later.

        Args:
            size: how many elements.
            shift: from one window's first element to the next one's.
            stride: take only each so-many-th element.
            drop_remainder: whether to leave out windows with fewer elements.

        >>> from cornu.data import Dataset
        >>> windows = Dataset.range(4).window(2, shift=1, drop_remainder=True)
        >>> [x.tolist() for x in windows.flat_map(lambda w: w.batch(2))]
        [[0, 1], [1, 2], [2, 3]]
        """
        shift = size if shift is None else shift
        for what, count in (("size", size), ("shift", shift), ("stride", stride)):
            _check_count(what, count)
        wrap = lambda leaves: Dataset(nodes.Slices(stack_leaves(leaves)))
        return Dataset(nodes.Windowed(self._node, size, shift, stride, drop_remainder, wrap))

    def shuffle(
        self, buffer_size: int, seed=None, reshuffle_each_iteration=True, name=None
    ) -> "Dataset":
        """The elements in a random order: each is drawn from a buffer, which the next one then fills up.

        Args:
            buffer_size: how many elements the buffer holds; all are mixed if it is as large as the data
                set. Where elements can be had by number, it holds numbers only.
            seed: makes the order the same in each run; None draws one from NumPy's global generator.
            reshuffle_each_iteration: whether each pass has another order.

        Orders are not TensorFlow's.
        """
        if buffer_size is not None and int(buffer_size) == nodes.UNKNOWN:
            raise ValueError(
                "`buffer_size` is the cardinality of a data set whose length is unknown."
            )
        _check_count("buffer_size", buffer_size)
        seed = np.random.randint(1_000_000) if seed is None else abs(int(seed))
        again = reshuffle_each_iteration is None or bool(reshuffle_each_iteration)
        return Dataset(nodes.Shuffled(self._node, int(buffer_size), seed, again))

    def repeat(self, count=None, name=None) -> "Dataset":
        """Pass after pass; without end if `count` is None or -1."""
        number = -1 if count is None else _whole("count", count)
        if number < -1:
            raise ValueError(f"`count` must be at least 0, -1, or None. Received: count={count}")
        return Dataset(nodes.Repeated(self._node, None if number == -1 else number))

    def take(self, count, name=None) -> "Dataset":
        """The first elements; all if `count` is -1."""
        number = _whole("count", count)
        return Dataset(nodes.Some(self._node, 0, None if number < 0 else number))

    def skip(self, count, name=None) -> "Dataset":
        """All but the first elements; none if `count` is -1."""
        number = _whole("count", count)
        return self.take(0) if number < 0 else Dataset(nodes.Some(self._node, number, None))

    def shard(self, num_shards, index, name=None, *, drop_remainder=False) -> "Dataset":
        """Every `num_shards`-th element, beginning with that of number `index`.

        Args:
            num_shards: how many parts there are, such as processes.
            index: which one this is, from 0 on.
            drop_remainder: whether to leave out the last elements that would make some parts longer, so
                that all have equally many; else of ten elements, three parts have four, three and three.

        The parts of a data set that is shuffled with one seed are those of one order: the first batches of
        all parts hold what one process would have in a first batch of that many elements.

        >>> from cornu.data import Dataset
        >>> parts = [Dataset.range(10).shard(3, i, drop_remainder=True) for i in range(3)]
        >>> [[int(x) for x in part] for part in parts]
        [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
        """
        _check_count("num_shards", num_shards)
        if not 0 <= index < num_shards:
            raise ValueError(
                f"`index` must be from 0 to {num_shards - 1}, as there are {num_shards} shards. Received: "
                f"index={index}"
            )
        node = nodes.Whole(self._node, int(num_shards)) if drop_remainder else self._node
        return Dataset(nodes.Some(node, int(index), None, int(num_shards)))

    def cache(self, filename="", name=None) -> "Dataset":
        """The elements of the first pass, kept in memory for the later ones, or in a file.

        Args:
            filename: the beginning of the name of a file that a first whole pass writes; later passes,
                also in other processes, read it. Elements may be arrays and text.
        """
        filename = os.fspath(filename)
        if filename:
            return Dataset(CachedInFile(self._node, filename))
        return Dataset(nodes.Cached(self._node))

    def prefetch(self, buffer_size, name=None) -> "Dataset":
        """The same elements, `buffer_size` of them made ahead in a thread; `AUTOTUNE` is two."""
        size = _whole("buffer_size", buffer_size)
        if size < AUTOTUNE:
            raise ValueError(f"`buffer_size` must be at least 0, or -1. Received: {buffer_size}")
        return Dataset(nodes.Ahead(self._node, size))

    def filter(self, predicate: Callable, name=None) -> "Dataset":
        """The elements for which a function is true."""
        return Dataset(nodes.Filtered(self._node, _callable(predicate)))

    def ignore_errors(self, log_warning=True, name=None) -> "Dataset":
        """The elements that can be made, without those of which a step before raises an exception.

        Args:
            log_warning: whether to warn of what is left out: of the first ten with file, item and
                reason, and in the end how many there were. TensorFlow's default is False.

        The elements before have to be such as can be had by number, and after this step they are not.
        A pass without a single good element is an error.

        >>> from cornu.data import Dataset
        >>> data = Dataset.from_tensor_slices(["1", "two", "3"]).map(int)
        >>> [int(x) for x in data.ignore_errors(log_warning=False)]
        [1, 3]
        """
        return Dataset(nodes.Undamaged(self._node, bool(log_warning)))

    def take_while(self, predicate: Callable, name=None) -> "Dataset":
        """The elements before the first for which a function is false."""
        return Dataset(nodes.Filtered(self._node, _callable(predicate), ends=True))

    def enumerate(self, start=0, name=None) -> "Dataset":
        """Tuples of a number, from `start` on, and an element."""
        return Dataset.zip(Dataset.counter(start), self)

    def concatenate(self, dataset: "Dataset", name=None) -> "Dataset":
        """The elements of this data set, then those of another."""
        return Dataset(nodes.Chained(self._node, _node_of(dataset)))

    def flat_map(self, map_func: Callable, name=None) -> "Dataset":
        """The elements of the data sets that a function makes of the elements, one after another."""
        return self.interleave(map_func, cycle_length=1)

    def interleave(
        self,
        map_func: Callable,
        cycle_length=None,
        block_length=None,
        num_parallel_calls=None,
        deterministic=None,
        name=None,
    ) -> "Dataset":
        """The elements of the data sets that a function makes of the elements, in turns.

        Args:
            map_func: returns a data set.
            cycle_length: how many data sets take turns; default: 8, on any machine.
            block_length: how many elements each gives in its turn; default: 1.
            num_parallel_calls, deterministic: no effect: one thread reads them, in order.

        >>> from cornu.data import Dataset
        >>> twice = lambda i: Dataset.from_tensors(i).repeat(2)
        >>> [int(x) for x in Dataset.range(3).interleave(twice, cycle_length=2)]
        [0, 1, 0, 1, 2, 2]
        """
        cycle_length = 8 if cycle_length in (None, AUTOTUNE) else cycle_length
        block_length = 1 if block_length is None else block_length
        _check_count("cycle_length", cycle_length)
        _check_count("block_length", block_length)
        return Dataset(nodes.Flattened(self._node, _callable(map_func), cycle_length, block_length))

    def reduce(self, initial_state, reduce_func: Callable, name=None):
        """The last state of `state = reduce_func(state, element)`.

        >>> from cornu.data import Dataset
        >>> int(Dataset.range(5).reduce(0, lambda total, i: total + i))
        10
        """
        state = map_structure(copied, as_element(initial_state))
        for element in self.as_numpy_iterator():
            state = as_element(reduce_func(state, map_structure(copied, element)))
        return map_structure(with_numpy, state)

    def apply(self, transformation_func: Callable) -> "Dataset":
        """What a function of the data set returns, which must be a data set."""
        made = transformation_func(self)
        _node_of(made)
        return made

    def with_options(self, options, name=None) -> "Dataset":
        """The data set itself: what options of TensorFlow's would change is not there."""
        return self

    def get_single_element(self, name=None):
        """The only element. Raises ValueError if there are more, or none."""
        found = list(self.take(2))
        if len(found) != 1:
            raise ValueError(
                f"Expected one element, but the data set has {('none', '', 'more')[len(found)]}."
            )
        return found[0]

    def cardinality(self, name=None) -> Tensor:
        """How many elements a pass has; `INFINITE` (-1) or `UNKNOWN` (-2) where there is no number.

        >>> from cornu.data import Dataset
        >>> int(Dataset.range(10).batch(3).cardinality())
        4
        """
        return np.asarray(self._node.length()).view(Tensor)

    def __len__(self) -> int:
        length = self._node.length()
        if length < 0:
            raise TypeError(
                f"The data set is {'infinite' if length == nodes.INFINITE else 'of unknown length'}."
            )
        return length

    def __bool__(self) -> bool:
        return True

    @property
    def element_spec(self):
        """The structure of `TensorSpec`s of an element; functions are tried with the first one."""
        return self._node.spec()

    def __iter__(self) -> Iterator[Any]:
        return (map_structure(with_numpy, element) for element in self.as_numpy_iterator())

    def as_numpy_iterator(self) -> Iterator[Any]:
        """The elements of a pass, as NumPy's arrays and numbers."""
        return self._node.open().read()

    def __getitem__(self, index: int):
        """Element `index` of the first pass, where elements can be had by number, else TypeError."""
        with nodes.unchanged(self._node):
            opened = self._node.open()
        if isinstance(opened, Stream):
            raise TypeError(
                "The elements of this data set can only be had one after another, and not by number."
            )
        return _by_number(opened, index)

    def __getattr__(self, name):
        if name in _ABSENT:
            raise AttributeError(f"Cornu's data sets have no `{name}`. {_ABSENT[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {int(self.cardinality())} elements>"


def _by_number(opened: Indexed, index):
    length, index = opened.length, _whole("index", index)
    number = index + length if index < 0 and length is not None else index
    if number < 0 or (length is not None and number >= length):
        raise IndexError(f"element {index} of {length}")
    return opened.get(number)


def _as_rows(value):
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "shape") and not hasattr(value, "__array__"):
        # Rows that are made when they are asked for.
        return value
    return as_leaf(value)


def _node_of(dataset) -> nodes.Node:
    if not isinstance(dataset, Dataset):
        raise TypeError(f"Expected a `Dataset`. Received: {dataset!r}")
    return dataset._node


def _callable(function: Callable) -> Callable:
    if not callable(function):
        raise TypeError(f"Expected a function of an element. Received: {function!r}")
    return function


def _whole(name: str, value) -> int:
    """An integer of Python or NumPy, or an array of one, such as a cardinality."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}") from None


def _check_count(name: str, value, or_none=False) -> None:
    if (value is None and or_none) or (or_none and value == AUTOTUNE):
        return
    try:
        number = value.__index__() if not isinstance(value, bool) else 0
    except (AttributeError, TypeError):
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")
