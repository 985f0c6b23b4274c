"""Elements made ahead, in threads, while those before them are in use."""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cornu.data.py_dataset import PyDataset

# What `num_parallel_calls` and `buffer_size` are called where the library may choose.
AUTOTUNE = -1
_END = object()


def num_threads(asked: int | None) -> int:
    """How many threads `num_parallel_calls` means; 0 is none besides the caller's."""
    if asked is None:
        return 0
    return min(8, os.cpu_count() or 1) if asked == AUTOTUNE else asked


class Turn:
    """A time in which no other thread is in its own turn, for work on many small items, such as pictures.

    Reading and decoding an item leaves Python's lock several times for some microseconds. Two threads that
    do so wait for each other longer than they work, on two cores twice the time of one thread. A turn ends
    early if items prove to be so large, or so slow to be read, that threads gain from each other.

    >>> from cornu.data.ahead import Turn
    >>> with Turn() as turn:
    ...     for number in range(100):
    ...         turn.end_if_long(number + 1)
    """

    _lock = threading.Lock()

    def __enter__(self) -> "Turn":
        self._lock.acquire()
        self._is_on = True
        self._worked, self._began = time.thread_time(), time.perf_counter()
        return self

    def end_if_long(self, items: int) -> None:
        """Let other threads work, too, if so many items took long."""
        if (
            self._is_on
            and items % _ITEMS == 0
            and (
                time.thread_time() - self._worked > LONG_WORK * items
                or time.perf_counter() - self._began > LONG_WAIT * items
            )
        ):
            self._end()

    def __exit__(self, *_) -> None:
        self._end()

    def _end(self) -> None:
        if self._is_on:
            self._is_on = False
            self._lock.release()


# How long items took is looked at after every so many. Seconds for one, of work and with waiting for files.
_ITEMS, LONG_WORK, LONG_WAIT = 8, 50e-6, 250e-6


def get_batch(dataset: PyDataset, index: int) -> Any:
    """`dataset[index]`; an exception in it names the index."""
    try:
        return dataset[index]
    except Exception as error:
        error.add_note(f"This happened in {type(dataset).__name__}.__getitem__({index}).")
        raise


def iterate(dataset: PyDataset, order: Iterable[int]) -> Generator[Any, None, None]:
    """Yield `dataset[i]` for each `i` of `order`, made ahead by the data set's worker threads.

    Batches come in the order asked for. No more than `max_queue_size` of them are ready or being
    made at a time, so `order` may be endless. An exception in `__getitem__` is raised in place of
    its batch. Closing the generator stops the threads.
    """
    if dataset.workers <= 1:
        return (get_batch(dataset, index) for index in order)
    return in_order(
        lambda index: get_batch(dataset, index), order, dataset.workers, dataset.max_queue_size
    )


def in_order(
    function: Callable,
    arguments: Iterable,
    threads: int,
    ahead: int,
    moment: Callable = lambda: None,
    back: Callable = lambda kept: None,
) -> Generator[Any, None, None]:
    """Yield `function(argument)` for each argument, computed in threads, at most `ahead` at a time.

    Arguments are read in the caller's thread, some earlier than they are needed. `moment()` is called after
    each; if the generator is closed early, `back` gets what it returned for the last one that was used.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="cornu-data")
    kept = moment()
    running = True
    try:
        source = iter(arguments)
        pending: deque[tuple[Future, Any]] = deque(
            (pool.submit(function, argument), moment())
            for argument in itertools.islice(source, ahead)
        )
        while pending:
            future, after = pending.popleft()
            result = future.result()
            del future
            for argument in itertools.islice(source, 1):
                pending.append((pool.submit(function, argument), moment()))
            kept = after
            yield result
            del result
        running = False
    finally:
        pool.shutdown(cancel_futures=True)
        if running:
            back(kept)


def read_ahead(
    source: Iterator, size: int, moment: Callable, back: Callable
) -> Generator[Any, None, None]:
    """Yield what `source` yields, read by a thread up to `size` elements before they are needed.

    `moment` and `back` are as for `in_order`.
    """

    def step(_):
        return next(source, _END), moment()

    kept = moment()
    running = True
    steps = in_order(step, itertools.count(), 1, size)
    try:
        for element, after in steps:
            if element is _END:
                running = False
                return
            kept = after
            yield element
            del element
    finally:
        steps.close()
        if running:
            back(kept)
