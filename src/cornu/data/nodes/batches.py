"""Steps that put elements together, and take them apart."""

import itertools
from collections.abc import Callable

import numpy as np

from cornu.data.elements import (
    TensorSpec,
    leaves_of,
    map_structure,
    padded,
    spec_of,
    stack,
    unstack,
)
from cornu.data.nodes.node import UNKNOWN, Node
from cornu.data.passes import Stream


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


class Padded(Batched):
    """Several elements of unequal sizes as one."""

    def __init__(self, parent: Node, size, shapes, values, drop_remainder):
        super().__init__(
            parent, size, drop_remainder, pad=lambda elements: padded(elements, shapes, values)
        )


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
