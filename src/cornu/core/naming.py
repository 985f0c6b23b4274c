"""Names and paths of layers and variables: `conv2d`, `conv2d_1`, `my_model/conv2d/kernel`."""

import threading
from collections import defaultdict
from contextlib import contextmanager

from cornu.core.registry import to_snake_case


class _Names(threading.local):
    def __init__(self):
        self.counts: dict[str, int] = defaultdict(int)
        self.numbers: dict[str, int] = defaultdict(int)
        self.path: list[tuple[str, object]] = []


_names = _Names()


def uniquify(stem: str) -> str:
    """The stem itself the first time, then `stem_1`, `stem_2` …"""
    count = _names.counts[stem]
    _names.counts[stem] += 1
    return f"{stem}_{count}" if count else stem


def auto_name(prefix: str) -> str:
    """A fresh name for an object of class `prefix`."""
    return uniquify(to_snake_case(prefix))


def next_number(prefix: str) -> int:
    """1 the first time that it is called for a prefix, then 2, 3 …"""
    _names.numbers[prefix] += 1
    return _names.numbers[prefix]


def reset_uids() -> None:
    """Restart the numbering of automatic names."""
    _names.counts.clear()
    _names.numbers.clear()


@contextmanager
def name_scope(name: str, owner: object = None):
    """Variables made within have `name/` before their own; a nested scope of one owner counts once."""
    if _names.path and owner is not None and _names.path[-1][1] is owner:
        yield
        return
    _names.path.append((name, owner))
    try:
        yield
    finally:
        _names.path.pop()


def current_path() -> str:
    """The names of the scopes that are open, joined by `/`."""
    return "/".join(name for name, _ in _names.path)


def path_of(name: str) -> str:
    """`name` behind the scopes that are open."""
    return "/".join([*(n for n, _ in _names.path), name])
