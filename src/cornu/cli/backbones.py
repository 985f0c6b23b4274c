"""The networks that `cornu train --backbone` begins with: those of `applications`, and models in files."""

import difflib
import inspect
import sys
from pathlib import Path

from cornu import applications, layers, models
from cornu.cli import run_folder
from cornu.cli.command import CommandError
from cornu.cli.data import Data
from cornu.core.policies import dtype_policy
from cornu.core.symbolic import node_of
from cornu.layers.augmentation.base import RandomImageLayer
from cornu.models.graph import Graph

# The outputs of a classifier and what may stand between them and its features.
_OF_THE_HEAD = (layers.Dense, layers.Activation, layers.Softmax, layers.Dropout)


def check(name: str, weights: str | None) -> None:
    """Raise CommandError if there is no such backbone, before any data are read."""
    if _is_file(name):
        if weights is not None:
            raise CommandError(
                f"--backbone-weights is for networks by name; those of {name} are in the file."
            )
    elif _plain(name) not in _networks():
        names = sorted(constructor.__name__ for constructor in _networks().values())
        near = difflib.get_close_matches(_plain(name), _networks(), 1)
        guess = f" Did you mean {_networks()[near[0]].__name__}?" if near else ""
        raise CommandError(
            f"There is no backbone {name!r}.{guess} Backbones: {', '.join(names)}; or a model's file, or "
            "the folder of a run."
        )
    else:
        own = _own_weights(_networks()[_plain(name)])
        if not (weights in (None, "none", own) or Path(weights).is_file()):
            raise CommandError(
                f"--backbone-weights: there is no file {weights}. Expected {own!r}, 'none' or a file that "
                "Keras or Cornu wrote."
            )


def make_model(name: str, weights: str | None, data: Data, preprocessing):
    """A classifier of the data's classes: layers of preprocessing, the backbone, and a new head.

    Args:
        name: of a network in `applications`, or a model's file, or the folder of a run.
        weights: of a network by name: None for those that it has, `"none"` for random ones, or a file.
        data: what it is for.
        preprocessing: layers that change images at random in training.
    """
    if data.white is None:
        raise CommandError(
            f"A backbone takes pixels; the numbers of {data.name} are none: some are negative."
        )
    inputs = x = layers.Input(data.shape)
    for layer in preprocessing:
        x = layer(x)
    if _is_file(name):
        backbone, white = _from_file(name, data)
        x = _scaled(x, white / data.white)
    else:
        constructor = _networks()[_plain(name)]
        backbone = _by_name(constructor, weights, data)
        if data.shape[2] == 1 and backbone.inputs[0].shape[-1] == 3:
            x = layers.Concatenate()([x, x, x])
        x = _scaled(x, 255 / data.white)
        x = sys.modules[constructor.__module__].preprocess_input(x)
    x = backbone(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(len(data.class_names), activation=data.activation, dtype="float32")(x)
    backbone.trainable = False
    return models.Model(inputs, outputs, name="fine_tuned")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _networks() -> dict:
    named = (getattr(applications, name) for name in applications.__all__)
    return {_plain(each.__name__): each for each in named if inspect.isfunction(each)}


def _own_weights(constructor) -> str:
    return inspect.signature(constructor).parameters["weights"].default


def _is_file(name: str) -> bool:
    return Path(name).exists() or Path(name).suffix in (".keras", ".h5")


def _scaled(x, factor: float):
    return x if factor == 1 else layers.Rescaling(factor)(x)


def _by_name(constructor, weights: str | None, data: Data):
    rows, columns, channels = data.shape
    packaged = getattr(sys.modules[constructor.__module__], "PACKAGED", None)
    expected = packaged.shape[2] if packaged else 3
    if channels not in (1, expected):
        raise CommandError(
            f"{constructor.__name__} takes images with channels: {expected}; these have {channels}. Use "
            "--model."
        )
    given = {None: _own_weights(constructor), "none": None}.get(weights, weights)
    try:
        return constructor(
            include_top=False, weights=given, input_shape=(rows, columns, expected), pooling="avg"
        )
    except ValueError as error:
        hint = " Choose a larger --image-size." if "at least" in str(error) else ""
        raise CommandError(
            f"{constructor.__name__} for images of {rows}x{columns}: {str(error).rstrip('.')}.{hint}"
        ) from error
    except ConnectionError as error:
        raise CommandError(
            f"{error} Or begin with random weights: --backbone-weights none."
        ) from error


def _from_file(name: str, data: Data):
    """What is before the head of a model in a file, and the value of white in its inputs."""
    trained = run_folder.load_trained(name)
    if trained.shape != tuple(data.shape):
        sizes = ["x".join(map(str, shape)) for shape in (trained.shape, data.shape)]
        hint = (
            f" Use --image-size {sizes[0].rpartition('x')[0]}."
            if trained.shape[2] == data.shape[2]
            else ""
        )
        raise CommandError(
            f"The model {name} takes images of {sizes[0]}; these are {sizes[1]}.{hint}"
        )
    if trained.white is None:
        raise CommandError(f"The model {name} was not trained on pixels.")
    model = trained.model
    if (policy := dtype_policy()).name != "float32":
        for layer in model._flatten_layers():
            layer.dtype_policy = policy
    tensor = model.outputs[0]
    while isinstance(node_of(tensor).operation, _OF_THE_HEAD):
        (tensor,) = node_of(tensor).input_tensors

    def call(operation, args, kwargs):
        # A model changes images only for its own training.
        own: list = getattr(operation, "_flatten_layers", list)()
        if isinstance(operation, RandomImageLayer) or (
            any(isinstance(layer, RandomImageLayer) for layer in own) and not operation.weights
        ):
            return args[0]
        return operation(*args, **kwargs)

    start = layers.Input(data.shape)
    outputs = Graph(model.inputs, tensor).run([start], call)
    return models.Model(start, outputs, name="backbone"), trained.white
