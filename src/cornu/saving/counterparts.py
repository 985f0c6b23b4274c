"""Which array of a checkpoint belongs to which variable, by the names on their paths.

The paths of one weight need not be equal: automatic names are numbered through a whole process, so that
`dense_3` may be `dense` in the checkpoint; and a layer that was built while a file was read has no
`sequential/` before its name.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from cornu.core.dtype import is_float
from cornu.core.variable import Variable

# The names on a way through nested dicts.
Names = tuple[str, ...]
# Of what does not fit, that much is shown.
_MOST_SHOWN = 5


class Stored(NamedTuple):
    """An array of a checkpoint that is not read yet."""

    path: Names
    shape: tuple[int, ...]
    dtype: Any


class Counterparts:
    """Variables with their arrays in a checkpoint.

    Args:
        own: variables with their paths.
        stored: the arrays, by paths that mean the same.

    `pairs` are those that were found, `problems` what does not fit.
    """

    def __init__(self, own: list[tuple[Names, Variable]], stored: dict[Names, Stored]):
        self.pairs: list[tuple[Variable, Stored]] = []
        self.problems: list[str] = []
        paths = [path for path, _ in own]
        found = _by_names(paths, stored)
        if not _is_complete(found, stored):
            numbered = _by_numbers(paths, stored)
            found = numbered if _is_complete(numbered, stored) else found
        for (path, variable), other in zip(own, found, strict=True):
            if other is None:
                self.problems.append(f"it has no {_text(path)}")
            else:
                self._pair(path, variable, stored[other])
        self.problems += [f"the model has no {_text(path)}" for path in stored if path not in found]

    def _pair(self, path: Names, variable: Variable, stored: Stored) -> None:
        if stored.shape != variable.shape:
            self.problems.append(
                f"{_text(path)} has the shape {stored.shape} in it, and {variable.shape} in the model"
            )
        elif is_float(stored.dtype) != is_float(variable.dtype):
            self.problems.append(
                f"{_text(path)} is {stored.dtype} in it, and {variable.dtype} in the model (is one of them "
                "quantized?)"
            )
        else:
            self.pairs.append((variable, stored))

    def message(self) -> str:
        """What does not fit, in a few words."""
        more = len(self.problems) - _MOST_SHOWN
        return "; ".join(self.problems[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _text(path: Names) -> str:
    return repr("/".join(path))


def _is_complete(found: list[Names | None], stored: dict) -> bool:
    return None not in found and set(found) == stored.keys()


def _by_names(paths: list[Names], stored: Iterable[Names]) -> list[Names | None]:
    """For each path the one that ends with it, or that it ends with, if there is one alone."""
    ending = defaultdict(list)
    for other in stored:
        for length in range(1, len(other) + 1):
            ending[other[-length:]].append(other)

    def candidates(path: Names) -> list[Names]:
        if path in ending[path]:
            return [path]
        shorter = (path[-n:] for n in range(len(path) - 1, 0, -1))
        return ending[path] or [ends for ends in shorter if ends in ending[ends]][:1]

    found = [each[0] if len(each := candidates(path)) == 1 else None for path in paths]
    counts = Counter(found)
    return [path if counts[path] == 1 else None for path in found]


def _by_numbers(paths: list[Names], stored: Iterable[Names]) -> list[Names | None]:
    """For each path the one of equal names but for their numbers, in the order of these."""
    own = [_numbered(path) for path in paths]
    others = {path: _numbered(path) for path in stored}
    known = {names for names, _ in [*own, *others.values()]}

    def ordered(entries: Iterable[tuple[Any, tuple[Names, tuple[int, ...]]]]) -> dict[Names, list]:
        """What is behind paths, by the shortest end of them that is a path, in the order of numbers."""
        groups = defaultdict(list)
        for what, (names, numbers) in entries:
            ends = next(names[-n:] for n in range(1, len(names) + 1) if names[-n:] in known)
            groups[ends].append((numbers[-len(ends) :], what))
        return {
            ends: [what for _, what in sorted(group)]
            for ends, group in groups.items()
            # With equal numbers, there is no order.
            if len({numbers for numbers, _ in group}) == len(group)
        }

    found: list[Names | None] = [None] * len(paths)
    theirs = ordered(others.items())
    for ends, indices in ordered(enumerate(own)).items():
        same = theirs.get(ends, [])
        for index, other in zip(indices, same, strict=False) if len(same) == len(indices) else ():
            found[index] = other
    return found


def _numbered(path: Names) -> tuple[Names, tuple[int, ...]]:
    """A path without the numbers at the ends of its names, and these."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL) for name in path]
    names, numbers = zip(*[(part[1], int(part[2] or 0)) for part in parts if part], strict=True)
    return names, numbers


def renamed(variables: list[Variable], weights: list[tuple[Variable, Stored]]) -> list:
    """An optimizer's variables with paths that have the names of weights as a checkpoint has them.

    `adam/dense_3_kernel_momentum` begins with the path of its weight.
    """
    names = {
        f"{weight.path.replace('/', '_')}_": f"{'_'.join(stored.path[1:])}_"
        for weight, stored in weights
    }

    def path_of(variable: Variable) -> Names:
        *folders, name = variable.path.split("/")
        begins = max((own for own in names if name.startswith(own)), key=len, default="")
        return (*folders, names.get(begins, "") + name[len(begins) :])

    return [(path_of(variable), variable) for variable in variables]
