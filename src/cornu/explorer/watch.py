"""Training that can be watched, paused and stopped from the page."""

import threading
import time
from collections import deque
from typing import Any

import numpy as np

from cornu.callbacks import Callback
from cornu.explain.maps import filters
from cornu.explorer.examples import small
from cornu.explorer.network import Network
from cornu.layers.convolution import BaseConv

# Examples whose predictions are followed, for how many epochs; and filters that are shown.
FOLLOWED, REMEMBERED, MOST_FILTERS = 24, 4, 64


class Watch(Callback):
    """A callback that keeps what the page shows of a training.

    Args:
        network: the network of the model that is trained; its weights are renewed now and then.
        x, y: examples whose predictions are followed, and their classes.
    """

    # Between several steps that are done in one go, nobody looks.
    needs_every_batch = False

    def __init__(self, network: Network, x=None, y=None):
        super().__init__()
        self.network = network
        self._x = None if x is None else np.asarray(x)[:FOLLOWED]
        self._y = None if y is None else np.asarray(y).reshape(-1)[:FOLLOWED].astype(int)
        self._lock = threading.Lock()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._status, self._wants_end = "waiting", False
        self._rows: list[dict] = []
        self._predictions: deque = deque(maxlen=REMEMBERED)
        self._filters: tuple[str, np.ndarray] | None = None
        self._now: dict[str, Any] = {}
        self._looked = self._renewed = 0.0
        self._cost = 0.0

    # ---- the training's side, in its thread

    def on_train_begin(self, logs=None):
        self._note("running")
        self._renew()

    def on_epoch_begin(self, epoch, logs=None):
        self._now = {"epoch": epoch + 1, "step": 0}
        if self._wants_end:
            self.model.stop_training = True

    def on_train_batch_end(self, batch, logs=None):
        if not self._goes_on.is_set():
            self._note("paused")
            self._renew()
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
            self._rows.append({"epoch": epoch + 1, **values})
        self._renew()
        if self._x is not None and self.network.num_classes is not None:
            answers = np.asarray(self.model.predict_on_batch(self._x), np.float32)
            with self._lock:
                self._predictions.append(answers)

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

    def state(self) -> dict[str, Any]:
        """What the page shows, but for the filters."""
        self._looked = time.monotonic()
        with self._lock:
            latest = self._predictions[-1] if self._predictions else None
            return {
                "status": self._status,
                "wants_pause": not self._goes_on.is_set(),
                "wants_end": self._wants_end,
                "epochs": (self.params or {}).get("epochs"),
                "steps": (self.params or {}).get("steps"),
                "now": self._now,
                "rows": list(self._rows),
                "labels": None if self._y is None else self._y.tolist(),
                "predicted": [p.argmax(-1).tolist() for p in self._predictions],
                "probability": None if latest is None else np.nan_to_num(latest.max(-1)).tolist(),
            }

    def followed(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Thumbnails of the examples that are followed; see `examples.small`."""
        shape, thumbnails = small(np.zeros((0, 1)) if self._x is None else self._x)
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
        """Follow a command: `"pause"`, `"resume"` or `"stop"`."""
        if action == "pause":
            self._goes_on.clear()
        elif action in ("resume", "stop"):
            self._wants_end = self._wants_end or action == "stop"
            self._goes_on.set()
        else:
            raise ValueError(f"There is no action {action[:20]!r}. There are: pause, resume, stop.")
