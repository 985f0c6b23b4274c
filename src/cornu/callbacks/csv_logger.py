"""`CSVLogger`: the logs of every epoch in a table on disk."""

import csv
import os

import numpy as np

from cornu.core import registry
from cornu.training.callback import Callback


@registry.register("callback", module="keras.callbacks")
class CSVLogger(Callback):
    """Writes a line of logs to a file after every epoch.

    Args:
        filename: the file.
        separator: the text between two values.
        append: whether to go on with a file that exists, instead of replacing it.

    The columns are `epoch` and the logs of the first epoch, sorted; a value that is missing
    later is `NA`.

    Source: Keras: CSVLogger.

    >>> import cornu
    >>> cornu.callbacks.CSVLogger("log.csv").filename
    'log.csv'
    """

    in_first_process_only = True

    def __init__(self, filename, separator=",", append=False):
        self.filename = os.fspath(filename)
        self.sep, self.append = separator, append
        self.keys: list[str] | None = None
        # Bytes in the file after the last epoch: a run that goes on drops what came later.
        self._size: int | None = None

    def on_train_begin(self, logs=None):
        self.keys = None
        with open(self.filename, "a") as file:
            # A file that cannot be written is better known before training. It is emptied when there
            # is something to write: perhaps a run goes on that was interrupted.
            self._size = file.tell() if self.append else 0

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        with open(self.filename, "a", newline="") as file:
            # A run that goes on may write to another file than before, which is shorter.
            if self._size is not None and file.tell() > self._size:
                file.truncate(self._size)
                file.seek(0, os.SEEK_END)
            writer = csv.writer(file, delimiter=self.sep)
            if self.keys is None:
                self.keys = sorted(logs)
                if not any(key.startswith("val_") for key in self.keys):
                    # The first validation may come in a later epoch.
                    self.keys += [f"val_{key}" for key in self.keys]
            if file.tell() == 0:
                writer.writerow(["epoch", *self.keys])
            writer.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
            self._size = file.tell()


def _cell(value):
    if isinstance(value, str) or np.ndim(value) == 0:
        return value
    return f'"[{", ".join(map(str, value))}]"'
