"""The files in a folder, a subfolder for each class, with their labels and their order."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cornu.data.ahead import AUTOTUNE
from cornu.data.dataset import Dataset


def check_labels(labels, label_mode, class_names, what: str) -> None:
    """Raise ValueError for arguments about labels that do not fit each other."""
    if labels is not None and labels != "inferred" and not isinstance(labels, (list, tuple)):
        raise ValueError(
            "`labels` argument should be a list/tuple of integer labels, of the same size as the "
            f"number of {what} in the target directory. If you wish to infer the labels from "
            'the subdirectory names in the target directory, pass `labels="inferred"`. If you wish '
            f"to get a dataset that only contains {what} (no labels), pass `labels=None`. "
            f"Received: labels={labels}"
        )
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(
            '`label_mode` argument must be one of "int", "categorical", "binary", or None. '
            f"Received: label_mode={label_mode}"
        )
    if class_names is not None and labels != "inferred":
        raise ValueError(
            'You can only pass `class_names` if `labels="inferred"`. '
            f"Received: labels={labels}, and class_names={class_names}"
        )


def check_split(validation_split, subset, shuffle, seed) -> None:
    """Raise ValueError for arguments about a split that do not fit each other."""
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1, received: {validation_split}"
        )
    if bool(validation_split) != bool(subset):
        raise ValueError(
            "If `subset` is set, `validation_split` must be set, and inversely. "
            f"Received: validation_split={validation_split}, subset={subset}"
        )
    if subset not in ("training", "validation", "both", None):
        raise ValueError(
            f'`subset` must be either "training", "validation" or "both", received: {subset}'
        )
    if validation_split and shuffle and seed is None:
        raise ValueError(
            "If using `validation_split` and shuffling the data, you must provide a `seed` "
            "argument, to make sure that there is no overlap between the training and validation "
            "subset."
        )


class Folder(NamedTuple):
    """The files in a folder, sorted: paths, labels (int32, or None), and the classes' names (or None)."""

    paths: list[str]
    labels: np.ndarray | None
    class_names: list[str] | None


def find_files(
    directory, labels, label_mode, class_names, follow_links, endings: tuple, what: str, verbose
) -> Folder:
    """What a folder holds, a subfolder for each class unless `labels` say otherwise."""
    directory = os.fspath(directory)
    if not os.path.isdir(directory):
        kind = NotADirectoryError if os.path.exists(directory) else FileNotFoundError
        raise kind(f"There is no folder {directory!r}. Expected a folder of {what}.")
    none = f"No {what} found in directory {directory}. Allowed formats: {endings}."
    if labels == "inferred":
        found = _of_classes(directory, class_names, follow_links, endings, none)
    else:
        found = _without_classes(directory, labels, follow_links, endings)
    if not found.paths:
        raise ValueError(none)
    names: Any = found.class_names
    indices: Any = found.labels
    if label_mode == "binary" and len(names) != 2:
        raise ValueError(
            'When passing `label_mode="binary"`, there must be exactly 2 class_names. '
            f"Received: class_names={names}"
        )
    if label_mode == "categorical" and (indices.min() < 0 or indices.max() >= len(names)):
        raise ValueError(
            f'When passing `label_mode="categorical"`, `labels` must be from 0 to '
            f"{len(names) - 1}, as they have {len(names)} different values. "
            f"Received labels from {indices.min()} to {indices.max()}."
        )
    if verbose:
        classes = "" if names is None else f" belonging to {len(names)} classes"
        print(f"Found {len(found.paths)} files{classes}.")
    return found


def first_order(count: int, shuffle, seed: int) -> np.ndarray:
    """The numbers of the files in the order before the first pass."""
    order = np.arange(count)
    if shuffle:
        # NumPy's old generator with Keras' seeding, so that both libraries split a folder alike.
        np.random.RandomState(seed).shuffle(order)
    return order


def split(order, shuffle, validation_split, subset, verbose, make: Callable):
    """The data set of all files, of a part, or a list of both parts.

    `make(numbers, reshuffle)` makes one.
    """
    if not validation_split:
        return make(order, shuffle)
    num_validation = int(validation_split * len(order))
    num_training = len(order) - num_validation
    if not num_validation or not num_training:
        raise ValueError(
            f"`validation_split={validation_split}` of {len(order)} files leaves {num_training} for "
            f"training and {num_validation} for validation. Expected some for each."
        )
    if verbose and subset in ("training", "both"):
        print(f"Using {num_training} files for training.")
    if verbose and subset in ("validation", "both"):
        print(f"Using {num_validation} files for validation.")
    if subset == "training":
        return make(order[:num_training], shuffle)
    if subset == "validation":
        return make(order[num_training:], shuffle)
    return [make(order[:num_training], shuffle), make(order[num_training:], False)]


def encode_labels(labels: np.ndarray, label_mode: str, class_names) -> np.ndarray:
    """Labels as `label_mode` says: int32, or float32 0 or 1 of shape `(batch, 1)`, or one-hot float32."""
    if label_mode == "binary":
        return labels[:, None].astype("float32")
    if label_mode == "categorical":
        return (labels[:, None] == np.arange(len(class_names))).astype("float32")
    return labels


def _without_classes(directory, labels, follow_links, endings) -> Folder:
    paths = files_below(directory, follow_links, endings)
    if labels is None or not paths:
        return Folder(paths, None, None)
    if len(labels) != len(paths):
        raise ValueError(
            "Expected the lengths of `labels` to match the number of files in the target "
            f"directory. len(labels) is {len(labels)} while we found {len(paths)} files in "
            f"directory {directory}."
        )
    if not all(isinstance(label, (int, np.integer)) for label in labels):
        raise ValueError(f"`labels` must be integers. Received: {list(labels)[:5]}, …")
    return Folder(paths, np.array(labels, "int32"), [str(label) for label in sorted(set(labels))])


def _of_classes(directory, class_names, follow_links, endings, none: str) -> Folder:
    names = subfolders(directory)
    if not names:
        example = os.path.join(directory, "cat", f"1{endings[-1]}")
        raise ValueError(
            f"{none} Expected a subfolder for each class, such as {example!r}; there are no subfolders. "
            "For files without classes pass `labels=None`."
        )
    if class_names is None:
        class_names = names
    elif not set(class_names) <= set(names):
        raise ValueError(
            "The `class_names` passed did not match the names of the subdirectories of the target "
            f"directory. Expected: {names} (or a subset of it), but received: "
            f"class_names={class_names}"
        )
    found = [files_below(os.path.join(directory, n), follow_links, endings) for n in class_names]
    indices = np.repeat(np.arange(len(found), dtype="int32"), [*map(len, found)])
    return Folder([path for of_class in found for path in of_class], indices, list(class_names))


def subfolders(directory: str) -> list[str]:
    """The names of the folders in a folder, without hidden ones."""
    return sorted(
        entry.name
        for entry in os.scandir(directory)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def files_below(folder: str, follow_links: bool, endings: tuple) -> list[str]:
    """The paths of the files in a folder and below whose names have one of these endings, sorted."""

    def refuse(error):
        raise error

    return [
        os.path.join(root, name)
        for root, _, names in sorted(os.walk(folder, onerror=refuse, followlinks=follow_links))
        for name in sorted(names)
        # A name that begins with a dot is not one of the user's files, such as macOS' "._cat.jpg".
        if name.lower().endswith(endings) and not name.startswith(".")
    ]


def file_dataset(
    read: Callable,
    directory,
    labels,
    label_mode,
    class_names,
    batch_size,
    shuffle,
    seed,
    validation_split,
    subset,
    follow_links,
    verbose,
    endings: tuple,
    what: str,
    pad=False,
):
    """The data set of what `read` makes of the files of a folder, with labels; or a list of two.

    With `pad`, what is shorter than the longest of a batch is filled up with zeros.
    """
    if labels is None or label_mode is None:
        labels = label_mode = None
    check_labels(labels, label_mode, class_names, what)
    check_split(validation_split, subset, shuffle, seed)
    found = find_files(
        directory, labels, label_mode, class_names, follow_links, endings, what, verbose
    )
    if seed is None:
        seed = np.random.randint(1_000_000)

    def dataset(part, reshuffle):
        paths = [found.paths[i] for i in part]
        rows: Any = paths
        if found.labels is not None:
            rows = (paths, encode_labels(found.labels[part], label_mode, found.class_names))
        made = Dataset.from_tensor_slices(rows)
        if reshuffle:
            made = made.shuffle(len(paths), seed)
        made = made.map(
            lambda path, *label: (read(path), *label) if label else read(path), AUTOTUNE
        )
        if batch_size is not None:
            made = made.padded_batch(batch_size) if pad else made.batch(batch_size)
        made = made.prefetch(AUTOTUNE)
        made.class_names, made.file_paths = found.class_names, paths
        return made

    order = first_order(len(found.paths), shuffle, seed)
    return split(order, shuffle, validation_split, subset, verbose, dataset)
