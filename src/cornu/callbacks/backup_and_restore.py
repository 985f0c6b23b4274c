"""`BackupAndRestore`: resume training where it was interrupted."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from cornu.callbacks import snapshot
from cornu.callbacks.saving_interval import SavingInterval
from cornu.core import processes, registry
from cornu.saving.atomic import replacing
from cornu.saving.once import written_once
from cornu.training.callback import Callback


@registry.register("callback", module="keras.callbacks")
class BackupAndRestore(Callback):
    """Saves the state of a run in a folder; `fit` of the same program resumes from it.

    However the process ended (an exception, a power failure, `kill -9`), the result is, bit for bit, that
    of a run that was not interrupted: kept are the weights, the optimizer, the metrics, the generators of
    random numbers, the order of shuffled data and the position in it, and the plain attributes (numbers,
    strings, arrays, lists and dicts of them) of all callbacks that have changed since `fit` began. `fit`
    then also returns the whole history.

    What the program sets is not kept: a callback's arguments, the learning rate that the optimizer was
    given, and the number of epochs may change when a run is resumed.

    Your own data are read again up to that position, so they must come in the same order again; a
    `PyDataset` has its hooks called for past epochs instead, with the random numbers that they drew then.
    What worker threads draw is not repeated.

    Of several processes, process 0 writes, in a folder that all of them see. Another number of processes or
    devices may resume. SIGTERM to one of them ends the run in all after the same step, which is kept.

    Args:
        backup_dir: folder for the backup, of this run only. It is deleted when training has ended.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: also keep the backup before the last one.
        delete_checkpoint: whether to delete the backup when training has ended.
        on_error: what to do if the backup cannot be written (a full disk, say): `"raise"`, or `"warn"` and
            train on with the backup before.

    Raises FileFormatError (a ValueError) if the backup is damaged or that of another model, OSError if it
    cannot be written.

    Source: Keras: BackupAndRestore.

    >>> import cornu
    >>> callback = cornu.callbacks.BackupAndRestore("backup")
    """

    # After all others, so that what they do at the end of a batch or an epoch is in the backup.
    comes_last = True

    def __init__(
        self,
        backup_dir,
        save_freq="epoch",
        double_checkpoint=False,
        delete_checkpoint=True,
        on_error="raise",
    ):
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        if on_error not in ("raise", "warn"):
            raise ValueError(
                f"`on_error` must be 'raise' or 'warn'. Received: on_error={on_error!r}"
            )
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self.on_error = on_error
        self._path = Path(backup_dir) / "latest.weights.h5"
        self._previous_path = Path(backup_dir) / "latest.weights.h5.bkp"
        self._interval = SavingInterval(save_freq)
        self._current_epoch = 0
        # The run of `fit` while it lasts.
        self._kept: Any = None

    @property
    def needs_every_batch(self) -> bool:
        """Whether files are written after a number of batches."""
        return self.save_freq != "epoch"

    def _set_run(self, run):
        self._kept = None if run is None else snapshot.KeptRun(run)

    def on_train_begin(self, logs=None):
        self._interval = SavingInterval(self.save_freq)
        self._check_folder()
        if not self._path.exists():
            return
        try:
            self._kept.run.resume_from = snapshot.Snapshot(self._path, self._kept)
        except ValueError as error:
            if not self._previous_path.exists():
                raise
            warnings.warn(
                f"The last backup cannot be used, so the one before it is: {error}", stacklevel=2
            )
            self._kept.run.resume_from = snapshot.Snapshot(self._previous_path, self._kept)

    def _check_folder(self) -> None:
        """Raise ValueError in every process if not all of them see the same backup."""
        group = processes.group()
        if group is None:
            return
        sizes = {"the size of": self._path, "the size of the one before,": self._previous_path}
        found = {
            f"{what} {path}": path.stat().st_size if path.exists() else None
            for what, path in sizes.items()
        }
        group.same("BackupAndRestore, whose folder all processes share", found)

    def on_epoch_begin(self, epoch, logs=None):
        self._current_epoch = epoch

    def _keep(self, step):
        self._save(step)

    def on_epoch_end(self, epoch, logs=None):
        self._current_epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save(0)

    def on_train_batch_end(self, batch, logs=None):
        if self._interval.is_due(batch):
            self._save(batch + 1)

    def _save(self, step: int) -> None:
        try:
            with written_once(self._path):
                if processes.is_first():
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    if self.double_checkpoint and self._path.exists():
                        with replacing(self._previous_path) as temporary:
                            shutil.copyfile(self._path, temporary)
                snapshot.save(self._kept, self._path, self._current_epoch, step)
        except OSError as error:
            if self.on_error == "raise":
                raise
            warnings.warn(f"There is no new backup, and training goes on: {error}", stacklevel=2)

    def on_train_end(self, logs=None):
        is_there = self.delete_checkpoint and processes.is_first() and self._path.parent.is_dir()
        if not is_there:
            return
        # Only what this callback wrote: the folder may turn out to be somebody's home.
        self._path.unlink(missing_ok=True)
        self._previous_path.unlink(missing_ok=True)
        for left in self._path.parent.glob(f".{self._path.name}*.part"):
            # What was being written when a process was killed.
            left.unlink(missing_ok=True)
        if not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()
