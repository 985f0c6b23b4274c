"""The option `--augment`, whose value may be left out."""

import difflib
from pathlib import Path

import typer
import typer.core

OPTION, STRENGTHS = "--augment", ("light", "medium", "strong")


class WithStrength(typer.core.TyperCommand):
    """A command whose `--augment` may stand alone, and is light then.

    Typer has no options with values that may be left out, so the value is written in before it looks.
    """

    def parse_args(self, ctx, args):
        try:
            words = with_strength(args)
        except typer.BadParameter as error:
            error.ctx, error.param_hint = ctx, OPTION
            raise
        return super().parse_args(ctx, words)


def with_strength(words: list[str]) -> list[str]:
    """Words of a command line, in which `--augment` has a value.

    The next word is the value if it is a strength. One that is nearly so is an error, unless it is a file.

    >>> with_strength(["--augment", "photos", "--augment", "strong"])
    ['--augment=light', 'photos', '--augment=strong']
    """
    found: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*found, word, *rest]
        if word == OPTION:
            following = rest[0] if rest else ""
            word = f"{OPTION}={following if following in STRENGTHS else STRENGTHS[0]}"
            if following in STRENGTHS:
                rest.pop(0)
            elif difflib.get_close_matches(following, STRENGTHS) and not Path(following).exists():
                check(following)
        found.append(word)
    return found


def check(value: str | None) -> str | None:
    """The value, if it is a strength or None."""
    if value not in (None, *STRENGTHS):
        near = difflib.get_close_matches(value, STRENGTHS, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise typer.BadParameter(f"It is light, medium or strong, not {value}.{guess}")
    return value
