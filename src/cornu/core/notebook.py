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


def as_page(link: str, title: str, framed: str, otherwise: Iterable[str], png: bytes) -> str:
    """A page of this process in a frame, with a link to it above.

    Args:
        link: of the page, for a tab of its own.
        title: what it is.
        framed: its address in the frame.
        otherwise: what is said in its place, and `png` shown, where it does not open: in notebooks that
            were shared or exported, or when the kernel has ended.
    """
    above = (
        f'<a href="{escape(link)}" target="_blank" rel="noopener noreferrer">{escape(title)}</a>'
    )
    lines = "".join(f"<div>{escape(line)}</div>" for line in otherwise)
    image = f"data:image/png;base64,{b64encode(png).decode()}"
    # Browsers show what is within an `object` where this cannot be loaded, without a script; of an
    # `iframe` they show an error of their own. As long as it is inline, the text has a height of its own.
    height = "width: 100%; height: min(760px, 85vh); vertical-align: top"
    return (
        f'<div style="margin-bottom: 0.4em">{above} (opens in a tab of its own)</div>'
        '<div style="border: 1px solid #868c93; border-radius: 6px; overflow: hidden">'
        f'<object data="{escape(framed)}" type="text/html" title="{escape(title)}" style="{height}">'
        f'<div style="padding: 0.6em">{lines}'
        f'<img src="{image}" alt="the network as it was" style="max-width: 100%; margin-top: 0.6em">'
        "</div></object></div>"
    )


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
