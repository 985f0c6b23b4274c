"""The processes that compute together, of which this one is one; and how it ends when another one does."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

from cornu.core.process_group import Group, describe

_group: Group | None = None


def group() -> Group | None:
    """The processes that compute together; None if this one is alone."""
    return _group


def join(found: Group) -> None:
    """From now on this process ends when another one does, and tells the others when it ends itself."""
    global _group
    _group = found
    atexit.register(found.finish)
    shown = sys.excepthook

    def excepthook(kind, error, trace):
        if os.getpid() != found.pid:
            shown(kind, error, trace)
            return
        # What a collective says of another process' end helps nobody.
        if _is_of_collective(error) and found.reason(wait=3):
            time.sleep(5)
        shown(kind, error, trace)
        found.say_why_first()
        found.fail(describe(error), 130 if isinstance(error, KeyboardInterrupt) else 1)

    sys.excepthook = excepthook


def _is_of_collective(error: BaseException) -> bool:
    text = str(error)
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") or any(
        word in text for word in ("Gloo", "NCCL", "UNAVAILABLE", "coordination service")
    )


def hear_sigterm(found: Group) -> None:
    """Let SIGTERM stop `fit` in all processes after the same step; outside of it, this process ends.

    To be called after JAX has set a handler of its own, which swallows the signal.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGTERM"):
        return
    before = signal.getsignal(signal.SIGTERM)
    heard = 0

    def hear(number, frame):
        nonlocal heard
        heard += 1
        if os.getpid() == found.pid and found.is_in_fit and heard == 1:
            # The second one ends it at once.
            found.stop("SIGTERM")
            return
        if os.getpid() == found.pid and not callable(before):
            found.fail("it received SIGTERM.")
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    if before != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, hear)


def is_first() -> bool:
    """Whether this process writes the files: process 0, or the only one."""
    return _group is None or _group.number == 0


@contextlib.contextmanager
def call(name: str) -> Iterator[None]:
    """Within, all processes make the same call; with one process, nothing."""
    if _group is None:
        yield
        return
    with _group.call(name):
        yield
