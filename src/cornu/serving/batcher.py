"""Examples of several requests go through the model together."""

import asyncio
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from cornu.serving.servable import Arrays, Run, Servable


class Closed(Exception):
    """The batcher takes nothing any more: another version has taken its place."""


class TooManyShapes(ValueError):
    """A model of any size has been compiled for as many sizes as the server allows."""


@dataclasses.dataclass(eq=False)
class _Part:
    """Examples that wait for their turn, at most a batch of them."""

    arrays: Arrays
    key: tuple
    rows: int
    future: asyncio.Future
    since: float
    is_dropped: bool = False


class Batcher:
    """Runs a model in a thread of its own, on batches of what has come meanwhile.

    A batch is filled up to one of few sizes, up to `max_batch`, so that few programs are compiled: powers
    of two, and those between them where the model has programs, which cost little. What takes any number
    is not filled up, and where examples could see each other, requests are not joined either.

    Args:
        servable: the model.
        max_batch: the most examples in a call of it.
        max_wait: seconds that the first of a batch waits for others.
        most_shapes: of batches that may be compiled; it matters for models of any size alone.
        watch: called after each batch with its rows, the rows with those that filled it up, how long
            each part had waited, and how long the model took.
    """

    def __init__(
        self,
        servable: Servable,
        max_batch: int = 32,
        max_wait: float = 0.0,
        most_shapes: int = 64,
        watch: Callable[[int, int, list[float], float], None] = lambda *_: None,
    ):
        self.servable, self._max_wait, self._watch = servable, max_wait, watch
        self._max_batch = servable.batch_size or max_batch
        self._programs: Run | None = None
        self._program_sizes: list[int] = []
        self._shapes: set[tuple] = set()
        self._most_shapes = most_shapes
        self._parts: deque[_Part] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        # Seconds for an example, for `Retry-After`: a mean that forgets.
        self.seconds_per_row = 0.0
        self._thread = threading.Thread(target=self._work, name="cornu-serve-batches", daemon=True)

    def sizes(self, finely: bool = False) -> list[int]:
        """The numbers of examples that batches are filled up to."""
        if not self.servable.is_alone:
            return [self.servable.batch_size or 1]
        if self.servable.batch_size is not None:
            return [self.servable.batch_size]
        found = {1 << n for n in range(self._max_batch.bit_length())}
        if finely:
            found |= {3 * n for n in found}
        return sorted({self._max_batch, *(n for n in found if n < self._max_batch)})

    def warm_up(self) -> None:
        """Compile what will be needed, and begin to work. Raises what the model raises."""
        servable = self.servable
        if not servable.has_free_axes:
            self._program_sizes = self.sizes(finely=True)
            self._programs = servable.programs(self._program_sizes)
            for size in self.sizes(finely=self._programs is not None):
                self._run(servable.zeros(size))
            if servable.pictures is not None and servable.inputs[0].dtype != "float32":
                # Pictures are read as float32, whatever dtype the input declares.
                for size in self.sizes():
                    self._run([x.astype(np.float32) for x in servable.zeros(size)])
        self._thread.start()

    @property
    def waiting_rows(self) -> int:
        return sum(part.rows for part in list(self._parts))

    def close(self) -> None:
        """Finish what waits, and end. Returns when that is done."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    async def run(self, arrays: Arrays) -> Arrays:
        """The outputs for examples; of none, empty arrays.

        Raises what the model raises, and `Closed` if the batcher has ended.
        """
        rows = len(arrays[0])
        if not rows:
            # Only the model knows the outputs' shapes and dtypes.
            found = await self._queued([np.repeat(a, 1, 0) for a in self._one_like(arrays)])
            return [y[:0] for y in found]
        if not self.servable.is_alone:
            if self.servable.batch_size not in (None, rows):
                raise ValueError(
                    f"This model takes {self.servable.batch_size} examples at once, which may depend on "
                    f"each other. Received: {rows}."
                )
            return await self._queued(arrays)
        starts = range(0, rows, self._max_batch)
        if len(starts) == 1:
            return await self._queued(arrays)
        answers: list[Arrays] = []
        for at in starts:
            # One after the other, so that a large request does not lock others out.
            part = [a[at : at + self._max_batch] for a in arrays]
            answers.append(await self._queued(part))
        return [np.concatenate(columns) for columns in zip(*answers, strict=True)]

    def _one_like(self, arrays: Arrays) -> Arrays:
        """An example, of the shape that these empty arrays have."""
        count = 1 if self.servable.is_alone else self.servable.batch_size or 1
        fill = [("" if a.dtype == object else 0) for a in arrays]
        return [
            np.full((count, *a.shape[1:]), value, a.dtype)
            for a, value in zip(arrays, fill, strict=True)
        ]

    async def _queued(self, arrays: Arrays) -> Arrays:
        loop = asyncio.get_running_loop()
        key = tuple((a.shape[1:], a.dtype.str) for a in arrays)
        part = _Part(arrays, key, len(arrays[0]), loop.create_future(), time.monotonic())
        with self._changed:
            if self._is_closing:
                raise Closed
            self._parts.append(part)
            self._changed.notify()
        try:
            return await part.future
        finally:
            # Nobody waits for it any more, if this was cancelled.
            part.is_dropped = True

    # ---- the thread

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._answer(batch)
                # What was computed would else be held while the thread waits.
                del batch

    def _next(self) -> list[_Part] | None:
        """The parts of the next batch; none if all that waited were dropped. None at the end."""
        with self._changed:
            while not self._parts:
                if self._is_closing:
                    return None
                self._changed.wait()
            first = self._parts[0]
            while self._max_wait and not self._is_closing:
                left = first.since + self._max_wait - time.monotonic()
                if left <= 0 or self._rows_like(first) >= self._max_batch:
                    break
                self._changed.wait(left)
            return self._taken(first.key)

    def _rows_like(self, first: _Part) -> int:
        if not self.servable.is_alone:
            return self._max_batch
        return sum(part.rows for part in self._parts if part.key == first.key)

    def _taken(self, key: tuple) -> list[_Part]:
        """Take the oldest parts of one key that fit together; the others keep their order."""
        taken: list[_Part] = []
        rows, left = 0, deque[_Part]()
        while self._parts:
            part = self._parts.popleft()
            if part.is_dropped:
                continue
            is_first = not taken
            fits = self.servable.is_alone and rows + part.rows <= self._max_batch
            if part.key == key and (is_first or fits):
                taken.append(part)
                rows += part.rows
            else:
                left.append(part)
            if rows >= self._max_batch or (taken and not self.servable.is_alone):
                break
        self._parts.extendleft(reversed(left))
        return taken

    def _answer(self, parts: list[_Part]) -> None:
        begin = time.monotonic()
        rows = sum(part.rows for part in parts)
        size = rows
        error: BaseException | None = None
        results: list[Arrays] = []
        try:
            columns = zip(*(part.arrays for part in parts), strict=True)
            arrays = [np.concatenate(c) if len(c) > 1 else c[0] for c in columns]
            if self.servable.is_alone and not self.servable.takes_any_number:
                sizes = self.sizes(finely=self._fit_programs(arrays))
                size = next((n for n in sizes if n >= rows), rows)
                # Copies of an example, as numbers that are none could raise warnings.
                arrays = [_filled(a, size) for a in arrays]
            found = self._run(arrays)
            at = 0
            for part in parts:
                # With others in its batch, a copy: who keeps one answer shall not keep all.
                whole = part.rows == len(found[0])
                results.append([y if whole else y[at : at + part.rows].copy() for y in found])
                at += part.rows
        except Exception as raised:
            if len(parts) > 1:
                # One request's mistake is not the others'.
                for part in parts:
                    self._answer([part])
                return
            error = raised
        took = time.monotonic() - begin
        per_row = took / max(size, 1)
        self.seconds_per_row += (per_row - self.seconds_per_row) * (
            0.1 if self.seconds_per_row else 1
        )
        # Before the answers: who has one finds it counted.
        self._watch(rows, size, [begin - part.since for part in parts], took)
        loop = parts[0].future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, parts, results, error)

    def _fit_programs(self, arrays: Arrays) -> bool:
        """Whether there are programs for such inputs, if not for each number of them."""
        return self._programs is not None and all(
            a.dtype.name == spec.dtype for a, spec in zip(arrays, self.servable.inputs, strict=True)
        )

    def _run(self, arrays: Arrays) -> Arrays:
        programs = self._programs
        if programs and len(arrays[0]) in self._program_sizes and self._fit_programs(arrays):
            return programs(arrays)
        first = 1 if self.servable.takes_any_number else 0
        shapes = tuple((a.shape[first:], a.dtype.str) for a in arrays)
        if shapes not in self._shapes and len(self._shapes) >= self._most_shapes:
            raise TooManyShapes(
                f"This model has been compiled for {self._most_shapes} sizes of inputs, the most that "
                "the server allows. Bring inputs to few sizes."
            )
        found = self.servable.run(arrays)
        # Of a size that it cannot compute, nothing was compiled.
        self._shapes.add(shapes)
        for spec, y in zip(self.servable.outputs, found, strict=True):
            if not y.ndim or len(y) != len(arrays[0]):
                raise ValueError(
                    f"The output {spec.name} has the shape {y.shape} for {len(arrays[0])} examples."
                )
        return found


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing > 0 else array


def _settle(parts: list[_Part], results: list[Arrays], error: BaseException | None) -> None:
    for number, part in enumerate(parts):
        if part.future.done():
            continue
        if error is not None:
            part.future.set_exception(error)
        else:
            part.future.set_result(results[number])


def retry_after(batcher: Batcher) -> int:
    """Whole seconds after which what waits should be done."""
    return max(1, math.ceil(batcher.waiting_rows * batcher.seconds_per_row))
