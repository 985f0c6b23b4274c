"""Cornu: convolutional networks with the Keras API, on JAX.

>>> import cornu as keras
>>> model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
>>> model.output_shape
(None, 784)
"""

from cornu import (
    activations,
    callbacks,
    config,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    random,
    regularizers,
    saving,
    utils,
)
from cornu.alias import install_as_keras
from cornu.config import DTypePolicy
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.random import SeedGenerator
from cornu.core.symbolic import KerasTensor
from cornu.core.variable import Variable
from cornu.initializers import Initializer
from cornu.layers import Input
from cornu.losses import Loss
from cornu.metrics import Metric
from cornu.models import Model, Sequential
from cornu.optimizers import Optimizer
from cornu.regularizers import Regularizer

__version__ = "0.1.0"


def version() -> str:
    """The version of Cornu."""
    return __version__


__all__ = [
    "DTypePolicy",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "SeedGenerator",
    "Sequential",
    "Variable",
    "activations",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "initializers",
    "install_as_keras",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "random",
    "regularizers",
    "saving",
    "utils",
    "version",
]
