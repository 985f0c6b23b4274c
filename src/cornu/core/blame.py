"""Which line of the user's code went wrong in a layer, and what to write there instead."""

import linecache
import random
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import jax
import numpy as np

from cornu.core import random as core_random

# Code in these folders is not the user's.
_FOLDERS = tuple(str(Path(str(module.__file__)).parent) for module in (jax, np))
_OWN = str(Path(__file__).parent.parent)
_STANDARD = str(Path(linecache.__file__).parent)

_COMPILED = "its values are not known while the step is compiled"
_CURES: list[tuple[type[Exception], str]] = [
    (
        jax.errors.TracerBoolConversionError,
        f"Python asks here whether a tensor is true, but {_COMPILED}. Choose between values with "
        "jnp.where(condition, a, b) (or cornu.ops.where), between computations with jax.lax.cond.",
    ),
    (
        jax.errors.TracerArrayConversionError,
        f"NumPy is given a tensor here, but {_COMPILED}. Use the function of jax.numpy or cornu.ops{{}}.",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "How many elements a mask chooses is not known while the step is compiled. Keep the shape: "
        "jnp.where(mask, x, 0).",
    ),
    (
        jax.errors.ConcretizationTypeError,
        f"A tensor is made a Python number here, but {_COMPILED}. Go on with the tensor: leave out "
        "float(), int(), bool() and .item(), and do not count with it, as in range().",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        f"A tensor is taken for a Python integer here, but {_COMPILED}. Use jnp.take for an index, and "
        "x.shape for sizes.",
    ),
    (
        jax.errors.UnexpectedTracerError,
        "A tensor of another call is used here. Do not keep tensors as attributes in `call`: make a "
        "weight with self.add_weight(trainable=False), and assign to it.",
    ),
]


def blame(error: Exception, what: str, arguments: str) -> None:
    """Add to an error the layer or loss, the shapes and the line in which it happened.

    Called for each that an error passes through, from the innermost outwards.
    """
    is_first = not hasattr(error, "_cornu_layer")
    if is_first:
        error._cornu_layer = what  # type: ignore[attr-defined]
    line = None if hasattr(error, "_cornu_line") else _line_of(error)
    if line is not None:
        error._cornu_line = line  # type: ignore[attr-defined]
        cure = _cure(error, line)
        if cure:
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
            error.args = (
                "\n".join([f"In {what}, {line}", cure, *[f"({reason})"] * (cure not in reason)]),
            )
            return
    if is_first:
        error.add_note(f"This happened in {what}, called on {arguments}")
    if line is not None:
        # One note for all.
        notes = getattr(error, "__notes__", [])
        at = next((i for i, n in enumerate(notes) if n.startswith("This happened in")), None)
        if at is not None:
            notes[at] += f"\nIn your code: {line}"


def _cure(error: Exception, line: str) -> str | None:
    if isinstance(error, core_random.UnseededError):
        return str(error)
    if isinstance(error, AttributeError) and re.search(r"racer.*\bnumpy\b", str(error)):
        return f"A tensor is made a NumPy array here, but {_COMPILED}. Go on with jax.numpy or cornu.ops."
    for kind, text in _CURES:
        if isinstance(error, kind):
            used = re.search(r"\b(?:np|numpy)\.(\w+)", line)
            known = used is not None and hasattr(jax.numpy, used[1])
            return text.format(f": jnp.{used[1]}" if used is not None and known else "")
    return None


def _is_users(filename: str) -> bool:
    is_standard = filename.startswith(_STANDARD) and "site-packages" not in filename
    return not (is_standard or filename.startswith((*_FOLDERS, _OWN, "<frozen")))


def _line_of(error: Exception) -> str | None:
    """The last line of the user's code in the traceback."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if _is_users(filename):
            found = _described(filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _described(filename: str, number: int) -> str:
    source = linecache.getline(filename, number).strip()
    return f"{filename}:{number}" + (f": {source}" if source else "")


# ---- random numbers that become constants

_warned: set[str] = set()


def watch_random(layer, run: Callable, again: Callable):
    """Run a layer's `call` while it is traced; warn of random numbers, which would become constants."""
    before, seeds = _generator_states(), core_random.num_default_seeds
    outputs = run()
    for name, state in _generator_states().items():
        if state == before[name] or (name == "random" and seeds != core_random.num_default_seeds):
            # Cornu's own seeds come from there, too: of a layer that was made or built.
            continue
        line = _line_that_draws(again, name)
        if line is not None and line not in _warned:
            _warned.add(line)
            warnings.warn(
                f"In the layer '{layer.name}' ({type(layer).__name__}), {line}\ndraws numbers from the "
                f"global generator of `{name}` while the step is compiled, so they are the same in every "
                f"step. {core_random.FRESH_NUMBERS}",
                stacklevel=4,
            )
    return outputs


def _generator_states() -> dict[str, tuple]:
    """The states of the global generators: equal before and after if nothing was drawn."""
    _, keys, position, *gauss = np.random.get_state(legacy=True)
    _, numbers, normal = random.getstate()
    return {
        "numpy.random": (int(keys[0]), position, *gauss),
        "random": (numbers[0], numbers[-1], normal),
    }


def _line_that_draws(run: Callable, name: str) -> str | None:
    """Run a function again to find the line of the user's code that draws."""
    last: list = [None, _generator_states()[name]]
    found: list[str] = []

    def look(frame: FrameType, event, argument):
        if not _is_users(frame.f_code.co_filename):
            return None
        now = _generator_states()[name]
        if now != last[1] and last[0] is not None:
            found.append(_described(*last[0]))
        last[:] = (frame.f_code.co_filename, frame.f_lineno), now
        return look

    states, previous = (random.getstate(), np.random.get_state()), sys.gettrace()
    sys.settrace(look)
    try:
        run()
    finally:
        sys.settrace(previous)
        random.setstate(states[0])
        np.random.set_state(states[1])
    return found[0] if found else None
