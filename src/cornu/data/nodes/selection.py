"""Steps that change which elements come, in what order, and when."""

import itertools
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np

from cornu.data.ahead import AUTOTUNE, read_ahead
from cornu.data.effects import Tide
from cornu.data.elements import map_structure, read_only, stack
from cornu.data.in_processes import WorkerLost
from cornu.data.nodes.node import INFINITE, UNKNOWN, Node, restore_states, states
from cornu.data.passes import Indexed, Pass, Stream, shuffled, shuffled_order
from cornu.data.position import random_state, set_random_state

# Damaged elements of a pass that are named one by one.
_NAMED = 10


class Shuffled(Node):
    """Elements in a random order, another one in each pass."""

    def __init__(self, parent: Node, buffer_size: int, seed: int, again: bool):
        super().__init__(parent)
        self._buffer_size, self._seed, self._again = buffer_size, seed, again
        self._passes = 0
        self._orders: OrderedDict[tuple, np.ndarray] = OrderedDict()

    def open(self):
        opened = self.parents[0].open()
        seed = (self._seed, self._passes)
        self._passes += self._again
        if isinstance(opened, Stream) or opened.length is None:
            return Stream(shuffled(opened.read(), self._buffer_size, seed), opened.effects)
        length = opened.length
        return opened.select(length, lambda i: self._order(length, seed)[i])

    def _order(self, length, seed):
        # Computed when needed, and again if it was forgotten: passes may be as many as one likes.
        key = (length, *seed)
        order = self._orders.get(key)
        if order is None:
            order = self._orders[key] = shuffled_order(length, self._buffer_size, seed)
            while len(self._orders) > 3:
                self._orders.popitem(last=False)
        return order

    def state(self):
        return [self._seed, self._passes]

    def restore(self, state):
        self._seed, self._passes = state


class Repeated(Node):
    """Passes one after another; `count` of them, or without end if it is None."""

    def __init__(self, parent: Node, count: int | None):
        super().__init__(parent)
        self._count = count

    def open(self):
        first = self.parents[0].open()
        if isinstance(first, Indexed) and first.length:
            return self._indexed(first)

        def passes():
            yield first
            more = itertools.count(1) if self._count is None else range(1, self._count)
            yield from (self.parents[0].open() for _ in more)

        def elements():
            for one in passes():
                empty = True
                for element in one.read():
                    empty = False
                    yield element
                if empty:
                    return

        return Stream(elements() if self._count != 0 else iter(()), first.effects)

    def _indexed(self, first: Indexed) -> Pass:
        length: Any = first.length
        passes: list[Any] = [first]

        def at(number: int):
            while len(passes) <= number:
                passes.append(self.parents[0].open())
            return passes[number]

        def many(numbers):
            numbers = np.asarray(numbers)
            of_pass, rows = np.divmod(numbers, length)
            if of_pass.size and (of_pass == of_pass[0]).all():
                return at(int(of_pass[0])).many(rows)
            return stack([at(int(p)).get(int(r)) for p, r in zip(of_pass, rows, strict=True)])

        return Indexed(
            None if self._count is None else self._count * length,
            lambda i: at(i // length).get(i % length),
            many,
            first.threads,
            first.ahead,
            lambda i: at(i // length).place(i % length),
        )

    def length(self):
        length = self.parents[0].length()
        if self._count is None:
            return INFINITE if length else 0
        if length < 0 and self._count:
            return length
        return length * self._count


class Some(Node):
    """Elements `start`, `start + step`, … before `stop`, which None leaves out."""

    def __init__(self, parent: Node, start: int, stop: int | None, step: int = 1):
        super().__init__(parent)
        self._start, self._stop, self._step = start, stop, step

    def open(self):
        opened = self.parents[0].open()
        if isinstance(opened, Stream):
            chosen = itertools.islice(opened.read(), self._start, self._stop, self._step)
            return Stream(chosen, opened.effects)
        start, step = self._start, self._step
        return opened.select(self._count(opened.length), lambda i: start + i * step)

    def _count(self, length):
        end = length if self._stop is None else self._stop
        if end is None:
            return None
        if length is not None:
            end = min(end, length)
        return len(range(self._start, end, self._step))

    def length(self):
        length = self.parents[0].length()
        if length == UNKNOWN:
            return 0 if self._stop == 0 else UNKNOWN
        count = self._count(None if length == INFINITE else length)
        return INFINITE if count is None else count


class Whole(Node):
    """The elements without the last ones that are no group of `size`."""

    def __init__(self, parent: Node, size: int):
        super().__init__(parent)
        self._size = size

    def open(self):
        opened = self.parents[0].open()
        if isinstance(opened, Stream):
            return Stream(self._groups(opened.read()), opened.effects)
        length = opened.length
        return opened.select(length and length - length % self._size, lambda i: i)

    def _groups(self, elements):
        while len(group := list(itertools.islice(elements, self._size))) == self._size:
            yield from group

    def length(self):
        length = self.parents[0].length()
        return length if length < 0 else length - length % self._size


class Undamaged(Node):
    """The elements that can be made; what is left out is warned of, if `warns`."""

    def __init__(self, parent: Node, warns: bool):
        super().__init__(parent)
        self._warns = warns

    def open(self):
        opened = self.parents[0].open()
        if isinstance(opened, Stream):
            raise TypeError(
                "`ignore_errors` needs elements that can be had by number, as files, arrays, `map` and "
                "`shuffle` give them; a generator or `filter` ends with its first error. Put it before "
                "such a step, and before functions that draw random numbers (`Dataset.random` has seeds)."
            )

        def made(i):
            try:
                with opened.naming(i):
                    return opened.get(i), None
            except WorkerLost:
                # No element's fault.
                raise
            except Exception as error:
                return None, error

        return Stream(self._good(opened.made_of(opened.length, made).read()), [])

    def _good(self, elements):
        count = skipped = 0
        for element, problem in elements:
            count += 1
            if problem is None:
                yield element
                continue
            skipped += 1
            if self._warns and skipped <= _NAMED:
                notes = " ".join([str(problem), *getattr(problem, "__notes__", ())])
                warnings.warn(f"Skipped an element: {type(problem).__name__}: {notes}")
        if skipped and skipped == count:
            raise ValueError(f"None of the {count} elements could be made. The last: {problem!r}")
        if skipped and self._warns:
            warnings.warn(f"Skipped {skipped} of {count} elements.")

    def length(self):
        return UNKNOWN


class Ahead(Node):
    """The same elements, made before they are needed."""

    def __init__(self, parent: Node, size: int):
        super().__init__(parent)
        self._size = 2 if size == AUTOTUNE else size

    def open(self):
        opened = self.parents[0].open()
        if not self._size:
            return opened
        if isinstance(opened, Stream):
            return Stream(self._read(opened), opened.effects)
        return Indexed(
            opened.length,
            opened.get,
            opened.many,
            max(opened.threads, 1),
            max(opened.ahead, self._size, opened.threads and opened.threads + 2),
            opened.name,
        )

    def _read(self, opened: Stream):
        elements = opened.read()
        for first in elements:
            yield first
            break
        # What a thread draws from the global generators would depend on when it runs.
        if any(effects.draws for effects in opened.effects):
            yield from elements
            return
        tide = Tide(opened.effects)
        yield from read_ahead(elements, self._size, tide.now, tide.restore)


class Cached(Node):
    """The elements of the first pass, in memory."""

    def __init__(self, parent: Node):
        super().__init__(parent)
        self._opened: Indexed | None = None
        # Where the parents and the global generators stood when that pass began.
        self._begin: list | None = None

    def open(self):
        if self._opened is not None:
            return self._opened
        begin = [states(self.parents[0]), random_state()]
        opened = self.parents[0].open()
        if isinstance(opened, Stream):
            return Stream(self._collect(opened.read(), begin), opened.effects)
        self._begin = begin
        self._opened = self._kept(opened)
        return self._opened

    def _kept(self, opened: Indexed) -> Indexed:
        kept: dict[int, Any] = {}

        def get(i):
            if i not in kept:
                kept[i] = map_structure(read_only, opened.get(i))
            return kept[i]

        return opened.made_of(opened.length, get)

    def _collect(self, elements, begin):
        kept: list = []
        for element in elements:
            kept.append(map_structure(read_only, element))
            yield kept[-1]
        self._begin = begin
        self._opened = Indexed(len(kept), kept.__getitem__)

    def length(self):
        return self.parents[0].length()

    def state(self):
        return self._begin

    def restore(self, state):
        if state is None or state == self._begin:
            if state is None:
                self._opened = self._begin = None
            return
        now, random = states(self.parents[0]), random_state()
        restore_states(self.parents[0], state[0])
        set_random_state(state[1])
        self._opened = self._begin = None
        opened = self.open()
        if isinstance(opened, Stream):
            for _ in opened.read():
                pass
        restore_states(self.parents[0], now)
        set_random_state(random)
