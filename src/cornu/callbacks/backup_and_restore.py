"""`BackupAndRestore`: go on after an interruption."""

import os
import shutil
import warnings
from pathlib import Path

from cornu.callbacks.callback import Callback
from cornu.callbacks.saving_interval import SavingInterval
from cornu.core import registry


@registry.register("callback", module="keras.callbacks")
class BackupAndRestore(Callback):
    """Keeps weights, the optimizer's state and the epoch on disk, and goes on from there.

    If `fit` is interrupted, the same script, run again, loads the backup and continues with the
    epoch that was not finished. One file holds everything and is replaced as a whole, so that at any
    moment there is a backup that belongs together.

    Args:
        backup_dir: folder for the backup, of this run only.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: whether to keep the backup before the last as well, and to use it if the
            last is damaged.
        delete_checkpoint: whether to delete the backup when training has ended.

    Raises ValueError if the backup is damaged or is of another model.

    Source: Keras: BackupAndRestore.

    >>> import cornu
    >>> cornu.callbacks.BackupAndRestore("backup", save_freq=100).backup_dir
    'backup'
    """

    def __init__(
        self, backup_dir, save_freq="epoch", double_checkpoint=False, delete_checkpoint=True
    ):
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed")
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._path = Path(backup_dir) / "latest.weights.h5"
        self._previous_path = Path(backup_dir) / "latest.weights.h5.bkp"
        self._interval = SavingInterval(save_freq)
        self._current_epoch = 0

    def on_train_begin(self, logs=None):
        self._interval = SavingInterval(self.save_freq)
        self.model._initial_epoch = None
        if self._path.exists():
            try:
                self._load(self._path)
            except ValueError as error:
                if not self._previous_path.exists():
                    raise
                warnings.warn(
                    f"The last backup cannot be used, so the one before it is: {error}",
                    stacklevel=2,
                )
                self._load(self._previous_path)

    def _load(self, path):
        import h5py

        # Callbacks know nothing of files until they write one.
        from cornu.saving.weights import read_state

        model = self.model
        if not model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, your model must be built before you call "
                f"`fit()`. Model {model.name} is unbuilt. You can build it beforehand by calling it "
                "on a batch of data."
            )
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            with h5py.File(path, "r") as file:
                epoch = int(file.attrs["epoch"])
                read_state(model, file, str(path), with_optimizer=model.optimizer is not None)
        except (OSError, KeyError) as error:
            raise ValueError(
                f"The backup {path} is damaged: {error}. Delete the folder to start from the "
                "beginning."
            ) from error
        self._current_epoch = epoch
        model._initial_epoch = epoch

    @property
    def needs_every_batch(self) -> bool:
        """Whether files are written after a number of batches."""
        return self.save_freq != "epoch"

    def on_epoch_begin(self, epoch, logs=None):
        self._current_epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self._current_epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def on_train_batch_end(self, batch, logs=None):
        if self._interval.is_due(batch):
            self._save()

    def _save(self):
        import h5py

        from cornu.saving.atomic import replacing
        from cornu.saving.weights import write_state

        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self.double_checkpoint and self._path.exists():
            with replacing(self._previous_path) as temporary:
                shutil.copyfile(self._path, temporary)
        with replacing(self._path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["epoch"] = self._current_epoch
            write_state(self.model, file, with_optimizer=True)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None
        if not self.delete_checkpoint or not self._path.parent.is_dir():
            return
        # Only what this callback wrote: the folder may turn out to be somebody's home.
        self._path.unlink(missing_ok=True)
        self._previous_path.unlink(missing_ok=True)
        if not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()
