"""`cornu run`: a script that was written for Keras."""

import os
import runpy
import sys
import types
from pathlib import Path

import cornu
import cornu.alias

_OURS = str(Path(__file__).parents[1])


def run(target: str, arguments: list[str], is_module: bool = False) -> int:
    """Run a file as `python file` would, or a module as `python -m module`, with Cornu for Keras.

    Returns:
        The exit status. An error of the script is printed as Python prints it, without what runs it.
    """
    cornu.install_as_keras()
    try:
        if is_module:
            sys.argv = [target, *arguments]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [target, *arguments]
            sys.path.insert(0, str(Path(target).parent.resolve()))
            runpy.run_path(target, run_name="__main__")
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _of_the_script(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _of_the_script(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The part of a traceback that begins in the script; None if it never got there."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    each = last = trace
    while each is not None:
        if not each.tb_frame.f_code.co_filename.startswith((_OURS, "<frozen importlib")):
            last = each
        each = each.tb_next
    # What an import of the script went through before it was refused.
    if last is not None and last.tb_next is not None:
        after = Path(last.tb_next.tb_frame.f_code.co_filename)
        last.tb_next = None if after.parent == Path(_OURS, "alias") else last.tb_next
    return trace
