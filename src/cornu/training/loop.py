"""The loop over batches. It waits for the device between long calls, and when a value is read."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.core import processes
from cornu.training import agreement, interrupts
from cornu.training.compiled_step import MOST_AT_ONCE
from cornu.training.logs import Logs
from cornu.training.stacks import Stacks, is_ready

# Steps that may be on their way to the device at once, and bytes of their batches; with so many to do the
# device is never idle.
STEPS_AHEAD, BYTES_AHEAD = 16, 64 * 1024**2
# Seconds that one call of several steps should take: short enough for a progress bar and for Ctrl-C.
SHORT, LONG = 0.04, 0.15
# Seconds. If a step takes longer, the device may wait for the next call, so that the memory of the one
# before is free by then.
QUICK = 0.0025
# Seconds that batches of a stream wait for others of their call while the device has nothing to do.
PATIENCE = 0.01
# The attribute of a model with which a callback ends the pass.
STOP = {"train": "stop_training", "test": "stop_evaluating", "predict": "stop_predicting"}


def run_steps(
    model,
    function,
    data,
    callbacks,
    kind: str,
    collect: list | None = None,
    first_step: int = 0,
    check: Callable | None = None,
) -> Logs | None:
    """One pass over the data; returns the logs of the last step, or None if there was no batch.

    Args:
        model: what is trained; its `stop_training` (or `STOP`) ends the pass early.
        function: the compiled step. It may take several batches at once.
        data: a source of batches.
        callbacks: a `CallbackList`.
        kind: `"train"`, `"test"` or `"predict"`.
        collect: a list that gets each step's outputs as NumPy arrays.
        first_step: number of the first step, if the pass was begun in another process.
        check: called with each batch and its number, before its step, unless batches are gathered in it.
    """
    begin = getattr(callbacks, f"on_{kind}_batch_begin")
    end = getattr(callbacks, f"on_{kind}_batch_end")
    pace = _Pace(model, function, data, callbacks, kind, first_step, check)
    ahead: deque = deque()

    def wait(calls: int) -> None:
        """Until no more calls are unfinished."""
        while len(ahead) > calls:
            first, steps = ahead.popleft()
            with function.explaining():
                jax.block_until_ready(first)
            if collect is not None:
                collect.append(jax.tree.map(np.asarray, first))
            pace.measure(steps)

    # If no step is left to do, these are the logs of the last one.
    logs = Logs(model.get_metrics_result() if first_step else {})
    done = reported = first_step
    stops = False
    for group in pace.groups():
        if group is None:
            # Asked to by SIGTERM, in one of several processes.
            callbacks.keep(done)
            raise interrupts.Terminated
        if pace.reads_on:
            # While the calls before it ran, this group was read.
            wait(pace.ahead)
        if pace.is_begin(done):
            begin(done)
        if group.arrays is None:
            result = function(group.batches[0])
        else:
            result = function(group.batches, group.arrays)
        pace.called(result)
        logs = Logs({"outputs": result} if kind == "predict" else result)
        done += len(group.batches)
        ahead.append((result, len(group.batches)))
        if not pace.reads_on:
            wait(pace.ahead)
        if pace.is_end(done):
            end(done - 1, {"outputs": result} if kind == "predict" else logs)
            reported = done
        stops = getattr(model, STOP[kind])
        if stops and pace.is_alone:
            break
    if done > reported:
        # The data ended within the steps of one execution.
        end(done - 1, {"outputs": result} if kind == "predict" else logs)
    if collect is not None:
        collect.extend(jax.tree.map(np.asarray, rest) for rest, _ in ahead)
    stops = stops or getattr(model, STOP[kind])
    if data.num_batches is not None and 0 < done < data.num_batches and not stops:
        warnings.warn(
            f"Your input ran out of data after {done} of {data.num_batches} batches; the epoch "
            "ended early. Make sure that your dataset or generator can generate at least "
            "`steps_per_epoch * epochs` batches.",
            stacklevel=3,
        )
    return logs if done else None


class _Group(NamedTuple):
    """What goes into one call: a batch alone, or several as rows or numbers of arrays on the device."""

    batches: list
    arrays: Any = None


class _Pace:
    """How many steps the compiled function does in one call, and when callbacks are called.

    As many as take about a tenth of a second, unless a callback has to be called between. Results do not
    depend on it: one program does any number of steps. Batches of a stream wait for each other only while
    the device is busy, or for an instant, so that slow streams are served one by one.
    """

    def __init__(
        self, model, function, data, callbacks, kind: str, done: int, check: Callable | None
    ):
        self._function, self._data, self._model = function, data, model
        self._check = check
        self._per_call = model.steps_per_execution
        self._is_free = not callbacks.needs_every_batch(kind)
        self.gathers = data.on_device is not None
        # How many batches were taken from the data, and how many of them were given on.
        self._taken = self._done = done
        self._kind, self._calls = kind, 0
        # Several processes make the same calls, of as many steps.
        self._others = processes.group()
        self.is_alone = self._others is None
        # Whether all processes stop here, as one of them wants to.
        self._stops = False
        # Whether the next group is read before the calls that are under way are waited for.
        self.reads_on = not self.gathers and kind != "predict" and function.compiles
        self._at_once = function.at_once if self.gathers or self.reads_on else 1
        self._stacks = Stacks(MOST_AT_ONCE) if self.reads_on else None
        # What the last call has returned, and the bytes of a stream's batches in it.
        self._last_result: Any = None
        self._bytes, self._lends = 1, False
        if self._others is not None:
            least = self._others.least("steps", self._at_once if self._is_free else 0)
            self._is_free = least > 0
            if self.gathers or self.reads_on:
                function.at_once = max(least, 1)
        self._last = time.perf_counter()

    @property
    def ahead(self) -> int:
        """How many calls may be pending when the next one is made."""
        if self._is_free and (self.gathers or self._lends):
            return int(self._function.is_quick)
        return STEPS_AHEAD if self.gathers else max(min(STEPS_AHEAD, BYTES_AHEAD // self._bytes), 1)

    def _size(self) -> int:
        if not self.gathers and self._stacks is None:
            return 1
        if self._is_free:
            return self._function.at_once
        rest = self._per_call - self._done % self._per_call
        return min(rest, MOST_AT_ONCE)

    def groups(self) -> Iterator[_Group | None]:
        """The batches that go into one call each; all of a group have the same size.

        None if several processes stop here.
        """
        batches = iter(self._data.batches())
        if self.gathers:
            yield from self._gathered(batches)
        else:
            if self._others is not None:
                batches = agreement.together(self._others, batches, self._kind, self._next_size)
            yield from self._stacked(batches) if self._stacks else self._singly(batches)
        if self._stops:
            if self._others is not None and self._others.stop_reason() is not None:
                yield None
            setattr(self._model, STOP[self._kind], True)

    def _gathered(self, batches: Iterator) -> Iterator[_Group]:
        """Rows of arrays on the device, of several batches of one size in a group."""
        group: list = []
        while group or not self._stops_here():
            batch = next(batches, None)
            if batch is None:
                break
            self._taken += 1
            if group and len(batch) != len(group[0]):
                yield self._count(group, self._data.on_device)
                group = []
            group.append(batch)
            if len(group) >= self._size():
                yield self._count(group, self._data.on_device)
                group = []
        if group:
            yield self._count(group, self._data.on_device)

    def _singly(self, batches: Iterator) -> Iterator[_Group]:
        """Each batch of a stream by itself."""
        for batch in batches:
            if self._check is not None:
                self._check(batch, self._taken)
            self._taken += 1
            yield self._single(batch)

    def _next_size(self) -> int:
        """How many batches of a stream several processes read before they compare them; 0 to stop."""
        if self._stops_here():
            return 0
        room = self._stacks.room if self._stacks is not None else 1
        return max(min(self._size(), room) - (self._taken - self._done), 1)

    def _single(self, batch) -> _Group:
        """A batch of a stream by itself."""
        self._lends = False
        self._bytes = max(sum(leaf.nbytes for leaf in jax.tree.leaves(batch)), 1)
        return self._count([jax.tree.map(np.asarray, batch)])

    def _placed(self, stacks: Stacks) -> _Group:
        """The batches of a stream that were stacked."""
        self._lends = True
        group = self._count(*stacks.placed())
        self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(group.arrays))
        return group

    def _stacked(self, batches: Iterator) -> Iterator[_Group]:
        """Batches of a stream, several of one shape in a group where they are small."""
        stacks: Any = self._stacks
        failure, begun = None, 0.0
        while True:
            try:
                batch = next(batches, None)
                if batch is not None and self._check is not None:
                    self._check(batch, self._taken)
            except BaseException as error:
                # First the steps on what came before.
                failure, batch = error, None
            joins = batch is not None and stacks.can_join(batch)
            if stacks.count and not joins:
                yield self._placed(stacks)
                joins = batch is not None and stacks.can_join(batch)
            if batch is None:
                break
            self._taken += 1
            if not joins:
                yield self._single(batch)
                continue
            stacks.add(batch)
            begun = time.perf_counter() if stacks.count == 1 else begun
            # Several processes make the same groups, however long one of them has to wait.
            late = self._is_free and self.is_alone and time.perf_counter() - begun > PATIENCE
            full = stacks.count >= min(self._size(), stacks.room)
            if full or (late and self._is_idle()):
                yield self._placed(stacks)
        if failure is not None:
            raise failure

    def _is_idle(self) -> bool:
        """Whether the device is known to have nothing to do."""
        return not jax.tree.leaves(self._last_result) or is_ready(self._last_result)

    def _count(self, group: list, arrays=None) -> _Group:
        self._done += len(group)
        self._calls += 1
        if (
            self._others is not None
            and (self.gathers or self.reads_on)
            and self._is_free
            and self._calls & (self._calls - 1) == 0
        ):
            self._function.at_once = self._others.least("steps", self._at_once)
        return _Group(group, arrays)

    def _stops_here(self) -> bool:
        """Whether all processes stop before the next batch, as one of them wants to."""
        self._stops = (
            self._others is not None
            # Without callbacks for batches, nobody stops an evaluation or a prediction.
            and (self._kind == "train" or not self._is_free)
            and self._taken == self._done
            and self._others.stops(self._kind, getattr(self._model, STOP[self._kind]))
        )
        return self._stops

    def called(self, result) -> None:
        """Say what the call of a group has returned."""
        self._last_result = result
        if self._lends and self._stacks is not None:
            self._stacks.lend(result)

    def is_begin(self, done: int) -> bool:
        """Whether callbacks are called before the step after so many."""
        return self._is_free or done % self._per_call == 0

    def is_end(self, done: int) -> bool:
        """Whether callbacks are called after the last of so many steps."""
        return self._is_free or done % self._per_call == 0 or done == self._data.num_batches

    def measure(self, steps: int) -> None:
        """After a call: let the next ones do more steps if it was short, and fewer if it was long."""
        now = time.perf_counter()
        took, self._last = now - self._last, now
        function = self._function
        if self._is_free and (self.gathers or self._lends):
            function.is_quick = took < QUICK * steps
            if took < SHORT:
                self._at_once = min(2 * function.at_once, MOST_AT_ONCE)
            elif took > LONG:
                self._at_once = max(function.at_once // 2, 1)
            if self._others is None:
                function.at_once = self._at_once
