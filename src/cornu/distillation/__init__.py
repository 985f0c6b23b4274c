"""Small models that learn from large ones.  Source: Keras: Distillation API.

>>> import cornu
>>> cornu.distillation.LogitsDistillation(temperature=4.0).get_config()["temperature"]
4.0
"""

from cornu.distillation.distiller import Distiller
from cornu.distillation.losses import (
    DistillationLoss,
    FeatureDistillation,
    LogitsDistillation,
)

__all__ = ["DistillationLoss", "Distiller", "FeatureDistillation", "LogitsDistillation"]
