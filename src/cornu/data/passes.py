"""One pass over a data set: `Indexed` where any element can be had at any time, else a `Stream`."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cornu.data.ahead import in_order
from cornu.data.effects import Effects
from cornu.data.elements import map_structure, row_of, stack


class Indexed:
    """Elements by number; asking for one changes nothing, and may happen in any thread.

    Args:
        length: how many there are; None for no end.
        get: the element of a number.
        many: the batch of an array of numbers; default: they are got one by one, and stacked.
        threads: how many threads make elements ahead when they are read in order; 0 is none.
        ahead: how many elements are ready or being made at a time; 0 is two more than the threads.
        name: says where an element comes from, such as a file, for what is said of damaged ones.
    """

    effects: list[Effects] = []

    def __init__(
        self,
        length: int | None,
        get: Callable,
        many: Callable | None = None,
        threads: int = 0,
        ahead: int = 0,
        name: Callable[[int], str] | None = None,
    ):
        self.name = name
        self.length, self.get, self.threads, self.ahead = length, get, threads, ahead
        self.many = many or (lambda numbers: stack([get(int(i)) for i in numbers]))

    def numbers(self, start: int = 0):
        """The numbers of the elements from one on."""
        return itertools.count(start) if self.length is None else range(start, self.length)

    def read(self, start: int = 0) -> Iterator:
        """The elements in order, from one on."""
        if not self.threads:
            return map(self.get, self.numbers(start))
        return in_order(self.get, self.numbers(start), self.threads, self.ahead or self.threads + 2)

    def select(self, length: int | None, number_of: Callable) -> "Indexed":
        """Some of the elements: `number_of` gives their numbers here, also for an array of numbers."""
        name = self.name
        return Indexed(
            length,
            lambda i: self.get(int(number_of(i))),
            lambda numbers: self.many(number_of(numbers)),
            self.threads,
            self.ahead,
            None if name is None else lambda i: name(int(number_of(i))),
        )

    def made_of(
        self, length: int | None, get: Callable, threads=0, ahead=0, name=None
    ) -> "Indexed":
        """Elements that are made of these."""
        return Indexed(length, get, None, max(self.threads, threads), max(self.ahead, ahead), name)

    def place(self, i: int) -> str:
        """Where an element comes from; empty if nothing is said of it."""
        return "" if self.name is None else self.name(i)

    @contextmanager
    def naming(self, i: int):
        """Within, an exception is told where an element comes from."""
        try:
            yield
        except Exception as error:
            if place := self.place(i):
                note = f"This happened with {place}."
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
            raise


class Stream:
    """Elements that come one after another.

    Args:
        elements: an iterator.
        effects: what reading it changes; known when the first element was read.
    """

    def __init__(self, elements: Iterator, effects: list[Effects]):
        self._elements, self.effects = elements, effects

    def read(self, start: int = 0) -> Iterator:
        """The elements in order; those before `start` are made and dropped."""
        return itertools.islice(self._elements, start, None) if start else self._elements

    def close(self) -> None:
        """End the reading."""
        close = getattr(self._elements, "close", None)
        if close is not None:
            close()


Pass = Indexed | Stream


def of_arrays(arrays) -> Indexed:
    """The rows of a structure of arrays, all of one length."""
    lengths: set[int] = set()
    map_structure(lambda a: lengths.add(len(a)), arrays)
    return Indexed(lengths.pop(), lambda i: row_of(arrays, i), lambda rows: row_of(arrays, rows))


def shuffled_order(length: int, buffer_size: int, seed: tuple) -> np.ndarray:
    """The order that a buffer of this size gives: each element is drawn from those that are in it."""
    rng = np.random.default_rng(seed)
    if buffer_size >= length:
        return rng.permutation(length)
    order = np.empty(length, np.int64)
    buffer = list(range(buffer_size))
    draws = rng.integers(0, buffer_size, length - buffer_size).tolist()
    for i, (draw, coming) in enumerate(zip(draws, range(buffer_size, length), strict=True)):
        order[i], buffer[draw] = buffer[draw], coming
    order[len(draws) :] = np.asarray(buffer)[rng.permutation(buffer_size)]
    return order


def shuffled(elements: Iterator, buffer_size: int, seed: tuple) -> Iterator[Any]:
    """The elements of a stream, each drawn from a buffer."""
    rng = np.random.default_rng(seed)
    buffer = list(itertools.islice(elements, buffer_size))
    for coming in elements:
        draw = int(rng.integers(0, buffer_size))
        chosen, buffer[draw] = buffer[draw], coming
        yield chosen
    for i in rng.permutation(len(buffer)):
        yield buffer[i]
