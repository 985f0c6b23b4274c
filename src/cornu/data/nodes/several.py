"""Steps that take elements from several data sets."""

import itertools
from typing import Any

from cornu.data.elements import TensorSpec, leaves_of, map_structure
from cornu.data.nodes.node import INFINITE, UNKNOWN, Node
from cornu.data.passes import Indexed, Stream


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
            name=lambda i: first.place(i) if i < first.length else second.place(i - first.length),
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
            lambda i: ", ".join(one.place(i) for one in opened if one.place(i)),
        )

    def length(self):
        lengths = [parent.length() for parent in self.parents]
        known = [n for n in lengths if n >= 0]
        if UNKNOWN in lengths:
            return 0 if 0 in known else UNKNOWN
        return min(known, default=INFINITE)

    def spec(self):
        return self._packed(parent.spec() for parent in self.parents)


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
