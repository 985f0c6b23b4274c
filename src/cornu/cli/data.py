"""What DATA means on the command line: a data set's name, an `.npz` or CSV file, a folder of images."""

import difflib
from pathlib import Path

from cornu.cli.arrays import arrays_to_judge, arrays_to_learn, check_range, read_npz
from cornu.cli.class_names import CLASS_NAMES
from cornu.cli.command import CommandError, say
from cornu.cli.listings import list_csv, list_folder, list_to_judge
from cornu.cli.parts import Data, Part
from cornu.cli.pictures import SKIP, part_of, pictures_to_learn, reader_of, say_of_simplejpeg
from cornu.utils.image_folder import are_readable, mode_of

__all__ = [
    "DEFAULT_IMAGE_SIZE",
    "SKIP",
    "Data",
    "Part",
    "check_range",
    "has_image_files",
    "load_data",
    "load_to_judge",
    "not_of_images",
    "read_npz",
]

DEFAULT_IMAGE_SIZE = (128, 128)


def load_data(
    data: str,
    validation_split: float,
    seed: int,
    image_size,
    batch_size: int,
    skip_unreadable=False,
    fit: str | None = None,
    keep_duplicates=False,
) -> Data:
    """Load what DATA names, with a part of the training images put aside for validation."""
    if not has_image_files(data):
        for option, value in (
            ("--image-size", image_size),
            ("--fit", fit),
            ("--skip-unreadable", skip_unreadable),
            ("--keep-duplicates", keep_duplicates),
        ):
            if value:
                raise CommandError(
                    f"{option} is for image files; {data} holds arrays, which are taken as they are."
                )
        return arrays_to_learn(data, validation_split, seed)
    path = Path(data)
    found = pictures_to_learn(
        list_folder(path) if path.is_dir() else list_csv(path),
        path.resolve().stem if path.is_file() else path.resolve().name,
        validation_split=validation_split,
        seed=seed,
        image_size=image_size or DEFAULT_IMAGE_SIZE,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
        fit=fit or "stretch",
        keep_duplicates=keep_duplicates,
    )
    for finding in found.findings:
        say(finding)
    return found


def load_to_judge(
    data: str,
    class_names: list[str],
    shape,
    white,
    batch_size: int,
    skip_unreadable=False,
    fit: str = "stretch",
    is_multi_label: bool = False,
) -> Part:
    """The images of DATA to judge a model by: its test part, or all if it has no parts.

    Args:
        data: DATA.
        class_names: those of the model.
        shape: of the images that the model takes: (rows, columns, channels).
        white: the value of white there; None if its values are not pixels.
        batch_size: images a batch of a folder.
        skip_unreadable: whether to leave out images that cannot be read.
        fit: what becomes of images of other proportions.
        is_multi_label: whether the model's images may be of several classes.
    """
    if not has_image_files(data):
        if skip_unreadable:
            raise CommandError(f"--skip-unreadable is for image files; {data} holds arrays.")
        part = arrays_to_judge(data, class_names, shape, is_multi_label)
        return _of_kind(part, data, is_multi_label)
    mode = mode_of(shape)
    if mode is None or white is None:
        raise not_of_images("The model", shape, white)
    path = Path(data)
    if path.is_dir():
        listing = list_to_judge(path, class_names)
    else:
        listing = list_csv(path, class_names)
        if "test" in listing.parts:
            listing = listing.only(listing.parts == "test")
    say_of_simplejpeg(listing.paths)
    reader = reader_of(mode, shape[:2], fit)
    if skip_unreadable:
        listing = listing.only(are_readable(reader, listing.paths))
    part = part_of(listing, reader, batch_size, unchecked=[] if skip_unreadable else listing.paths)
    part.scale = white / 255
    return _of_kind(part, data, is_multi_label)


def _of_kind(part: Part, data: str, is_multi_label: bool) -> Part:
    """The part, or an error if its images are of several classes and the model's of one, or the reverse."""
    if (part.labels.ndim == 2) == is_multi_label:
        return part
    several, one = "several classes (a column labels, or 0 and 1 for each)", "one class each"
    has, knows = (one, several) if is_multi_label else (several, one)
    raise CommandError(
        f"The images of {data} are of {has}; the model was trained on such of {knows}."
    )


def not_of_images(model: str, shape, white: float | None) -> CommandError:
    """The error that image files cannot be shown to a model."""
    what = f"arrays of shape {tuple(shape)}"
    if white is None:
        what += " with negative values"
    return CommandError(
        f"{model} was not trained on the pixels of images (gray, colours, colours with transparency), but "
        f"on {what}, so it cannot take image files."
    )


def has_image_files(data: str) -> bool:
    """Whether DATA is a folder or a CSV file of images; an error if it is nothing that exists."""
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
            "file, a folder of images with a subfolder for each class, or a .csv file of their paths and "
            "labels."
        )
    ending = path.suffix.lower()
    if ending not in (".npz", ".csv"):
        raise CommandError(
            f"{data} is a file of another kind. Expected an .npz file, a .csv file or a folder."
        )
    return ending == ".csv"
