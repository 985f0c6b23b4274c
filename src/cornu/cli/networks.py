"""The networks that have a name on the command line, and those from a user's file.

A named network is a function `(x, num_classes, activation)` that continues the symbolic tensor `x`, images
with pixels from 0 to 1, to the probabilities of the classes: softmax for one class an image, sigmoid for
any number.
"""

import dataclasses
import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from cornu import layers, models
from cornu.cli.command import CommandError


def simple(x, num_classes, activation="softmax"):
    """Pairs of 3x3 convolutions with batch normalization, each pair at half the size of the last.

    There are as many pairs as it takes to bring the images below 8 rows or columns.
    """
    filters = 32
    while True:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            # The usual 0.99 remembers more steps than there are in the first epochs of small data.
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
        if min(x.shape[1:3]) < 8:
            break
        x = layers.Dropout(0.2)(x)
        filters = min(2 * filters, 256)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32")(x)


def lecture(x, num_classes, activation="softmax"):
    """Two 3x3 convolutions with pooling, dropout and a softmax layer: the lecture's network."""
    for filters in (32, 64):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32")(x)


def tutorial(x, num_classes, activation="softmax"):
    """Two 5x5 convolutions with pooling and a softmax layer: the tutorial's network."""
    for filters in (32, 64):
        x = layers.Conv2D(filters, 5, activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32")(x)


def lenet(x, num_classes, activation="softmax"):
    """LeNet-5 with today's activations (LeCun et al. 1998)."""
    x = layers.Conv2D(6, 5, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(16, 5, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="relu")(x)
    x = layers.Dense(84, activation="relu")(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32")(x)


def resnet(x, num_classes, activation="softmax"):
    """Six residual blocks with batch normalization, as ResNet's (He et al. 2016), but small."""
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    for filters, strides in ((16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        x = _residual_block(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(num_classes, activation=activation, dtype="float32")(x)


def _residual_block(x, filters, strides):
    shortcut = x
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    if shortcut.shape != x.shape:
        shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(shortcut)
        shortcut = layers.BatchNormalization()(shortcut)
    return layers.ReLU()(layers.Add()([x, shortcut]))


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and the least number of rows and columns that it can take.

    `function` is `(x, num_classes, activation)`, or, of a user's file, `(input_shape, num_classes)` to a
    model.
    """

    function: Callable
    least_size: int = 1
    is_own: bool = False


NETWORKS = {
    "simple": Network(simple, 4),
    "lecture": Network(lecture, 10),
    "tutorial": Network(tutorial, 16),
    "lenet": Network(lenet, 12),
    "resnet": Network(resnet, 4),
}


def make_model(
    name: str,
    input_shape,
    num_classes: int,
    preprocessing=(),
    network: Network | None = None,
    activation: str = "softmax",
):
    """The network called `name`, or that of `file.py:function`, behind layers of preprocessing.

    Args:
        name: a key of `NETWORKS`, or `file.py:function`, where `function(input_shape, num_classes)`
            returns a model from images with pixels from 0 to 1 to probabilities.
        input_shape: (rows, columns, channels).
        num_classes: number of probabilities.
        preprocessing: layers between the images and the network.
        network: what `find_network(name)` has found, if it was called before.
        activation: of the last layer; a user's own network has its own.
    """
    network = network or find_network(name)
    check_size(name, network, input_shape)
    inputs = x = layers.Input(input_shape)
    for layer in preprocessing:
        x = layer(x)
    if network.is_own:
        outputs = _own_model(name, network.function, input_shape, num_classes)(x)
        _check_output(name, outputs, num_classes)
    else:
        outputs = network.function(x, num_classes, activation)
    return models.Model(inputs, outputs, name=name.rpartition(":")[2])


def check_size(name: str, network: Network, shape) -> None:
    """Raise CommandError if images of this shape, (rows, columns, …), are too small for a network."""
    if min(shape[:2]) < network.least_size:
        fitting = [n for n, other in NETWORKS.items() if other.least_size <= min(shape[:2])]
        raise CommandError(
            f"The network {name!r} needs images of at least {network.least_size}x"
            f"{network.least_size} pixels; these are {shape[0]}x{shape[1]}. "
            f"Networks for them: {', '.join(fitting) or 'none'}."
        )


def find_network(name: str) -> Network:
    """The network of this name, or in this file, which is run."""
    if ":" in name:
        return Network(_function_from_file(name), is_own=True)
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CommandError(
            f"There is no network {name!r}.{guess} Networks: {', '.join(NETWORKS)}; or your own as "
            "file.py:function."
        )
    return NETWORKS[name]


def _function_from_file(name: str) -> Callable:
    path_text, _, function_name = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise CommandError(f"There is no file {path} for the model {name!r}.")
    module = run_file(path)
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise CommandError(
            f"{path} has no function {function_name!r}. Functions in it: {', '.join(own) or 'none'}."
        )
    return function


def _own_model(name: str, function: Callable, input_shape, num_classes: int):
    function_name = name.rpartition(":")[2]
    try:
        model = function(input_shape, num_classes)
    except Exception as error:
        raise CommandError(
            f"{name}: the call {function_name}({input_shape}, {num_classes}) failed: "
            f"{type(error).__name__}: {error} (--debug shows where)"
        ) from error
    if not isinstance(model, models.Model):
        raise CommandError(
            f"{name} must return a cornu Model. Received: {type(model).__name__}. Write it as "
            f"def {function_name}(input_shape, num_classes): return cornu.Sequential([…])"
        )
    return model


def run_file(path: Path):
    """Run a Python file of the user's and return its module."""
    spec = importlib.util.spec_from_file_location(f"cornu_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{path} is not a Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    # As for `python file.py`: its neighbours can be imported.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CommandError(
            f"{path} cannot be run: {type(error).__name__}: {error} (--debug shows where)"
        ) from error
    finally:
        sys.path.pop(0)
    return module


def _check_output(name: str, outputs, num_classes: int) -> None:
    shape = getattr(outputs, "shape", None)
    if shape != (None, num_classes):
        raise CommandError(
            f"{name} must return a model whose output has shape (None, {num_classes}): a probability "
            f"for each class, so its last layer is Dense({num_classes}, activation='softmax'). "
            f"Received: {shape}."
        )
