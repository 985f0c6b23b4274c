"""Rules that change weights so that the loss becomes smaller."""

from cornu.core import registry
from cornu.optimizers import legacy, schedules
from cornu.optimizers.adaptive import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lamb,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)
from cornu.optimizers.base import Optimizer
from cornu.optimizers.gradient_descent import SGD, Ftrl, Lion
from cornu.optimizers.loss_scaling import LossScaleOptimizer
from cornu.optimizers.matrix import Adafactor, Muon
from cornu.optimizers.optax import OptaxOptimizer, is_transformation
from cornu.optimizers.several import MultiOptimizer, OptimizerMap


def get(identifier):
    """The optimizer that a name, configuration, Optax transformation or optimizer means.

    >>> import cornu
    >>> type(cornu.optimizers.get("adam")).__name__
    'Adam'
    """
    if is_transformation(identifier):
        return OptaxOptimizer(identifier)
    return registry.get("optimizer", identifier)


def serialize(optimizer):
    """The configuration of an optimizer."""
    return registry.serialize(optimizer)


def deserialize(config, custom_objects=None):
    """The optimizer that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="optimizer")


__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "OptaxOptimizer",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "legacy",
    "schedules",
    "serialize",
]
