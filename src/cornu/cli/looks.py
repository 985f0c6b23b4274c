"""One look at each image file before the training: its digest, its size, what it looks like."""

import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cornu.cli.command import say
from cornu.utils.image_folder import FORMATS
from cornu.utils.images import thumbnail_of

# Rows and columns of a thumbnail.
THUMBNAIL = 16
# After how many seconds a word is said.
_PATIENCE = 3


class Looks(NamedTuple):
    """What was seen of some files, in their order.

    Attributes:
        digests: a SHA-256 of each file's bytes.
        thumbnails: uint8 of shape `(n, 16, 16)`, gray and upright.
        sizes: width and height of each, `(n, 2)`.
        problems: why a file cannot be read, by its number.
    """

    digests: list[str]
    thumbnails: np.ndarray
    sizes: np.ndarray
    problems: dict[int, str]


def look(paths: list[str]) -> Looks:
    """Read each file once, by threads: all of it is decoded, as far as a thumbnail needs it."""
    digests, problems = [], {}
    thumbnails = np.zeros((len(paths), THUMBNAIL, THUMBNAIL), "uint8")
    sizes = np.zeros((len(paths), 2), int)

    def look_at(number: int) -> tuple[str, str | None]:
        try:
            content = Path(paths[number]).read_bytes()
        except OSError as error:
            return "", f"Cannot read the image {paths[number]}: {error.strerror}."
        try:
            file = io.BytesIO(content)
            thumbnails[number], sizes[number] = thumbnail_of(
                file, paths[number], THUMBNAIL, FORMATS
            )
        except OSError as error:
            return "", str(error)
        return hashlib.sha256(content).hexdigest(), None

    said = time.monotonic() + _PATIENCE
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, (digest, problem) in enumerate(pool.map(look_at, range(len(paths)))):
            digests.append(digest)
            if problem is not None:
                problems[number] = problem
            if time.monotonic() > said:
                say(f"looking at all {len(paths):,} images first; {number + 1:,} so far.")
                said = float("inf")
    return Looks(digests, thumbnails, sizes, problems)
