"""`History`: what `fit` returns."""

from cornu.core import registry
from cornu.core.notebook import as_table
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
        # Validation may be rarer than epochs.
        self._epochs: dict[str, list[int]] = {}

    def epochs_of(self, name: str) -> list[int]:
        """The number of the epoch, from 0, that each value of a name belongs to."""
        epochs = self._epochs.get(name, [])
        is_known = len(epochs) == len(self.history[name]) and sorted({*epochs}) == epochs
        return epochs if is_known else list(range(len(self.history[name])))

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self._numbers().items())
        return f"<History of {len(self.epoch)} epochs{': ' if last else ''}{last}>"

    def _repr_html_(self) -> str:
        numbers = self._numbers()
        columns = [
            dict(zip(self.epochs_of(name), values, strict=True)) for name, values in numbers.items()
        ]
        rows = [
            [
                epoch + 1,
                *(f"{column[epoch]:.4g}" if epoch in column else "" for column in columns),
            ]
            for epoch in self.epoch
        ]
        return as_table(f"{len(self.epoch)} epochs", ["epoch", *numbers], rows)

    def _numbers(self) -> dict[str, list]:
        return {
            name: values
            for name, values in self.history.items()
            if values and all(isinstance(value, int | float) for value in values)
        }

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        if not isinstance(self.history, Logs):  # It was restored from a backup.
            self.history = Logs(self.history)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._epochs.setdefault(name, []).append(epoch)
