"""What DATA means on the command line: a data set's name, an `.npz` file, or a folder of images."""

import dataclasses
import difflib
import functools
import hashlib
import importlib
import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cornu.cli.class_names import CLASS_NAMES
from cornu.cli.command import CommandError, say
from cornu.utils.image_dataset import empty_classes, image_dataset_from_directory
from cornu.utils.image_folder import mode_of, white_of

DEFAULT_IMAGE_SIZE = (128, 128)
_EXPECTED_KEYS = "Expected x_train, y_train, x_test, y_test; or x, y."


@dataclasses.dataclass
class Part:
    """Images with their classes: arrays `(x, y)`, or a folder's data set, read while it is used.

    A folder's pixels are multiplied with `scale`.

    Attributes:
        names: the images' paths, relative to the folder of the data; None for arrays.
    """

    source: Any
    scale: float = 1.0
    names: list[str] | None = None

    @functools.cached_property
    def digests(self) -> list[str]:
        """A SHA-256 of each image: of its file's bytes, or of its numbers in an array."""
        if self.is_in_memory:
            return [hashlib.sha256(image.tobytes()).hexdigest() for image in self.source[0]]
        return file_digests(self.source.file_paths)

    @property
    def is_in_memory(self) -> bool:
        return isinstance(self.source, tuple)

    def __len__(self) -> int:
        return len(self.source[0]) if self.is_in_memory else len(self.source.file_paths)

    @property
    def labels(self) -> np.ndarray:
        """The classes of all images, by number."""
        return np.asarray(self.source[1] if self.is_in_memory else self.source.labels)

    def some(self, rows):
        """Images and classes of a few rows; of a folder's data set, those files alone are read."""
        if self.is_in_memory:
            x, y = self.source
            return x[rows], y[rows]
        x, y = self.source.some(rows)
        return x * np.float32(self.scale), y

    def batches(self, batch_size: int):
        """All images and classes in their order; a folder's batches have the size it was given."""
        if not self.is_in_memory:
            for x, y in self.source:
                yield x * np.float32(self.scale), y
            return
        x, y = self.source
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]


@dataclasses.dataclass
class Data:
    """Images to learn from.

    `white` is the value of a white pixel: 255 in image files, 16 in `digits`, 1 in
    arrays from 0 to 1; None if the values are not pixels, as some are negative.
    `findings` are sentences about what is odd about them, such as that some are there twice.
    """

    name: str
    class_names: list[str]
    train: Part
    validation: Part
    test: Part | None
    shape: tuple[int, int, int]
    white: float | None
    can_be_mirrored: bool
    findings: list[str] = dataclasses.field(default_factory=list)

    def describe(self) -> str:
        """One line about it."""
        parts = [(self.train, "training"), (self.validation, "validation"), (self.test, "test")]
        counts = ", ".join(f"{len(part):,} {name}" for part, name in parts if part is not None)
        size = "x".join(map(str, self.shape))
        return f"{self.name}: {counts} images of {size}, {len(self.class_names)} classes"


def load_data(
    data: str,
    validation_split: float,
    seed: int,
    image_size,
    batch_size: int,
    skip_unreadable=False,
) -> Data:
    """Load what DATA names, with a part of the training images put aside for validation."""
    if not is_folder(data):
        if image_size is not None:
            raise CommandError(
                f"--image-size is for folders of images; those of {data} have a size of their own."
            )
        return _arrays_to_learn(data, validation_split, seed)
    folder = Path(data)
    size = image_size or DEFAULT_IMAGE_SIZE
    on_error = "skip" if skip_unreadable else "raise"
    options = {"image_size": size, "batch_size": batch_size, "on_error": on_error}
    train_folder = folder / "train" if _has_parts(folder) else folder
    validation_folder = next(
        (folder / n for n in ("validation", "val", "valid") if (folder / n).is_dir()), None
    )
    empty = empty_classes(train_folder)
    own = {**options, "seed": seed, "class_names": _classes(train_folder, empty)}
    if train_folder == folder or validation_folder is None:
        train, validation = _open_folder(
            train_folder, validation_split=validation_split, subset="both", **own
        )
    else:
        train = _open_folder(train_folder, **own)
        _check_folders(validation_folder, train.class_names)
        validation = _open_folder(
            validation_folder, class_names=train.class_names, shuffle=False, **options
        )
    test = None
    if train_folder != folder and (folder / "test").is_dir():
        test = _folder_to_judge(folder / "test", folder, train.class_names, **options)
    if len(train.class_names) < 2:
        raise CommandError(
            f"{train_folder} has one class only, {train.class_names[0]!r}. Expected a subfolder with "
            "images for each of several classes."
        )
    for part in (train, validation, *([test.source] if test else [])):
        part.check(SKIP)
    if empty:
        say(f"no class, as there are no images in them: {', '.join(empty)} (in {train_folder}).")
    return Data(
        name=folder.resolve().name,
        class_names=train.class_names,
        train=_part(train, folder),
        validation=_part(validation, folder),
        test=test,
        shape=(*size, 3),
        white=255,
        can_be_mirrored=True,
    )


def load_to_judge(
    data: str, class_names: list[str], shape, white, batch_size: int, skip_unreadable=False
) -> Part:
    """The images of DATA to judge a model by: its test part, or all if it has no parts.

    Args:
        data: DATA.
        class_names: those of the model.
        shape: of the images that the model takes: (rows, columns, channels).
        white: the value of white there; None if its values are not pixels.
        batch_size: images a batch of a folder.
        skip_unreadable: whether to leave out images that cannot be read.
    """
    if is_folder(data):
        mode = mode_of(shape)
        if mode is None or white is None:
            raise not_of_images("The model", shape, white)
        folder = Path(data)
        if _has_parts(folder) and (folder / "test").is_dir():
            folder = folder / "test"
        on_error = "skip" if skip_unreadable else "raise"
        options = {"image_size": shape[:2], "batch_size": batch_size, "on_error": on_error}
        part = _folder_to_judge(folder, Path(data), class_names, color_mode=mode, **options)
        part.scale = white / 255
        return part
    if data in CLASS_NAMES:
        _, (x, y) = _load_named(data)
        # By name, as the model may know other classes.
        labels = np.array(CLASS_NAMES[data])[y.reshape(-1)]
        x, y = _with_channels(x, data), _encode(labels, data, len(x), class_names)
    else:
        arrays = read_npz(data)
        key = "_test" if "x_test" in arrays else ""
        x = _with_channels(arrays[f"x{key}"], f"x{key}")
        y = _encode(arrays[f"y{key}"], f"y{key}", len(x), class_names)
    if x.shape[1:] != tuple(shape):
        raise CommandError(
            f"The images of {data} have shape {x.shape[1:]}; the model was trained on {tuple(shape)}."
        )
    return Part((x, y))


def not_of_images(model: str, shape, white: float | None) -> CommandError:
    """The error that image files cannot be shown to a model."""
    what = f"arrays of shape {tuple(shape)}"
    if white is None:
        what += " with negative values"
    return CommandError(
        f"{model} was not trained on the pixels of images (gray, colours, colours with transparency), but "
        f"on {what}, so it cannot take image files."
    )


def check_range(x, name: str, white: float | None, whose: str) -> None:
    """Raise CommandError if images cannot be of the same range as others: 0 to 255 beside 0 to 1."""
    if white is None:
        return
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 2 * white or 0 < high <= white / 8:
        raise CommandError(
            f"The images of {name} hold values from {low:g} to {high:g}; {whose} values from 0 to "
            f"{white:g}. Bring them to the same range."
        )


def is_folder(data: str) -> bool:
    """Whether DATA is a folder; an error if it is nothing that exists."""
    if data in CLASS_NAMES:
        return False
    path = Path(data)
    if path.is_dir():
        return True
    if not path.is_file():
        near = difflib.get_close_matches(data, CLASS_NAMES, 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CommandError(
            f"There is no data {data!r}.{guess} DATA is one of {', '.join(CLASS_NAMES)}, an .npz "
            "file, or a folder of images with a subfolder for each class."
        )
    if path.suffix.lower() != ".npz":
        raise CommandError(f"{data} is a file of another kind. Expected an .npz file or a folder.")
    return False


def _has_parts(folder: Path) -> bool:
    train = folder / "train"
    return train.is_dir() and any(child.is_dir() for child in train.iterdir())


def _open_folder(folder: Path, **options):
    if not _visible_folders(folder):
        raise CommandError(
            f"{folder} has no subfolders. Expected one for each class, such as "
            f"{folder / 'cat' / '1.jpg'}."
        )
    return image_dataset_from_directory(
        str(folder), verbose=False, exif_orientation=True, **options
    )


# In place of hints for Python programs.
SKIP = "leave out unreadable images with --skip-unreadable."


def _classes(folder: Path, empty: list[str]) -> list[str] | None:
    """The subfolders that hold images; None if there are none, for which there is an error."""
    return sorted(_visible_folders(folder) - set(empty)) or None


def _visible_folders(folder: Path) -> set[str]:
    return {c.name for c in folder.iterdir() if c.is_dir() and not c.name.startswith(".")}


def _folder_to_judge(folder: Path, root: Path, class_names: list[str], **options) -> Part:
    _check_folders(folder, class_names)
    return _part(_open_folder(folder, class_names=class_names, shuffle=False, **options), root)


def _part(dataset, root: Path) -> Part:
    return Part(dataset, names=[os.path.relpath(path, root) for path in dataset.file_paths])


def file_digests(paths: list[str]) -> list[str]:
    """The SHA-256 of each file's bytes."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(_file_digest, paths))


def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _check_folders(folder: Path, class_names: list[str]) -> None:
    found = _visible_folders(folder)
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


def _load_named(name: str):
    return importlib.import_module(f"cornu.datasets.{name}").load_data()


def _arrays_to_learn(data: str, validation_split: float, seed: int) -> Data:
    if data in CLASS_NAMES:
        (x, y), (x_test, y_test) = _load_named(data)
        arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
        class_names = CLASS_NAMES[data]
    else:
        arrays = read_npz(data)
        class_names = None
    key = "_train" if "x_train" in arrays else ""
    x = _with_channels(arrays[f"x{key}"], f"x{key}")
    if class_names is None:
        class_names = _class_names(arrays[f"y{key}"], f"y{key}")
    y = _encode(arrays[f"y{key}"], f"y{key}", len(x), class_names)
    test = None
    if "x_test" in arrays:
        x_test = _with_channels(arrays["x_test"], "x_test")
        if x_test.shape[1:] != x.shape[1:]:
            raise CommandError(
                f"{data}: the images of x_train have shape {x.shape[1:]}, those of x_test "
                f"{x_test.shape[1:]}. Expected the same."
            )
        check_range(x_test, f"x_test in {data}", white_of(x), "those of x_train hold")
        test = Part((x_test, _encode(arrays["y_test"], "y_test", len(x_test), class_names)))
    # Files are often sorted by class, so that their last images are of one class only.
    order = np.random.default_rng(seed).permutation(len(x))
    num_validation = round(validation_split * len(x))
    if not 0 < num_validation < len(x):
        raise CommandError(
            f"--validation-split {validation_split} of {len(x)} images leaves "
            f"{len(x) - num_validation} for training and {num_validation} for validation. Expected "
            "some for each."
        )
    chosen, rest = order[:num_validation], order[num_validation:]
    return Data(
        name=Path(data).stem,
        class_names=class_names,
        train=Part((x[rest], y[rest])),
        validation=Part((x[chosen], y[chosen])),
        test=test,
        shape=x.shape[1:],
        white=white_of(x),
        can_be_mirrored=data.startswith(("fashion", "cifar")),
    )


def read_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, of numbers or text; nothing is ever unpickled."""
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is not an .npz file, or damaged")
            file.seek(0)
            with np.load(file, allow_pickle=False) as opened:
                found = sorted(opened)
                keys = _keys(found)
                arrays = {key: opened[key] for key in keys}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error)
        if "allow_pickle" in reason:
            reason = "it holds pickled objects, which are never opened, as they could run any code"
        raise CommandError(f"Cannot read {path}: {reason}. {_EXPECTED_KEYS}") from error
    if not keys:
        raise CommandError(
            f"{path} lacks arrays. {_EXPECTED_KEYS} Found: {', '.join(found) or 'none'}."
        )
    return arrays


def _keys(found: list[str]) -> list[str]:
    for keys in (["x_train", "y_train", "x_test", "y_test"], ["x_train", "y_train"], ["x", "y"]):
        if set(keys) <= set(found):
            return keys
    return []


def _with_channels(x, key: str):
    """Images as (n, rows, columns, channels), checked."""
    if x.dtype.kind not in "buif" or x.ndim not in (3, 4) or not len(x):
        raise CommandError(
            f"{key} must hold images: values of shape (n, rows, columns) or (n, rows, columns, "
            f"channels). Received: dtype {x.dtype}, shape {x.shape}."
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(1)
        raise CommandError(
            f"{key} holds NaN or infinity in {int(bad.sum())} of {len(x)} images, the first at index "
            f"{int(bad.argmax())}. Remove these images."
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[3] > 4:
        raise CommandError(
            f"{key} has its channels first: its shape is {x.shape}. Expected (n, rows, columns, channels): "
            "x.transpose(0, 2, 3, 1) brings them to the end."
        )
    return x[..., None] if x.ndim == 3 else x


def _class_names(y, key: str) -> list[str]:
    """A name for each class: its label, or, for one-hot labels, its column."""
    if _is_one_hot(y):
        return [str(column) for column in range(y.shape[1])]
    labels = np.unique(_flat(y, key))
    if len(labels) < 2:
        raise CommandError(f"{key} holds one class only: {labels[0]}. Expected several.")
    return [str(label) for label in labels]


def _encode(y, key: str, num_images: int, class_names: list[str]):
    """Labels as class indices, int32 of shape (n,)."""
    if len(y) != num_images:
        raise CommandError(f"There are {num_images} images for {key}, but {len(y)} labels.")
    if _is_one_hot(y):
        if y.shape[1] != len(class_names):
            raise CommandError(f"{key} has {y.shape[1]} columns for {len(class_names)} classes.")
        return y.argmax(1).astype("int32")
    labels, inverse = np.unique(_flat(y, key), return_inverse=True)
    index = {name: number for number, name in enumerate(class_names)}
    if unknown := [str(label) for label in labels if str(label) not in index]:
        raise CommandError(
            f"{key} holds classes that the model does not have: {', '.join(unknown[:10])}. It has "
            f"{', '.join(class_names[:20])}."
        )
    return np.array([index[str(label)] for label in labels], "int32")[inverse]


def _is_one_hot(y) -> bool:
    return (
        y.ndim == 2
        and y.shape[1] > 1
        and y.dtype.kind in "buif"
        and bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())
    )


def _flat(y, key: str):
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    is_whole = y.dtype.kind == "f" and y.ndim == 1 and bool((y == np.round(y)).all())
    if y.ndim != 1 or not (y.dtype.kind in "buiU" or is_whole):
        raise CommandError(
            f"{key} must hold a class for each image: integers or text of shape (n,), or one-hot "
            f"rows. Received: dtype {y.dtype}, shape {y.shape}."
        )
    return y.astype(int) if is_whole else y
