"""Arrays in memory, batch by batch."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cornu.core import placement
from cornu.data.arrays import check_lengths, in_default_dtype, is_in_file
from cornu.data.class_weights import weigh_classes
from cornu.data.position import random_state, set_random_state
from cornu.data.samples import pack_x_y_sample_weight
from cornu.ops.rows import take_rows

# Larger data stay where they are, and each batch is gathered in Python.
DEVICE_LIMIT_BYTES = 2 * 1024**3


def gather(source, rows):
    """The rows of a batch, or batch number `rows` of several; runs within the compiled step."""
    if not rows.ndim:
        return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, rows, keepdims=False), source)
    return jax.tree.map(lambda a: take_rows(a, rows), source)


class ArraySource:
    """Arrays in memory, or structures of them, all with one row a sample.

    Args:
        x, y, sample_weight: as `data.arrays.to_arrays` returns them.
    """

    def __init__(
        self,
        x,
        y,
        sample_weight,
        batch_size,
        shuffle,
        steps=None,
        class_weight=None,
        repeat=True,
        gather_in_step=True,
    ):
        self.num_samples = check_lengths(x, y, sample_weight)
        if class_weight is not None:
            sample_weight = weigh_classes(y, sample_weight, class_weight)
        if batch_size is None:
            batch_size = -(-self.num_samples // steps) if steps else 32
        self.batch_size = min(int(batch_size), self.num_samples)
        self.shuffle = shuffle
        self._steps, self._repeat = steps, repeat
        self._running: Iterator | None = None
        # Of the current pass: the random state at its start, and how many batches it has given.
        self._pass_start: dict | None = None
        self._done = 0
        # Batches of the epoch that another process has done.
        self._epoch_done = 0
        self.num_batches: int | None = steps or -(-self.num_samples // self.batch_size)
        self._host = pack_x_y_sample_weight(x, y, sample_weight)
        leaves = jax.tree.leaves(self._host)
        self._gather_in_step = (
            gather_in_step
            and not placement.brings_own_rows(placement.distribution())
            and not any(hasattr(a, "toarray") or is_in_file(a) for a in leaves)
            and sum(a.nbytes for a in leaves) <= DEVICE_LIMIT_BYTES
        )
        self.on_device = None
        if self._gather_in_step:
            made = jax.tree.map(lambda a: jnp.asarray(in_default_dtype(a)), self._host)
            self.on_device = placement.on_each_device(made)
            self._host = None

    def first_batch(self, draws=True):
        """The start of the data, for finding out shapes.

        Args:
            draws: whether Keras looks at them, too. It then shuffles for this look as well, and the same
                draw keeps runs with one seed equal.
        """
        if draws and self.shuffle and self.shuffle != "batch":
            np.random.permutation(self.num_samples)
        return self._rows(slice(0, self.batch_size))

    def _rows(self, indices):
        if self._gather_in_step:
            return jax.tree.map(lambda a: a[indices], self.on_device)
        return jax.tree.map(lambda a: in_default_dtype(a[indices]), self._host)

    def batches(self) -> Iterator[Any]:
        """One pass: row indices, or the rows themselves if the data are too big for the device.

        With a number of steps, each pass goes on where the one before stopped.
        """
        if self._steps is None:
            running, self._running = self._running or self._pass(), None
            return running
        if self._running is None:
            passes = itertools.count() if self._repeat else range(1)
            self._running = itertools.chain.from_iterable(self._pass() for _ in passes)
        rest, self._epoch_done = self._steps - self._epoch_done, 0
        return itertools.islice(self._running, rest)

    def limit_steps(self, steps: int) -> None:
        """Give no more batches in a pass than these."""
        self._steps = self.num_batches = steps

    def rewind(self) -> None:
        """Let the next pass begin at the first sample."""
        self._running = None

    def close(self) -> None:
        """Nothing is open."""

    def is_used_up(self) -> bool:
        """Arrays can be read again."""
        return False

    def position(self) -> dict:
        """The position of the current pass."""
        return {"start": self._pass_start, "done": self._done}

    def resume(self, position: dict, step: int) -> None:
        """Go on from a position. The global random state becomes what it was at that point of the pass."""
        if position["start"] is None or not (step or self._steps):
            return
        self._epoch_done = step
        set_random_state(position["start"])
        rest = self._pass()
        for _ in range(position["done"]):
            next(rest)
        self._running = rest
        if self._steps is not None and self._repeat:
            later = (self._pass() for _ in itertools.count())
            self._running = itertools.chain(rest, itertools.chain.from_iterable(later))

    def _pass(self) -> Iterator[Any]:
        self._pass_start, self._done = random_state(), 0
        for batch in self._one_pass():
            self._done += 1
            yield batch

    def _one_pass(self) -> Iterator[Any]:
        if not (self.shuffle or self._gather_in_step):
            for start in range(0, self.num_samples, self.batch_size):
                yield self._rows(slice(start, start + self.batch_size))
            return
        order = np.arange(self.num_samples, dtype=np.int32)
        if self.shuffle and self.shuffle != "batch":
            order = np.random.permutation(self.num_samples).astype(np.int32)
        for start in range(0, self.num_samples, self.batch_size):
            indices = order[start : start + self.batch_size]
            if self.shuffle == "batch":
                indices = np.random.permutation(indices)
            yield indices if self._gather_in_step else self._rows(indices)
