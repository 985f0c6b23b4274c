"""Images with their classes, and the parts of data: training, validation, test."""

import dataclasses
import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# What becomes of proportions that do not fit: the values of --fit, and what a reader calls them.
FITS = {"stretch": None, "crop": "crop", "pad": "pad"}


@dataclasses.dataclass
class Part:
    """Images with their classes: arrays `(x, y)`, or a data set of files, read while it is used.

    The pixels of files are multiplied with `scale`.

    Attributes:
        names: the images' paths, relative to the folder of the data; None for arrays.
        known_digests: their digests, if they were computed before.
    """

    source: Any
    scale: float = 1.0
    names: list[str] | None = None
    known_digests: list[str] | None = None

    @functools.cached_property
    def digests(self) -> list[str]:
        """A SHA-256 of each image: of its file's bytes, or of its numbers in an array."""
        if self.known_digests is not None:
            return self.known_digests
        if self.is_in_memory:
            return [hashlib.sha256(image.tobytes()).hexdigest() for image in self.source[0]]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(_file_digest, self.source.file_paths))

    @property
    def is_in_memory(self) -> bool:
        return isinstance(self.source, tuple)

    def __len__(self) -> int:
        return len(self.source[0]) if self.is_in_memory else len(self.source.file_paths)

    @property
    def labels(self) -> np.ndarray:
        """The classes of all images, by number; or 0 and 1 for each class: `(n, classes)`."""
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


def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@dataclasses.dataclass
class Data:
    """Images to learn from.

    `white` is the value of a white pixel: 255 in image files, 16 in `digits`, 1 in
    arrays from 0 to 1; None if the values are not pixels, as some are negative.
    `findings` are sentences about what is odd about them, such as that some are there twice. `fit` is what
    becomes of image files of other proportions, one of `FITS`.
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
    fit: str | None = None

    @property
    def is_multi_label(self) -> bool:
        """Whether an image may be of several classes, or of none."""
        return self.train.labels.ndim == 2

    @property
    def activation(self) -> str:
        """Of a network's last layer."""
        return "sigmoid" if self.is_multi_label else "softmax"

    @property
    def loss(self) -> str:
        return "binary_crossentropy" if self.is_multi_label else "sparse_categorical_crossentropy"

    @property
    def measure(self) -> str:
        """What the best epoch is chosen by: the accuracy, or the mean area under precision over recall."""
        return "pr_auc" if self.is_multi_label else "accuracy"

    @property
    def image_settings(self) -> dict:
        """What must be known of images to show others to the model."""
        known: dict = {"shape": self.shape, "white": self.white}
        if self.fit is not None:
            known["fit"] = self.fit
        if self.is_multi_label:
            known["is_multi_label"] = True
        return known

    def describe(self) -> str:
        """One line about it."""
        parts = [(self.train, "training"), (self.validation, "validation"), (self.test, "test")]
        counts = ", ".join(f"{len(part):,} {name}" for part, name in parts if part is not None)
        size = "x".join(map(str, self.shape))
        several = ", of which an image may be of several" if self.is_multi_label else ""
        return f"{self.name}: {counts} images of {size}, {len(self.class_names)} classes{several}"
