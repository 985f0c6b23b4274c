"""The steps that a data set is made of: each opens a pass over its elements from passes over others'."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cornu.data.ahead import AUTOTUNE, in_order, num_threads, read_ahead
from cornu.data.effects import Effects, Tide
from cornu.data.elements import (
    TensorSpec,
    as_element,
    copied,
    leaves_of,
    map_structure,
    padded,
    read_only,
    spec_of,
    stack,
    unstack,
)
from cornu.data.passes import Indexed, Pass, Stream, of_arrays, shuffled, shuffled_order
from cornu.data.position import random_state, set_random_state

# What `cardinality` says where there is no number.
INFINITE, UNKNOWN = -1, -2


class Node:
    """A step, with the steps that it takes its elements from.

    A subclass defines `open`, and what else is not as in its only parent.
    """

    def __init__(self, *parents: "Node"):
        self.parents = parents

    def open(self) -> Pass:
        """Begin a pass."""
        raise NotImplementedError

    def length(self) -> int:
        """How many elements a pass has, `INFINITE` or `UNKNOWN`."""
        return self.parents[0].length() if self.parents else UNKNOWN

    def spec(self):
        """The structure of `TensorSpec`s of an element; a shape of None is one of an unknown rank."""
        return self.parents[0].spec()

    def state(self) -> Any:
        """What differs between passes, in plain values."""

    def restore(self, state) -> None:
        """Put back what `state` returned, in this or another process."""

    def sample(self):
        """The first element; everything is then as it was."""
        with unchanged(self):
            opened = self.open()
            for element in opened.read():
                if isinstance(opened, Stream):
                    opened.close()
                return element
        raise ValueError("The data set has no elements, so there is none to see its shapes in.")


def walk(node: Node) -> list[Node]:
    """A node and all that it takes elements from, parents first, each once."""
    found: dict[int, Node] = {}

    def visit(one):
        if id(one) not in found:
            for parent in one.parents:
                visit(parent)
            found[id(one)] = one

    visit(node)
    return list(found.values())


def states(node: Node) -> list:
    """The states of a node and of all before it."""
    return [one.state() for one in walk(node)]


def restore_states(node: Node, kept: list) -> None:
    """Put back what `states` returned."""
    nodes = walk(node)
    if len(kept) != len(nodes):
        raise ValueError(
            f"The data set consisted of {len(kept)} steps when its position was kept, and has {len(nodes)} "
            "now. Delete the backup to start from the beginning."
        )
    for one, state in zip(nodes, kept, strict=True):
        one.restore(state)


@contextmanager
def unchanged(node: Node):
    """Within, a pass may be begun that leaves no trace."""
    kept, random = states(node), random_state()
    try:
        yield
    finally:
        restore_states(node, kept)
        set_random_state(random)


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


class Called(Node):
    """A step that calls a function of the user's with each element."""

    def __init__(self, parent: Node, function: Callable):
        super().__init__(parent)
        self._effects = Effects()
        self._function = function

    def _apply(self, element):
        """The function of an element, which it may change; a tuple is spread over its arguments."""
        element = map_structure(copied, element)
        return self._function(*element) if type(element) is tuple else self._function(element)

    def _call(self, element):
        """The same; the first call tells what the function changes."""
        return self._effects.call(self._apply, element)

    def _stream(self, opened: Pass, results: Callable) -> Stream:
        """The stream of what `results` yields for the elements, with the function's effects."""
        return Stream(results(opened.read()), [*opened.effects, self._effects])

    def state(self):
        return self._effects.values()

    def restore(self, state):
        self._effects.restore(state)


class Mapped(Called):
    """A function of each element."""

    def __init__(self, parent: Node, function: Callable, num_parallel_calls: int | None):
        super().__init__(parent, function)
        self._threads = num_threads(num_parallel_calls)

    def _result(self, element):
        return as_element(self._call(element))

    def open(self):
        opened: Any = self.parents[0].open()
        if isinstance(opened, Indexed):
            # The first element, if it is made already: what changes nothing is called once for each.
            made: dict[int, Any] = {}
            if not self._effects.known and opened.length != 0:
                made[0] = as_element(self._effects.find(self._apply, opened.get(0)))
            if not self._effects.any:

                def get(i):
                    first = made.pop(i, made)
                    return self._result(opened.get(i)) if first is made else first

                return opened.made_of(opened.length, get, threads=self._threads)
        return self._stream(opened, self._results(opened.effects))

    def _results(self, before: list[Effects]) -> Callable:
        def results(elements: Iterator):
            # The first one, after which it is known what the function changes.
            for first in elements:
                yield self._result(first)
                break
            if self._effects.any or not self._threads:
                yield from map(self._result, elements)
                return
            tide = Tide(before)
            yield from in_order(
                self._result, elements, self._threads, self._threads + 2, tide.now, tide.restore
            )

        return results

    def spec(self):
        before, parent = leaves_of(self.parents[0].spec()), self.parents[0].sample()
        unknown = {
            np.shape(leaf)[0]
            for spec, leaf in zip(before, leaves_of(parent), strict=True)
            if isinstance(spec, TensorSpec) and (spec.shape or ())[:1] == (None,)
        }

        def with_unknown(spec):
            if isinstance(spec, TensorSpec) and spec.shape and spec.shape[0] in unknown:
                return spec._replace(shape=(None, *spec.shape[1:]))
            return spec

        return map_structure(with_unknown, spec_of(self.sample()))


class Filtered(Called):
    """The elements for which a function is true; with `ends`, those before the first that it is not."""

    def __init__(self, parent: Node, function: Callable, ends=False):
        super().__init__(parent, function)
        self._ends = ends

    def open(self):
        def results(elements):
            is_kept = lambda element: bool(np.asarray(self._call(element)).all())
            return (
                itertools.takewhile(is_kept, elements) if self._ends else filter(is_kept, elements)
            )

        return self._stream(self.parents[0].open(), results)

    def length(self):
        return UNKNOWN


class Flattened(Called):
    """The elements of the data sets that a function makes, some of them in turns."""

    def __init__(self, parent: Node, function: Callable, cycle_length: int, block_length: int):
        super().__init__(parent, function)
        self._cycle_length, self._block_length = cycle_length, block_length

    def open(self):
        return self._stream(self.parents[0].open(), self._interleaved)

    def _interleaved(self, elements):
        running: list[Iterator | None] = [None] * self._cycle_length
        place, has_more = 0, True
        while has_more or any(running):
            if running[place] is None and has_more:
                following = next(elements, None)
                has_more = following is not None
                if has_more:
                    made = self._call(following)
                    if not hasattr(made, "as_numpy_iterator"):
                        raise TypeError(
                            "The function of `flat_map` and `interleave` must return a `Dataset`. It "
                            f"returned {type(made).__name__}."
                        )
                    running[place] = made.as_numpy_iterator()
            current = running[place]
            if current is not None:
                given = 0
                for element in itertools.islice(current, self._block_length):
                    given += 1
                    yield element
                if given < self._block_length:
                    running[place] = None
            place = (place + 1) % self._cycle_length

    def length(self):
        return UNKNOWN

    def spec(self):
        return spec_of(self.sample())


class Batched(Node):
    """Several elements as one."""

    def __init__(self, parent: Node, size: int, drop_remainder: bool, threads=0, pad=None):
        super().__init__(parent)
        self.size, self.drop_remainder = size, drop_remainder
        self._threads, self._pad = threads, pad

    def open(self):
        opened, size = self.parents[0].open(), self.size
        if isinstance(opened, Stream):
            return Stream(self._groups(opened.read()), opened.effects)
        length = opened.length

        def get(i):
            numbers = np.arange(
                i * size, (i + 1) * size if length is None else min((i + 1) * size, length)
            )
            if self._pad is not None:
                return self._pad([opened.get(int(n)) for n in numbers])
            return opened.many(numbers)

        return opened.made_of(self._count(length), get, self._threads)

    def _groups(self, elements):
        together = self._pad or stack
        while group := list(itertools.islice(elements, self.size)):
            if len(group) < self.size and self.drop_remainder:
                return
            yield together(group)

    def _count(self, length):
        if length is None:
            return None
        return length // self.size if self.drop_remainder else -(-length // self.size)

    def length(self):
        length = self.parents[0].length()
        return length if length < 0 else self._count(length)

    def spec(self):
        first = self.size if self.drop_remainder else None

        def batch(spec):
            if not isinstance(spec, TensorSpec) or spec.shape is None:
                return spec
            sizes = spec.shape if self._pad is None else (None,) * len(spec.shape)
            return spec._replace(shape=(first, *sizes))

        return map_structure(batch, self.parents[0].spec())


class Unbatched(Node):
    """The rows of each element."""

    def open(self):
        opened = self.parents[0].open()
        rows = (row for element in opened.read() for row in unstack(element))
        return Stream(rows, opened.effects)

    def length(self):
        length = self.parents[0].length()
        if length <= 0:
            return length
        specs = leaves_of(self.parents[0].spec())
        sizes = [s.shape[0] for s in specs if isinstance(s, TensorSpec) and s.shape]
        return length * sizes[0] if sizes and sizes[0] is not None else UNKNOWN

    def spec(self):
        return map_structure(
            lambda s: s._replace(shape=s.shape[1:]) if getattr(s, "shape", None) else s,
            self.parents[0].spec(),
        )


class Windowed(Node):
    """Data sets of successive elements; `wrap` makes a data set of a list of leaves."""

    def __init__(self, parent: Node, size, shift, stride, drop_remainder, wrap: Callable):
        super().__init__(parent)
        self._size, self._shift, self._stride = size, shift, stride
        self._drop, self._wrap = drop_remainder, wrap

    def open(self):
        opened = self.parents[0].open()
        return Stream(self._windows(opened.read()), opened.effects)

    def _windows(self, elements):
        reach = (self._size - 1) * self._stride + 1
        buffer: list = []
        while True:
            buffer += itertools.islice(elements, reach - len(buffer))
            if not buffer or (self._drop and len(buffer) < reach):
                return
            window = buffer[:: self._stride]
            yield map_structure(lambda *leaves: self._wrap(leaves), *window)
            passed, buffer = len(buffer), buffer[self._shift :]
            # Elements between two windows.
            skipped = self._shift - passed
            if skipped > 0 and len(list(itertools.islice(elements, skipped))) < skipped:
                return

    def length(self):
        length = self.parents[0].length()
        if length < 0:
            return length
        reach = (self._size - 1) * self._stride + 1 if self._drop else 1
        return max(0, (length - reach) // self._shift + 1)

    def spec(self):
        return spec_of(self.sample())


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


class Chained(Node):
    """The elements of several, one after another."""

    def open(self):
        opened: list[Any] = [parent.open() for parent in self.parents]
        lengths = [one.length if isinstance(one, Indexed) else None for one in opened]
        if not all(isinstance(one, Indexed) for one in opened) or None in lengths[:-1]:
            effects = [e for one in opened for e in one.effects]
            elements = itertools.chain.from_iterable(one.read() for one in opened)
            return Stream(elements, effects)
        first, second = opened

        def get(i):
            return first.get(i) if i < first.length else second.get(i - first.length)

        total = None if second.length is None else first.length + second.length
        return Indexed(
            total,
            get,
            threads=max(first.threads, second.threads),
            ahead=max(first.ahead, second.ahead),
        )

    def length(self):
        lengths = [parent.length() for parent in self.parents]
        return INFINITE if INFINITE in lengths else UNKNOWN if UNKNOWN in lengths else sum(lengths)

    def spec(self):
        def common(first, second):
            if not isinstance(first, TensorSpec) or first.shape is None or second.shape is None:
                return first
            if len(first.shape) != len(second.shape):
                return first._replace(shape=None)
            sizes = zip(first.shape, second.shape, strict=True)
            return first._replace(shape=tuple(a if a == b else None for a, b in sizes))

        return map_structure(common, *(parent.spec() for parent in self.parents))


class Zipped(Node):
    """A structure of data sets as one, until the shortest ends."""

    def __init__(self, structure):
        super().__init__(*leaves_of(structure))
        self._structure = structure

    def _packed(self, parts):
        parts = iter(parts)
        return map_structure(lambda _: next(parts), self._structure)

    def open(self):
        opened: list[Any] = [parent.open() for parent in self.parents]
        if not all(isinstance(one, Indexed) for one in opened):
            effects = [e for one in opened for e in one.effects]
            rows = zip(*(one.read() for one in opened), strict=False)
            return Stream(map(self._packed, rows), effects)
        lengths = [one.length for one in opened if one.length is not None]
        return Indexed(
            min(lengths, default=None),
            lambda i: self._packed(one.get(i) for one in opened),
            lambda rows: self._packed(one.many(rows) for one in opened),
            max(one.threads for one in opened),
            max(one.ahead for one in opened),
        )

    def length(self):
        lengths = [parent.length() for parent in self.parents]
        known = [n for n in lengths if n >= 0]
        if UNKNOWN in lengths:
            return 0 if 0 in known else UNKNOWN
        return min(known, default=INFINITE)

    def spec(self):
        return self._packed(parent.spec() for parent in self.parents)


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


class Padded(Batched):
    """Several elements of unequal sizes as one."""

    def __init__(self, parent: Node, size, shapes, values, drop_remainder):
        super().__init__(
            parent, size, drop_remainder, pad=lambda elements: padded(elements, shapes, values)
        )


class Chosen(Node):
    """Elements of several, the next one from that whose number `choices` yields.

    One that has ended is passed over, or with `stops` ends all.
    """

    def __init__(self, parents: list[Node], choice: Node, stops: bool):
        super().__init__(*parents, choice)
        self._stops = stops

    def open(self):
        *opened, choice = [parent.open() for parent in self.parents]
        effects = [e for one in (*opened, choice) for e in one.effects]
        readers = [one.read() for one in opened]
        return Stream(self._elements(readers, choice.read()), effects)

    def _elements(self, readers: list, choices):
        left = set(range(len(readers)))
        for number in map(int, choices):
            if number not in range(len(readers)):
                raise ValueError(f"Data set {number} was chosen of {len(readers)}.")
            for element in itertools.islice(readers[number], 1):
                yield element
                break
            else:
                left.discard(number)
                if self._stops or not left:
                    return

    def length(self):
        return UNKNOWN


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
