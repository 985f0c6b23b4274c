"""How objects show themselves in notebooks: HTML without colours of its own, for light and dark pages."""

from collections.abc import Iterable
from html import escape

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
