"""How objects show themselves in notebooks: HTML without colours of its own, for light and dark pages."""

import sys
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any

from cornu.core.optional import required

_TEXT = "font-family: monospace; line-height: 1.25; white-space: pre; overflow-x: auto"


def as_text(text: str) -> str:
    """Text as it is, in letters of one width.

    >>> from cornu.core.notebook import as_text
    >>> as_text("a < b").endswith("a &lt; b</pre>")
    True
    """
    return f'<pre style="{_TEXT}">{escape(text)}</pre>'


def as_rendered(renderable) -> str:
    """What `rich.print` would show."""
    # Most programs never print a table.
    from rich.console import Console

    console = Console(width=110, force_terminal=False, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        console.print(renderable)
    return as_text(capture.get().rstrip())


def as_table(caption: str, headers: Iterable[str], rows: Iterable[Iterable]) -> str:
    """A table with a caption above it."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    caption = f'<caption style="caption-side: top; text-align: left">{escape(caption)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def as_link(link: str, title: str, notes: Iterable[str]) -> str:
    """A link to a page of this process, in a frame, with notes below it."""
    frame = "display: inline-block; border: 1px solid; border-radius: 6px; padding: 0.6em 1em"
    link = f'<a href="{escape(link)}" target="_blank" rel="noopener noreferrer">{escape(title)}</a>'
    below = "".join(f'<div style="font-size: 90%">{escape(note)}</div>' for note in notes)
    return f'<div style="{frame}"><div style="font-weight: bold">{link}</div>{below}</div>'


def in_notebook() -> bool:
    """Whether what is printed now goes to a notebook's cell, whose parts can be replaced.

    >>> from cornu.core.notebook import in_notebook
    >>> in_notebook()
    False
    """
    # Spyder's console is a kernel as well, but shows what is replaced only as it was first.
    if "spyder_kernels" in sys.modules or not type(sys.stdout).__module__.startswith("ipykernel"):
        return False
    return hasattr(_ipython("IPython").get_ipython(), "kernel")


class Replaced:
    """A part of a cell's output in whose place another can be put; only the last is saved and exported."""

    def __init__(self):
        self._handle: Any = None

    def show(self, text: str, png: bytes | None = None) -> None:
        """Show it in the place of what was shown before."""
        bundle = {"text/plain": text}
        if png is not None:
            bundle["image/png"] = b64encode(png).decode()
        if self._handle is None:
            self._handle = _ipython("IPython.display").display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _ipython(module: str):
    return required(module, "Showing what moves in a notebook", package="ipython")
