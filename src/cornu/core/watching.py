"""Watching layers and functions at work, without their knowing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Watch(threading.local):
    function: Callable | None = None


_watch = _Watch()


@contextmanager
def watched(function: Callable | None) -> Iterator[None]:
    """Within, `function(operation, given, arguments, outputs)` is called after each call in this thread.

    `operation` is a layer, or a function in a graph; `given` is what it was called with, `(args, kwargs)`;
    `arguments` are the same by name, in the dtype in which a layer computes. What the function returns
    replaces the outputs. Nothing else changes, and steps that are compiled already are not seen.
    With None nobody watches.

    >>> import cornu, jax.numpy as jnp
    >>> from cornu.core.watching import watched
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.ReLU(name="relu")])
    >>> names = []
    >>> def note(operation, given, arguments, outputs):
    ...     names.append(operation.name)
    ...     return outputs
    >>> with watched(note):
    ...     y = model(jnp.ones((1, 2)))
    >>> names[0]
    'relu'
    """
    previous = _watch.function
    _watch.function = function
    try:
        yield
    finally:
        _watch.function = previous


def seen(operation, given: tuple, arguments: dict, outputs) -> Any:
    """Show a call to whoever watches; returns what goes on as its outputs."""
    if _watch.function is None:
        return outputs
    return _watch.function(operation, given, arguments, outputs)
