"""Models: `Model`, `Sequential` and what makes copies of them."""

from cornu.models.cloning import clone_model, model_from_json
from cornu.models.model import Model
from cornu.models.sequential import Sequential
from cornu.saving import load_model, save_model

Functional = Model

__all__ = [
    "Functional",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]
