"""A program of native kernels: steps, constants, and where everything lies in memory."""

import ctypes
import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cornu.core.kernels import native

# As in program.cc.
BETWEEN, CONSTANTS, INPUT, OUTPUT = range(4)
# In bytes: a line of the cache.
ALIGNMENT = 64


class Buffer:
    """Memory that a step writes, and others may read.

    Args:
        nbytes: its size.
        region: which memory it is in.
        number: that of an input or output.

    Attributes:
        at: where in its region it begins, in bytes.
    """

    def __init__(self, nbytes: int, region: int = BETWEEN, number: int = 0):
        self.nbytes, self.region, self.number, self.at = nbytes, region, number, 0


class Operand(NamedTuple):
    """A buffer, from a number of bytes on."""

    buffer: Buffer
    offset: int = 0


class Step(NamedTuple):
    """A kernel's name, the numbers that it is told, and what it reads and writes."""

    name: str
    numbers: list[int]
    reads: list[Operand]
    writes: list[Operand]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(native().library)
    library.cornu_make_program.restype = ctypes.c_void_p
    library.cornu_run_program.argtypes = [ctypes.c_void_p] * 3
    library.cornu_run_program.restype = ctypes.c_bool
    library.cornu_delete_program.argtypes = [ctypes.c_void_p]
    library.cornu_program_error.restype = ctypes.c_char_p
    return library


class Plan(NamedTuple):
    """All that a program is: it can be kept in a file.

    Attributes:
        names: of the steps' kernels.
        numbers: of each step, what it is told and where its operands are; `program.cc` says how.
        memory: how many bytes lie between the steps.
        constants: bytes.
        inputs, outputs: `(shape, dtype)` of each.
    """

    names: list[str]
    numbers: np.ndarray
    memory: int
    constants: np.ndarray
    inputs: list[tuple]
    outputs: list[tuple]


def planned(steps: Sequence[Step], constants: dict[Buffer, np.ndarray], inputs, outputs) -> Plan:
    """Lay everything out: the steps in their order, and constants by their buffers."""
    together = _side_by_side(constants)
    memory = _lay_out(steps)
    numbers: list[int] = []
    for step in steps:
        numbers += [len(step.numbers), *step.numbers, len(step.reads) + len(step.writes)]
        for buffer, offset in (*step.reads, *step.writes):
            numbers += [buffer.region, buffer.number, buffer.at + offset]
    names = [step.name for step in steps]
    return Plan(names, np.array(numbers, np.int64), memory, together, inputs, outputs)


class Program:
    """A plan that runs in one call. Several threads may call it at once.

    Programs for other numbers of examples may share its constants.

    Raises ValueError for a plan that reaches beyond its memory.
    """

    def __init__(self, plan: Plan):
        library = _library()
        self._run, self._delete = library.cornu_run_program, library.cornu_delete_program
        self.plan = plan
        sizes = [_sizes(plan.inputs), _sizes(plan.outputs)]
        self._handle = library.cornu_make_program(
            "".join(f"{name} " for name in plan.names).encode(),
            _pointer(plan.numbers),
            ctypes.c_int64(len(plan.numbers)),
            ctypes.c_int64(plan.memory),
            _pointer(plan.constants),
            ctypes.c_int64(plan.constants.nbytes),
            *(part for s in sizes for part in (_pointer(s), ctypes.c_int64(len(s)))),
        )
        if not self._handle:
            raise ValueError(f"This is no program for Cornu's kernels: {_error()}")
        self._pointers_in = ctypes.c_void_p * max(1, len(plan.inputs))
        self._pointers_out = ctypes.c_void_p * max(1, len(plan.outputs))

    def takes(self, x: np.ndarray) -> bool:
        """Whether an array is the only input, as it is."""
        return (
            (x.shape, x.dtype) == self.plan.inputs[0] and x.flags.c_contiguous and x.flags.aligned
        )

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for inputs of the program's shapes and dtypes, which lie densely.

        Raises MemoryError, or RuntimeError where a kernel fails.
        """
        outputs = [np.empty(shape, dtype) for shape, dtype in self.plan.outputs]
        given = self._pointers_in(*[x.__array_interface__["data"][0] for x in inputs])
        results = self._pointers_out(*[y.__array_interface__["data"][0] for y in outputs])
        if not self._run(self._handle, given, results):
            message = _error()
            raise (MemoryError if message == "out of memory" else RuntimeError)(f"cornu: {message}")
        return outputs

    def __del__(self):
        if getattr(self, "_handle", None):
            self._delete(self._handle)


def _error() -> str:
    return _library().cornu_program_error().decode()


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.__array_interface__["data"][0])


def _sizes(specs) -> np.ndarray:
    return np.array(
        [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in specs], np.int64
    )


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def aligned(nbytes: int) -> np.ndarray:
    """So many bytes that are zero, from the beginning of a line of the cache on."""
    memory = np.zeros(nbytes + ALIGNMENT, np.uint8)
    first = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[first : first + nbytes]


def sharing(plan: Plan, others: Iterable[Plan]) -> Plan:
    """The plan, with the constants of another if they are the same."""
    for other in others:
        if np.array_equal(plan.constants, other.constants):
            return plan._replace(constants=other.constants)
    return plan


def _side_by_side(constants: dict[Buffer, np.ndarray]) -> np.ndarray:
    """All constants in one array; their buffers learn where."""
    at = 0
    for buffer in constants:
        buffer.region, buffer.at = CONSTANTS, at
        at += _aligned(buffer.nbytes)
    together = aligned(at)
    for buffer, array in constants.items():
        place = together[buffer.at : buffer.at + array.nbytes].view(array.dtype)
        place.reshape(array.shape)[...] = array
    return together


def _lay_out(steps: Sequence[Step]) -> int:
    """Where each buffer between the steps lies; returns how many bytes they take together.

    Two share memory where one is no longer read when the other is written. A chain writes where its
    first operand was, if nothing else reads it.
    """
    last: dict[Buffer, int] = {}
    first: dict[Buffer, int] = {}
    for number, step in enumerate(steps):
        for buffer, _ in (*step.reads, *step.writes):
            if buffer.region == BETWEEN:
                first.setdefault(buffer, number)
                last[buffer] = number
    live: list[Buffer] = []
    most = 0
    for number, step in enumerate(steps):
        live = [b for b in live if last[b] >= number]
        for buffer, _ in step.writes:
            if buffer.region != BETWEEN or first[buffer] != number:
                continue
            source = step.reads[0].buffer if step.reads else None
            if (
                step.name == "chain"
                and source in live
                and last[source] == number
                and source.nbytes == buffer.nbytes
                and step.reads[0].offset == 0
                and source not in [b for b, _ in step.reads[1:]]
            ):
                buffer.at = source.at
            else:
                buffer.at = 0
                for other in sorted(live, key=lambda b: b.at):
                    if buffer.at + _aligned(buffer.nbytes) > other.at:
                        buffer.at = max(buffer.at, other.at + _aligned(other.nbytes))
            live.append(buffer)
            most = max(most, buffer.at + _aligned(buffer.nbytes))
    return most
