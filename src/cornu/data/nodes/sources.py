"""Steps that begin a data set."""

import itertools
from collections.abc import Callable

import numpy as np

from cornu.data.elements import TensorSpec, map_structure, read_only, spec_of
from cornu.data.nodes.node import INFINITE, Node
from cornu.data.passes import Indexed, Stream, of_arrays


class Slices(Node):
    """The rows of arrays."""

    def __init__(self, arrays):
        super().__init__()
        self._rows = of_arrays(map_structure(read_only, arrays))
        self._spec = map_structure(lambda s: s._replace(shape=s.shape[1:]), spec_of(arrays))

    def open(self):
        return self._rows

    def length(self):
        return self._rows.length

    def spec(self):
        return self._spec


class Numbers(Node):
    """Whole numbers, `start` first, each larger by `step`; without end if `length` is None."""

    def __init__(self, start: int, step: int, length: int | None, dtype: str):
        super().__init__()
        self._start, self._step, self._length = start, step, length
        self._dtype = np.dtype(dtype)

    def open(self):
        return Indexed(
            self._length,
            lambda i: self._dtype.type(self._start + i * self._step),
            lambda rows: (self._start + np.asarray(rows) * self._step).astype(self._dtype),
        )

    def length(self):
        return INFINITE if self._length is None else self._length

    def spec(self):
        return TensorSpec((), self._dtype.name)


class Generated(Node):
    """What a function's iterator gives; `convert` checks each element and gives it its dtypes."""

    def __init__(self, function: Callable, convert: Callable, spec=None):
        super().__init__()
        self._function, self._convert, self._spec = function, convert, spec

    def open(self):
        return Stream(map(self._convert, self._function()), [])

    def spec(self):
        return spec_of(self.sample()) if self._spec is None else self._spec


class Draws(Node):
    """Random numbers below the count of `weights`, as often as these say, without end."""

    def __init__(self, weights, seed: int, again: bool):
        super().__init__()
        self._weights, self._seed, self._again, self._passes = weights, seed, again, 0

    def open(self):
        rng = np.random.default_rng((self._seed, self._passes))
        self._passes += self._again
        shares = np.asarray(self._weights, float) / np.sum(self._weights)
        return Stream((rng.choice(len(shares), p=shares) for _ in itertools.count()), [])

    def state(self):
        return [self._seed, self._passes]

    def restore(self, state):
        self._seed, self._passes = state


class RandomNumbers(Node):
    """Random numbers from 0 to 2**32 - 1, without end; with `again`, other ones in each pass."""

    def __init__(self, seed: int, again: bool):
        super().__init__()
        self._seed, self._again, self._passes = seed, again, 0

    def open(self):
        seed = (self._seed, self._passes)
        self._passes += self._again
        # Each is made from its own number, so that any thread may ask for any.
        return Indexed(
            None,
            lambda i: np.int64(np.random.SeedSequence((*seed, i)).generate_state(1)[0]),
        )

    def length(self):
        return INFINITE

    def spec(self):
        return TensorSpec((), "int64")

    def state(self):
        return [self._seed, self._passes]

    def restore(self, state):
        self._seed, self._passes = state


class Records(Node):
    """The elements of shards, one shard after another."""

    def __init__(self, shards: list):
        super().__init__()
        self._shards = shards
        self._begins = np.concatenate([[0], np.cumsum([len(s) for s in shards])]).astype(np.int64)

    def open(self):
        def place(i):
            number = int(np.searchsorted(self._begins, i, "right")) - 1
            return self._shards[number], i - int(self._begins[number])

        def get(i):
            with opened.naming(i):
                shard, row = place(i)
                return shard[row]

        def name(i):
            shard, row = place(i)
            return shard.name(row)

        opened = Indexed(self.length(), get, name=name)
        return opened

    def length(self):
        return int(self._begins[-1])

    def spec(self):
        return spec_of(self.sample())
