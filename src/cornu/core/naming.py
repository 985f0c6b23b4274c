"""Names and paths of layers and variables: `conv2d`, `conv2d_1`, `my_model/conv2d/kernel`."""

from contextlib import contextmanager

from cornu.core.context import context
from cornu.core.registry import to_snake_case


def uniquify(stem: str) -> str:
    """The stem itself the first time, then `stem_1`, `stem_2` …"""
    count = context.names[stem]
    context.names[stem] += 1
    return f"{stem}_{count}" if count else stem


def auto_name(prefix: str) -> str:
    """A fresh name for an object of class `prefix`."""
    return uniquify(to_snake_case(prefix))


def next_number(prefix: str) -> int:
    """1 the first time that it is called for a prefix, then 2, 3 …"""
    context.numbers[prefix] += 1
    return context.numbers[prefix]


def reset_uids() -> None:
    """Restart the numbering of automatic names."""
    context.names.clear()
    context.numbers.clear()


@contextmanager
def name_scope(name: str, owner: object = None):
    """Variables made within have `name/` before their own; a nested scope of one owner counts once."""
    if context.path and owner is not None and context.path[-1][1] is owner:
        yield
        return
    context.path.append((name, owner))
    try:
        yield
    finally:
        context.path.pop()


def current_path() -> str:
    """The names of the scopes that are open, joined by `/`."""
    return "/".join(name for name, _ in context.path)


def path_of(name: str) -> str:
    """`name` behind the scopes that are open."""
    return "/".join([*(n for n, _ in context.path), name])
