"""With several processes, one of them writes a file, and the others wait until it is there."""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from cornu.core import processes


@contextlib.contextmanager
def written_once(path, variables=()) -> Iterator[Path | None]:
    """Within, where to write a file: at `path` in process 0; in others None, and the block has nothing to
    do.

    At the end of the block the others wait for process 0; if that has failed, they raise its error. If some
    of the variables lie on several processes, of which none has the whole, all have to gather them: the
    others then write, too, to a place where nobody looks.
    """
    group = processes.group()
    if group is None:
        yield Path(path)
    elif group.number == 0:
        try:
            yield Path(path)
        except BaseException as error:
            group.wrote(str(path), error)
            raise
        group.wrote(str(path), None)
    elif any(map(_is_spread, variables)):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, Path(path).name)
        group.wait_until_written(str(path))
    else:
        yield None
        group.wait_until_written(str(path))


def _is_spread(variable) -> bool:
    value = variable._value
    return isinstance(value, jax.Array) and not (
        value.is_fully_addressable or value.is_fully_replicated
    )


def saved_once(function: Callable) -> Callable:
    """Let a function `(model, filepath, …)` write a model once, if there are several processes."""

    @functools.wraps(function)
    def save(model, filepath, *args, **kwargs):
        if processes.group() is None:
            return function(model, filepath, *args, **kwargs)
        variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ())]
        with written_once(filepath, variables) as path:
            if path is not None:
                function(model, path, *args, **kwargs)

    return save
