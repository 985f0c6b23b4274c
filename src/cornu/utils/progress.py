"""The line that shows the progress of training."""

import os
import sys
import time
from collections.abc import Mapping

import numpy as np

from cornu.core.notebook import Replaced, in_notebook
from cornu.utils.messages import is_interactive_logging_enabled, print_message

_BOLD, _GREEN, _WHITE = "\x1b[1m", "\x1b[32m", "\x1b[37m"
_RESET = "\x1b[0m"


class Progbar:
    """A progress bar with the time it took and the values of metrics.

    Args:
        target: number of steps, None if it is not known.
        width: width of the bar in characters.
        verbose: 0 silent, 1 a bar, 2 one line at the end.
        interval: seconds between two drawings.
        stateful_metrics: names of values to show as they are; others are averaged over the steps.
        stateless_metrics: names of values to average; others are shown as they are. Only one of the
            two may be given.
        unit_name: what a step is called.

    A terminal shows the bar move, and so does a notebook, which keeps the finished line alone. Where output
    goes to a file or a pipe, only the finished line is written, without control characters.

    Source: Keras: Progbar.

    >>> from cornu.utils.progress import Progbar
    >>> bar = Progbar(3, verbose=0)
    >>> bar.update(1, [("loss", 0.5)])
    """

    def __init__(
        self,
        target,
        width=20,
        verbose=1,
        interval=0.05,
        stateful_metrics=None,
        stateless_metrics=None,
        unit_name="step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Only one of `stateful_metrics` or `stateless_metrics` can be provided: the first "
                "names the values that are not averaged, the second those that are."
            )
        self.target, self.width, self.verbose = target, width, verbose
        self.interval, self.unit_name = interval, unit_name
        self._averages_by_default = stateless_metrics is None
        self._exceptions = set(stateful_metrics or stateless_metrics or ())
        self._moves = is_interactive_logging_enabled() and (
            sys.stdout.isatty() or "ipykernel" in sys.modules or "PYCHARM_HOSTED" in os.environ
        )
        self._line = Replaced() if self._moves and in_notebook() else None
        self._heading = ""
        self._seen = 0
        # Sum and count of each value by name.
        self._values: dict[str, tuple] = {}
        self._start = time.time()
        self._last_drawn = 0.0
        self._end_of_first_step: float | None = None
        self._drawn_width = 0

    def head(self, text) -> None:
        """Write a line above the bar."""
        if self._line is None or self.verbose != 1:
            print_message(text)
        else:
            self._heading = f"{text}\n"

    def update(self, current, values=None, finalize=None) -> None:
        """Show that `current` steps are done.

        Args:
            current: number of finished steps.
            values: list of `(name, value of the last step)`; or a mapping, which is only read if
                the line is drawn now, because reading a value may mean to wait for it.
            finalize: whether this is the last update; default: whether `target` is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        draws = finalize or (self.verbose == 1 and self._is_due())
        if isinstance(values, Mapping):
            values = list(values.items()) if draws else []
        for name, value in values or []:
            self._count(name, value, current, finalize)
        self._seen = current
        now = time.time()
        seconds = self._seconds_per_step(current, now)
        if not draws:
            return
        if self.verbose == 1:
            self._draw_bar(current, seconds, now, finalize)
        elif self.verbose == 2 and self.target:
            count = f"{current:{len(str(self.target))}d}/{self.target}"
            timing = f"{now - self._start:.0f}s -{self._timing(seconds)}"
            print_message(f"{count} - {timing}{self._metrics()}")
        self._last_drawn = now

    def add(self, n, values=None) -> None:
        """Show that `n` more steps are done."""
        self.update(self._seen + n, values)

    def _is_due(self) -> bool:
        return self._moves and time.time() - self._last_drawn >= self.interval

    def _count(self, name, value, current, finalize) -> None:
        averages = self._averages_by_default != (name in self._exceptions)
        if not averages or finalize:
            # What comes last is the value for all steps.
            self._values[name] = (value, 1)
            return
        steps = max(current - self._seen, 1)
        total, count = self._values.get(name, (0.0, 0))
        self._values[name] = (total + value * steps, count + steps)

    def _seconds_per_step(self, current, now) -> float:
        """Without the first step, which compiles, as soon as there is another."""
        if not current:
            return 0
        if self._end_of_first_step is not None and current > 1:
            seconds = (now - self._end_of_first_step) / (current - 1)
        else:
            seconds = (now - self._start) / current
        if current == 1:
            self._end_of_first_step = now
        return seconds

    def _draw_bar(self, current, seconds, now, finalize) -> None:
        if self.target:
            done = int(self.width * (current / self.target))
            parts = [
                (f"{current:{len(str(self.target))}d}/{self.target}", _BOLD),
                (" ", ""),
                ("━" * done, _GREEN if done else ""),
                ("━" * (self.width - done), _WHITE),
            ]
        else:
            parts = [(f"{current:7d}/Unknown", "")]
        if self.target and not finalize:
            clock = _remaining(seconds * (self.target - current))
        else:
            clock = f"{now - self._start:.0f}s"
        parts += [(" ", ""), (clock, _BOLD), (self._timing(seconds) + self._metrics(), "")]
        plain = "".join(text for text, _ in parts)
        if not self._moves:
            print_message(plain)
            return
        line = "".join(f"{style}{text}{_RESET}" if style else text for text, style in parts)
        if self._line is not None:
            self._line.show(self._heading + line)
            return
        # Backspaces as well as a return: a line longer than the screen has been broken.
        start = "\b" * self._drawn_width + "\r"
        padding = " " * (self._drawn_width - len(plain))
        print_message(start + line + padding, end="\n" if finalize else "")
        self._drawn_width = len(plain)

    def _timing(self, seconds) -> str:
        if seconds >= 1 or seconds == 0:
            return f" {seconds:.0f}s/{self.unit_name}"
        if seconds >= 1e-3:
            return f" {seconds * 1e3:.0f}ms/{self.unit_name}"
        return f" {seconds * 1e6:.0f}us/{self.unit_name}"

    def _metrics(self) -> str:
        shown = ""
        for name, (total, count) in self._values.items():
            value = np.mean(total) / max(1, count)
            shown += f" - {name}: {value:.4f}" if abs(value) > 1e-3 else f" - {name}: {value:.4e}"
        return shown


def _remaining(seconds) -> str:
    seconds = int(seconds)
    if seconds > 3600:
        return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
    if seconds > 60:
        return f"{seconds // 60}:{seconds % 60:02d}"
    return f"{seconds}s"
