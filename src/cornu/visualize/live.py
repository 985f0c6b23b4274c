"""Curves that grow while a model is trained."""

import time
from pathlib import Path

from cornu.core.notebook import Replaced, in_notebook
from cornu.training.callback import Callback
from cornu.training.history import History
from cornu.visualize.curves import plot_history
from cornu.visualize.figure import save_figure


class LiveCurves(Callback):
    """A callback that draws the curves of `plot_history` while `fit` runs, in a notebook's cell or a file.

    In a notebook one figure is replaced in its place, and the last one is saved with the notebook. A new
    one is drawn after an epoch, unless drawing would take more than a tenth of the time; the last epoch is
    always in it.

    Args:
        path: a PNG, PDF or SVG file to write each time; None shows the figure in the notebook.

    Raises ValueError when training begins outside of notebooks without a `path`.

    >>> import cornu
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> curves = cornu.visualize.LiveCurves("curves.svg")
    >>> history = model.fit(
    ...     [[0.0, 1.0]], [[1.0]], epochs=2, verbose=0, callbacks=[curves]
    ... )  # doctest: +SKIP
    """

    # Only epochs count: several steps may be done in one go.
    needs_every_batch = False
    in_first_process_only = True

    def __init__(self, path=None):
        super().__init__()
        self.path = None if path is None else Path(path)
        self._history = History()
        self._shown: Replaced | None = None
        self._drawn, self._ended, self._cost = 0, 0.0, 0.0

    def on_train_begin(self, logs=None):
        if self.path is None and not in_notebook():
            raise ValueError(
                "`LiveCurves` shows its figure in a notebook's cell, and this is not a notebook. "
                "Use `LiveCurves('curves.png')` to write a file after each epoch."
            )
        self._history, self._shown = History(), Replaced()
        self._drawn, self._ended, self._cost = 0, 0.0, 0.0

    def on_epoch_end(self, epoch, logs=None):
        self._history.on_epoch_end(epoch, logs)
        if time.monotonic() - self._ended >= 9 * self._cost:
            self._draw()

    def on_train_end(self, logs=None):
        if self._drawn < len(self._history.epoch):
            self._draw()

    def _draw(self) -> None:
        started = time.monotonic()
        figure = plot_history(self._history)
        if self.path is not None:
            save_figure(figure, self.path)
        else:
            assert self._shown is not None
            self._shown.show(f"<curves of {len(self._history.epoch)} epochs>", figure._repr_png_())
        self._drawn, self._ended = len(self._history.epoch), time.monotonic()
        self._cost = self._ended - started
