"""Checkpoints in the format of Orbax, which are written while training goes on."""

import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from cornu.callbacks.monitor import MonitorCallback
from cornu.callbacks.saving_interval import SavingInterval
from cornu.core.optional import required
from cornu.utils.messages import print_message


class OrbaxCheckpoint(MonitorCallback):
    """Saves weights and the optimizer's state with Orbax, JAX' library for checkpoints.

    Arrays that are spread over devices are written by the processes that hold them. `restore` reads a
    checkpoint into a model of the same layers. It needs the package `orbax-checkpoint`.

    Args:
        directory: where checkpoints go, each in a folder with the number of its step: of the epoch, or of
            the batch since the optimizer's first.
        monitor: name of the number that says which model is best.
        verbose: 1 to print a line for each checkpoint.
        save_best_only: whether to save only when `monitor` is better than ever before.
        mode: `"min"`, `"max"`, or `"auto"` to know it from the name.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: value to be better than at first.
        max_to_keep: how many checkpoints to keep, the latest; None for all.
        save_on_background: whether training goes on while a checkpoint is written.
        save_weights_only: whether to leave out the optimizer's state.

    Source: Keras: OrbaxCheckpoint. What it writes is read by `restore`; Keras names the arrays otherwise.

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
        self.directory, self.verbose, self.save_freq = directory, verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.max_to_keep, self.save_on_background = max_to_keep, save_on_background
        self._training = _orbax().training
        self._checkpointer: Any = None
        self._pending: Any = None

    def on_train_begin(self, logs=None):
        self._open()

    def on_train_batch_end(self, batch, logs=None):
        if self._interval.is_due(batch):
            self._save(int(self.model.optimizer.iterations), logs or {})

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def on_train_end(self, logs=None):
        self.wait_until_finished()
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None

    def wait_until_finished(self) -> None:
        """Wait until everything is written; raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def restore(self, model=None, step=None) -> int:
        """Read a checkpoint into a model, and return its step.

        Args:
            model: one of the same layers; default: that of the last training. To restore the optimizer's
                state, it has to be compiled.
            step: the number of the checkpoint; default: the latest.

        Raises FileNotFoundError if there is none, ValueError if it does not fit the model.
        """
        self.wait_until_finished()
        model = self.model if model is None else model
        with self._training.Checkpointer(os.path.abspath(self.directory)) as checkpointer:
            steps = [each.step for each in checkpointer.checkpoints]
            if not steps or step not in (None, *steps):
                raise FileNotFoundError(
                    f"There is no checkpoint{'' if step is None else f' {step}'} in {self.directory}. "
                    f"There are: {steps}"
                )
            step = max(steps) if step is None else step
            variables = self._variables(model)
            shapes = {
                part: [
                    jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=v.value.sharding) for v in held
                ]
                for part, held in variables.items()
            }
            self._check(checkpointer, step, shapes)
            values = checkpointer.load(step, shapes)
        for part, held in variables.items():
            for variable, value in zip(held, values[part], strict=True):
                variable.assign(value)
        return step

    def _check(self, checkpointer, step: int, shapes: dict) -> None:
        stored = checkpointer.metadata(step).metadata
        for part, held in shapes.items():
            theirs = [tuple(each.shape) for each in stored.get(part, [])]
            if theirs != [each.shape for each in held]:
                raise ValueError(
                    f"Checkpoint {step} in {self.directory} does not fit the model: its {part} have the "
                    f"shapes {theirs}, the model's {[each.shape for each in held]}."
                )

    def _open(self) -> None:
        if self._checkpointer is not None:
            return
        policies = self._training
        kept = self.max_to_keep
        self._checkpointer = policies.Checkpointer(
            os.path.abspath(self.directory),
            preservation_policy=None
            if kept is None
            else policies.preservation_policies.LatestN(kept),
            save_decision_policy=policies.save_decision_policies.FixedIntervalPolicy(1),
        )

    def _variables(self, model) -> dict[str, list]:
        weights = {
            "trainable_variables": model.trainable_variables,
            "non_trainable_variables": model.non_trainable_variables,
        }
        optimizer = getattr(model, "optimizer", None)
        if self.save_weights_only or optimizer is None:
            return weights
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        return {**weights, "optimizer_variables": optimizer.variables}

    def _save(self, step: int, logs: dict) -> None:
        if not self._is_wanted(step, logs):
            return
        # One at a time; and an error of the one before is raised here.
        self.wait_until_finished()
        # Copies, because the next step of training takes the arrays' memory.
        values = {
            part: [jnp.array(v.value, copy=True) for v in held]
            for part, held in self._variables(self.model).items()
        }
        if self.save_on_background:
            self._pending = self._checkpointer.save_async(step, values, overwrite=True)
        else:
            self._checkpointer.save(step, values, overwrite=True)
        if self.verbose > 0:
            print_message(f"\nSaving checkpoint {step} to {self.directory}")

    def _is_wanted(self, step: int, logs: dict) -> bool:
        if not self.save_best_only:
            return True
        current = self._monitored(logs)
        if current is None:
            warnings.warn(
                f"Can save best model only with {self.monitor} available, skipping save at step {step}. "
                f"Available: {','.join(logs)}.",
                stacklevel=3,
            )
            return False
        if not self._is_improvement(current, self.best):
            return False
        self.best = current
        return True


def _orbax():
    package = "orbax-checkpoint"
    return required("orbax.checkpoint", "callbacks.OrbaxCheckpoint", package=package).v1
