"""Sequences of numbers, as Keras 2's scripts prepare them."""

import json
import random

import numpy as np

from cornu.data.py_dataset import PyDataset
from cornu.utils.sequences import pad_sequences

__all__ = ["TimeseriesGenerator", "make_sampling_table", "pad_sequences", "skipgrams"]


class TimeseriesGenerator(PyDataset):
    """Batches of windows of a series, and the target of the step after each.

    Window `i` is `data[i - length], data[i - length + sampling_rate], …` before `i`; its target is
    `targets[i]`. New programs use `utils.timeseries_dataset_from_array`.

    Args:
        data: array or list; the first axis is time.
        targets: as long as `data`.
        length: from a window's first step to its target.
        sampling_rate: from one step of a window to the next.
        stride: from one window to the next.
        start_index, end_index: the first and last (included) step to use.
        shuffle: whether to draw windows at random, with NumPy's global generator.
        reverse: whether to turn each window around.
        batch_size: windows in a batch.

    Source: keras-preprocessing: TimeseriesGenerator.

    >>> from cornu.preprocessing.sequence import TimeseriesGenerator
    >>> x, y = TimeseriesGenerator([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], length=2, batch_size=2)[0]
    >>> x.tolist(), y.tolist()
    ([[1, 2], [2, 3]], [3, 4])
    """

    def __init__(
        self,
        data,
        targets,
        length,
        sampling_rate=1,
        stride=1,
        start_index=0,
        end_index=None,
        shuffle=False,
        reverse=False,
        batch_size=128,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(data) != len(targets):
            raise ValueError(
                "Data and targets have to be of same length. "
                f"Data length is {len(data)} while target length is {len(targets)}"
            )
        self.data, self.targets, self.length = data, targets, length
        self.sampling_rate, self.stride = sampling_rate, stride
        self.start_index = start_index + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse, self.batch_size = shuffle, reverse, batch_size
        if self.start_index > self.end_index:
            raise ValueError(
                f"`start_index + length = {self.start_index}` is more than "
                f"`end_index = {self.end_index}`: no step is left for a target."
            )

    def __len__(self):
        return (self.end_index - self.start_index) // (self.batch_size * self.stride) + 1

    def __getitem__(self, index):
        start, end = self.start_index, self.end_index + 1
        if self.shuffle:
            rows = np.random.randint(start, end, size=self.batch_size)
        else:
            reach = self.batch_size * self.stride
            rows = np.arange(
                start + reach * index, min(start + reach * (index + 1), end), self.stride
            )
        x = np.array([self.data[row - self.length : row : self.sampling_rate] for row in rows])
        y = np.array([self.targets[row] for row in rows])
        return (x[:, ::-1] if self.reverse else x), y

    def get_config(self) -> dict:
        """The arguments, with data and targets as JSON."""
        return {
            "data": json.dumps(np.asarray(self.data).tolist()),
            "targets": json.dumps(np.asarray(self.targets).tolist()),
            "length": self.length,
            "sampling_rate": self.sampling_rate,
            "stride": self.stride,
            "start_index": self.start_index,
            "end_index": self.end_index,
            "shuffle": self.shuffle,
            "reverse": self.reverse,
            "batch_size": self.batch_size,
        }

    def to_json(self, **kwargs) -> str:
        """The configuration as JSON; `kwargs` are those of `json.dumps`."""
        return json.dumps(
            {"class_name": type(self).__name__, "config": self.get_config()}, **kwargs
        )


def make_sampling_table(size, sampling_factor=1e-5) -> np.ndarray:
    """How likely a word of each rank is to be kept by `skipgrams`: `min(1, sqrt(factor / frequency))`.

    Frequencies follow Zipf's law: `1 / frequency = r (log r + 0.577) + 1/2 - 1/(12 r)` at rank `r`; rank 0
    is taken as 1.

    Source: Mikolov et al. 2013, "Distributed representations of words and phrases"; Keras 2.

    >>> from cornu.preprocessing.sequence import make_sampling_table
    >>> make_sampling_table(3).round(5).tolist()
    [0.00315, 0.00315, 0.00548]
    """
    rank = np.maximum(np.arange(size), 1)
    return np.minimum(
        1, np.sqrt(sampling_factor * (rank * (np.log(rank) + 0.577) + 0.5 - 1 / (12 * rank)))
    )


def skipgrams(
    sequence,
    vocabulary_size,
    window_size=4,
    negative_samples=1.0,
    shuffle=True,
    categorical=False,
    sampling_table=None,
    seed=None,
) -> tuple[list, list]:
    """Pairs of a word and one near it, labelled 1, and pairs with a random word, labelled 0.

    Args:
        sequence: the words' numbers; 0 is no word.
        vocabulary_size: one more than the largest number.
        window_size: how far a near word may be.
        negative_samples: how many random pairs for each pair of near words.
        shuffle: whether to mix the pairs.
        categorical: whether labels are `[0, 1]` and `[1, 0]`.
        sampling_table: how likely each word is to be kept, by number.
        seed: of the mixing.

    Random numbers are those of Python's global generator, as in Keras; with a `seed` it is seeded.

    Source: Mikolov et al. 2013; Keras 2.

    >>> from cornu.preprocessing.sequence import skipgrams
    >>> skipgrams([1, 2], 3, negative_samples=0, shuffle=False)
    ([[1, 2], [2, 1]], [1, 1])
    """
    yes, no = ([0, 1], [1, 0]) if categorical else (1, 0)
    couples: list = []
    for i, word in enumerate(sequence):
        if not word:
            continue
        if sampling_table is not None and sampling_table[word] < random.random():
            continue
        near = range(max(0, i - window_size), min(len(sequence), i + window_size + 1))
        couples += [[word, sequence[j]] for j in near if j != i and sequence[j]]
    labels = [yes] * len(couples)
    if negative_samples > 0:
        count = int(len(couples) * negative_samples)
        words = [word for word, _ in couples]
        random.shuffle(words)
        couples += [
            [words[i % len(words)], random.randint(1, vocabulary_size - 1)] for i in range(count)
        ]
        labels += [no] * count
    if shuffle:
        random.seed(random.randint(0, 10_000_000) if seed is None else seed)
        pairs = list(zip(couples, labels, strict=True))
        random.shuffle(pairs)
        couples, labels = [pair for pair, _ in pairs], [label for _, label in pairs]
    return couples, labels
