"""Checkpoints in the format of Orbax, which are written while training goes on."""

import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.callbacks.monitor import MonitorCallback
from cornu.callbacks.saving_interval import SavingInterval
from cornu.core import registry
from cornu.saving import assets
from cornu.saving.checkpoint import WEIGHTS, orbax, steps
from cornu.saving.configuration import configuration_text
from cornu.utils.messages import print_message


@registry.register("callback", module="keras.callbacks")
class OrbaxCheckpoint(MonitorCallback):
    """Saves the model with Orbax, JAX' library for checkpoints, while training goes on.

    Each checkpoint is a folder in `directory`, with the number of its step as a name.
    `cornu.saving.load_model(directory)` makes the model of the last one, with the optimizer's state;
    `model.load_weights(directory)` reads it into a model of the same layers. Both take the folder of one
    step, `directory/3`, as well, and what Keras wrote; and Keras reads what is written here. Arrays
    that are spread over devices are written by the processes that hold them, and may be read on more
    devices, or fewer. It needs the package `orbax-checkpoint`.

    Args:
        directory: where the checkpoints go.
        monitor: name of the number that says which model is best.
        verbose: 1 to print a line for each checkpoint.
        save_best_only: whether to save only when `monitor` is better than ever before.
        mode: `"min"`, `"max"`, or `"auto"` to know it from the name.
        save_freq: `"epoch"`, where the step is the number of the epoch, from 0; or a number of batches,
            where it is how many the optimizer has seen.
        initial_value_threshold: value to be better than at first.
        max_to_keep: how many checkpoints to keep, the latest; None for all.
        save_on_background: whether training goes on while a checkpoint is written.
        save_weights_only: whether to write weights alone, from which `load_model` cannot make a model.

    Where `directory` holds checkpoints that are not earlier, of another run perhaps, the numbers go on
    after them, with a warning. Keras writes nothing there.

    Raises what went wrong in the background when the next checkpoint is due, or at the end of training.

    Source: Keras: OrbaxCheckpoint.

    >>> import cornu
    >>> cornu.callbacks.OrbaxCheckpoint("checkpoints", max_to_keep=3).save_freq  # doctest: +SKIP
    'epoch'
    """

    def __init__(
        self,
        directory,
        monitor="val_loss",
        verbose=0,
        save_best_only=False,
        mode="auto",
        save_freq="epoch",
        initial_value_threshold=None,
        max_to_keep=1,
        save_on_background=True,
        save_weights_only=False,
    ):
        super().__init__(monitor, mode, initial_value_threshold)
        self._interval = SavingInterval(save_freq)
        if max_to_keep is not None and max_to_keep < 1:
            raise ValueError(
                f"`max_to_keep` must be a positive integer or None. Received: {max_to_keep}"
            )
        orbax()
        self.directory, self.verbose, self.save_freq = directory, verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.max_to_keep, self.save_on_background = max_to_keep, save_on_background
        self._open: Any = None
        self._pending: Any = None
        # What the first number of batches, and of a step, is counted from.
        self._start, self._shift = 0, None

    @property
    def needs_every_batch(self) -> bool:
        """Whether checkpoints are written after a number of batches."""
        return self.save_freq != "epoch"

    @property
    def checkpointer(self):
        """Orbax' writer, which is open from the first checkpoint to the end of training."""
        if self._open is None:
            training, kept = orbax().training, self.max_to_keep
            self._open = training.Checkpointer(
                os.path.abspath(self.directory),
                preservation_policy=None
                if kept is None
                else training.preservation_policies.LatestN(kept),
                save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            )
        return self._open

    def is_multihost_enabled(self) -> bool:
        """Whether several processes train together (`jax.distributed`)."""
        return jax.process_count() > 1

    def is_primary_host(self) -> bool:
        """Whether this is the first process, or the only one."""
        return jax.process_index() == 0

    def on_train_begin(self, logs=None):
        self._shift = None
        # A folder that cannot be made is an error now, and not after an epoch.
        os.makedirs(self.directory, exist_ok=True)
        optimizer = self.model.optimizer
        done = 0 if optimizer is None else int(optimizer.iterations)
        self._start = done - self._interval.num_batches

    def on_train_batch_end(self, batch, logs=None):
        if self._interval.is_due(batch):
            self._save_if_wanted(self._start + self._interval.num_batches, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save_if_wanted(epoch, logs or {})

    def on_train_end(self, logs=None):
        try:
            self.wait_until_finished()
        finally:
            opened, self._open = self._open, None
            if opened is not None:
                opened.close()

    def wait_until_finished(self) -> None:
        """Wait until everything is written; raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _save_if_wanted(self, step: int, logs: dict) -> None:
        if self.save_best_only:
            current = self._monitored(logs)
            if current is None:
                warnings.warn(
                    f"Can save best model only with {self.monitor} available, skipping save at step "
                    f"{step}. Available: {','.join(logs)}.",
                    stacklevel=2,
                )
                return
            if not self._is_improvement(current, self.best):
                return
            self.best = current
        self._save_checkpoint(step)

    def _save_checkpoint(self, step: int) -> None:
        # One at a time; and an error of the one before is raised here.
        self.wait_until_finished()
        step = self._free(step)
        content = _content(self.model, self.save_weights_only)
        if self.save_on_background:
            self._pending = self.checkpointer.save_checkpointables_async(step, content)
        else:
            self.checkpointer.save_checkpointables(step, content)
        if self.verbose > 0:
            print_message(f"\nSaving checkpoint {step} to {self.directory}")

    def _free(self, step: int) -> int:
        """A number after those that were in the folder before this run; Orbax drops what comes earlier."""
        if self._shift is None:
            last = max(steps(self.directory), default=-1)
            self._shift = max(last + 1 - step, 0)
            if self._shift:
                warnings.warn(
                    f"{self.directory} holds checkpoints up to number {last}, of another run perhaps. "
                    f"Those of this one go on from {last + 1}, where {step} was due. For numbers of their "
                    "own, give each run its own `directory`.",
                    stacklevel=2,
                )
        return step + self._shift


def _content(model, weights_only: bool) -> dict:
    """What a checkpoint holds, by the names that Keras gives the parts."""
    tree = model.get_state_tree()
    if weights_only:
        tree = {kind: tree[kind] for kind in WEIGHTS}
    content = {"pytree": jax.tree.map(_copied, tree)}
    if weights_only:
        return content
    content["model_config"] = {"config": configuration_text(model)}
    with assets.written(model) as folder:
        files: dict[str, Any] = {}
        for file, path in assets.files_in(folder):
            _, *folders, name = path.split("/")
            inner = files
            for each in folders:
                inner = inner.setdefault(each, {})
            inner[name] = np.frombuffer(file.read_bytes(), np.uint8)
    return {**content, "assets": files} if files else content


def _copied(array):
    """A copy, because the next step of training takes the array's memory."""
    if jax.process_count() > 1 and array.is_fully_addressable:
        # What each process has for itself, Orbax writes once if it is no array of JAX.
        return np.array(array)
    return jnp.array(array, copy=True)
