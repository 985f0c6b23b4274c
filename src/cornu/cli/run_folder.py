"""The folder of a training run: which files it holds, and the settings that belong to the model."""

import contextlib
import csv
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cornu.applications import lenet, small_resnet
from cornu.applications.packaged import FOLDER
from cornu.cli import run_settings
from cornu.cli.class_names import CLASS_NAMES
from cornu.cli.command import CommandError, say
from cornu.cli.quality import THRESHOLD
from cornu.cli.run_settings import SETTINGS
from cornu.saving import load_model
from cornu.saving.atomic import replacing

MODEL, HISTORY = "model.keras", "history.csv"
CURVES, CONFUSION, PREDICTIONS = "curves.png", "confusion_matrix.png", "predictions.png"
CONFIG, SPLIT, REPORT = "config.toml", "split.csv", "report.html"
NOISE = "label_noise.csv"
# What a run that was stopped goes on from.
RESUME = "resume"
_FILES = (
    *(MODEL, SETTINGS, HISTORY, CURVES, CONFUSION, PREDICTIONS),
    *(CONFIG, SPLIT, REPORT, NOISE, RESUME),
)


# The trained networks of the package, which can be named where a model's file can.
PACKAGED = {
    "SmallResNet": (small_resnet.SmallResNet, small_resnet.PACKAGED),
    "LeNet5": (lenet.LeNet5, lenet.PACKAGED),
}


@dataclasses.dataclass
class TrainedModel:
    """A model with what must be known to use it.

    Its logits are divided by `temperature`, so that its probabilities say how often it is right. Images
    that may be of several classes are taken for those whose probability is at least that of `thresholds`.
    """

    model: Any
    path: Path
    class_names: list[str]
    shape: tuple[int, ...]
    white: float | None
    fit: str = "stretch"
    is_multi_label: bool = False
    temperature: float = 1.0
    thresholds: list[float] | None = None


class Known(NamedTuple):
    """What the settings say of the images that a model takes, and of its answers.

    Attributes:
        class_names: of the model's classes, by number.
        white: the value of a white pixel; None if the values are not pixels.
        fit: what became of images of other proportions, one of `FITS`.
        is_multi_label: whether an image may be of several classes, or of none.
        temperature: what the logits are divided by, so that probabilities say how often it is right.
        thresholds: from which probability on an image that may be of several classes is of each; None where
            it is of one.
    """

    class_names: list[str]
    white: float | None
    fit: str = "stretch"
    is_multi_label: bool = False
    temperature: float = 1.0
    thresholds: list[float] | None = None


def check_new(folder: Path, overwrite: bool) -> None:
    """Raise CommandError if a folder cannot be made, or holds a run that must not be overwritten."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whether it can be written is seen by writing; nothing is left.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CommandError(f"{folder} cannot be made or written: {error.strerror}.") from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
    old = [name for name in _FILES if (folder / name).exists()]
    if old and not overwrite:
        raise CommandError(
            f"{folder} holds a training already: {', '.join(old)}. Choose another folder with --output, "
            "or pass --overwrite."
        )


def clear(folder: Path) -> None:
    """Take away what an older run left in its folder, and nothing else."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True) if name != RESUME else forget_state(folder)


def forget_state(folder: Path) -> None:
    """Take away what a run would go on from."""
    shutil.rmtree(folder / RESUME, ignore_errors=True)


def check_file(path: Path, endings: tuple[str, ...]) -> None:
    """Raise CommandError if a file cannot be written, or its name does not say of which kind it is."""
    if path.suffix not in endings:
        raise CommandError(f"{path} must end in {' or '.join(endings)}.")
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise CommandError(f"{path} cannot be written: {what}.")


def make_free(folder: Path) -> Path:
    """Make the folder, or, if it is there, the same with a number."""
    names = itertools.chain(
        [folder], (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    )
    for name in names:
        # Two processes may have the same idea at once.
        with contextlib.suppress(FileExistsError):
            name.mkdir(parents=True)
            return name
    raise AssertionError("there is always another number")


@contextlib.contextmanager
def held(folder: Path):
    """Within, no other process writes a run into the folder. Raises CommandError if one does.

    The system lets go of it when a process dies. Windows, and some file systems of networks, know no such
    lock; there nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"Another process is training in {folder}. Wait for it, or choose another folder with "
                "--output."
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    found = {name: importlib.metadata.version(name) for name in ("cornu", "jax", "numpy")}
    return {**found, "python": platform.python_version()}


def write_settings(folder: Path, settings: dict) -> None:
    """Write `settings.json`."""
    text = json.dumps({"form": run_settings.FORM, **settings}, indent=2, ensure_ascii=False)
    write_text(folder / SETTINGS, text + "\n")


def sha256(text: str) -> str:
    """The SHA-256 of a text's bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_as_written(folder: Path, name: str, settings: dict) -> bool:
    """Whether a run's file has the SHA-256 in the settings, such as `split_sha256`; True without one."""
    digest = settings.get(f"{Path(name).stem}_sha256")
    return digest is None or digest == digest_of(folder / name)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, whole or not at all."""
    with replacing(path) as temporary:
        # A name that is no UTF-8 keeps its bytes.
        temporary.write_text(text, "utf-8", "surrogateescape")


def write_history(folder: Path, rows: list[dict]) -> None:
    """Write `history.csv`, a line an epoch."""
    with replacing(folder / HISTORY) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def load(path_text: str, compiles: bool = True) -> tuple[Any, Path]:
    """The model in a file, in the folder of a run, or in the package, and the file's path."""
    path = Path(path_text)
    if path_text in PACKAGED and not path.exists():
        constructor, packaged = PACKAGED[path_text]
        return constructor(), FOLDER / packaged.file
    if path.is_dir():
        path = path / MODEL
        if not path.is_file():
            raise CommandError(f"The folder {path.parent} holds no {MODEL}. Was it made by train?")
    # Beside a file of another name, settings may be anyone's.
    settings = run_settings.read_beside(path) if path.name == MODEL else {}
    newer = run_settings.from_newer(settings)
    try:
        model = load_model(path, compile=compiles)
    except ValueError as error:
        raise CommandError(f"{error} {newer}".strip()) from error
    if newer:
        say(f"warning: {newer}")
    if not is_as_written(path.parent, MODEL, settings):
        say(
            f"warning: {path} is not the file that the run wrote. Classes and pixels may be others than "
            f"{SETTINGS} says."
        )
    return model, path


def load_trained(path_text: str) -> TrainedModel:
    """The model in a run's folder, or in a `.keras` file, whose settings may be beside it."""
    return described(*load(path_text, compiles=False))


def described(model, path: Path) -> TrainedModel:
    """A loaded classifier of images with what is known of it."""
    shape = model.inputs[0].shape[1:] if len(model.inputs) == 1 else ()
    output = model.outputs[0].shape
    if len(shape) != 3 or None in shape or len(model.outputs) != 1 or len(output) != 2:
        raise CommandError(
            f"{path} is not a classifier of images of one size: it goes from "
            f"{[t.shape for t in model.inputs]} to {[t.shape for t in model.outputs]}. Expected one "
            "input (None, rows, columns, channels) and one output (None, classes)."
        )
    return TrainedModel(model, path, shape=shape, **settings_of(path, output[1])._asdict())


def is_described(path: Path) -> bool:
    """Whether the classes and the pixels of a model are known: it is of the package, or has settings."""
    return path.parent == FOLDER or (path.parent / SETTINGS).is_file()


def say_unknown(path: Path) -> None:
    """Say what is taken for granted of a model of which nothing is known."""
    if not is_described(path):
        say(f"there is no {SETTINGS} beside {path}: classes are numbers, pixels 0 to 255.")


def settings_of(path: Path, num_classes: int) -> Known:
    """What the settings beside a model's file say."""
    for _, packaged in PACKAGED.values():
        if path == FOLDER / packaged.file:
            return Known(CLASS_NAMES[packaged.dataset], 255.0)
    file = path.parent / SETTINGS
    if not file.is_file():
        return Known([str(number) for number in range(num_classes)], 255.0)
    settings = run_settings.read(file)
    class_names, image = settings.get("classes"), settings.get("image")
    if class_names is None or image is None:
        raise CommandError(
            f"{file} is damaged, or not written by cornu train: it has no classes, or no image."
        )
    if len(class_names) != num_classes:
        raise CommandError(
            f"{file} does not belong to {path}: it must name {num_classes} classes. Found: "
            f"{class_names}."
        )
    is_multi_label = image.get("is_multi_label", False)
    thresholds = settings.get("thresholds") or [THRESHOLD] * num_classes
    if len(thresholds) != num_classes:
        raise CommandError(f"{file} is damaged: it must have a threshold for each of its classes.")
    return Known(
        class_names,
        image["white"],
        image.get("fit", "stretch"),
        is_multi_label,
        float(settings.get("temperature", 1)),
        [float(each) for each in thresholds] if is_multi_label else None,
    )
