"""Cornu: convolutional networks with the Keras API, on JAX.

>>> import cornu as keras
>>> model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
>>> model.output_shape
(None, 784)
"""

import importlib

from cornu import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    data,
    datasets,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    quantizers,
    random,
    regularizers,
    saving,
    tree,
    utils,
)
from cornu.alias import install_as_keras
from cornu.config import DTypePolicy
from cornu.core import absent as _absent
from cornu.core.device import device
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.naming import name_scope
from cornu.core.random import SeedGenerator
from cornu.core.rematerialization import RematScope, remat
from cornu.core.stateless_scope import StatelessScope
from cornu.core.symbolic import KerasTensor, Operation
from cornu.core.variable import Variable
from cornu.dtype_policies import FloatDTypePolicy
from cornu.initializers import Initializer
from cornu.layers import Input
from cornu.losses import Loss
from cornu.metrics import Metric
from cornu.models import Model, Sequential
from cornu.models.function import Function
from cornu.optimizers import Optimizer
from cornu.quantizers import Quantizer
from cornu.regularizers import Regularizer

__version__ = "0.1.0"


def version() -> str:
    """The version of Cornu."""
    return __version__


# Loaded when first used: training needs none of them.
_ON_USE = (
    "applications",
    "distillation",
    "distribution",
    "explain",
    "explorer",
    "legacy",
    "preprocessing",
    "serving",
    "visualization",
    "visualize",
    "wrappers",
)


def __getattr__(name):
    if name in _ON_USE:
        return importlib.import_module(f"cornu.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module 'cornu' has no attribute {name!r}")
    raise _absent.error("cornu", name, __all__)


def __dir__():
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


for _module in (
    activations,
    callbacks,
    config,
    constraints,
    data,
    datasets,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    quantizers,
    random,
    regularizers,
    saving,
    tree,
    utils,
):
    _absent.explain_in(_module)


__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "Function",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Operation",
    "Optimizer",
    "Quantizer",
    "Regularizer",
    "RematScope",
    "SeedGenerator",
    "Sequential",
    "StatelessScope",
    "Variable",
    "activations",
    "applications",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "data",
    "datasets",
    "device",
    "distillation",
    "distribution",
    "dtype_policies",
    "explain",
    "initializers",
    "install_as_keras",
    "layers",
    "legacy",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "name_scope",
    "ops",
    "optimizers",
    "preprocessing",
    "quantizers",
    "random",
    "regularizers",
    "remat",
    "saving",
    "tree",
    "utils",
    "version",
    "visualization",
    "visualize",
    "wrappers",
]
