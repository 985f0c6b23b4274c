"""Which predictions a program of native kernels makes, and with which weights."""

import operator
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from cornu.core.kernels import native
from cornu.inference.program import Plan, Program, sharing
from cornu.inference.translation import Translation, Unsupported

# Of more examples, what surrounds the kernels no longer counts.
MOST_EXAMPLES = 8
# A program is made for its weights. If they were others than before so often in a row, XLA predicts.
MOST_CHANGES = 2
# Programs that are kept for a model: one for each shape of the input.
MOST_PROGRAMS = 8
# Settings of JAX with which somebody looks for what programs do not tell.
NOT_WITH = ("jax_debug_nans", "jax_debug_infs", "jax_disable_jit")


class QuickPredictions:
    """Predictions of few examples, each by a program for its shapes and for the weights as they are."""

    def __init__(self):
        self._entries: dict[Any, _Entry | None] = {}

    def __call__(self, trace: Callable, values: Sequence, arguments: tuple):
        """The outputs for `arguments`; None where XLA must compute them.

        Args:
            trace: returns what JAX traces of `(values, arguments)`, as `jax.jit(…).trace` does; it returns
                `(outputs, changes of the values)`.
            values: those of the variables.
            arguments: a pytree of arrays.
        """
        leaves, structure = jax.tree.flatten(arguments)
        if not _is_small(leaves) or any(getattr(jax.config, name) for name in NOT_WITH):
            return None
        key = structure, *((x.shape, x.dtype) for x in leaves)
        if key not in self._entries:
            if len(self._entries) >= MOST_PROGRAMS or not may_run():
                return None
            self._entries[key] = _Entry.made(trace())
        entry = self._entries[key]
        if entry is None:
            return None
        program = entry.program_for(values, self._plans)
        if program == "unsupported":
            self._entries[key] = None
            return None
        if program is None:
            return None
        outputs = program([np.require(x, requirements=["C", "A"]) for x in leaves])
        return jax.tree.unflatten(entry.structure, outputs)

    def _plans(self) -> list[Plan]:
        programs = [e.program for e in list(self._entries.values()) if e is not None]
        return [p.plan for p in programs if p is not None]


def _is_small(leaves: list) -> bool:
    return all(
        isinstance(x, np.ndarray | jax.Array)
        and x.ndim
        and 0 < x.shape[0] <= MOST_EXAMPLES
        and x.size
        for x in leaves
    ) and bool(leaves)


def may_run() -> bool:
    """Whether programs run here at all."""
    return (
        native().in_use
        and os.environ.get("CORNU_PROGRAMS", "1") != "0"
        and jax.default_backend() == "cpu"
    )


class _Entry:
    """A program for inputs of some shapes, and what it is made of."""

    def __init__(self, traced, structure):
        self._traced, self.structure = traced, structure
        # The weights of the last prediction, and the program for them, if there is one. They are replaced
        # together: while a program is made, another thread may predict with newer weights.
        self._made: tuple[list, Program | None] = ([], None)
        self._changes = 0

    @classmethod
    def made(cls, traced) -> "_Entry | None":
        """None where a prediction changes variables."""
        outputs, changes = traced.out_info
        if jax.tree.leaves(changes):
            return None
        return cls(traced.jaxpr, jax.tree.structure(outputs))

    @property
    def program(self) -> Program | None:
        """The last one that was made, if its weights were still those of the last prediction."""
        return self._made[1]

    def program_for(self, values: Sequence, others: Callable):
        """The program for these weights; None where they change too often for one; or "unsupported".

        `others` returns plans whose constants may be the same.
        """
        weights, program = self._made
        if len(values) == len(weights) and all(map(operator.is_, values, [w() for w in weights])):
            self._changes = 0
        else:
            weights, program = [weakref.ref(v) for v in values], None
            self._made = weights, None
            self._changes += 1
        if program is not None or self._changes > MOST_CHANGES:
            return program
        try:
            plan = Translation(self._traced, arrays_of(values)).plan()
        except Unsupported:
            return "unsupported"
        except RuntimeError:
            # Training in another thread has taken the weights meanwhile.
            if not any(v.is_deleted() for v in values):
                raise
            return None
        program = Program(sharing(plan, others()))
        self._made = weights, program
        return program


def arrays_of(values: Sequence) -> list[np.ndarray]:
    """The numbers of arrays, where they lie. (JAX itself would keep the views, and copy in training.)"""
    return [_view(value) for value in values]


def _view(value) -> np.ndarray:
    if len(value.devices()) != 1:
        raise Unsupported("weights on several devices")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):
        # Of 16 bits, for example.
        return np.asarray(value)
