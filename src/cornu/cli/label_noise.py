"""Images whose class is perhaps wrong, as a classifier that has not seen them takes them for another."""

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cornu import layers, models
from cornu.cli.command import say
from cornu.cli.parts import Data
from cornu.core.symbolic import node_of
from cornu.data.ahead import in_order
from cornu.saving.atomic import replacing

# How much more another class must be claimed than the own one.
LEAST = 0.2
# Features that are compared, at most, and of how many images; a class needs some to be known by.
_MOST_FEATURES, _MOST_IMAGES, _FEWEST = 256, 100_000, 10
# What large weights cost, as a share of what the images say.
_PENALTY = 0.1
# Candidates that are named.
_NAMED = 3
# The accuracy of a network on other images below which most of the list may be its own mistakes.
_WEAK = 0.8


class Candidate(NamedTuple):
    """An image that is perhaps of another class.

    `part` is `"train"` or `"validation"`, and `row` the image's number there. `score` says how much more
    the other class is claimed than its own; 1 is sure.
    """

    part: str
    row: int
    name: str
    label: int
    looks_like: int
    score: float


def candidates(model, data: Data, batch_size: int) -> list[Candidate]:
    """Images of training and validation that are perhaps of another class, the surest first.

    What the model's last layer takes is classified anew, each image by all others: a model that has learned
    a wrong label by heart is not asked about it.

    Sources: C. Northcutt, L. Jiang and I. Chuang, Confident learning: estimating uncertainty in dataset
    labels, 2021 (to ask who has not seen the label); R. Rifkin and R. Lippert, Notes on regularized least
    squares, 2007 (leaving out each image at once).
    """
    if data.is_multi_label or len(data.train) + len(data.validation) > _MOST_IMAGES:
        return []
    looks = _before_last(model)
    found = []
    for part, key in ((data.train, "train"), (data.validation, "validation")):
        numbers = np.arange(len(part))

        def read(start, part=part, numbers=numbers):
            return part.some(numbers[start : start + batch_size])

        starts = range(0, len(part), batch_size)
        features, labels = [], []
        for x, y in in_order(read, starts, os.cpu_count() or 1, 4):
            features.append(np.asarray(looks.predict_on_batch(x), "float32").reshape(len(x), -1))
            labels.append(y)
        names = part.names or [f"{key} image {number}" for number in numbers]
        found.append((key, names, np.concatenate(features), np.concatenate(labels)))
    label = np.concatenate([labels for *_, labels in found])
    places = [(key, row, name) for key, names, *_ in found for row, name in enumerate(names)]
    claims = left_out(np.concatenate([f for _, _, f, _ in found]), label, len(data.class_names))
    other, score = rivals(claims, label)
    # Of a class of few images, the others do not say what it looks like.
    score[np.bincount(label, minlength=claims.shape[1])[label] < _FEWEST] = 0
    chosen = np.flatnonzero(score >= LEAST)
    sorted_rows = chosen[np.argsort(-score[chosen], kind="stable")]
    return [
        Candidate(part, place, name, int(label[row]), int(other[row]), float(score[row]))
        for row in sorted_rows
        for part, place, name in [places[row]]
    ]


def left_out(features, labels, num_classes: int) -> np.ndarray:
    """How much each class is claimed for each image, by a linear classifier of all other images.

    It is fitted to 0 and 1 by least squares with a penalty, so that one solution gives those with each
    image left out: `y - (y - f) / (1 - h)`, where h is how much the image counts for its own answer f.
    """
    x = np.asarray(features, "float64")
    if x.shape[1] > _MOST_FEATURES:
        random = np.random.default_rng(0)
        x = x @ random.normal(size=(x.shape[1], _MOST_FEATURES))
    x = x - x.mean(0)
    x = np.c_[x / np.maximum(x.std(0), 1e-6), np.ones(len(x))]
    y = np.eye(num_classes)[labels]
    penalty = np.full(x.shape[1], _PENALTY * len(x))
    # The mean is free.
    penalty[-1] = 0
    inverse = np.linalg.inv(x.T @ x + np.diag(penalty))
    answers = x @ (inverse @ (x.T @ y))
    own = np.einsum("nd,de,ne->n", x, inverse, x, optimize=True)
    return y - (y - answers) / np.maximum(1 - own, 1e-6)[:, None]


def rivals(claims: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image the other class that is claimed most, and how much more than its own."""
    rows = np.arange(len(labels))
    others = claims.copy()
    others[rows, labels] = -np.inf
    other = others.argmax(1)
    return other, claims[rows, other] - claims[rows, labels]


def write(found: list[Candidate], data: Data, file: Path, accuracy: float) -> None:
    """Write the candidates, a line an image, and name the surest.

    `accuracy` is the network's on images that it was not trained on: the list is as good as that.
    """
    names = data.class_names
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["name", "class", "looks_like", "part", "score", "network_accuracy"])
        writer.writerows(
            (
                *(each.name, names[each.label], names[each.looks_like], each.part),
                *(f"{each.score:.3f}", f"{accuracy:.3f}"),
            )
            for each in found
        )
    some = ", ".join(
        f"{each.name} ({names[each.label]}, or {names[each.looks_like]}?)"
        for each in found[:_NAMED]
    )
    more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    count = "1 label" if len(found) == 1 else f"{len(found):,} labels"
    text = f"{count} may be wrong, going by all other images: {some}{more} (see {file.name})."
    if accuracy < _WEAK:
        text += (
            f" This network takes {100 * (1 - accuracy):.0f} % of images that it was not trained on for "
            "another class, so most of these may be its own mistakes."
        )
    data.findings.append(text)
    say(text)


def _before_last(model):
    """The model up to what its last Dense layer takes, or all of it if it ends otherwise."""
    tensor = model.outputs[0]
    while isinstance(node_of(tensor).operation, layers.Activation | layers.Softmax):
        (tensor,) = node_of(tensor).input_tensors
    node = node_of(tensor)
    if isinstance(node.operation, models.Model):
        # A network of the user's is a layer here.
        inner = _before_last(node.operation)
        return models.Model(model.inputs, inner(*node.input_tensors))
    if not isinstance(node.operation, layers.Dense):
        return model
    return models.Model(model.inputs, node.input_tensors[0])
