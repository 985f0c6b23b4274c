"""Data that is made batch by batch in Python code."""

import itertools
import warnings
from typing import Any


class PyDataset:
    """Base class of a data set written in Python: batch `i` is `dataset[i]`.

    A subclass defines `__getitem__(index)`, which returns a whole batch (`x`, `(x, y)` or
    `(x, y, sample_weight)`), and `__len__`, the number of batches, or the property `num_batches`,
    which may be None for data without end. `on_epoch_begin` and `on_epoch_end` may change the data
    between epochs.

    Args:
        workers: how many threads make batches ahead while a model trains; with 0 or 1 each batch
            is made when it is needed. `__getitem__` must be safe to call from several threads.
        use_multiprocessing: True warns: the workers are threads in any case, since a forked copy of
            a process that runs JAX can deadlock.
        max_queue_size: the most batches that are ready or being made at a time; may be 0 where no worker
            makes any ahead.

    Source: Keras: PyDataset.

    >>> import cornu, numpy as np
    >>> class Squares(cornu.utils.PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         x = np.arange(4.0) + 4 * index
    ...         return x, x**2
    >>> [float(y.sum()) for x, y in Squares()]
    [14.0, 126.0, 366.0]
    """

    # Here as well, so that a subclass whose __init__ does not call this one works too.
    workers = 1
    use_multiprocessing = False
    max_queue_size = 10

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ):
        if workers < 0:
            raise ValueError(f"`workers` must not be negative. Received: workers={workers}")
        if max_queue_size < (1 if workers > 1 else 0):
            raise ValueError(
                f"`max_queue_size` must be at least 1 where {workers} workers make batches ahead. "
                f"Received: max_queue_size={max_queue_size}"
                if workers > 1
                else f"`max_queue_size` must not be negative. Received: max_queue_size={max_queue_size}"
            )
        if use_multiprocessing:
            warnings.warn(
                "`use_multiprocessing=True` has no effect: the workers are threads, as a forked copy of "
                "a process that runs JAX can deadlock.",
                stacklevel=3,
            )
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define `__getitem__(self, index)`.")

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None if it is infinite."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__} must define `__len__(self)` or the property `num_batches`."
        )

    def __iter__(self):
        num_batches = self.num_batches
        indices = itertools.count() if num_batches is None else range(num_batches)
        return (self[index] for index in indices)

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch, also one that ended early."""
