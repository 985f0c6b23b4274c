"""What makes batches itself: a `PyDataset`, a generator, a data set of another library."""

import itertools
import random
import reprlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import jax
import numpy as np

from cornu.data.ahead import get_batch, iterate
from cornu.data.arrays import in_default_dtype, to_arrays
from cornu.data.class_weights import weigh_classes
from cornu.data.dataset import Dataset
from cornu.data.effects import plain
from cornu.data.nodes import restore_states, states
from cornu.data.passes import Indexed
from cornu.data.position import random_state, set_random_state
from cornu.data.py_dataset import PyDataset
from cornu.data.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight


class StreamSource:
    """A `PyDataset`, a generator, or anything else that yields batches."""

    on_device = None

    def __init__(self, data, steps=None, shuffle=False, class_weight=None, repeat=True):
        self._data, self._shuffle, self._class_weight = data, shuffle, class_weight
        self._steps, self._repeat = steps, repeat
        self._py_dataset: Any = data if isinstance(data, PyDataset) else None
        self._once = isinstance(data, Iterator) and self._py_dataset is None
        # The last step of a `Dataset`, and the states of its steps when the current pass began.
        self._node: Any = data._node if isinstance(data, Dataset) else None
        self._pass_states: list | None = None
        length = self._py_dataset.num_batches if self._py_dataset is not None else _length(data)
        if length == 0:
            raise ValueError(f"{type(data).__name__} has length 0: it yielded no batch to work on.")
        self.num_batches = steps or length
        # What is left to read: batches, or for a `PyDataset` the indices of batches.
        self._running: Iterator | None = None
        self._first: Any = None
        # The random state at the start of the current pass, and how many batches were given, in the
        # pass and in all.
        self._pass_start: dict | None = None
        self._in_pass = self._in_all = 0
        # For each hook that was called, the random state before it if it drew numbers.
        self._hooks: list[dict | None] = []
        self._epoch_done = 0

    def first_batch(self, draws=True):
        """The first batch, which the first pass will yield again; nothing is drawn for it."""
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

    def limit_steps(self, steps: int) -> None:
        """Give no more batches in a pass than these."""
        self._steps = self.num_batches = steps

    def rewind(self) -> None:
        """Let the next pass begin at the first batch, if the data can be read again."""
        if not self._once and self._first is None:
            self._running = None

    def close(self) -> None:
        """End the pass, and with it the threads that read ahead."""
        self._running = self._first = None

    def batches(self) -> Generator[Any, None, None]:
        """One pass: all there is, or `steps` batches from where the pass before stopped."""
        running = self._running or self._start()
        self._running = running if self._steps else None
        done, self._epoch_done = self._epoch_done, 0
        rest = None if self._steps is None else self._steps - done
        if self._py_dataset is not None:
            if not self._has_begun:
                self._call_hook()
            try:
                with closing(iterate(self._py_dataset, itertools.islice(running, rest))) as raw:
                    for batch in raw:
                        yield self._count(self._standardize(batch))
            finally:
                self._call_hook()
            return
        if self._first is not None:
            running, self._first = itertools.chain([self._first], running), None
        for batch in itertools.islice(running, rest):
            yield self._count(batch)
        if not self._in_all:
            raise ValueError(self._no_batch())

    @property
    def _has_begun(self) -> bool:
        """Whether the next hook is `on_epoch_end`."""
        return len(self._hooks) % 2 == 1

    def _call_hook(self) -> None:
        """Call the next hook of a `PyDataset`."""
        before = random_state()
        hooks = self._py_dataset.on_epoch_begin, self._py_dataset.on_epoch_end
        hooks[self._has_begun]()
        self._hooks.append(None if random_state() == before else before)

    def _count(self, batch):
        self._in_pass += 1
        self._in_all += 1
        return batch

    def position(self) -> dict:
        """How far the data were read."""
        return {
            "start": self._pass_start,
            "hooks": self._hooks,
            "in_pass": self._in_pass,
            "in_all": self._in_all,
            "steps": None if self._node is None else plain([self._pass_states, states(self._node)]),
            "own": self._py_dataset._place_to_resume()
            if hasattr(self._py_dataset, "_place_to_resume")
            else None,
        }

    def resume(self, position: dict, step: int) -> None:
        """Go on from a position: what came before is read again and dropped, except from a `PyDataset`.

        For that, the hooks of past epochs are called again, each with the random state that it had. A
        `Dataset` whose elements can be had by number reads nothing again.
        """
        if position["start"] is None:
            return
        self._pass_start, self._epoch_done = position["start"], step
        if self._py_dataset is not None and position["own"] is not None:
            self._py_dataset._resume_at(position["own"])
            self._hooks = position["hooks"]
        elif self._py_dataset is not None:
            for state in position["hooks"]:
                if state is not None:
                    set_random_state(state)
                self._call_hook()
        if self._once:
            skipped = position["in_all"] - (self._first is not None)
            self._running, self._first = self._running or self._start(), None
            _skip(self._running, skipped)
        elif self._node is not None:
            self._resume_dataset(position, bool(step or self._steps))
        elif step or self._steps:
            self._first = None
            set_random_state(self._pass_start)
            self._running = self._start()
            _skip(self._running, position["in_pass"])
        self._in_pass, self._in_all = position["in_pass"], position["in_all"]

    def _resume_dataset(self, position: dict, within: bool) -> None:
        self._pass_states, now = position["steps"]
        self._first = self._running = None
        if not within:
            restore_states(self._node, now)
            return
        set_random_state(position["start"])
        restore_states(self._node, self._pass_states)
        opened, given = self._node.open(), position["in_pass"]
        rest = opened.read(given) if isinstance(opened, Indexed) else opened.read()
        if not isinstance(opened, Indexed):
            _skip(rest, given)
        self._running = self._start(map(self._standardize, rest))

    def _begin(self, one_pass: Callable[[], Iterable]) -> Iterator:
        self._pass_start, self._in_pass = random_state(), 0
        self._pass_states = None if self._node is None else states(self._node)
        yield from one_pass()

    def _start(self, rest: Iterator | None = None) -> Iterator:
        """What there is to read: once, or repeatedly if a number of steps limits it.

        `rest` is what is left of the first pass, if another process has read its beginning.
        """
        one_pass = self._order if self._py_dataset is not None else self._read
        again, empty = True, False
        while again and not empty:
            again, empty = self._steps and self._repeat and not self._once, rest is None
            for each in self._begin(one_pass) if rest is None else rest:
                empty = False
                yield each
            rest = None

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
        parts = to_arrays(*unpack_x_y_sample_weight(batch))
        x, y, sample_weight = jax.tree.map(_own, parts)
        if not any(a.ndim and len(a) for a in jax.tree.leaves(x)):
            raise ValueError(
                f"A batch of the dataset ({type(self._data).__name__}) holds no samples, which the "
                f"first axis of its arrays counts. Received: {reprlib.repr(batch)}"
            )
        if self._class_weight is not None:
            sample_weight = weigh_classes(y, sample_weight, self._class_weight)
        return pack_x_y_sample_weight(x, y, sample_weight)


def _own(given):
    """An array in the dtype that a step takes. A copy: its owner may fill it before the step reads it."""
    array = in_default_dtype(given)
    is_theirs = isinstance(array, np.ndarray) and (array is given or array.base is not None)
    return array.copy() if is_theirs else array


def _skip(batches: Iterator, count: int) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _length(data) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
