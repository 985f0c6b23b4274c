"""How long training may last at most: to try whether a script runs at all."""

import os

import numpy as np


def _number(name: str, value) -> int | None:
    if value is None or (isinstance(value, int | np.integer) and value > 0):
        return None if value is None else int(value)
    raise ValueError(
        f"`{name}` must be an integer of at least 1, or None. Received: {name}={value!r}"
    )


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise ValueError(f"The environment variable {name} must be a number. It is {text!r}.")
    return int(text) if text else None


_max_epochs = _from_environment("KERAS_MAX_EPOCHS")
_max_steps_per_epoch = _from_environment("KERAS_MAX_STEPS_PER_EPOCH")


def set_max_epochs(max_epochs) -> None:
    """Let every `fit` end after this many epochs, if it would not before; None for no limit.

    The environment variable `KERAS_MAX_EPOCHS` does the same to a script that stays as it is.

    >>> import cornu
    >>> cornu.config.set_max_epochs(1)
    >>> cornu.config.max_epochs()
    1
    >>> cornu.config.set_max_epochs(None)
    """
    global _max_epochs
    _max_epochs = _number("max_epochs", max_epochs)


def max_epochs() -> int | None:
    """The largest number of epochs; None if there is no limit."""
    return _max_epochs


def set_max_steps_per_epoch(max_steps_per_epoch) -> None:
    """Let every epoch, evaluation and prediction end after this many steps; None for no limit.

    The environment variable `KERAS_MAX_STEPS_PER_EPOCH` does the same to a script that stays as it is.
    Batches are as large as they would be without a limit.

    >>> import cornu
    >>> cornu.config.set_max_steps_per_epoch(2)
    >>> cornu.config.max_steps_per_epoch()
    2
    >>> cornu.config.set_max_steps_per_epoch(None)
    """
    global _max_steps_per_epoch
    _max_steps_per_epoch = _number("max_steps_per_epoch", max_steps_per_epoch)


def max_steps_per_epoch() -> int | None:
    """The largest number of steps in an epoch; None if there is no limit."""
    return _max_steps_per_epoch
