"""What all commands share: how they end."""

import functools
import os
import sys
import warnings
from collections.abc import Callable

import typer

from cornu.core import processes
from cornu.core.memory import keep_freed_memory
from cornu.core.optional import MissingPackage

EXIT_ERROR = 1


class CommandError(Exception):
    """A mistake of the user's that no other part of Cornu names: its text is printed, no traceback."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM during work of which something is kept; the message names it."""


def command(function: Callable) -> Callable:
    """Make a function a command: mistakes end it with one line on stderr and an exit code.

    The library raises ValueError and OSError for what a user can fix; anything else is
    a defect, and its traceback is shown. `debug=True` shows every traceback.
    """

    @functools.wraps(function)
    def run(*args, debug: bool, **kwargs):
        from cornu.cli.programs import keep_compiled_programs
        from cornu.training import interrupts

        try:
            if os.environ.get("CORNU_KEEP_MEMORY") != "0":
                keep_freed_memory()
            keep_compiled_programs()
            with interrupts.heard(), warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return function(*args, **kwargs)
        except (KeyboardInterrupt, Interrupted) as error:
            status = interrupts.status_of(error)
            interrupts.ends_with(status)
            stopped = f"stopped by {interrupts.name_of(error)}."
            _end(error, debug, str(error) if isinstance(error, Interrupted) else stopped, status)
        except BrokenPipeError:
            # Whoever read the output, such as `head`, has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (CommandError, MissingPackage, ValueError, OSError, MemoryError) as error:
            _end(error, debug, _message(error), EXIT_ERROR)
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            _end(error, debug, _message(MemoryError(error)), EXIT_ERROR)

    return run


def say(text: str) -> None:
    """A remark that is not part of the output."""
    typer.echo(f"cornu: {text}", err=True)


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error} Try a smaller --batch-size or --image-size."
    return str(error)


def _end(error: BaseException, debug: bool, message: str, code: int):
    if debug:
        import traceback

        traceback.print_exception(error)
    message = " ".join(message.split())
    say(message)
    others = processes.group()
    if others is not None and others.stop_reason() is None:
        others.say_why_first()
        others.fail(message, code)
    raise typer.Exit(code)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    say(f"warning: {' '.join(str(message).split())}")
