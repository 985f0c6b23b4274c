"""The loop over batches. It never waits for the device, except when somebody reads a number."""

import warnings
from collections import deque
from collections.abc import Iterator, Mapping

import jax
import numpy as np

# Steps that may be on their way to the device at once. It bounds the memory that their batches
# take; with so many to do the device is never idle.
STEPS_AHEAD = 16


class Logs(Mapping):
    """The numbers of a step by name. Reading one waits for the device and gives a float."""

    def __init__(self, values: Mapping):
        self._values = values
        self._read: dict = {}

    def __getitem__(self, name):
        if name not in self._read:
            value = np.asarray(self._values[name])
            self._read[name] = float(value) if value.size == 1 else value
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self):
        return repr(dict(self))

    def copy(self) -> dict:
        """All numbers, read."""
        return dict(self)


def run_steps(model, function, data, callbacks, kind: str, collect: list | None = None) -> Logs:
    """One pass over the data; returns the logs of the last step.

    Args:
        model: what is trained; its `stop_training` ends the pass early.
        function: the compiled step.
        data: an adapter.
        callbacks: a `CallbackList`.
        kind: `"train"`, `"test"` or `"predict"`.
        collect: a list that gets each step's outputs as NumPy arrays.
    """
    begin = getattr(callbacks, f"on_{kind}_batch_begin")
    end = getattr(callbacks, f"on_{kind}_batch_end")
    per_call = model.steps_per_execution
    ahead: deque = deque()
    logs = Logs({})
    step = -1
    for step, batch in enumerate(data.batches()):
        if step % per_call == 0:
            begin(step)
        if data.source is None:
            batch = jax.tree.map(np.asarray, batch)
        result = function(batch, data.source)
        if kind == "predict":
            logs = Logs({"outputs": result})
        else:
            logs = Logs(result)
        ahead.append(result)
        if len(ahead) > STEPS_AHEAD:
            done = ahead.popleft()
            jax.block_until_ready(done)
            if collect is not None:
                collect.append(jax.tree.map(np.asarray, done))
        if (step + 1) % per_call == 0 or step + 1 == data.num_batches:
            end(step, {"outputs": result} if kind == "predict" else logs)
        if kind != "predict" and model.stop_training and kind == "train":
            break
    if collect is not None:
        collect.extend(jax.tree.map(np.asarray, done) for done in ahead)
    if step < 0:
        raise ValueError("The dataset yielded no batch, so there was nothing to do.")
    if data.num_batches is not None and step + 1 < data.num_batches and not model.stop_training:
        warnings.warn(
            f"Your input ran out of data after {step + 1} of {data.num_batches} batches; the epoch "
            "ended early. Make sure that your dataset or generator can generate at least "
            "`steps_per_epoch * epochs` batches.",
            stacklevel=3,
        )
    return logs
