"""The page about the command line, from the commands' own help."""

import html
import textwrap

import typer
from docstrings import fenced, table

from cornu.cli.app import app

PATH = "reference/command-line.md"


def _described(parameter) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`", parameter.help
    text, default = html.escape(parameter.help, quote=False), parameter.default
    # The others say in words what they do by default.
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        text += f" Default: `{default}`."
    names = ", ".join(parameter.opts)
    return f"`{names} {parameter.metavar or ''}".rstrip() + "`", text


def _help(text: str) -> str:
    """Help as Markdown: what is behind the mark of text that must not be wrapped is code."""
    words, _, lines = text.partition("\n\n\b\n")
    return "\n\n".join([words, *([_examples(lines)] if lines else [])])


def _examples(lines: str) -> str:
    title, _, code = lines.partition("\n")
    return f"{title}\n\n{fenced(textwrap.dedent(code), 'bash')}"


def content() -> str:
    """The page as Markdown."""
    group = typer.main.get_command(app)
    text = ["# The command line", _help(group.help)]
    for name, command in group.commands.items():
        parameters = [p for p in command.params if not getattr(p, "hidden", False)]
        usage = " ".join(
            f"{p.metavar}{' …' if p.nargs == -1 else ''}"
            for p in parameters
            if p.param_type_name == "argument"
        )
        text += [f"## {name}", fenced(f"cornu {name} {usage}", "bash"), _help(command.help)]
        text.append(table("Argument", map(_described, parameters)))
    return "\n\n".join(text)
