"""What IMDB and Reuters have in common: texts as lists of words' numbers."""

import json
import pickle
import zipfile
import zlib

import numpy as np

from cornu.datasets.source import KERAS_ADDRESS, damaged, find_file
from cornu.datasets.unpickling import ArrayUnpickler


def read_lists(path, names: tuple[str, ...]) -> list[np.ndarray]:
    """The arrays of these names in an `.npz` file: arrays of numbers, and arrays of lists of integers.

    NumPy writes the latter as pickles; nothing but arrays and lists is loaded from these.

    Raises ValueError if the file is damaged, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read_array(archive, name) for name in names]
    except (
        KeyError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise damaged(path, error) from error


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"the array {name!r} is of an unknown version {version}")
        dtype = header(file)[2]
        if not dtype.hasobject:
            with archive.open(f"{name}.npy") as again:
                return np.lib.format.read_array(again, allow_pickle=False)
        array = ArrayUnpickler(file).load()
    rows = list(array) if isinstance(array, np.ndarray) and array.ndim else [None]
    if not all(isinstance(row, list) and all(type(n) is int for n in row) for row in rows):
        raise ValueError(f"the array {name!r} does not hold lists of integers")
    return array


def mixed(rng: np.random.RandomState, *arrays) -> list:
    """The rows of arrays in a random order, Keras' for the seed of the generator."""
    order = np.arange(len(arrays[0]))
    rng.shuffle(order)
    return [array[order] for array in arrays]


def numbered(texts, start_char, index_from) -> list[list[int]]:
    """The texts with all numbers raised by `index_from`, after a number that marks their beginning."""
    if start_char is None:
        return [[word + (index_from or 0) for word in text] for text in texts]
    return [[start_char, *(word + index_from for word in text)] for text in texts]


def shorter(texts: list, labels, maxlen: int | None):
    """The texts with fewer than `maxlen` words, and their labels; all if it is None."""
    if not maxlen:
        return texts, labels
    kept = [i for i, text in enumerate(texts) if len(text) < maxlen]
    if not kept:
        raise ValueError(
            f"No text has fewer than maxlen={maxlen} words, so none is left. Increase `maxlen`."
        )
    return [texts[i] for i in kept], labels[kept]


def frequent(texts: list, num_words, skip_top, oov_char) -> list[list[int]]:
    """The texts with numbers outside of `skip_top` to `num_words - 1` replaced, or left out."""
    limit = num_words or max(max(text, default=0) for text in texts)
    if oov_char is None:
        return [[word for word in text if skip_top <= word < limit] for text in texts]
    return [[word if skip_top <= word < limit else oov_char for word in text] for text in texts]


def as_array(texts: list) -> np.ndarray:
    """Lists as the elements of an array of objects."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def word_index(path: str, name: str, md5: str) -> dict[str, int]:
    """The numbers of words in a JSON file."""
    file = find_file(path, KERAS_ADDRESS + name, md5)
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(words, dict) or not all(type(n) is int for n in words.values()):
            raise ValueError("it does not hold a number for each word")
    except (OSError, ValueError) as error:
        raise damaged(file, error) from error
    return words
