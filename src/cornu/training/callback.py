"""`Callback`: code that runs at given points of training."""

from typing import Any

from cornu.core import registry


@registry.register("callback", module="keras.callbacks")
class Callback:
    """Base class: override the methods for the events that you need.

    `self.model` is the model (its weights are always the live ones), `self.params` a dict with
    `verbose`, `epochs` and `steps`.

    `logs` holds values by name. At the end of an epoch it is a dict: the loss, the metrics, and the
    same with `val_` before their names if there was a validation. At the end of a batch it is a
    mapping that is read lazily: looking up a number waits for the device to finish the step, so do
    it only if you need it. The other methods get an empty dict, except `on_train_end` and
    `on_test_end`, which get the last logs, and `on_predict_batch_end`, which gets the `outputs`.
    With `compile(steps_per_execution=N)` the batch methods are called every `N` batches. A callback
    that can do with fewer calls of them sets `needs_every_batch = False`: if no other needs more, several
    steps run at once, which is faster.

    Source: Keras: Base Callback class.

    >>> import cornu
    >>> class Announce(cornu.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(f"epoch {epoch}: {sorted(logs)}")
    >>> Announce().on_epoch_end(0, {"loss": 0.5})
    epoch 0: ['loss']
    """

    params: dict | None = None
    _model = None
    # A property where it depends on arguments.
    needs_every_batch: Any = True
    # Whether it ends training at a loss that is not finite: `fit` then takes data that give one.
    ends_at_nan = False
    # Whether it is called after all callbacks without this.
    comes_last = False

    # Whether, of several processes, only process 0 calls it, as it writes to the screen or to a file. It
    # may not need other processes then: no weights that are spread over them.
    in_first_process_only = False

    def set_params(self, params):
        """Called with the parameters of the run before it starts."""
        self.params = params

    def set_model(self, model):
        """Called with the model before the run starts."""
        self._model = model

    def _set_run(self, run):
        """Called with the run of `fit` before `on_train_begin` of all callbacks, and with None after it."""

    def _keep(self, step):
        """Called before SIGTERM ends a run of several processes, after so many steps of an epoch."""

    @property
    def model(self):
        """The model that is trained."""
        return self._model

    def on_batch_begin(self, batch, logs=None):
        """An older name for `on_train_batch_begin`."""

    def on_batch_end(self, batch, logs=None):
        """An older name for `on_train_batch_end`."""

    def on_epoch_begin(self, epoch, logs=None):
        """Before an epoch of training; `epoch` counts from 0."""

    def on_epoch_end(self, epoch, logs=None):
        """After an epoch of training and its validation."""

    def on_train_batch_begin(self, batch, logs=None):
        """Before a step of training; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch, logs=None):
        """After a step of training."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch, logs=None):
        """Before a batch of evaluation or validation."""

    def on_test_batch_end(self, batch, logs=None):
        """After a batch of evaluation or validation."""

    def on_predict_batch_begin(self, batch, logs=None):
        """Before a batch of prediction."""

    def on_predict_batch_end(self, batch, logs=None):
        """After a batch of prediction."""

    def on_train_begin(self, logs=None):
        """Before training."""

    def on_train_end(self, logs=None):
        """After training."""

    def on_test_begin(self, logs=None):
        """Before evaluation or validation."""

    def on_test_end(self, logs=None):
        """After evaluation or validation."""

    def on_predict_begin(self, logs=None):
        """Before prediction."""

    def on_predict_end(self, logs=None):
        """After prediction."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
