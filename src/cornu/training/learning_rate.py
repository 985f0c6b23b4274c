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
        suggestion: a rate to train with: where two thirds of the way that the loss falls are gone. If
            it does not fall, a thirtieth of the rate at which it has grown.
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
        steps: how many at most; it ends where the smoothed loss has grown to four times the lowest.
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
            curve = smoothed(losses)
            if not np.isfinite(losses[-1]) or curve[-1] > 4 * curve.min():
                break
    finally:
        for variable, value in before:
            variable.assign(value)
        model.reset_metrics()
    curve = smoothed(losses)
    return LearningRates(rates[: len(losses)], curve, _suggestion(rates, curve))


def smoothed(losses) -> np.ndarray:
    """A mean of each loss and those before it, which count less the older they are."""
    mean, means = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = 0.9 * mean + 0.1 * loss
        means.append(mean / (1 - 0.9**count))
    return np.array(means)


def _suggestion(rates: np.ndarray, curve: np.ndarray) -> float:
    finite = curve[np.isfinite(curve)]
    lowest = int(finite.argmin()) if len(finite) else 0
    highest = int(finite[: lowest + 1].argmax()) if lowest else 0
    if lowest - highest >= 3 and finite[lowest] < 0.95 * finite[highest]:
        return float(rates[round(highest + (lowest - highest) * 2 / 3)])
    # The mean shows about ten steps late that the loss grows.
    has_grown = finite > 1.25 * np.minimum.accumulate(finite)
    last = int(has_grown.argmax()) if has_grown.any() else min(len(finite), len(rates) - 1)
    return float(rates[last] / 30)
