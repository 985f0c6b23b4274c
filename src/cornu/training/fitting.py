"""`fit` from its data to its last epoch.

The data take one way: they are converted, split, put behind a source, looked at (`preparation.prepare`),
checked, and run through.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.core.run_limits import max_epochs
from cornu.core.variable import own_values, put_values
from cornu.data.adapt import adapt
from cornu.data.array_source import ArraySource
from cornu.data.arrays import Parts, converted, in_memory, train_validation_split
from cornu.data.samples import unpack_x_y_sample_weight
from cornu.training import agreement, checks, interrupts
from cornu.training.loop import run_steps
from cornu.training.model_steps import compiled_step
from cornu.training.preparation import check_validation, prepare


class FitData(NamedTuple):
    """What `fit` works on."""

    data: Any
    validation: Any
    # Called with each batch and its number, where batches are not known before.
    check: Callable | None

    def close(self) -> None:
        """End what reads the data ahead."""
        self.data.close()
        if self.validation is not None:
            self.validation.close()


def open_data(
    model,
    given: Parts,
    batch_size,
    steps,
    shuffle,
    class_weight,
    validation_split,
    validation_data,
    validation_steps,
    validation_batch_size,
    callbacks,
) -> FitData:
    """The data of a run, converted and checked, and a model that is ready for them."""
    given_callbacks = jax.tree.leaves(getattr(callbacks, "callbacks", callbacks))
    ends_at_nan = any(getattr(each, "ends_at_nan", False) for each in given_callbacks)
    given = converted(*given)
    if validation_split and validation_data is None:
        given, validation_data = train_validation_split(given, validation_split)
    agreement.check_data("fit", given)
    data = adapt(*given, batch_size, steps, shuffle, class_weight)
    prepare(model, data, training=True)
    check = None
    if isinstance(data, ArraySource):
        checks.check_label_values(model, given[1])
        checks.check_finite(model, *given, data.batch_size, warns=ends_at_nan)
    else:
        check = checks.BatchCheck(model, ends_at_nan)
    if validation_data is None:
        if validation_steps is not None or validation_batch_size is not None:
            warnings.warn(
                "`validation_steps` and `validation_batch_size` have no effect: there are no "
                "`validation_data`.",
                stacklevel=3,
            )
        return FitData(data, None, check)
    x, *others = _validation_parts(validation_data)
    parts = converted(model._on_host(x), *others)
    agreement.check_data("fit, validation data", parts)
    size = validation_batch_size or (batch_size if in_memory(parts[0]) else None)
    validation = adapt(*parts, size, validation_steps, repeat=False)
    if isinstance(validation, ArraySource):
        check_validation(model, *parts)
    return FitData(data, validation, check)


def run_epochs(model, work: FitData, callbacks, initial_epoch, epochs, validation_freq) -> None:
    """Train and validate until the last epoch, or until training is stopped."""
    data, validation, check = work
    callbacks.on_train_begin()
    snapshot, first_step = model._run.resume_from, 0
    if snapshot is not None:
        # Callbacks have just begun; now they are where they were.
        snapshot.resume_data()
        snapshot.apply()
        initial_epoch, first_step = snapshot.epoch, snapshot.step
    training_logs: dict = {}
    for epoch in range(initial_epoch, epochs):
        if snapshot is not None and model.stop_training:
            break
        if not first_step and data.is_used_up():
            _warn_used_up("data", "training ended", epoch, epochs)
            break
        agreement.share_random_state()
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        if first_step:
            snapshot.apply()
        function = compiled_step(model, "train")
        logs = run_steps(
            model, function, data, callbacks, "train", first_step=first_step, check=check
        )
        first_step = 0
        if logs is None:
            _warn_used_up("data", "training ended", epoch, epochs)
            break
        epoch_logs = dict(logs)
        if validation is not None and is_due(epoch, validation_freq):
            result = {} if validation.is_used_up() else evaluate(model, validation, callbacks)
            if not result:
                _warn_used_up("validation data", "nothing is validated any more", epoch, epochs)
                validation = None
            epoch_logs.update({f"val_{name}": value for name, value in result.items()})
        callbacks.on_epoch_end(epoch, epoch_logs)
        training_logs = epoch_logs
        if agreement.stops_for_signal(model):
            callbacks.keep(0)
            raise interrupts.Terminated
        if model.stop_training:
            break
    if model.optimizer is not None and epochs > initial_epoch:
        model.optimizer.finalize_variable_values(model.trainable_weights)
    callbacks.on_train_end(logs=training_logs)


def evaluate(model, data, callbacks) -> dict:
    """The logs of one pass over the data."""
    data.rewind()
    model.stop_evaluating = False
    with own_counts(model):
        model.reset_metrics()
        callbacks.on_test_begin()
        function = compiled_step(model, "test")
        logs = dict(run_steps(model, function, data, callbacks, "test") or {})
        callbacks.on_test_end(logs)
    return logs


@contextlib.contextmanager
def own_counts(model):
    """Within, this thread has its own metric state, which other threads do not see.

    In the end the metrics get what was counted, unless another thread trains the model.
    """
    with own_values(model.metrics_variables) as counts:
        yield
    if model._run is None or model._run.thread == threading.get_ident():
        put_values(*counts())


def check_arguments(epochs, initial_epoch, shuffle, validation_freq) -> None:
    """Raise ValueError for arguments that `fit` cannot use."""
    for name, number in (("epochs", epochs), ("initial_epoch", initial_epoch)):
        if not isinstance(number, int | np.integer) or number < 0:
            least = " of at least 0" if isinstance(number, int) else ""
            raise ValueError(f"`{name}` must be an integer{least}. Received: {name}={number!r}")
    if shuffle not in (True, False, "batch"):
        raise ValueError(f"`shuffle` must be True, False or 'batch'. Received: {shuffle!r}")
    # Says what is wrong with it.
    is_due(0, validation_freq)


def within_limit(epochs: int) -> int:
    """The number of epochs, or what `config.max_epochs` allows of them."""
    most = max_epochs()
    if most is None or epochs <= most:
        return epochs
    warnings.warn(
        f"Limiting epochs to {most}, as `config.set_max_epochs` or the environment variable "
        "KERAS_MAX_EPOCHS says.",
        stacklevel=4,
    )
    return most


def is_due(epoch: int, validation_freq) -> bool:
    """Whether to validate after an epoch."""
    if isinstance(validation_freq, int) and validation_freq > 0:
        return (epoch + 1) % validation_freq == 0
    if isinstance(validation_freq, list | tuple | set):
        return epoch + 1 in validation_freq
    raise ValueError(
        "Expected `validation_freq` to be a list or int, 1 or more. Received: "
        f"validation_freq={validation_freq} of type {type(validation_freq)}."
    )


def _warn_used_up(what: str, so: str, epoch: int, epochs: int) -> None:
    warnings.warn(
        f"Your input ran out of {what} before the end of epoch {epoch + 1} of {epochs}: not one batch was "
        f"left, and {so}. What can be read only once, as a generator, has to give enough batches for all "
        "epochs.",
        stacklevel=4,
    )


def _validation_parts(validation_data) -> tuple:
    if isinstance(validation_data, tuple | list):
        return unpack_x_y_sample_weight(validation_data)
    return validation_data, None, None
