"""Arrays of images to learn from: a data set by name, or an `.npz` file."""

import importlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cornu.cli.class_names import CLASS_NAMES
from cornu.cli.command import CommandError
from cornu.cli.listings import check_classes
from cornu.cli.parts import Data, Part
from cornu.cli.splits import stratified
from cornu.utils.image_folder import white_of

_EXPECTED_KEYS = "Expected x_train, y_train, x_test, y_test; or x, y."


def arrays_to_learn(data: str, validation_split: float, seed: int) -> Data:
    if data in CLASS_NAMES:
        (x, y), (x_test, y_test) = load_named(data)
        arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
        class_names = CLASS_NAMES[data]
    else:
        arrays = read_npz(data)
        class_names = None
    key = "_train" if "x_train" in arrays else ""
    x = _with_channels(arrays[f"x{key}"], f"x{key}")
    if class_names is None:
        class_names = _class_names(arrays[f"y{key}"], f"y{key}")
    is_several = _is_multi_hot(arrays[f"y{key}"])
    y = _encode(arrays[f"y{key}"], f"y{key}", len(x), class_names, is_several)
    test = None
    if "x_test" in arrays:
        x_test = _with_channels(arrays["x_test"], "x_test")
        if x_test.shape[1:] != x.shape[1:]:
            raise CommandError(
                f"{data}: the images of x_train have shape {x.shape[1:]}, those of x_test "
                f"{x_test.shape[1:]}. Expected the same."
            )
        check_range(x_test, f"x_test in {data}", white_of(x), "those of x_train hold")
        y_test = _encode(arrays["y_test"], "y_test", len(x_test), class_names, is_several)
        test = Part((x_test, y_test))
    is_chosen = stratified(y, validation_split, seed)
    return Data(
        name=Path(data).stem,
        class_names=class_names,
        train=Part((x[~is_chosen], y[~is_chosen])),
        validation=Part((x[is_chosen], y[is_chosen])),
        test=test,
        shape=x.shape[1:],
        white=white_of(x),
        can_be_mirrored=data.startswith(("fashion", "cifar")),
    )


def arrays_to_judge(data: str, class_names: list[str], shape, is_multi_label: bool = False) -> Part:
    """The test part of arrays, or all of them, with the classes that a model knows."""
    if data in CLASS_NAMES:
        _, (x, y) = load_named(data)
        # By name, as the model may know other classes.
        labels = np.array(CLASS_NAMES[data])[y.reshape(-1)]
        x, y = _with_channels(x, data), _encode(labels, data, len(x), class_names)
    else:
        arrays = read_npz(data)
        key = "_test" if "x_test" in arrays else ""
        x = _with_channels(arrays[f"x{key}"], f"x{key}")
        y = _encode(arrays[f"y{key}"], f"y{key}", len(x), class_names, is_multi_label)
    if x.shape[1:] != tuple(shape):
        raise CommandError(
            f"The images of {data} have shape {x.shape[1:]}; the model was trained on {tuple(shape)}."
        )
    return Part((x, y))


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


def load_named(name: str):
    return importlib.import_module(f"cornu.datasets.{name}").load_data()


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
    if _is_one_hot(y) or _is_multi_hot(y):
        return [str(column) for column in range(y.shape[1])]
    labels = np.unique(_flat(y, key))
    if len(labels) < 2:
        raise CommandError(f"{key} holds one class only: {labels[0]}. Expected several.")
    names = [str(label) for label in labels]
    check_classes(names, key)
    return names


def _encode(y, key: str, num_images: int, class_names: list[str], is_several: bool = False):
    """Labels as class indices, int32 of shape (n,); of several classes as 0 and 1, `(n, classes)`."""
    if len(y) != num_images:
        raise CommandError(f"There are {num_images} images for {key}, but {len(y)} labels.")
    if is_several or _is_one_hot(y):
        if not _is_zeros_and_ones(y):
            raise CommandError(f"{key} must hold 0 and 1 for each of {len(class_names)} classes.")
        if y.shape[1] != len(class_names):
            raise CommandError(f"{key} has {y.shape[1]} columns for {len(class_names)} classes.")
        return y.astype("float32") if is_several else y.argmax(1).astype("int32")
    labels, inverse = np.unique(_flat(y, key), return_inverse=True)
    index = {name: number for number, name in enumerate(class_names)}
    if unknown := [str(label) for label in labels if str(label) not in index]:
        raise CommandError(
            f"{key} holds classes that the model does not have: {', '.join(unknown[:10])}. It has "
            f"{', '.join(class_names[:20])}."
        )
    return np.array([index[str(label)] for label in labels], "int32")[inverse]


def _is_one_hot(y) -> bool:
    return _is_zeros_and_ones(y) and bool((y.sum(1) == 1).all())


def _is_multi_hot(y) -> bool:
    """Whether rows say of several classes whether an image is of them."""
    return _is_zeros_and_ones(y) and bool(y.any(0).all() and (y.sum(1) != 1).any())


def _is_zeros_and_ones(y) -> bool:
    return (
        y.ndim == 2
        and y.shape[1] > 1
        and y.dtype.kind in "buif"
        and bool(((y == 0) | (y == 1)).all())
    )


def _flat(y, key: str):
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    is_whole = y.dtype.kind == "f" and y.ndim == 1 and bool((y == np.round(y)).all())
    if y.ndim != 1 or not (y.dtype.kind in "buiU" or is_whole):
        raise CommandError(
            f"{key} must hold a class for each image: integers or text of shape (n,), one-hot rows, or "
            "rows of 0 and 1 for images of several classes, with images of each. Received: dtype "
            f"{y.dtype}, shape {y.shape}."
        )
    return y.astype(int) if is_whole else y
