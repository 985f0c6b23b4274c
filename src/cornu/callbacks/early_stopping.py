"""`EarlyStopping`: end training when it no longer improves."""

import warnings

from cornu.callbacks.monitor import MonitorCallback
from cornu.core import registry
from cornu.utils.messages import print_message


@registry.register("callback", module="keras.callbacks")
class EarlyStopping(MonitorCallback):
    """Stops training when a monitored value has not improved for some epochs.

    Args:
        monitor, min_delta, mode: see `MonitorCallback`.
        patience: number of epochs without an improvement after which to stop.
        verbose: whether to say so.
        baseline: value that must be reached for waiting to start anew.
        restore_best_weights: whether to go back to the weights of the best epoch at the end.
        start_from_epoch: number of epochs at the start that do not count.

    Source: Keras: EarlyStopping; Prechelt 1998, "Early stopping – but when?".

    >>> import cornu
    >>> stop = cornu.callbacks.EarlyStopping(monitor="val_accuracy", patience=3, mode="max")
    >>> stop.patience
    3
    """

    def __init__(
        self,
        monitor="val_loss",
        min_delta=0,
        patience=0,
        verbose=0,
        mode="auto",
        baseline=None,
        restore_best_weights=False,
        start_from_epoch=0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self._reset()

    def _reset(self):
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None

    def on_train_begin(self, logs=None):
        self._reset()

    def on_epoch_end(self, epoch, logs=None):
        current = self.get_monitor_value(logs or {})
        if current is None or epoch < self.start_from_epoch:
            return
        # The first epoch is remembered even if its value is NaN.
        improved = self._is_improvement(current, self.best)
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if improved:
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose > 0:
            print_message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose > 0:
                print_message(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)

    def get_monitor_value(self, logs):
        """The value that is watched, or None; may be overridden."""
        value = self._monitored(logs)
        if value is None:
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                stacklevel=2,
            )
        return value
