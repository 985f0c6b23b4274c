"""A function that worker processes call.

It is for functions that are slow Python themselves, for which threads would wait for each other.
"""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from cornu.core.optional import required


class WorkerLost(RuntimeError):
    """A worker process has ended before its work, so nothing can be made any more."""


class InProcesses:
    """`function`, called in processes of its own; each caller waits for its result.

    The processes start with the first call, and end with this object or with this process, even if that is
    killed.

    Args:
        function: what is called. It has to be importable, or `cloudpickle` installed.
        count: how many processes.
    """

    def __init__(self, function: Callable, count: int):
        self._name = getattr(function, "__qualname__", type(function).__name__)
        self._code = _pickled(function, self._name)
        self._count, self._lock = count, threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, *arguments) -> Any:
        """The result; what the function raises is raised here."""
        pool = self._running()
        try:
            return pool.submit(_call, arguments).result()
        except BrokenProcessPool as error:
            with self._lock:
                self._pool = None if self._pool is pool else self._pool
            raise WorkerLost(
                f"A worker process of `{self._name}` has ended before its work: it was killed, perhaps for "
                "want of memory, or could not start. A script that has worker processes must start its "
                'work below `if __name__ == "__main__":`, as each of them imports it.'
            ) from error

    def _running(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                # Of `fork`, the locks of JAX's threads would stay closed forever.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._count, context, _prepare, (self._code,))
                weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
            return self._pool

    def __reduce__(self):
        return _again, (self._code, self._count)


def _again(code: bytes, count: int) -> InProcesses:
    return InProcesses(pickle.loads(code), count)


def _pickled(function: Callable, name: str) -> bytes:
    is_typed_in = function.__module__ == "__main__" and not hasattr(
        sys.modules["__main__"], "__file__"
    )
    if not is_typed_in:
        try:
            return pickle.dumps(function)
        except (pickle.PicklingError, AttributeError, TypeError):
            # It is no function of a module.
            pass
    what = f"Giving `{name}` to worker processes, as it is not at the top of a file,"
    return required("cloudpickle", what).dumps(function)


# ---- in the worker

_given: list[Any] = []


def _prepare(code: bytes) -> None:
    # Ctrl-C is the parent's to hear.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given[:] = [code, None]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _call(arguments: tuple):
    if _given[1] is None:
        # Not before: an error is one of the call.
        _given[1] = pickle.loads(_given[0])
    return _given[1](*arguments)
