"""Which numbers reach the convolutions of a program, and how they become bytes."""

import numpy as np

from cornu.inference.reduced import Range

# Of a histogram, over twice its reach.
BINS = 4096
# Shares of the largest magnitude at which numbers may be cut off.
SHARES = np.linspace(0.2, 1.0, 81)
LEVELS = 255
# Smaller ranges are none: their steps have no reciprocal in float32.
SMALLEST = 1e-30


class Seen:
    """How often which numbers were seen in one place."""

    def __init__(self):
        self._low = self._high = 0.0
        self._reach, self._counts = SMALLEST, np.zeros(BINS, np.int64)

    def add(self, numbers: np.ndarray) -> None:
        """Raises ValueError for numbers that are not finite."""
        low, high = float(numbers.min()), float(numbers.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(
                "With this `x`, the model computes numbers that are NaN or infinite: they have no eight "
                "bits. Give data, and weights, with which the model's predictions are finite."
            )
        self._low, self._high = min(self._low, low), max(self._high, high)
        while max(high, -low) > self._reach:
            self._widen(max(high, -low))
        counts, _ = np.histogram(numbers, BINS, (-self._reach, self._reach))
        self._counts += counts

    def _widen(self, reach: float) -> None:
        """Twice as wide, two bins becoming one; or at once, as long as it is empty."""
        if not self._counts.any():
            self._reach = reach
            return
        merged, rest = self._counts.reshape(-1, 2).sum(1), BINS // 4
        self._counts[:] = 0
        self._counts[rest:-rest] = merged
        self._reach *= 2

    def range(self) -> Range:
        """The one with the least mean square error."""
        low, high = self._low, self._high
        if high - low < SMALLEST:
            return Range(np.float32(1), 0)
        width = 2 * self._reach / BINS
        at = np.flatnonzero(self._counts)
        counts, middle = self._counts[at], (at + 0.5) * width - self._reach
        best, chosen = np.inf, 1.0
        for share in SHARES:
            outside = np.maximum(middle - share * high, share * low - middle)
            step = share * (high - low) / LEVELS
            error = (counts * np.where(outside > 0, outside**2, step**2 / 12)).sum()
            # Of equally good ones, the widest.
            if error <= best:
                best, chosen = error, share
        step = np.float32(chosen * (high - low) / LEVELS)
        return Range(step, int(np.clip(np.rint(-chosen * low / step), 0, LEVELS)))
