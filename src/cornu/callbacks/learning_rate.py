"""Callbacks that change the learning rate between epochs."""

import inspect
import warnings
from numbers import Real
from typing import Any

import numpy as np

from cornu.callbacks.monitor import MonitorCallback
from cornu.core import registry
from cornu.core.old_arguments import takes_old_arguments
from cornu.training.callback import Callback
from cornu.utils.messages import print_message


def optimizers_of(model) -> dict[str, Any]:
    """The optimizers whose learning rates count, by what a log calls their rates.

    It is `learning_rate` for one; of several, each has its name behind that.
    """
    parts = getattr(model.optimizer, "_parts", [model.optimizer])
    if len(parts) == 1:
        return {"learning_rate": parts[0]}
    return {f"learning_rate_{each.name}": each for each in parts}


def learning_rates(model) -> dict[str, float]:
    """The learning rates as numbers, by their names in logs."""
    return {name: _rate(optimizer) for name, optimizer in optimizers_of(model).items()}


def _rate(optimizer) -> float:
    if not hasattr(optimizer, "learning_rate"):
        raise ValueError(
            f'Optimizer must have a "learning_rate" attribute. Received: {type(optimizer).__name__}'
        )
    return float(np.asarray(optimizer.learning_rate))


@registry.register("callback", module="keras.callbacks")
class LearningRateScheduler(Callback):
    """Sets the learning rate before every epoch.

    Args:
        schedule: function `(epoch, learning_rate) -> learning_rate`, or `(epoch) -> learning_rate`;
            epochs count from 0.
        verbose: whether to say what is set.

    Raises ValueError if `schedule` does not return a number.

    Source: Keras: LearningRateScheduler.

    >>> import cornu
    >>> halve = cornu.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else lr)
    >>> halve.schedule(3, 0.5)
    0.25
    """

    def __init__(self, schedule, verbose=0):
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _num_arguments(schedule) > 1

    def on_epoch_begin(self, epoch, logs=None):
        for name, optimizer in optimizers_of(self.model).items():
            self._set(optimizer, name.replace("_", " "), epoch)

    def _set(self, optimizer, name: str, epoch: int) -> None:
        old = _rate(optimizer)
        new = self.schedule(epoch, old) if self._takes_rate else self.schedule(epoch)
        is_number = isinstance(new, Real) or (hasattr(new, "ndim") and new.ndim == 0)
        if not is_number or isinstance(new, bool):
            raise ValueError(
                f"The output of the `schedule` function should be a float. Got: {new!r} (of type "
                f"{type(new).__name__})"
            )
        optimizer.learning_rate = float(new)
        if self.verbose > 0:
            print_message(
                f"\nEpoch {epoch + 1}: LearningRateScheduler setting {name} to {float(new)}."
            )

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(learning_rates(self.model))


def _num_arguments(function) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function written in C
        return 2
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


@registry.register("callback", module="keras.callbacks")
class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a monitored value has not improved for some epochs.

    The new rate is `max(learning_rate * factor, min_lr)`.

    Args:
        monitor, mode, min_delta: see `MonitorCallback`.
        factor: what to multiply the learning rate by, less than 1.
        patience: number of epochs without an improvement after which to do so.
        verbose: whether to say so.
        cooldown: number of epochs after a reduction that do not count.
        min_lr: the lowest learning rate.

    Source: Keras: ReduceLROnPlateau.

    >>> import cornu
    >>> reduce = cornu.callbacks.ReduceLROnPlateau(factor=0.2, patience=5, min_lr=0.001)
    >>> reduce.in_cooldown()
    False
    """

    @takes_old_arguments(epsilon="min_delta")
    def __init__(
        self,
        monitor="val_loss",
        factor=0.1,
        patience=10,
        verbose=0,
        mode="auto",
        min_delta=1e-4,
        cooldown=0,
        min_lr=0.0,
        **kwargs,
    ):
        if "epsilon" in kwargs:
            warnings.warn(
                "The argument `epsilon` is an old spelling; use `min_delta` instead.", stacklevel=2
            )
            min_delta = kwargs.pop("epsilon")
        if kwargs:
            raise TypeError(
                f"ReduceLROnPlateau has no argument named {', '.join(map(repr, kwargs))}."
            )
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(
                f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}"
            )
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs=None):
        self.best = None
        self.cooldown_counter = self.wait = 0

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        logs.update(learning_rates(self.model))
        current = self._monitored(logs)
        if current is None:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not "
                f"available. Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch):
        for name, optimizer in optimizers_of(self.model).items():
            old = _rate(optimizer)
            if old <= np.float32(self.min_lr):
                continue
            new = max(old * self.factor, self.min_lr)
            optimizer.learning_rate = new
            if self.verbose > 0:
                print_message(
                    f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing {name.replace('_', ' ')} to {new}."
                )
            self.cooldown_counter = self.cooldown
            self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether epochs do not count at present."""
        return self.cooldown_counter > 0
