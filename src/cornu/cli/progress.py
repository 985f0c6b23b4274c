"""What a training says while it runs: lines, JSON for programs, and `history.csv`."""

import datetime
import importlib.util
import json
import math
import threading
import time
import types
from pathlib import Path

from cornu import callbacks
from cornu.cli import run_folder
from cornu.cli.command import CommandError
from cornu.core import processes
from cornu.core.optional import MissingPackage

# Seconds without a line after which there is one.
SILENCE = 30


def rounded(value) -> float:
    """A number without the digits that single precision does not have."""
    return float(f"{float(value):.6g}")


class Recorder(callbacks.Callback):
    """Keeps `history.csv` and `settings.json` up to date.

    It comes after the callback that saves the model, so that settings never belong to another one.
    `measure` is what the best epoch is chosen by.
    """

    def __init__(self, folder: Path, settings: dict, measure: str = "accuracy"):
        super().__init__()
        self.folder, self.settings, self.measure = folder, settings, measure
        self.rows: list[dict] = []
        # Epochs of a head, before those of the whole model, and whether it is being trained.
        self.num_before, self.in_head = 0, False
        # A plain number would be restored from a backup, and mean nothing in another process.
        self._clock = types.SimpleNamespace(start=time.perf_counter())

    @property
    def history(self) -> dict[str, list]:
        return {
            name: [row[name] for row in self.rows]
            for name in self.rows[0]
            if name not in ("epoch", "seconds")
        }

    @property
    def best_epoch(self) -> int:
        first = max(self.num_before - 1, 0)
        values = self.history[f"val_{self.measure}"][first:]
        return first + values.index(max(values)) + 1

    @property
    def num_epochs(self) -> int:
        """How many there will be, if none is left out."""
        return self.num_before + (self.params or {})["epochs"]

    def write(self) -> None:
        """Write `history.csv` and `settings.json`."""
        run_folder.write_history(self.folder, self.rows)
        run_folder.write_settings(self.folder, {**self.settings, "best_epoch": self.best_epoch})

    def on_epoch_begin(self, epoch, logs=None):
        self._clock.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._clock.start
        values = {name: rounded(value) for name, value in logs.items()}
        number = len(self.rows) + 1
        self.rows.append({"epoch": number, **values, "seconds": round(seconds, 3)})
        if processes.is_first() and not self.in_head:
            self.write()


class Log:
    """A file with a JSON object a line, which grows while a training runs."""

    def __init__(self, path: Path, goes_on: bool, overwrite: bool):
        if path.exists() and not goes_on and not overwrite:
            raise CommandError(
                f"{path} exists. Choose another file for --log, or pass --overwrite."
            )
        try:
            self._file = path.open("a" if goes_on else "w", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"--log {path} cannot be written: {error.strerror}.") from error

    def write(self, event: str, **values) -> None:
        """Add a line; a number that is none, which JSON cannot say, becomes null."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        plain = {name: _plain(value) for name, value in values.items()}
        line = json.dumps({"event": event, "time": now, **plain}, ensure_ascii=False)
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def check_tensorboard(folder: Path, goes_on: bool, overwrite: bool) -> None:
    """Raise an error if TensorBoard's files cannot be written, or would mix with those of another run."""
    if not any(importlib.util.find_spec(name) for name in ("tensorboardX", "tensorboard")):
        raise MissingPackage(
            "--tensorboard needs the package `tensorboardX` or `tensorboard`, and neither is installed. "
            "Run: pip install tensorboardX"
        )
    old = list(folder.rglob("events.out.tfevents.*"))
    if old and not goes_on and not overwrite:
        raise CommandError(
            f"{folder} holds the files of another run. Choose another folder for --tensorboard, or pass "
            "--overwrite."
        )
    for path in [] if goes_on else old:
        path.unlink()


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Heartbeat(callbacks.Callback):
    """A line an epoch, and one whenever there was none for half a minute.

    Use it as a context: within, a thread says what goes on where no callback is called, as while a program
    is compiled.

    Args:
        recorder: counts the epochs.
        prints: whether to print lines; otherwise a bar shows as much.
        log: a `Log`, or None.
    """

    needs_every_batch = False
    in_first_process_only = True

    def __init__(self, recorder: Recorder, prints: bool, log: Log | None):
        super().__init__()
        self.recorder, self.prints, self.log = recorder, prints, log
        # Nothing of this belongs to the state of the run.
        self._now = types.SimpleNamespace(
            last=time.monotonic(), start=time.monotonic(), step=0, what="preparing"
        )
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._ended.set()

    def goes_on_with(self, what: str) -> None:
        """What is being done from now on, until an epoch begins."""
        self._now.what, self._now.start = what, time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.goes_on_with(self._epoch(len(self.recorder.rows) + 1))
        self._now.step = 0

    def on_train_batch_end(self, batch, logs=None):
        self._now.step = batch + 1
        if time.monotonic() - self._now.last >= SILENCE:
            names = ("loss", self.recorder.measure)
            values = {n: float(v) for n, v in (logs or {}).items() if n in names}
            self._beat(values)

    def on_epoch_end(self, epoch, logs=None):
        row = self.recorder.rows[-1]
        measure = self.recorder.measure
        values = {n: float(logs[n]) for n in ("loss", measure, "val_loss", f"val_{measure}")}
        self._line(f"{self._epoch(row['epoch'])}  {_words(values)}  {row['seconds']:.1f} s")
        if self.log is not None:
            self.log.write("epoch", **row, of_head=self.recorder.in_head)
        self.goes_on_with("after the last epoch")

    def _epoch(self, number: int) -> str:
        total = self.recorder.num_epochs
        return f"epoch {number:{len(str(total))}}/{total}"

    def _watch(self) -> None:
        # Later than a callback would, which knows more.
        while not self._ended.wait(1):
            if time.monotonic() - self._now.last >= 1.5 * SILENCE:
                self._beat({})

    def _beat(self, values: dict) -> None:
        now = self._now
        seconds = time.monotonic() - now.start
        steps = (self.params or {}).get("steps")
        step = f"  step {now.step}/{steps or '?'}" if now.step else ""
        self._line(f"{now.what}{step}  {_words(values)}  {seconds:.0f} s".replace("    ", "  "))
        if self.log is not None:
            epoch = len(self.recorder.rows) + 1
            self.log.write(
                "step",
                doing=now.what,
                epoch=epoch,
                step=now.step,
                steps=steps,
                **values,
                seconds=round(seconds, 1),
            )

    def _line(self, text: str) -> None:
        with self._one_at_a_time:
            self._now.last = time.monotonic()
            if self.prints:
                print(text, flush=True)


def _words(values: dict) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
