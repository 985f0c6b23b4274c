"""Helpers around models: labels, images, files, progress, seeds and names."""

from cornu.core.naming import reset_uids
from cornu.core.random import set_random_seed
from cornu.core.registry import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from cornu.core.registry import deserialize as deserialize_keras_object
from cornu.core.registry import serialize as serialize_keras_object
from cornu.utils.files import get_file
from cornu.utils.image_dataset import image_dataset_from_directory
from cornu.utils.images import array_to_img, img_to_array, load_img, save_img
from cornu.utils.numerical import normalize, to_categorical
from cornu.utils.progress import Progbar
from cornu.utils.py_dataset import PyDataset

CustomObjectScope = custom_object_scope


def clear_session(free_memory=True) -> None:
    """Start the numbers in automatic names again; there is no other global state.

    >>> import cornu
    >>> cornu.utils.clear_session()
    """
    reset_uids()


__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "array_to_img",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "register_keras_serializable",
    "reset_uids",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "to_categorical",
]
