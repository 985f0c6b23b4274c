"""What the page's tour is about: a small network for digits that comes with the package, and drawings."""

import functools
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cornu import layers
from cornu.explorer.batches import Batches
from cornu.explorer.examples import Examples
from cornu.explorer.network import Network
from cornu.models import Sequential

WEIGHTS = Path(__file__).with_name("tour.npz")
SIZE = 28


class Shown(NamedTuple):
    """A network and its examples, as a page shows them."""

    network: Network
    examples: Examples


@functools.cache
def shown() -> Shown:
    """The network with its drawings, ready to be asked."""
    network, examples = Network(model()), drawings()
    network.batches = Batches(network, examples)
    return Shown(network, examples)


def is_shown(network: Network) -> bool:
    """Whether a network is that of the tour."""
    return bool(shown.cache_info().currsize) and network is shown().network


def model(weights: str | Path | None = WEIGHTS) -> Sequential:
    """The network: two convolutions, 2,346 weights; its pixels are from 0 to 1.

    Its weights were learned from MNIST by `benchmarks/packaged.py`.

    >>> from cornu.explorer import tour
    >>> tour.model().count_params()
    2346
    """
    made = Sequential(
        [
            layers.Input((SIZE, SIZE, 1)),
            layers.Conv2D(4, 3, name="conv1"),
            layers.ReLU(name="relu1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(8, 3, name="conv2"),
            layers.ReLU(name="relu2"),
            layers.MaxPooling2D(name="pool2"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="dense"),
            layers.Softmax(name="softmax"),
        ],
        name="digits",
    )
    if weights is not None:
        with np.load(weights, allow_pickle=False) as values:
            for variable in made.weights:
                variable.assign(values[variable.path.replace("/", ".")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


def drawings() -> Examples:
    """Ten digits and one that the network takes for another, drawn for the package."""
    x = np.stack([drawn(lines) for _, lines in DRAWINGS])
    return Examples(x[..., None], [digit for digit, _ in DRAWINGS])


def drawn(lines, thickness: float = 1.1) -> np.ndarray:
    """Lines as pixels from 0 to 1, soft at the border as scanned ink is.

    Args:
        lines: each a list of points `(row, column)`.
        thickness: half the width of the pen, in pixels.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    ink = np.zeros((SIZE, SIZE), np.float32)
    for line in lines:
        for (top, left), (bottom, right) in itertools.pairwise(line):
            down, across = bottom - top, right - left
            y, x = rows - top, columns - left
            along = np.clip((y * down + x * across) / (down**2 + across**2), 0, 1)
            distance = np.hypot(y - along * down, x - along * across)
            ink = np.maximum(ink, np.clip(thickness + 0.5 - distance, 0, 1))
    return ink


def _arc(row, column, height, width, start, end, points=16):
    """Points on an ellipse; angles in turns, from the right, counterclockwise."""
    angles = 2 * np.pi * np.linspace(start, end, points)
    return [(float(row - height * np.sin(a)), float(column + width * np.cos(a))) for a in angles]


# The digit that is meant, and its lines.
DRAWINGS: list[tuple[int, list]] = [
    (0, [_arc(14, 14, 9, 6, 0.2, 1.2, 28)]),
    (1, [[(7.5, 12), (5, 15), (23, 13.5)]]),
    (2, [[*_arc(9.5, 13.5, 4.5, 5, 0.45, -0.12), (16, 14.5), (22.5, 8.5), (22.5, 20)]]),
    (3, [[*_arc(9.5, 13, 4, 5, 0.4, -0.25), *_arc(18, 13, 4.8, 6, 0.25, -0.42)]]),
    (4, [[(5.5, 11), (14.5, 8), (14.5, 20)], [(6, 17.5), (23, 16)]]),
    (5, [[(5.5, 19), (5.5, 10.5), (12, 9.5), *_arc(17, 13, 5.5, 6, 0.32, -0.4)]]),
    (6, [[(5, 16.5), (10, 11.5), (16, 9.5), *_arc(18, 14, 4.8, 4.8, 0.45, 1.5, 24)]]),
    (7, [[(6, 8), (6, 19.5), (13, 15.5), (23, 12.5)]]),
    (8, [[*_arc(9.5, 14, 4.2, 4.2, -0.25, 0.75, 24)], [*_arc(18.3, 14, 4.7, 5, 0.25, 1.25, 24)]]),
    (9, [[*_arc(9.8, 13.5, 4.6, 4.8, 0.05, 1.0, 24), (15, 18), (23, 16.5)]]),
    # Taken for a seven.
    (1, [[(12, 8), (5, 15), (23, 15)]]),
]
