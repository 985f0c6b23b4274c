"""`ModelCheckpoint`: save the model during training."""

import os
import warnings
from pathlib import Path

import numpy as np

from cornu.callbacks.monitor import MonitorCallback
from cornu.callbacks.saving_interval import SavingInterval
from cornu.core import registry
from cornu.core.old_arguments import takes_old_arguments
from cornu.utils.messages import print_message

_REFUSED = {
    "period": "counted epochs. Give `save_freq`, which counts batches: save_freq={value} * steps per epoch"
}


@registry.register("callback", module="keras.callbacks")
class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, after every epoch or number of batches.

    Args:
        filepath: file to write, ending in `.keras`, or in `.weights.h5` for weights only; or in `.h5` or
            `.hdf5`, for the format of Keras 2. It may hold `{epoch}` (counted from 1), `{batch}`, and names
            from the logs, with format specifications: `"{epoch:02d}-{val_loss:.2f}.keras"`.
        monitor, mode: see `MonitorCallback`.
        verbose: whether to say what is saved.
        save_best_only: whether to save only when the monitored number improves.
        save_weights_only: whether to save only weights.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: value to be better than at first.
        on_error: what to do if the file cannot be written (a full disk, say): `"raise"`, or `"warn"` and
            train on; what was saved before is still there.

    Raises ValueError for another ending, OSError if the file cannot be written, KeyError if `filepath`
    names a number that is not in the logs.

    Source: Keras: ModelCheckpoint.

    >>> import cornu
    >>> keep = cornu.callbacks.ModelCheckpoint("best.keras", save_best_only=True)
    >>> keep.filepath, keep.monitor
    ('best.keras', 'val_loss')
    """

    @takes_old_arguments(refused=_REFUSED, fitting={"period": 1})
    def __init__(
        self,
        filepath,
        monitor="val_loss",
        verbose=0,
        save_best_only=False,
        save_weights_only=False,
        mode="auto",
        save_freq="epoch",
        initial_value_threshold=None,
        on_error="raise",
    ):
        if on_error not in ("raise", "warn"):
            raise ValueError(
                f"`on_error` must be 'raise' or 'warn'. Received: on_error={on_error!r}"
            )
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose, self.save_freq = verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self._interval = SavingInterval(save_freq)
        self._current_epoch, self.on_error = 0, on_error
        if save_weights_only and not self.filepath.endswith((".h5", ".hdf5")):
            raise ValueError(
                "When using `save_weights_only=True` in `ModelCheckpoint`, the filepath provided "
                "must end in `.weights.h5` (Keras weights format). Received: "
                f"filepath={self.filepath}"
            )
        is_whole = self.filepath.endswith((".keras", ".h5", ".hdf5"))
        if not save_weights_only and (not is_whole or self.filepath.endswith(".weights.h5")):
            raise ValueError(
                "The filepath provided must end in `.keras` (Keras model format). Received: "
                f"filepath={self.filepath}"
            )

    @property
    def needs_every_batch(self) -> bool:
        """Whether files are written after a number of batches."""
        return self.save_freq != "epoch"

    def on_epoch_begin(self, epoch, logs=None):
        self._current_epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._interval.is_due(batch):
            self._save(self._current_epoch, batch, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch, batch, logs):
        path, best = Path(self._path(epoch, batch, logs)), self.best
        if not self._wants_to_save(epoch, logs, path):
            return
        if path.is_dir():
            raise IsADirectoryError(
                "Please specify a non-directory filepath for ModelCheckpoint. Filepath used is an "
                f"existing directory: {path}"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.save_weights_only:
                self.model.save_weights(str(path), overwrite=True)
            else:
                self.model.save(str(path), overwrite=True)
        except OSError as error:
            # The best that is kept is still the one before.
            self.best = best
            if self.on_error == "raise":
                raise
            warnings.warn(f"The model is not saved, and training goes on: {error}", stacklevel=2)
            return
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _path(self, epoch, batch, logs) -> str:
        known = {"epoch": epoch + 1}
        if batch is not None:
            known["batch"] = batch + 1
        known.update(logs)
        try:
            return self.filepath.format(**known)
        except (KeyError, IndexError) as error:
            raise KeyError(
                f'Failed to format this callback filepath: "{self.filepath}". Reason: {error} is '
                f"not known here. Known: {', '.join(known)}."
            ) from error

    def _wants_to_save(self, epoch, logs, path) -> bool:
        if not self.save_best_only:
            self._say(epoch, f"saving model to {path}")
            return True
        current = self._monitored(logs)
        if current is None:
            warnings.warn(
                f"Can save best model only with {self.monitor} available. Available: "
                f"{','.join(logs)}.",
                stacklevel=2,
            )
            return True
        if np.ndim(current) > 0:
            warnings.warn(
                "Can save best model only when `monitor` is a scalar value. Received: "
                f"{current}. Falling back to `save_best_only=False`.",
                stacklevel=2,
            )
            return True
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self._is_improvement(current, self.best):
            self._say(epoch, f"{self.monitor} did not improve from {best}")
            return False
        self._say(
            epoch, f"{self.monitor} improved from {best} to {current:.5f}, saving model to {path}"
        )
        self.best = current
        return True

    def _say(self, epoch, text):
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: {text}")
