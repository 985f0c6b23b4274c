"""What holds in this thread for a while: the call that runs, the scopes that are open.

It is kept by thread, and not in a `contextvars.ContextVar`: what that holds goes on to the threads of
`asyncio.to_thread` or of a web server (from Python 3.14 on, perhaps to all), and a new thread is within
nobody's call.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Context(threading.local):
    # Attributes of the class are where each thread begins; what is changed in place is made in `__init__`.

    # The outermost layer whose call is running, and what that passes on to the layers that it calls.
    layer: Any = None
    training: bool | None = None
    # The layer whose own `call` is running.
    computing: Any = None
    # The dtype that variables are read in, where it is not their own.
    autocast: str | None = None
    # The scope that layers made now compute again in.
    remat: Any = None
    # What watches the calls of layers.
    watch: Callable | None = None
    # The variables that get no memory while they are made, and how many bytes they may still have.
    deferred: list | None = None
    deferred_bytes = 0
    # The size of a batch of None, and what replaces None in the first axis and in others in a trial.
    batch: int | None = None
    first: int | None = None
    rest: int | None = None
    # The callback that runs, if only this one of several processes calls it.
    alone: str | None = None
    # The distribution of this thread, in a tuple; None if that for all threads holds.
    distribution: tuple | None = None
    # What is shared within the configuration that is written or read.
    shared: dict[Any, Any] | None = None

    def __init__(self):
        # Which objects a name in a file may mean.
        self.custom_objects: dict[str, Any] = {}
        # The `functional` calls and other scopes for the values of variables, outermost first.
        self.scopes: list[Any] = []
        # How often a name, and a number after a prefix, was given.
        self.names: dict[str, int] = defaultdict(int)
        self.numbers: dict[str, int] = defaultdict(int)
        # The scopes of names that are open, each with its owner.
        self.path: list[tuple[str, object]] = []


context = _Context()


@contextmanager
def within(**values) -> Iterator[None]:
    """Within, these attributes of `context` have these values."""
    previous = {name: getattr(context, name) for name in values}
    for name, value in values.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        for name, value in previous.items():
            setattr(context, name, value)
