"""Batches of a `PyDataset`, made ahead in threads."""

import itertools
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cornu.utils.py_dataset import PyDataset


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
        for index in order:
            yield get_batch(dataset, index)
        return
    pool = ThreadPoolExecutor(dataset.workers, thread_name_prefix="cornu-data")
    try:
        indices = iter(order)
        pending: deque[Future] = deque(
            pool.submit(get_batch, dataset, index)
            for index in itertools.islice(indices, dataset.max_queue_size)
        )
        while pending:
            batch = pending.popleft().result()
            for index in itertools.islice(indices, 1):
                pending.append(pool.submit(get_batch, dataset, index))
            yield batch
            del batch
    finally:
        pool.shutdown(cancel_futures=True)
