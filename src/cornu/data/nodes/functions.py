"""Steps that call a function of the user's."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cornu.data.ahead import in_order, num_threads
from cornu.data.effects import Effects, Tide
from cornu.data.elements import TensorSpec, as_element, copied, leaves_of, map_structure, spec_of
from cornu.data.in_processes import InProcesses
from cornu.data.nodes.node import UNKNOWN, Node
from cornu.data.passes import Indexed, Pass, Stream

# Elements that are tried to find out what a function changes: the first may be damaged.
_TRIED = 16


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

    def __init__(
        self, parent: Node, function: Callable, num_parallel_calls: int | None, processes: int = 0
    ):
        super().__init__(parent, function)
        self._threads = num_threads(num_parallel_calls)
        self._remote = InProcesses(function, processes) if processes else None
        if processes:
            # Each waits for a process, and one more has the next element ready.
            self._threads = max(self._threads, processes + 1)

    def _result(self, element):
        if self._remote is None or not self._effects.known:
            return as_element(self._call(element))
        if self._effects.any:
            raise ValueError(
                "The function of `map` changes variables, or draws from a global generator of random "
                "numbers, and `processes` would each have others. Give it seeds as a part of its elements "
                "(`Dataset.random`), or leave `processes` out."
            )
        return as_element(self._remote(*(element if type(element) is tuple else (element,))))

    def open(self):
        opened: Any = self.parents[0].open()
        if isinstance(opened, Indexed):
            made = {} if self._effects.known else self._first(opened)
            if not self._effects.any:

                def get(i):
                    first = made.pop(i, made)
                    if first is not made:
                        return first
                    with opened.naming(i):
                        return self._result(opened.get(i))

                return opened.made_of(opened.length, get, threads=self._threads, name=opened.name)
        return self._stream(opened, self._results(opened.effects))

    def _first(self, opened: Indexed) -> dict[int, Any]:
        """The first element that can be made, by its number, so that it is not made twice."""
        tried = range(_TRIED if opened.length is None else min(opened.length, _TRIED))
        problem: Exception | None = None
        for i in tried:
            try:
                with opened.naming(i):
                    return {i: as_element(self._effects.find(self._apply, opened.get(i)))}
            except Exception as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return {}

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
            chosen = itertools.takewhile if self._ends else filter
            return chosen(self._is_kept, elements)

        return self._stream(self.parents[0].open(), results)

    def _is_kept(self, element) -> bool:
        answer = np.asarray(self._call(element))
        if answer.size != 1:
            raise ValueError(
                "The function must return one truth value for each element. Received: an array of shape "
                f"{answer.shape}. Of batches, single elements can be chosen after `unbatch()`."
            )
        return bool(answer.item())

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
