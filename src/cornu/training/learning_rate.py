"""Which learning rate to train with: a short trial with rates that grow."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.data.arrays import in_memory, to_arrays
from cornu.data.samples import unpack_x_y_sample_weight


class LearningRates(NamedTuple):
    """What a range test has found.

    Attributes:
        rates: learning rates, one for each step.
        losses: the smoothed loss after each.
        suggestion: a rate to train with: where two thirds of the way that the loss falls are gone, but
            less than a third of the rate from which on it grows. If it does not fall, as where a model
            has learned already, a fifth of that rate.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float


def batches_of(x, y, sample_weight, batch_size: int, random: np.random.Generator) -> Iterator:
    """Batches `(x, y, sample_weight)` without end."""
    if not in_memory(x):
        while True:
            empty = True
            for batch in x if not hasattr(x, "__getitem__") else (x[i] for i in range(len(x))):
                empty = False
                yield unpack_x_y_sample_weight(batch)
            if empty:
                raise ValueError("The data set has no batches.")
    arrays = to_arrays(x, y, sample_weight)
    count = len(jax.tree.leaves(arrays[0])[0])
    while True:
        order = random.permutation(count)
        for begin in range(0, count, batch_size):
            rows = np.sort(order[begin : begin + batch_size])
            yield jax.tree.map(lambda array: array[rows], arrays)  # noqa: B023


def trial(
    model,
    batches: Iterable,
    set_rate: Callable[[float], Any],
    class_weight=None,
    lowest=1e-6,
    highest=10.0,
    steps=100,
) -> LearningRates:
    """Train a few steps with rates that grow from step to step; afterwards all is as it was.

    Args:
        model: a compiled model.
        batches: `(x, y, sample_weight)`, without end.
        set_rate: called with the rate of the next step.
        class_weight: as for `fit`.
        lowest, highest: the first and the last rate.
        steps: how many at most; it ends where the smoothed loss has grown to four times that of the start.
    """
    model.optimizer.build(model.trainable_variables)
    before = [(v, np.array(v.value)) for v in [*model.variables, *model.optimizer.variables]]
    rates = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    try:
        for rate, (x, y, weight) in zip(rates, itertools.islice(batches, steps), strict=False):
            set_rate(float(rate))
            model.reset_metrics()
            logs = model.train_on_batch(
                x, y, weight, class_weight if weight is None else None, return_dict=True
            )
            losses.append(float(logs["loss"]))
            curve = _smoothed(losses, steps)
            if not np.isfinite(losses[-1]) or (
                len(curve) > steps // 3 and curve[-1] > 4 * abs(_begin(curve, steps))
            ):
                break
    finally:
        for variable, value in before:
            variable.assign(value)
        model.reset_metrics()
    curve = _smoothed(losses, steps)
    return LearningRates(rates[: len(losses)], curve, _suggestion(rates, curve))


def _smoothed(losses, steps: int) -> np.ndarray:
    """Means of each loss and those before it: about a tenth of all, which count less the older they are."""
    keep = max(1 - 10 / steps, 0)
    mean, means = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = keep * mean + (1 - keep) * loss
        means.append(mean / (1 - keep**count))
    return np.array(means)


def _smallest(steps: int) -> int:
    """How many of the steps have rates that change nothing: what the loss differs by there is noise."""
    return -(-steps // 3)


def _begin(curve: np.ndarray, steps: int) -> float:
    """The loss with the smallest rates."""
    return float(np.median(curve[: _smallest(steps)]))


def _suggestion(rates: np.ndarray, curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    if not len(finite):
        return float(rates[0])
    begin = _begin(finite, len(rates))
    not_grown = np.flatnonzero(finite <= begin + 0.25 * abs(begin))
    last = rates[not_grown[-1]]
    first = _smallest(len(rates))
    if begin - finite[first:].min(initial=np.inf) < 0.2 * abs(begin):
        return float(last / 5)
    lowest = first + int(finite[first:].argmin())
    above = np.flatnonzero(finite[:lowest] >= begin)
    highest = int(above[-1]) if len(above) else 0
    fallen = rates[round(highest + (lowest - highest) * 2 / 3)]
    return float(np.clip(fallen, last / 100, last / 3))
