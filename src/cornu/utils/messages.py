"""Where messages to the user go: to the screen, or to a logger."""

import logging
import sys

_logger = logging.getLogger("cornu")
_interactive = True


def enable_interactive_logging() -> None:
    """Print progress and messages, which is the default.  Source: Keras: Config."""
    global _interactive
    _interactive = True


def disable_interactive_logging() -> None:
    """Send progress and messages to the logger `"cornu"` (level INFO) instead of the screen.

    Source: Keras: Config.
    """
    global _interactive
    _interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether progress and messages are printed.

    >>> from cornu.utils import messages
    >>> messages.is_interactive_logging_enabled()
    True
    """
    return _interactive


def print_message(text: str, end: str = "\n") -> None:
    """Print a message at once, or log it; a screen that lacks a character gets a plainer one."""
    if not _interactive:
        _logger.info(text.rstrip("\n"))
        return
    try:
        sys.stdout.write(text + end)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        plain = (text + end).replace("━", "=")
        sys.stdout.write(plain.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()
