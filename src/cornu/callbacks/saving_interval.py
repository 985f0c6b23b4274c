"""When callbacks write their files."""


class SavingInterval:
    """Counts batches, of which each call may bring several (`steps_per_execution`).

    Args:
        save_freq: `"epoch"`, or a number of batches.

    Raises ValueError for anything else.

    >>> from cornu.callbacks.saving_interval import SavingInterval
    >>> interval = SavingInterval(3)
    >>> [interval.is_due(batch) for batch in (0, 1, 2, 3)]
    [False, False, True, False]
    """

    def __init__(self, save_freq):
        valid = save_freq == "epoch" or (
            isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
        )
        if not valid:
            raise ValueError(
                f"Invalid value for `save_freq`: {save_freq!r}. Expected 'epoch', or an integer above 0: a "
                "number of batches."
            )
        self.save_freq = save_freq
        # All that were counted.
        self.num_batches = 0
        self._since_last = 0
        self._last_batch = -1

    def is_due(self, batch: int) -> bool:
        """Whether to save after this batch."""
        if self.save_freq == "epoch":
            return False
        if batch <= self._last_batch:
            self._last_batch = -1
        self._since_last += batch - self._last_batch
        self.num_batches += batch - self._last_batch
        self._last_batch = batch
        if self._since_last < self.save_freq:
            return False
        self._since_last = 0
        return True
