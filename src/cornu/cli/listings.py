"""Which image files there are, and of which classes: a folder, or a CSV file that names them."""

import csv
import dataclasses
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cornu.cli.command import CommandError
from cornu.utils.folders import files_below
from cornu.utils.image_dataset import empty_classes, image_files

# The parts of data, by the names that folders and the column `split` have.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# NumPy's type of their names: a shorter one would cut off the longest.
PART = "U10"
# Of images that are not read.
_OTHER_ENDINGS = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".dng")
_COLUMNS = "path and label (or labels, several of them separated by ;), and perhaps split"


@dataclasses.dataclass
class Listing:
    """Image files with their classes, sorted by their names.

    Attributes:
        root: what their names are relative to.
        labels: the numbers of their classes, int32; or 0 and 1 for each class, `(n, classes)`.
        parts: the part of each file: `"train"`, `"validation"`, `"test"`.
        findings: what is odd about them, as sentences.
    """

    root: Path
    names: list[str]
    labels: np.ndarray
    class_names: list[str]
    parts: np.ndarray
    findings: list[str]

    @property
    def paths(self) -> list[str]:
        return [os.path.join(self.root, name) for name in self.names]

    def only(self, rows) -> "Listing":
        """Some of the files."""
        names = [self.names[row] for row in np.arange(len(self.names))[rows]]
        return dataclasses.replace(
            self, names=names, labels=self.labels[rows], parts=self.parts[rows]
        )


def list_folder(folder: Path) -> Listing:
    """The images of a folder with a subfolder for each class, or one with parts that have such."""
    parts = parts_of(folder)
    train = parts.get("train", folder)
    if not visible_folders(train):
        raise CommandError(
            f"{train} has no subfolders. Expected one for each class, such as "
            f"{train / 'cat' / '1.jpg'}."
        )
    empty = empty_classes(train)
    class_names = sorted(visible_folders(train) - set(empty))
    if not class_names:
        raise CommandError(
            f"No images found in {train}: no JPEG, PNG, BMP, GIF or WebP file. Expected some in a "
            f"subfolder for each class, such as {train / 'cat' / '1.jpg'}."
        )
    check_classes(class_names, str(train))
    findings = []
    if empty:
        findings.append(
            f"no class, as there are no images in them: {', '.join(empty)} (in {train})."
        )
    if others := files_below(str(folder), False, _OTHER_ENDINGS):
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        listed = ", ".join(os.path.relpath(path, folder) for path in others[:3]) + more
        findings.append(f"left out, as images must be JPEG, PNG, BMP, GIF or WebP: {listed}.")
    found = []
    for part, place in parts.items() if parts else [("train", folder)]:
        if part != "train":
            _check_folders(place, class_names)
        for label, name in enumerate(class_names):
            paths = image_files(place / name)
            found += [(os.path.relpath(path, folder), label, part) for path in paths]
    names, labels, of_parts = zip(*sorted(found), strict=True)
    return Listing(
        folder,
        list(names),
        np.array(labels, "int32"),
        class_names,
        np.array(of_parts, PART),
        findings,
    )


def list_to_judge(folder: Path, class_names: list[str]) -> Listing:
    """The images of a folder's test part, or of all of it, of the classes that a model knows."""
    place = parts_of(folder).get("test", folder)
    _check_folders(place, class_names)
    found = [
        (os.path.relpath(path, folder), label)
        for label, name in enumerate(class_names)
        for path in image_files(place / name)
    ]
    if not found:
        raise CommandError(f"No images found in {place}.")
    names, labels = zip(*sorted(found), strict=True)
    parts = np.full(len(names), "test", PART)
    return Listing(folder, list(names), np.array(labels, "int32"), class_names, parts, [])


def parts_of(folder: Path) -> dict[str, Path]:
    """The subfolders that are parts, by their part; none if the subfolders are classes."""
    found: dict[str, Path] = {}
    others = []
    for name in sorted(visible_folders(folder)):
        part = PARTS.get(name.lower())
        if part is None:
            others.append(name)
        elif part in found:
            raise CommandError(
                f"{folder} has both {found[part].name} and {name}. Expected one folder of them."
            )
        else:
            found[part] = folder / name
    if "train" in found and visible_folders(found["train"]):
        return found
    if found and not others and "train" not in found and all(map(visible_folders, found.values())):
        names = " and ".join(path.name for path in found.values())
        raise CommandError(f"{folder} has {names}, but no folder train to learn from.")
    return {}


def visible_folders(folder: Path) -> set[str]:
    return {c.name for c in folder.iterdir() if c.is_dir() and not c.name.startswith(".")}


def check_classes(class_names: Iterable[str], where: str, least: int = 2) -> None:
    """Raise CommandError for fewer classes than that, and for two that are written almost alike."""
    names = list(class_names)
    if len(names) < least:
        raise CommandError(
            f"{where} has one class only, {names[0]!r}. Expected images of several classes, those of "
            "each in a subfolder, or named in a CSV file."
        )
    alike = defaultdict(list)
    for name in names:
        alike[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    if same := [group for group in alike.values() if len(group) > 1]:
        listed = "; ".join(" and ".join(map(repr, group)) for group in same)
        raise CommandError(
            f"{where} has classes that differ in case or spaces only: {listed}. Give one class one name."
        )


def _check_folders(folder: Path, class_names: list[str]) -> None:
    found = visible_folders(folder)
    if missing := sorted(set(class_names) - found):
        raise CommandError(
            f"{folder} has no subfolder for the classes {', '.join(missing)}. If there are no such "
            "images, make empty ones."
        )
    empty = set(empty_classes(folder))
    # Without images in it, a folder is no class; but if none has images, their names may say why.
    unknown = sorted(found - set(class_names) - (empty if empty < found else set()))
    if unknown:
        raise CommandError(
            f"{folder} has subfolders that are no class of the model: {', '.join(unknown)}. The "
            f"classes are {', '.join(class_names)}."
        )


def list_csv(path: Path, class_names: list[str] | None = None) -> Listing:
    """The images that a CSV file names: columns `path`, `label` or `labels`, and perhaps `split`.

    Args:
        path: the file; the images' paths are relative to its folder.
        class_names: those of a model, if there is one; other classes are refused then.
    """
    rows = _rows(path)
    is_several = "labels" in rows[0][1]
    lines: dict[str, int] = {}
    found = []
    missing = []
    for line, row in rows:
        name = os.path.normpath(row["path"].strip())
        if not row["path"].strip():
            raise CommandError(f"{path}, line {line}: there is no path.")
        if name in lines:
            raise CommandError(
                f"{path} names {name} twice, in the lines {lines[name]} and {line}. "
                + (
                    "Write its classes into one line."
                    if is_several
                    else "For images of several classes, call the column labels and separate them by ;."
                )
            )
        lines[name] = line
        if not (path.parent / name).is_file():
            missing.append(f"{name} (line {line})")
        classes = row["labels" if is_several else "label"]
        labels = [each.strip() for each in classes.split(";")] if is_several else [classes.strip()]
        if not is_several and not labels[0]:
            raise CommandError(f"{path}, line {line}: {name} has no label.")
        split = (row.get("split", "train") or "").strip().lower()
        if split not in PARTS:
            raise CommandError(
                f"{path}, line {line}: the split is {split!r}. Expected train, validation or test."
            )
        found.append((name, [label for label in labels if label], PARTS[split]))
    if missing:
        more = f" And {len(missing) - 10} more." if len(missing) > 10 else ""
        raise CommandError(
            f"{len(missing)} of {len(rows)} images that {path} names are not there: "
            f"{', '.join(missing[:10])}.{more} Paths are relative to {path.parent}."
        )
    found.sort()
    return _of_rows(path, found, is_several, class_names)


def _of_rows(path: Path, found: list, is_several: bool, class_names: list[str] | None) -> Listing:
    by_part = defaultdict(set)
    for _, labels, part in found:
        by_part[part].update(labels)
    if class_names is None:
        if "train" not in by_part:
            raise CommandError(f"{path} has no row with the split train to learn from.")
        class_names = sorted(by_part["train"])
        if not class_names:
            raise CommandError(f"{path} names no class.")
        check_classes(class_names, str(path), 1 if is_several else 2)
    for part, of_part in by_part.items():
        if unknown := sorted(of_part - set(class_names)):
            raise CommandError(
                f"{path} has classes in the split {part} that there are none of to learn from: "
                f"{', '.join(unknown[:10])}. The classes are {', '.join(class_names[:20])}."
            )
    index = {name: number for number, name in enumerate(class_names)}
    if is_several:
        labels = np.zeros((len(found), len(class_names)), "float32")
        for row, (_, own, _) in enumerate(found):
            labels[row, [index[name] for name in own]] = 1
    else:
        labels = np.array([index[own[0]] for _, own, _ in found], "int32")
    names = [name for name, _, _ in found]
    parts = np.array([part for _, _, part in found], PART)
    return Listing(path.parent, names, labels, class_names, parts, [])


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with the numbers of their lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [str(name).strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"Cannot read {path}: {error}. Expected a CSV file in UTF-8.") from error
    is_one = ("label" in columns) + ("labels" in columns) == 1
    if "path" not in columns or not is_one or len(set(columns)) < len(columns):
        hint = " Separate columns by commas." if len(columns) == 1 and ";" in columns[0] else ""
        raise CommandError(
            f"The first line of {path} must name the columns {_COLUMNS}. Found: "
            f"{', '.join(columns) or 'nothing'}.{hint}"
        )
    for line, row in rows:
        if None in row or None in row.values():
            raise CommandError(
                f"{path}, line {line}: expected {len(columns)} values, as the first line has columns. "
                "A value with a comma in it stands between quotation marks."
            )
    if not rows:
        raise CommandError(f"{path} names no images.")
    return rows
