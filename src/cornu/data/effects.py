"""What a function changes besides its result, which decides how it may be called.

A function that changes nothing may be called in several threads, in any order, and not at all for elements
that nobody needs. One that draws random numbers, or counts, has to be called for each element, in order.
"""

from collections.abc import Callable

import numpy as np

from cornu.core.variable import Variable, assigned_by, put_values, take_values
from cornu.data.position import random_state, set_random_state


class Effects:
    """What a function of elements changes; known after its first call, by `find` or `call`.

    Attributes:
        variables: those it assigns, such as the states of the random generators of layers.
        draws: whether it draws from the global generator of NumPy or of Python.
    """

    def __init__(self) -> None:
        self.known = self.draws = False
        self.variables: list[Variable] = []
        # The values that they had when they became known, and those to put back at that time.
        self.first: list | None = None
        self._pending: list | None = None

    def find(self, function: Callable, *arguments):
        """The result of the first call of a function, of which all that it changes is undone."""
        before = random_state()
        try:
            result, assigned = assigned_by(function, *arguments)
            self.draws = random_state() != before
        finally:
            set_random_state(before)
        self._know(assigned)
        return result

    def call(self, function: Callable, *arguments):
        """The result of a call of a function, which is its first one as long as it is not known."""
        if not self.known and self._pending is not None:
            # What it changes is put back to where it stood, which can be done once it is known.
            self.find(function, *arguments)
        if self.known:
            return function(*arguments)
        before = random_state()
        result, assigned = assigned_by(function, *arguments)
        self.draws = random_state() != before
        self._know(assigned)
        put_values(self.variables, [value for _, value in assigned])
        return result

    def _know(self, assigned: list) -> None:
        self.known, self.variables = True, [variable for variable, _ in assigned]
        if self._pending is not None:
            self.restore(self._pending)
        self.first = self.values()

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return self.draws or bool(self.variables)

    def values(self):
        """The values of the variables, in plain numbers; as long as they are not known, this object."""
        if not self.known:
            return self if self._pending is None else self._pending
        return [np.asarray(value).tolist() for value in take_values(self.variables)]

    def restore(self, values) -> None:
        """Put back what `values` returned; if the variables are not known yet, once they are."""
        if values is None or isinstance(values, Effects):
            # They were not known, and so had not been changed.
            values = self.first
        if not self.known or values is None:
            self._pending = values
            return
        if len(values) != len(self.variables):
            raise ValueError(
                f"A function of the data changed {len(values)} variables when its position was kept, and "
                f"changes {len(self.variables)} now."
            )
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(np.asarray(value, variable.dtype))


def plain(kept):
    """Kept states in plain values; for those not known then, the first values that were known."""
    if isinstance(kept, Effects):
        return kept.first
    return [plain(each) for each in kept] if isinstance(kept, list) else kept


class Tide:
    """The variables of several `Effects` as they were after some element, to go back there."""

    def __init__(self, effects: list[Effects]):
        self._effects = effects

    def now(self) -> list:
        """The variables that are known, with their values."""
        variables = [v for each in self._effects for v in each.variables]
        return list(zip(variables, take_values(variables), strict=True))

    @staticmethod
    def restore(kept: list) -> None:
        """Put those values back."""
        put_values([v for v, _ in kept], [value for _, value in kept])
