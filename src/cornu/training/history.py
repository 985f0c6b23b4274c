"""`History`: what `fit` returns."""

from cornu.core import registry
from cornu.training.callback import Callback
from cornu.training.old_spellings import Logs


@registry.register("callback", module="keras.callbacks")
class History(Callback):
    """Keeps the logs of every epoch; `fit` makes one and returns it.

    `history` maps each name to the list of its values, `epoch` lists the numbers of the epochs.

    Source: Keras: History.

    >>> import cornu
    >>> history = cornu.callbacks.History()
    >>> history.on_train_begin()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history.epoch, history.history
    ([0], {'loss': [0.5]})
    """

    def __init__(self):
        self.history: dict[str, list] = Logs()
        self.epoch: list[int] = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        if not isinstance(self.history, Logs):  # It was restored from a backup.
            self.history = Logs(self.history)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
