"""Models in files: `.keras` archives, `.weights.h5`, `.safetensors`, and the older `.h5`."""

from cornu.core.registry import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from cornu.core.registry import serialize as serialize_keras_object
from cornu.saving.archive import load_model, save_model
from cornu.saving.errors import FileFormatError
from cornu.saving.file_editor import KerasFileEditor
from cornu.saving.reading import Limits, limits
from cornu.saving.weights import load_weights, save_weights
from cornu.utils.objects import deserialize_keras_object

CustomObjectScope = custom_object_scope

__all__ = [
    "CustomObjectScope",
    "FileFormatError",
    "KerasFileEditor",
    "Limits",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "limits",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]
