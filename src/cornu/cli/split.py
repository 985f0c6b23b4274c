"""`split.csv`: which pictures a run was trained on, and which it was judged by."""

import csv
import io
from pathlib import Path

import numpy as np

from cornu.cli import run_folder, run_settings
from cornu.cli.command import CommandError, say
from cornu.cli.data import Data, Part

_PARTS = ("train", "validation", "test")


def text_of(data: Data) -> str:
    """The file's text: a line a picture, with its name, class, part and SHA-256.

    Of arrays, the name is the number within the part. Several classes have a | between them.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", "class", "part", "sha256"])
    for name in _PARTS:
        part: Part | None = getattr(data, name)
        if part is None:
            continue
        names = part.names or range(len(part))
        if data.is_multi_label:
            classes = [
                "|".join(n for n, has in zip(data.class_names, row, strict=True) if has)
                for row in part.labels
            ]
        else:
            classes = [data.class_names[label] for label in part.labels]
        writer.writerows(
            (picture, of_class, name, digest)
            for picture, of_class, digest in zip(names, classes, part.digests, strict=True)
        )
    return file.getvalue()


def check_same(folder: Path, text: str) -> None:
    """Raise CommandError if the data are not those that a run has begun with."""
    file = folder / run_folder.SPLIT
    if not file.is_file():
        raise CommandError(f"{folder} holds no {run_folder.SPLIT}, so the run cannot be resumed.")
    before, now = set(_lines(file.read_text("utf-8", "surrogateescape"))), set(_lines(text))
    if before != now:
        some = sorted(before ^ now)[0]
        raise CommandError(
            f"The data have changed since the run in {folder} was begun: {len(before ^ now)} lines of its "
            f"{run_folder.SPLIT} differ, such as that of {some.split(',')[0]}. Begin another run."
        )


def _lines(text: str) -> list[str]:
    return text.splitlines()


def digest_of(digests: list[str]) -> str:
    """One SHA-256 for some pictures, in whatever order."""
    return run_folder.sha256("".join(sorted(digests)))


def parts_of(folder: Path) -> dict[str, set[str]] | None:
    """The digests of a run's pictures by its parts; None if the run did not write them."""
    file = folder / run_folder.SPLIT
    if not file.is_file():
        return None
    found: dict[str, set[str]] = {name: set() for name in _PARTS}
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            for row in csv.DictReader(lines):
                found[row["part"]].add(row["sha256"])
    except (KeyError, ValueError, csv.Error) as error:
        raise CommandError(f"{file} is damaged, or not written by cornu train: {error}") from error
    return found


def seen_before(folder: Path, part: Part) -> dict[str, int] | None:
    """How many images of a part are, byte for byte, in a run's parts; None if that is not known."""
    known = _known(folder)
    if known is None:
        return None
    return {name: sum(digest in known[name] for digest in part.digests) for name in _PARTS}


def trained_on(folder: Path, part: Part) -> np.ndarray | None:
    """Which images of a part a run was trained on; None if that is not known."""
    known = _known(folder)
    return None if known is None else np.array([each in known["train"] for each in part.digests])


def _known(folder: Path) -> dict[str, set[str]] | None:
    """The digests of a run's pictures by its parts, if they can be relied on."""
    settings = run_settings.read_beside(folder / run_folder.MODEL)
    known = None
    if not (folder / run_folder.SPLIT).is_file():
        what = "is not there" if "split_sha256" in settings else ""
    elif not run_folder.is_as_written(folder, run_folder.SPLIT, settings):
        what = "has been changed since the run"
    else:
        what, known = "", parts_of(folder)
    if what:
        say(
            f"warning: {folder / run_folder.SPLIT} {what}, so which images were trained on is not known."
        )
    return known
