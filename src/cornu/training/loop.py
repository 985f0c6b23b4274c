"""The loop over batches. It waits for the device between long calls, and when a value is read."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from cornu.core import processes
from cornu.training import agreement, interrupts
from cornu.training.compiled_step import MOST_AT_ONCE
from cornu.training.logs import Logs

# Steps that may be on their way to the device at once. It bounds the memory that their batches
# take; with so many to do the device is never idle.
STEPS_AHEAD = 16
# Seconds that one call of several steps should take: short enough for a progress bar and for Ctrl-C.
SHORT, LONG = 0.04, 0.15
# Seconds. If a step takes longer, the device may wait for the next call, so that the memory of the one
# before is free by then.
QUICK = 0.0025
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
    pace = _Pace(model, function, data, callbacks, kind, first_step)
    ahead: deque = deque()
    # If no step is left to do, these are the logs of the last one.
    logs = Logs(model.get_metrics_result() if first_step else {})
    done = reported = first_step
    stops = False
    for group in pace.groups():
        if group is None:
            # Asked to by SIGTERM, in one of several processes.
            callbacks.keep(done)
            raise interrupts.Terminated
        if check is not None and not pace.gathers:
            check(group[0], done)
        if pace.is_begin(done):
            begin(done)
        result = function(group, data.on_device) if pace.gathers else function(group[0])
        logs = Logs({"outputs": result} if kind == "predict" else result)
        done += len(group)
        ahead.append((result, len(group)))
        while len(ahead) > pace.ahead:
            first, steps = ahead.popleft()
            with function.explaining():
                jax.block_until_ready(first)
            if collect is not None:
                collect.append(jax.tree.map(np.asarray, first))
            pace.measure(steps)
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


class _Pace:
    """How many steps the compiled function does in one call, and when callbacks are called.

    Of arrays on the device, as many as take about a tenth of a second, unless a callback has to be
    called between. Results do not depend on it: one program does any number of steps.
    """

    def __init__(self, model, function, data, callbacks, kind: str, done: int):
        self._function, self._data, self._model = function, data, model
        self._per_call = model.steps_per_execution
        self._is_free = not callbacks.needs_every_batch(kind)
        self.gathers = data.on_device is not None
        # How many batches were taken from the data, and how many of them were given on.
        self._taken = self._done = done
        self._kind, self._calls = kind, 0
        # Several processes make the same calls, of as many steps.
        self._others = processes.group()
        self._at_once = function.at_once if self.gathers else 1
        self.is_alone = self._others is None
        if self._others is not None:
            least = self._others.least("steps", self._at_once if self._is_free else 0)
            self._is_free = least > 0
            if self.gathers:
                function.at_once = max(least, 1)
        self._last = time.perf_counter()

    @property
    def ahead(self) -> int:
        """How many calls may be pending when the next one is made."""
        return int(self._function.is_quick) if self.gathers and self._is_free else STEPS_AHEAD

    def _size(self) -> int:
        if not self.gathers:
            return 1
        if self._is_free:
            return self._function.at_once
        rest = self._per_call - self._done % self._per_call
        return min(rest, MOST_AT_ONCE)

    def groups(self) -> Iterator[list | None]:
        """The batches that go into one call each; all of a group have the same size.

        None if several processes stop here.
        """
        group: list = []
        batches = self._data.batches()
        if self._others is not None and not self.gathers:
            batches = agreement.together(self._others, batches, self._kind)
        batches = iter(batches)
        while True:
            if not group and self._stops_here():
                if self._others is not None and self._others.stop_reason() is not None:
                    yield None
                setattr(self._model, STOP[self._kind], True)
                return
            batch = next(batches, None)
            if batch is None:
                break
            self._taken += 1
            if group and len(batch) != len(group[0]):
                yield self._count(group)
                group = []
            group.append(batch if self.gathers else jax.tree.map(np.asarray, batch))
            if len(group) >= self._size():
                yield self._count(group)
                group = []
        if group:
            yield self._count(group)

    def _count(self, group: list) -> list:
        self._done += len(group)
        self._calls += 1
        if (
            self._others is not None
            and self.gathers
            and self._is_free
            and self._calls & (self._calls - 1) == 0
        ):
            self._function.at_once = self._others.least("steps", self._at_once)
        return group

    def _stops_here(self) -> bool:
        """Whether all processes stop before the next batch, as one of them wants to."""
        return (
            self._others is not None
            # Without callbacks for batches, nobody stops an evaluation or a prediction.
            and (self._kind == "train" or not self._is_free)
            and self._taken == self._done
            and self._others.stops(self._kind, getattr(self._model, STOP[self._kind]))
        )

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
        if self.gathers and self._is_free:
            function.is_quick = took < QUICK * steps
            if took < SHORT:
                self._at_once = min(2 * function.at_once, MOST_AT_ONCE)
            elif took > LONG:
                self._at_once = max(function.at_once // 2, 1)
            if self._others is None:
                function.at_once = self._at_once
