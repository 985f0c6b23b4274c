"""From whatever holds the data to batches.

A source has `num_batches` (None if unknown), `first_batch()`, and `batches()`, which starts a pass
over the data; with a number of steps the pass goes on where the one before stopped, unless
`rewind()` came between. `close()` ends it. Arrays in memory go to the device once, as `on_device`, and
a batch is only the indices of its rows, which the compiled step gathers there: shuffling copies nothing
in Python. Where `on_device` is None, batches are the data themselves.

`position()` returns how far the data were read, in plain values, and `resume(position, step)` continues
there with the same data in another process, after `step` batches of an epoch: the next pass gives the rest.
"""

import reprlib
import warnings

import jax
import numpy as np

from cornu.core.run_limits import max_steps_per_epoch
from cornu.data.array_source import ArraySource
from cornu.data.arrays import in_memory
from cornu.data.py_dataset import PyDataset
from cornu.data.stream_source import StreamSource


def adapt(
    x,
    y=None,
    sample_weight=None,
    batch_size=None,
    steps=None,
    shuffle=False,
    class_weight=None,
    repeat=True,
    gather_in_step=True,
):
    """The source for what `data.arrays.converted` returned.

    With `repeat`, data that run out before `steps` batches start again if they can. Without
    `gather_in_step`, arrays come as batches too, so that the compiled step does not depend on how many
    rows they have in all.
    """
    if steps is not None:
        _check_count("steps", steps)
    if batch_size is not None:
        _check_count("batch_size", batch_size)
    if in_memory(x):
        return _within_limit(
            ArraySource(
                x,
                y,
                sample_weight,
                batch_size,
                shuffle,
                steps,
                class_weight,
                repeat,
                gather_in_step,
            )
        )
    yields = isinstance(x, PyDataset) or hasattr(x, "__iter__") or hasattr(x, "__getitem__")
    if yields and not isinstance(x, dict | list | tuple | str | bytes):
        kind = type(x).__name__
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(
                    f"When providing `x` as a {kind}, `{name}` should not be passed: each batch "
                    f"holds `(x, y)` or `(x, y, sample_weight)`. Received: {name}={type(value)}"
                )
        if batch_size is not None:
            warnings.warn(
                f"`batch_size` has no effect: x, a {kind}, makes the batches itself.", stacklevel=3
            )
        return _within_limit(StreamSource(x, steps, shuffle, class_weight, repeat))
    if isinstance(x, dict | list | tuple) and x and not jax.tree.leaves(x):
        raise ValueError(
            f"`x` holds no array: {x}. None may be passed for an input with `optional=True`. An input that "
            "is not optional needs an array, and of several optional ones one does."
        )
    raise ValueError(
        f"Cannot take data of type {type(x).__name__} ({reprlib.repr(x)}). Pass arrays, pandas frames, a "
        "PyDataset, a generator, or anything else that yields batches `(x, y)`."
    )


def _within_limit(source):
    """The source with no more steps than `config.max_steps_per_epoch` allows."""
    most = max_steps_per_epoch()
    if most is not None and (source.num_batches is None or source.num_batches > most):
        warnings.warn(
            f"Limiting steps_per_epoch to {most}, as `config.set_max_steps_per_epoch` or the environment "
            "variable KERAS_MAX_STEPS_PER_EPOCH says.",
            stacklevel=4,
        )
        source.limit_steps(most)
    return source


def _check_count(name: str, value) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` must be at least 1, an integer. Received: {name}={value!r}")
