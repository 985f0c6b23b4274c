"""Docstrings as Markdown.

A class often leaves arguments to the docstring of a base class; here they are put together.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SECTIONS = {
    "Args": "Arguments",
    "Call arguments": "Call arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Raises": "Raises",
    "Example": "Example",
    "Examples": "Example",
}
# Names and a description: `kernel_regularizer, bias_regularizer: penalties on the weights.`
ITEM = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): ?(.*)")


@dataclass
class Part:
    """A paragraph, example or section of a docstring; a section has a title."""

    lines: list[str]
    title: str = ""

    @property
    def items(self) -> list[tuple[list[str], str]]:
        """The names and descriptions of a section."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.lines:
            match = None if line.startswith(" ") else ITEM.fullmatch(line)
            if match:
                found.append((match[1].split(", "), [match[2]]))
            elif found:
                found[-1][1].append(line.strip())
        return [(names, " ".join(filter(None, text))) for names, text in found]


def parts(doc: str) -> Iterator[Part]:
    """The parts of a docstring, in order."""
    lines = inspect.cleandoc(doc).splitlines()
    while lines:
        line = lines.pop(0)
        title = SECTIONS.get(line.removesuffix(":")) if line.endswith(":") else None
        block = []
        if title:
            while lines and (not lines[0] or lines[0].startswith(" ")):
                block.append(lines.pop(0))
            yield Part(textwrap.dedent("\n".join(block)).strip().splitlines(), title)
        elif line.strip():
            block.append(line)
            while lines and lines[0].strip():
                block.append(lines.pop(0))
            yield Part(block)


def summary(value: Any) -> str:
    """The first sentence of the docstring."""
    text = " ".join(next(parts(inspect.getdoc(value) or ""), Part([""])).lines)
    return re.split(r"(?<=\.)\s", text)[0]


def _own_doc(cls: type) -> str:
    return inspect.cleandoc(vars(cls).get("__doc__") or "")


def _signature(value: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(value)
    except (TypeError, ValueError):
        return None


def arguments(value: Any, own: Part | None) -> list[tuple[list[str], str]]:
    """The arguments of a function or class; a class has those of its bases, too."""
    items = list(own.items) if own else []
    signature = _signature(value)
    if not inspect.isclass(value) or signature is None:
        return items
    items = [item for item in items if not item[1].startswith("see `")]
    for base in value.__mro__[1:]:
        described = {name for names, _ in items for name in names}
        for part in parts(_own_doc(base)):
            if part.title == "Arguments":
                for names, text in part.items:
                    missing = [n for n in names if n in signature.parameters and n not in described]
                    if missing:
                        items.append((missing, text))
    order = list(signature.parameters)
    return sorted(items, key=lambda i: order.index(i[0][0]) if i[0][0] in order else len(order))


def table(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """A Markdown table of two columns."""
    # Within code, Markdown takes a bar for what it is.
    bar = re.compile(r"\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")
    lines = [f"| {name} | {bar.sub(chr(92) + '|', text)} |" for name, text in rows]
    return "\n".join([f"| {heading} | |", "|---|---|", *lines])


def _rows(items: list[tuple[list[str], str]]) -> list[tuple[str, str]]:
    return [(", ".join(f"`{name}`" for name in names), text) for names, text in items]


def fenced(code: str, language: str) -> str:
    return f"```{language}\n{code}\n```"


def markdown(value: Any, doc: str) -> str:
    """A docstring as Markdown."""
    found, text = list(parts(doc)), []
    own = next((part for part in found if part.title == "Arguments"), None)
    items = arguments(value, own)
    if own is None and items:
        found.insert(1, Part([], "Arguments"))
    for part in found:
        if part.title == "Arguments":
            callable_ = inspect.isclass(value) or inspect.isroutine(value)
            text.append(table("Argument" if callable_ else "Attribute", _rows(items)))
        elif part.title in ("Call arguments", "Attributes"):
            text.append(table(part.title.removesuffix("s"), _rows(part.items)))
        elif (part.lines and part.lines[0].startswith(">>>")) or part.title == "Example":
            text.append(fenced("\n".join(part.lines), "pycon"))
        elif part.title:
            text.append(f"**{part.title}**: " + "\n".join(part.lines))
        else:
            text.append("\n".join(part.lines))
    return "\n\n".join(text).replace("```\n\n```pycon\n", "\n")


def _default(value: Any) -> str:
    name = getattr(value, "__name__", None)
    return name if name and not isinstance(value, type) else repr(value)


class _Shown:
    """Written in a signature as it is."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def signature_text(name: str, value: Any) -> str:
    """A call as one writes it: on one line, or a line for each argument."""
    signature = _signature(value)
    if signature is None:
        return name
    parameters = [
        p.replace(
            annotation=p.empty,
            default=p.default if p.default is p.empty else _Shown(_default(p.default)),
        )
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
    ]
    text = str(inspect.Signature(parameters))
    if len(name + text) <= 88:
        return name + text
    marks, lines = inspect.Parameter, []
    for before, after in zip([None, *parameters], [*parameters, None], strict=True):
        kinds = [p.kind if p else None for p in (before, after)]
        if kinds[0] == marks.POSITIONAL_ONLY and kinds[1] != marks.POSITIONAL_ONLY:
            lines.append("/")
        keyword_begins = kinds[1] == marks.KEYWORD_ONLY and kinds[0] != marks.KEYWORD_ONLY
        if keyword_begins and kinds[0] != marks.VAR_POSITIONAL:
            lines.append("*")
        if after:
            lines.append(str(after))
    return name + "(\n" + "".join(f"    {line},\n" for line in lines) + ")"
