"""Networks whose weights come with the package, in half precision, in `.npz` files beside this one."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cornu.applications.network import Design, Request, build, check
from cornu.models import Model

FOLDER = Path(__file__).with_name("weights")


class Packaged(NamedTuple):
    """Trained weights: their file, and their data set with the shape of its images and its classes."""

    file: str
    dataset: str
    shape: tuple[int, int, int]
    classes: int


def build_packaged(design: Design, request: Request, packaged: Packaged) -> Model:
    """The model that is asked for; `weights` may be the name of the data set.

    Raises:
        ValueError: for weights that are neither in the package nor a file, or do not fit the classifier.
    """
    dataset, classes = packaged.dataset, packaged.classes
    if request.weights != dataset:
        if request.weights is not None and not os.path.exists(request.weights):
            raise ValueError(
                f"Expected weights={dataset!r}, None, or the path of a file; there is no such file. "
                f"Received: weights={request.weights!r}"
            )
        return build(design, request)
    if request.include_top and request.classes != classes:
        raise ValueError(
            f"The weights {dataset!r} are for {classes} classes. For others take include_top=False and add "
            f"a layer of your own. Received: classes={request.classes}"
        )
    check(dataclasses.replace(request, weights=FOLDER / packaged.file))
    model = build(design, dataclasses.replace(request, weights=None))
    with np.load(FOLDER / packaged.file, allow_pickle=False) as values:
        for variable in model.weights:
            if variable.path not in values:
                continue
            value = values[variable.path]
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"The weights {dataset!r} do not fit images of this shape: {variable.path} has shape "
                    f"{tuple(variable.shape)}, and {value.shape} in the file. Received: "
                    f"input_shape={request.input_shape}"
                )
            variable.assign(value)
    return model


def about(what: str, packaged: Packaged, size: str, more: str, source: str) -> str:
    """The docstring of a constructor."""
    return f"""{what}

It takes pixels from 0 to 255: scaling is part of the network. The weights are in the package, so nothing is
downloaded. {more}

Args:
    include_top: whether the classifier is part of the network.
    weights: `{packaged.dataset!r}` for the trained ones, None for random numbers, or the path of an `.h5`,
        `.weights.h5` or `.keras` file.
    input_tensor: a symbolic tensor to start from, instead of a new input.
    input_shape: the shape of an image, {size} by default. Without the classifier rows and columns may be
        None.
    pooling: without the classifier, None for feature maps, `"avg"` or `"max"` for one number of each.
    classes: number of classes of the classifier.
    classifier_activation: activation of the classifier; None gives logits.
    name: name of the model.

Raises:
    ValueError: for arguments that do not fit each other, or a file of other weights.

Source: {source}.
"""
