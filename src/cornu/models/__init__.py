"""Models: `Model`, `Sequential` and what makes copies of them."""

import importlib

from cornu.core import registry as _registry
from cornu.models.cloning import clone_model, model_from_json
from cornu.models.fine_tuning import FineTuning, fine_tune
from cornu.models.model import Model
from cornu.models.sequential import Sequential
from cornu.saving import load_model, save_model

Functional = Model

# `cornu.utils.FeatureSpace`, which few programs need.
_registry.load_on_use("layer", lambda: importlib.import_module("cornu.models.feature_space"))

__all__ = [
    "FineTuning",
    "Functional",
    "Model",
    "Sequential",
    "clone_model",
    "fine_tune",
    "load_model",
    "model_from_json",
    "save_model",
]
