"""What callbacks that monitor one value have in common."""

import re
import warnings
from collections.abc import Callable

from cornu import ops
from cornu.training.callback import Callback
from cornu.training.old_spellings import todays_metric


def more_is_better(name: str, model) -> bool | None:
    """Whether more of a number in a model's logs is better; None if that is not known."""
    name = name.removeprefix("val_")
    if name == "loss":
        return False
    metrics: list = []
    for metric in getattr(model, "metrics", []):
        # Those that were given to `compile` are one metric that holds others.
        metrics += getattr(metric, "metrics", [metric])
    # Of two with one name, the second has a number behind it.
    for known in dict.fromkeys((name, re.sub(r"_\d+$", "", name))):
        for metric in metrics:
            # With several outputs, the name in the logs starts with the output's.
            if known == metric.name or known.endswith(f"_{metric.name}"):
                direction = getattr(metric, "_direction", None)
                if direction is not None:
                    return direction == "up"
    if name.endswith("_loss"):
        return False
    # A number of a step of the user's.
    return True if name.endswith(("acc", "accuracy", "auc")) else None


class MonitorCallback(Callback):
    """Monitors whether a value improves.

    Args:
        monitor: name of the number in the logs of an epoch: `"loss"`, `"val_accuracy"` …
        mode: `"min"` if less is better, `"max"` if more is, `"auto"` to know it from the metric.
        baseline: value to be better than at first.
        min_delta: how much better a value must be to count as an improvement.

    Raises ValueError at the end of the first epoch if `"auto"` does not know the metric.
    """

    # A comparison that a program has set in place of that of `mode`.
    _op: Callable | None = None

    def __init__(self, monitor="val_loss", mode="auto", baseline=None, min_delta=0):
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__} mode '{mode}' is unknown, fallback to auto mode. Known: "
                "'auto', 'min', 'max'.",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best = baseline
        self.min_delta = abs(min_delta)

    def _monitored(self, logs: dict):
        """The value in the logs, or None. Raises ValueError if there is no such metric."""
        self.monitor = todays_metric(self.monitor, logs)
        value = logs.get(self.monitor)
        if value is None:
            self._more_is_better()
        return value

    def _more_is_better(self) -> bool:
        if self._op is not None:
            return bool(self._op(1.0, 0.0))
        if self.mode != "auto":
            return self.mode == "max"
        known = more_is_better(self.monitor, self.model)
        if known is not None:
            return known
        raise ValueError(
            f"{type(self).__name__} callback received monitor={self.monitor}, but Cornu isn't able "
            "to automatically determine whether that metric should be maximized or minimized. Pass "
            "`mode='max'` in order to monitor based on the highest metric value, or pass "
            "`mode='min'` in order to use the lowest value."
        )

    @property
    def monitor_op(self):
        """Whether one value is better than another: `ops.greater`, `ops.less` or what it was set to."""
        return self._op or (ops.greater if self._more_is_better() else ops.less)

    @monitor_op.setter
    def monitor_op(self, op):
        self._op = op

    def _is_improvement(self, value, reference) -> bool:
        if reference is None:
            return True
        if self._more_is_better():
            return bool(value - self.min_delta > reference)
        return bool(value + self.min_delta < reference)
