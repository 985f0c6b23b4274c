"""What `cornu train --resume` needs of a run that was stopped."""

import json
import time
import types
from pathlib import Path

from cornu import callbacks
from cornu.cli import config, run_folder, run_settings
from cornu.cli.command import CommandError, say
from cornu.cli.judge import number
from cornu.core import processes

# Seconds of an epoch after which the state is written within it.
LONG_EPOCH = 300
_HEAD = "head.json"
# What the settings of a run hold at its end.
_IS_FINISHED = "accuracy"


def options_of_run(folder: Path | None, function) -> tuple[dict, dict]:
    """The options of a run, all of them, and its settings.

    Raises CommandError if there is no such run, or if it is not finished and of another version.

    Args:
        folder: of the run.
        function: the command whose options they are.
    """
    if folder is None:
        raise CommandError("--resume needs the folder of the run: --output FOLDER.")
    if not (folder / run_folder.CONFIG).is_file() or not (folder / run_settings.SETTINGS).is_file():
        raise CommandError(
            f"{folder} holds no run that can be resumed. Leave --resume out to begin one."
        )
    settings = run_settings.read(folder / run_settings.SETTINGS)
    options = config.read(folder / run_folder.CONFIG, function)
    if _IS_FINISHED in settings:
        return options, settings
    now, then = run_folder.versions(), settings.get("versions", {})
    if now["cornu"] != then.get("cornu"):
        raise CommandError(
            f"The run in {folder} was begun by cornu {then.get('cornu')}, and this is {now['cornu']}. "
            "Resume it with that version, or begin another with --overwrite."
        )
    if not run_folder.is_as_written(folder, run_folder.CONFIG, settings):
        raise CommandError(
            f"{folder / run_folder.CONFIG} has been changed since the run was begun, which goes on as it "
            "began. Undo that, or begin another run with --config and another --output."
        )
    if others := [f"{n} {then.get(n)}, now {now[n]}" for n in now if now[n] != then.get(n)]:
        say(f"the run was begun with {', '.join(others)}: its last digits may differ.")
    return options, settings


def is_finished(folder: Path | None, settings: dict) -> bool:
    """Whether there is nothing left to do for a run, which is then said."""
    if _IS_FINISHED not in settings:
        return False
    is_several = (settings.get("image") or {}).get("is_multi_label", False)
    name, value = (
        ("F1", settings.get("f1_macro")) if is_several else ("accuracy", settings["accuracy"])
    )
    print(
        f"The run in {folder} is finished: its best epoch is {settings['best_epoch']}, with {name} "
        f"{number(value)} on the {settings['judged_on']} images."
    )
    return True


def check_options(given: set[str], wanted: dict, begun: dict) -> None:
    """Raise CommandError if options were given that are not those of the run."""
    changed = [name for name in sorted(given) if not _is_same(name, wanted[name], begun.get(name))]
    if changed:
        words = [f"{_option(n)} {wanted[n]} (it was {begun.get(n)})" for n in changed]
        raise CommandError(
            f"A run goes on with the options that it was begun with. Changed: {', '.join(words)}. "
            "Leave that out, or begin another run with another --output."
        )


def _option(name: str) -> str:
    return "DATA" if name == "data" else f"--{name.replace('_', '-')}"


def _is_same(name: str, one, other) -> bool:
    if name == "data" and one and other:
        return Path(one).resolve() == Path(other).resolve()
    return one == other


class Backup(callbacks.BackupAndRestore):
    """The state after each epoch, and every five minutes of one that takes longer."""

    def __init__(self, folder: Path):
        super().__init__(folder / run_folder.RESUME, delete_checkpoint=False)
        self._clock = types.SimpleNamespace(last=time.monotonic())

    def on_train_batch_end(self, batch, logs=None):
        if self._is_long():
            self._save(batch + 1)

    def _is_long(self) -> bool:
        # Several processes write together, and their clocks differ.
        return processes.group() is None and time.monotonic() - self._clock.last > LONG_EPOCH

    def _save(self, step: int) -> None:
        super()._save(step)
        self._clock.last = time.monotonic()


def kept_head(folder: Path) -> dict | None:
    """What `HeadKept` wrote, if the training of the whole model has begun since."""
    file = folder / run_folder.RESUME / _HEAD
    if not file.is_file() or not (folder / run_folder.RESUME / "latest.weights.h5").is_file():
        return None
    return json.loads(file.read_text("utf-8"))


class HeadKept(callbacks.Callback):
    """Writes what a head's training found, when that of the whole model begins.

    Its learning rate is part of that: another process would find another one, from other weights.
    """

    in_first_process_only = True

    def __init__(self, folder: Path, found: dict):
        super().__init__()
        self.folder, self.found = folder, found

    def on_train_begin(self, logs=None):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        # The head's is the largest.
        parts = getattr(optimizer, "_parts", [optimizer])
        rate = max(float(part._learning_rate.warmup_target) for part in parts)
        path = self.folder / run_folder.RESUME / _HEAD
        path.parent.mkdir(exist_ok=True)
        run_folder.write_text(path, json.dumps({**self.found, "whole_rate": rate}))
