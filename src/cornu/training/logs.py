"""The logs of a step, which the device may still be computing."""

from collections.abc import Iterator, Mapping

import numpy as np


class Logs(Mapping):
    """The logs of a step by name. Reading one waits for the device and gives a float."""

    def __init__(self, values: Mapping):
        self._values = values
        self._read: dict = {}

    def __getitem__(self, name):
        if name not in self._read:
            value = np.asarray(self._values[name])
            self._read[name] = float(value.item()) if value.size == 1 else value
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self):
        return repr(dict(self))

    def copy(self) -> dict:
        """All values, read."""
        return dict(self)


def as_logs(result, step: str) -> dict:
    """The logs that a step returned as one dict, with nested dicts merged; a single number is the loss.

    Raises TypeError if it is something else.
    """
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        if np.ndim(result) == 0 and not isinstance(result, str):
            return {"loss": result}
        raise TypeError(
            f"{step} must return its logs as a dict from names to numbers. Received: {result!r}"
        )
    logs: dict = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            logs.update(as_logs(value, step))
        else:
            logs[name] = getattr(value, "value", value)
    return logs
