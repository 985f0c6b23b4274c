"""A server for trained models: `cornu serve`, and its client."""

from cornu.serving.client import Client
from cornu.serving.servable import Pictures, Servable, Spec, of_model, of_onnx
from cornu.serving.server import Server
from cornu.serving.settings import Settings

__all__ = [
    "Client",
    "Pictures",
    "Servable",
    "Server",
    "Settings",
    "Spec",
    "of_model",
    "of_onnx",
]
