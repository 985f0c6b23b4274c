"""Image files as a data set that is read while it is used."""

import dataclasses
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cornu.data.ahead import Turn
from cornu.data.dataset import Dataset
from cornu.data.elements import TensorSpec, row_of, spec_of
from cornu.data.nodes import Batched, Node, Numbers, Shuffled
from cornu.data.passes import Indexed, Pass
from cornu.utils.folders import encode_labels
from cornu.utils.images import check_image, image_of, name_and_data, open_image, quickly_decoded
from cornu.utils.resizing import INTERPOLATIONS, resize

# Pillow reads more file formats, some of them through other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


class ImageFolderDataset(Dataset):
    """Batches of images that are read from their files when asked for.

    `dataset[i]` is batch `i` of the images in the order of `file_paths`, `(x, y)`, or only `x` without
    labels. Iterating reads a few batches ahead with `workers` threads, at most `max_queue_size` batches
    at a time, and mixes the images anew for each pass: pass `n` has the same order in each run with the
    same seed.

    Attributes:
        file_paths: the images' paths; without shuffling, batches have this order.
        class_names: the classes' names, by label; None without labels.

    Made by `image_dataset_from_directory`.
    """

    def __init__(
        self, file_paths, labels, *, class_names, label_mode, reader, batch_size, seed, unchecked=()
    ):
        self.file_paths = file_paths
        self.class_names = class_names
        self.batch_size = batch_size
        self._labels = labels
        self._label_mode = label_mode
        self._reader = reader
        # Shared by the parts of a folder: the first pass over one of them looks at all.
        self._unchecked = unchecked
        self._files = _Images(self, len(file_paths), seed)
        super().__init__(Batched(self._files, batch_size, False) if batch_size else self._files)

    @property
    def labels(self):
        """The numbers of the classes of `file_paths`; None without labels."""
        return self._labels

    @property
    def workers(self) -> int:
        """How many threads read images."""
        return self._files.threads

    @workers.setter
    def workers(self, count: int) -> None:
        self._files.threads = count

    @property
    def max_queue_size(self) -> int:
        """How many batches are ready or being read at a time."""
        return self._files.ahead

    @max_queue_size.setter
    def max_queue_size(self, count: int) -> None:
        self._files.ahead = count

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self)

    def some(self, chosen):
        """The images of some of `file_paths`, by number, and their labels, or None."""
        x = np.empty((len(chosen), *self._reader.shape), "float32")
        with Turn() as turn:
            for row, i in enumerate(chosen):
                self._reader(self.file_paths[i], x[row])
                turn.end_if_long(row + 1)
        return x, None if self._labels is None else self._encode(self._labels[np.asarray(chosen)])

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        if self.batch_size is None:
            return row_of(self.batch_of([index % len(self)]), 0)
        start = index % len(self) * self.batch_size
        return self.batch_of(range(start, min(start + self.batch_size, len(self.file_paths))))

    def batch_of(self, chosen):
        """These images with labels as an element."""
        x, y = self.some(chosen)
        return x if y is None else (x, y)

    def image_spec(self):
        """The `TensorSpec`s of one image and its label."""
        x = TensorSpec(self._reader.shape, "float32")
        return x if self._labels is None else (x, spec_of(row_of(self._encode(self._labels), 0)))

    def check(self, cure: str | None = None) -> None:
        """Raise OSError with the names of unreadable images, unless they were looked at before."""
        if self._unchecked:
            check_readable(self._unchecked, cure or _SKIP)
            self._unchecked.clear()

    def readable(self, chosen):
        """The readable images among some indices of `file_paths`; the others are named in a warning."""
        return chosen[are_readable(self._reader, [self.file_paths[i] for i in chosen])]

    def _encode(self, labels):
        return encode_labels(labels, self._label_mode, self.class_names)


class _Images(Node):
    """The images of a folder, one by one, with their labels."""

    def __init__(self, folder: ImageFolderDataset, count: int, seed: int | None):
        numbers: Node = Numbers(0, 1, count, "int64")
        super().__init__(numbers if seed is None else Shuffled(numbers, count, seed, True))
        self._folder = folder
        self.threads = min(8, os.cpu_count() or 1)
        self.ahead = self.threads + 2

    def open(self) -> Pass:
        self._folder.check()
        order: Any = self.parents[0].open()
        batch_of = self._folder.batch_of
        return Indexed(
            order.length,
            lambda i: row_of(batch_of([order.get(i)]), 0),
            lambda rows: batch_of(order.many(rows)),
            self.threads,
            self.ahead,
        )

    def spec(self):
        return self._folder.image_spec()


_SKIP = 'pass `on_error="skip"` to leave out unreadable images.'


@dataclasses.dataclass(frozen=True)
class ImageReader:
    """Reads an image's path into an array of the common shape."""

    color_mode: str
    image_size: tuple[int, int]
    interpolation: str
    aspect: str | None
    data_format: str
    exif_orientation: bool = False

    def __post_init__(self):
        if self.color_mode not in _CHANNELS:
            raise ValueError(
                '`color_mode` must be one of {"rgb", "rgba", "grayscale"}. '
                f"Received: color_mode={self.color_mode}"
            )
        size = self.image_size
        if (
            not isinstance(size, (tuple, list))
            or len(size) != 2
            or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size)
        ):
            raise ValueError(
                "Invalid `image_size` value. Expected a tuple of 2 integers. "
                f"Received: image_size={size}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Argument `interpolation` should be one of {INTERPOLATIONS}. "
                f"Received: interpolation={self.interpolation}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        channels = _CHANNELS[self.color_mode]
        if self.data_format == "channels_first":
            return (channels, *self.image_size)
        return (*self.image_size, channels)

    def __call__(self, path: str, out: np.ndarray | None = None) -> np.ndarray:
        """The image as float32, in `out` if that is given."""
        out = np.empty(self.shape, "float32") if out is None else out
        try:
            name, data = name_and_data(path)
            x = quickly_decoded(data, self.color_mode, self.exif_orientation)
            if x is None:
                x = np.asarray(
                    image_of(data, name, self.color_mode, FORMATS, self.exif_orientation)
                )
        except OSError as error:
            raise OSError(f"{error} Delete it, or {_SKIP}") from error
        x = x[:, :, None] if x.ndim == 2 else x
        is_last = self.data_format == "channels_last"
        if x.shape[:2] != tuple(self.image_size):
            place = out if is_last else None
            x = resize(x, self.image_size, self.interpolation, self.aspect, place)
        if x is not out:
            out[...] = x if is_last else x.transpose(2, 0, 1)
        return out


def white_of(x) -> float | None:
    """The value of a white pixel in arrays of images; None if they are not pixels."""
    if x.dtype.kind == "f" and x.min() < 0:
        return None
    largest = float(x.max())
    # A few images may happen to have no white pixel.
    return 255.0 if 128 <= largest <= 255 else max(largest, 1.0)


def mode_of(shape) -> str | None:
    """The colour mode of images of a shape, `(rows, columns, channels)`; None if they are none."""
    return next((m for m, n in _CHANNELS.items() if len(shape) == 3 and n == shape[2]), None)


def reader_for(shape, white, aspect=None):
    """A function from an image (a path, or an `io.BytesIO`) to the pixels that a model takes.

    Args:
        shape: the model's input, `(rows, columns, channels)`.
        white: the value of white there; None if the values are not pixels.
        aspect: `"crop"` or `"pad"` for images of other proportions; None distorts them.

    Returns:
        the function, to float32; None if these are no pixels of gray or coloured images.
    """
    mode = mode_of(shape)
    if white is None or mode is None:
        return None
    reader = ImageReader(mode, tuple(shape[:2]), "bilinear", aspect, "channels_last", True)
    return lambda image: reader(image) * np.float32(white / 255)


def are_readable(reader: ImageReader, paths: list[str]) -> np.ndarray:
    """Whether each image can be decoded; those that cannot are named in one warning."""
    problems = _problems(lambda path: open_image(path, reader.color_mode, FORMATS), paths)
    if len(problems) == len(paths):
        raise ValueError(f"None of the {len(paths)} images can be read. The first: {problems[0]}")
    if problems:
        warnings.warn(
            f"Skipped {len(problems)} of {len(paths)} images: {_listed(problems)}", stacklevel=3
        )
    return np.array([number not in problems for number in range(len(paths))])


def check_readable(paths: list[str], cure: str) -> None:
    """Raise one OSError that names the files that are not images, or end too early.

    Only their first and last bytes are read, thousands of images a second.
    """
    problems = _problems(lambda path: check_image(path, FORMATS), paths)
    if problems:
        count = f"{len(problems)} of {len(paths)} images cannot be read: " * (len(problems) > 1)
        raise OSError(
            f"{count}{_listed(problems)} Delete {'them' if len(problems) > 1 else 'it'}, or {cure}"
        )


def _problems(read: Callable, paths: list[str]) -> dict[int, str]:
    """The errors of the images that cannot be read, by index."""

    def problems_from(start):
        found = {}
        with Turn() as turn:
            for done, path in enumerate(paths[start : start + _IN_A_TURN], 1):
                try:
                    read(path)
                except OSError as error:
                    found[start + done - 1] = str(error)
                turn.end_if_long(done)
        return found

    problems = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for found in pool.map(problems_from, range(0, len(paths), _IN_A_TURN)):
            problems.update(found)
    return problems


_IN_A_TURN = 64


def _listed(problems: dict[int, str]) -> str:
    texts = list(problems.values())
    more = f" And {len(texts) - 10} more." if len(texts) > 10 else ""
    return " ".join(texts[:10]) + more
