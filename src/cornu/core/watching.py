"""Watching layers and functions at work, without their knowing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cornu.core.context import context, within


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
    with within(watch=function):
        yield


def seen(operation, given: tuple, arguments: dict, outputs) -> Any:
    """Show a call to whoever watches; returns what goes on as its outputs."""
    if context.watch is None:
        return outputs
    return context.watch(operation, given, arguments, outputs)
