"""Training that can be watched, paused and stopped from the page."""

import threading
import time
from collections import deque
from typing import Any

import numpy as np

from cornu.callbacks import Callback
from cornu.callbacks.monitor import more_is_better
from cornu.explain.maps import filters
from cornu.explorer.examples import small
from cornu.explorer.learning import Learning
from cornu.explorer.network import Network
from cornu.layers.convolution import BaseConv

# Examples whose predictions are followed, for how many epochs; and filters that are shown.
FOLLOWED, REMEMBERED, MOST_FILTERS = 24, 4, 64
# Examples that are classified after each epoch, for how many epochs matrices of confusion are kept, of how
# many classes, and how many bytes the examples may have.
JUDGED, MATRICES, MOST_CLASSES, MOST_BYTES = 512, 50, 30, 32 * 2**20


class Watch(Callback):
    """A callback that keeps what the page shows of a training.

    Args:
        network: the network of the model that is trained; its weights are renewed now and then.
        x, y: examples and their classes. The predictions for the first 24 are followed; up to 512 are
            classified after each epoch.
    """

    # Between several steps that are done in one go, nobody looks.
    needs_every_batch = False

    def __init__(self, network: Network, x=None, y=None):
        super().__init__()
        self.network = network
        if x is not None:
            x = np.asarray(x)
            x = x[: min(JUDGED, max(FOLLOWED, MOST_BYTES // max(1, x[:1].nbytes)))]
        self._x = x
        self._y = (
            None if y is None or x is None else np.asarray(y).reshape(-1)[: len(x)].astype(int)
        )
        self._learning = Learning(network, self._x, self._y)
        self._learned = self._cost_of_learning = 0.0
        self._lock = threading.Lock()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._status, self._wants_end = "waiting", False
        # Whether it pauses again after the next batch.
        self._does_one = False
        self._rows: list[dict] = []
        # How many epochs there were before each `fit`.
        self._fits: list[int] = []
        self._predictions: deque = deque(maxlen=REMEMBERED)
        self._matrices: deque = deque(maxlen=MATRICES)
        self._flips: list[dict[str, int]] = []
        self._filters: tuple[str, np.ndarray] | None = None
        self._now: dict[str, Any] = {}
        # The epoch that goes on, and how many there were in trainings before this one.
        self._epoch = self._earlier = 0
        self._looked = self._renewed = 0.0
        self._cost = 0.0

    # ---- the training's side, in its thread

    def on_train_begin(self, logs=None):
        # What the last training was told does not hold for the next.
        self._wants_end = self._wants_end and self._status == "waiting"
        with self._lock:
            if not self._fits or len(self._rows) > self._fits[-1]:
                self._fits.append(len(self._rows))
        self._note("running")
        self._renew()

    def on_epoch_begin(self, epoch, logs=None):
        # A second training goes on where the first one ended.
        self._epoch = 1 + max(epoch, self._rows[-1]["epoch"] if self._rows else 0)
        self._earlier = self._epoch - 1 - epoch
        self._now = {"epoch": self._epoch, "step": 0}
        if self._wants_end:
            self.model.stop_training = True

    def on_train_batch_end(self, batch, logs=None):
        if self._does_one:
            self._does_one = False
            self._goes_on.clear()
        if not self._goes_on.is_set():
            values = {name: float(value) for name, value in (logs or {}).items()}
            self._now = {**self._now, "step": batch + 1, "logs": values}
            self._renew()
            self._note("paused")
            while not self._goes_on.wait(0.5):
                pass
            self._note("running")
        if self._wants_end:
            self.model.stop_training = True
        now = time.monotonic()
        # Only if somebody looks, and never for more than a small part of the time.
        if now - self._looked < 5 and now - self._renewed > max(0.5, 50 * self._cost):
            values = {name: float(value) for name, value in (logs or {}).items()}
            self._now = {**self._now, "step": batch + 1, "logs": values}
            self._renew()

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        with self._lock:
            self._rows.append({"epoch": self._epoch, **values})
        self._renew()
        if self._x is not None and self.network.num_classes is not None:
            answers = np.asarray(self.model.predict_on_batch(self._x), np.float32)
            self._judge(self._epoch, answers)
        self._learn(self._epoch)

    def _judge(self, epoch: int, answers: np.ndarray) -> None:
        """Keep what became of the examples in an epoch."""
        chosen, classes = answers.argmax(-1), self.network.num_classes or 0
        matrix = None
        if self._y is not None and classes <= MOST_CLASSES:
            matrix = np.zeros((classes, classes), int)
            np.add.at(matrix, (self._y, chosen), 1)
        with self._lock:
            if self._predictions:
                before = self._predictions[-1].argmax(-1)
                self._flips = [
                    {"number": int(n), "before": int(before[n]), "now": int(chosen[n])}
                    for n in np.flatnonzero(before != chosen)
                ]
            self._predictions.append(answers)
            if matrix is not None:
                self._matrices.append({"epoch": epoch, "counts": matrix.tolist()})

    def _learn(self, epoch: int) -> None:
        """Note what weights look like, if that takes a small part of the time."""
        started = time.monotonic()
        if started - self._learned < 10 * self._cost_of_learning:
            return
        self._learning.note(epoch)
        self._learned = time.monotonic()
        # The first time it is compiled.
        took = self._learned - started
        self._cost_of_learning = 0.0 if len(self._learning.rows) < 2 else took

    def on_train_end(self, logs=None):
        self._note("stopped" if self._wants_end else "finished")
        self._renew()

    def _note(self, status: str) -> None:
        with self._lock:
            self._status = status

    def _renew(self) -> None:
        started = time.monotonic()
        self.network.refresh()
        shown = next((la for la in self.model._flatten_layers() if isinstance(la, BaseConv)), None)
        if shown is not None:
            kernel = filters(self.model, shown)
            with self._lock:
                self._filters = shown.name, kernel
        self._renewed = time.monotonic()
        self._cost = self._renewed - started

    # ---- the page's side, in threads of the server

    def state(self, since: int = 0) -> dict[str, Any]:
        """What the page shows of the epochs after so many, but for filters, matrices and histograms."""
        self._looked = time.monotonic()
        with self._lock:
            latest = self._predictions[-1][:FOLLOWED] if self._predictions else None
            # Scores are no probabilities.
            if latest is not None and not ((latest >= 0) & (latest <= 1)).all():
                latest = None
            epochs = (self.params or {}).get("epochs")
            return {
                "status": self._status,
                "wants_pause": not self._goes_on.is_set(),
                "wants_end": self._wants_end,
                "epochs": epochs and epochs + self._earlier,
                "steps": (self.params or {}).get("steps"),
                "now": self._now,
                "since": since,
                "rows": self._rows[since:],
                "fits": list(self._fits),
                # Whether more of a number is better; null where nobody knows.
                "more_is_better": {
                    name: more_is_better(name, self.model) for name in (self._rows or [{}])[-1]
                },
                "labels": None if self._y is None else self._y[:FOLLOWED].tolist(),
                "predicted": [p[:FOLLOWED].argmax(-1).tolist() for p in self._predictions],
                "probability": None if latest is None else np.nan_to_num(latest.max(-1)).tolist(),
            }

    def histograms(self, since: int = 0) -> dict[str, Any]:
        """Of the epochs after one: rows of `Learning`, matrices of confusion; and the latest flips."""
        rows = [row for row in list(self._learning.rows) if row["epoch"] > since]
        with self._lock:
            matrices = [each for each in self._matrices if each["epoch"] > since]
            flips = self._flips[:FOLLOWED]
            labels = None if self._y is None else [int(self._y[f["number"]]) for f in flips]
            return {
                "rows": rows,
                "matrices": matrices,
                "flips": flips,
                "flipped": len(self._flips),
                "judged": 0 if self._x is None else len(self._x),
                "labels": labels,
            }

    def followed(self, numbers=None) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Thumbnails of examples, of those that are followed by default; see `examples.small`.

        Raises ValueError for numbers of examples that are not there.
        """
        x = np.zeros((0, 1)) if self._x is None else self._x
        if numbers is not None and not all(n < len(x) for n in numbers):
            raise ValueError(f"There are {len(x)} examples.")
        shape, thumbnails = small(x[:FOLLOWED] if numbers is None else x[list(numbers)])
        return {"shape": shape}, [thumbnails.astype(np.float32)]

    def filters(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The first convolution's kernels: a description, and float32 `(n, rows, columns)`."""
        with self._lock:
            name, kernel = self._filters or ("", np.zeros((1, 1, 0, 0), np.float32))
        while kernel.ndim < 4:
            kernel = kernel[None]
        while kernel.ndim > 4:
            kernel = kernel[kernel.shape[0] // 2]
        rows, columns, channels, count = kernel.shape
        planes = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1).reshape(-1, rows, columns))
        planes = np.nan_to_num(planes[:MOST_FILTERS].astype(np.float32))
        described = {
            "layer": name,
            "channels": channels,
            "count": count,
            "shape": list(planes.shape),
        }
        return described, [planes]

    def control(self, action: str) -> None:
        """Follow a command: `"pause"`, `"resume"`, `"step"` or `"stop"`.

        A step is the next batch, or the few that are done in one go; then it pauses again.
        """
        if action == "pause":
            self._goes_on.clear()
        elif action == "step":
            self._does_one = True
            self._goes_on.set()
        elif action in ("resume", "stop"):
            self._wants_end = self._wants_end or action == "stop"
            self._goes_on.set()
        else:
            raise ValueError(
                f"There is no action {action[:20]!r}. There are: pause, resume, step, stop."
            )
