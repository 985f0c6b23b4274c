"""`ProgbarLogger`: the progress bar of `fit`, `evaluate` and `predict`."""

from typing import Any

from cornu.core import registry
from cornu.training.callback import Callback
from cornu.utils.progress import Progbar


def check_verbose(verbose) -> None:
    """Raise ValueError for an unknown `verbose`."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2. Received: verbose={verbose!r}")


@registry.register("callback", module="keras.callbacks")
class ProgbarLogger(Callback):
    """Prints the progress of a run; added by `verbose=1` or `2`.

    Numbers are read, which waits for the device, only when the line is drawn: at most every 0.05 s
    on a terminal, and only at the end of an epoch elsewhere.

    Source: Keras: ProgbarLogger.

    >>> import cornu
    >>> callbacks = cornu.callbacks.CallbackList(add_progbar=True, verbose=2, epochs=1, steps=1)
    >>> [type(c).__name__ for c in callbacks.callbacks]
    ['ProgbarLogger']
    """

    needs_every_batch = False
    in_first_process_only = True

    def __init__(self):
        self.seen = 0
        self.progbar: Any = None
        self.target, self.verbose, self.epochs = None, 1, 1
        self._called_in_fit = False

    def set_params(self, params):
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else verbose
        self.epochs = params.get("epochs", 1)
        self.target = params.get("steps")

    def _start(self):
        self.seen = 0
        self.progbar = Progbar(self.target, verbose=self.verbose, stateless_metrics=())

    def _update(self, batch, logs):
        if self.progbar is None:
            self._start()
        self.seen = batch + 1
        if self.verbose == 1:
            self.progbar.update(self.seen, logs, finalize=False)

    def _finish(self, logs):
        if self.target is None:
            # Now it is known, for the epochs that follow as well.
            self.target = self.progbar.target = self.seen
        self.progbar.update(self.target, logs, finalize=True)

    def on_train_begin(self, logs=None):
        # A validation within `fit` is silent.
        self._called_in_fit = True

    def on_train_end(self, logs=None):
        self._called_in_fit = False

    def on_epoch_begin(self, epoch, logs=None):
        self._start()
        if self.verbose and self.epochs > 1:
            self.progbar.head(f"Epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self._update(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._finish(logs)

    def on_test_begin(self, logs=None):
        if not self._called_in_fit:
            self._start()

    def on_test_batch_end(self, batch, logs=None):
        if not self._called_in_fit:
            self._update(batch, logs)

    def on_test_end(self, logs=None):
        if not self._called_in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs=None):
        self._start()

    def on_predict_batch_end(self, batch, logs=None):
        self._update(batch, {})

    def on_predict_end(self, logs=None):
        self._finish({})
