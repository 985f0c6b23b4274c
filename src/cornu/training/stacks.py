"""Batches of a stream, copied one behind the other, so that one call of the compiled step takes several."""

import math
from collections import deque
from typing import Any

import jax
import numpy as np

from cornu.core import placement

# The most bytes of batches in one buffer.
STACK_BYTES = 16 * 1024**2
# A buffer that begins at a multiple of this is read by XLA on a CPU where it lies, without a copy.
_ALIGNMENT = 64


class Stacks:
    """Buffers for several batches of one shape, of which one is being filled while others are read.

    Args:
        most: how many batches a buffer has room for, if they are small.
    """

    def __init__(self, most: int):
        self._most = most
        self._kind: Any = None
        self._open: list[np.ndarray] = []
        # Filled ones, each with what the call that reads it has returned.
        self._read: deque[tuple[list[np.ndarray], Any]] = deque()
        self.room = self.count = 0

    def can_join(self, batch) -> bool:
        """Whether a batch may lie in the open buffer; an empty one is made for its shapes.

        `room` then says how many do. Batches too large for two of them in a buffer cannot.
        """
        leaves, structure = jax.tree.flatten(batch)
        kind = structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
        if kind != self._kind:
            if self.count:
                return False
            size = sum(leaf.nbytes for leaf in leaves)
            self._kind, self.room = kind, min(STACK_BYTES // max(size, 1), self._most)
            self._read.clear()
        return 1 < self.room > self.count

    def add(self, batch) -> None:
        """Copy a batch, which can join, behind the others."""
        if not self.count:
            self._open = self._buffers()
        for buffer, leaf in zip(self._open, jax.tree.leaves(batch), strict=True):
            buffer[self.count] = leaf
        self.count += 1

    def placed(self) -> tuple[list, Any]:
        """The numbers of the batches, and the arrays that they lie in, where the step wants them."""
        numbers, self.count = list(range(self.count)), 0
        stacked = jax.tree.unflatten(self._kind[0], self._open)
        if placement.distribution() is None:
            return numbers, jax.device_put(stacked)
        return numbers, placement.share_out(stacked, axis=1)

    def lend(self, result) -> None:
        """Say that the call which returned this reads what was placed last."""
        self._read.append((self._open, result))

    def _buffers(self) -> list[np.ndarray]:
        if self._read and is_ready(self._read[0][1]):
            return self._read.popleft()[0]
        return [_empty((self.room, *shape), dtype) for shape, dtype in self._kind[1]]


def is_ready(result) -> bool:
    """Whether the call that has returned this is known to have ended."""
    leaves: list[Any] = jax.tree.leaves(result)
    return bool(leaves) and all(leaf.is_ready() for leaf in leaves if hasattr(leaf, "is_ready"))


def _empty(shape: tuple, dtype: np.dtype) -> np.ndarray:
    """An array without values that begins where XLA likes it."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
