"""Helpers around models: labels, images, files, progress, seeds and names."""

from cornu.core.dtype import standardize_dtype
from cornu.core.naming import reset_uids
from cornu.core.random import set_random_seed
from cornu.core.registry import (
    custom_object_scope,
    find,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from cornu.core.registry import serialize as serialize_keras_object
from cornu.core.symbolic import is_keras_tensor
from cornu.data.py_dataset import PyDataset
from cornu.data.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight
from cornu.utils import bounding_boxes, legacy
from cornu.utils.audio_dataset import audio_dataset_from_directory
from cornu.utils.config import Config
from cornu.utils.files import get_file
from cornu.utils.image_dataset import image_dataset_from_directory
from cornu.utils.images import array_to_img, img_to_array, load_img, save_img
from cornu.utils.messages import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from cornu.utils.numerical import normalize, to_categorical
from cornu.utils.objects import deserialize_keras_object
from cornu.utils.progress import Progbar
from cornu.utils.sequences import pad_sequences
from cornu.utils.source_inputs import get_source_inputs
from cornu.utils.splitting import split_dataset
from cornu.utils.text_dataset import text_dataset_from_directory
from cornu.utils.timeseries_dataset import timeseries_dataset_from_array

CustomObjectScope = custom_object_scope


def __getattr__(name):
    # It is made of layers, and loaded when first used.
    if name == "FeatureSpace":
        return find("layer", name)
    raise AttributeError(f"module 'cornu.utils' has no attribute {name!r}")


# The name that Keras 2 had.
Sequence = PyDataset


def clear_session(free_memory=True) -> None:
    """Restart the numbering of automatic names; there is no other global state.

    >>> import cornu
    >>> cornu.utils.clear_session()
    """
    reset_uids()


def plot_model(
    model,
    to_file="model.png",
    show_shapes=False,
    show_dtype=False,
    show_layer_names=False,
    rankdir="TB",
    expand_nested=False,
    dpi=200,
    show_layer_activations=False,
    show_trainable=False,
    splines="ortho",
):
    """Draw a model into a file: `cornu.visualize.plot_model` under Keras' names.

    Args:
        model: any built model.
        to_file: the file to write.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what boxes
            say.
        rankdir: `"TB"` from top to bottom, or `"LR"` from left to right.
        expand_nested: whether to draw what is in a model within the model.
        dpi: pixels an inch.
        splines: must be `"ortho"`; `model_to_dot`, which uses Graphviz, has other arrows.

    Source: Keras: plot_model.
    """
    if splines != "ortho":
        raise ValueError(
            "Arrows are drawn in one way. For others use Graphviz: utils.model_to_dot(model, "
            f"splines={splines!r}).write_png(to_file). Received: splines={splines!r}"
        )
    return model._draw(
        to_file,
        expand_nested=expand_nested,
        show_shapes=show_shapes,
        show_parameters=False,
        show_dtype=show_dtype,
        show_activations=show_layer_activations,
        show_trainable=show_trainable,
        rankdir=rankdir,
        dpi=dpi,
        show_layer_names=show_layer_names,
    )


def model_to_dot(
    model,
    show_shapes=False,
    show_dtype=False,
    show_layer_names=True,
    rankdir="TB",
    expand_nested=False,
    dpi=200,
    subgraph=False,
    show_layer_activations=False,
    show_trainable=False,
    splines="ortho",
):
    """A model as a graph of the package pydot, whose method `create` runs Graphviz.

    `plot_model` draws without both. A layer that is called several times has a box for each call.

    Args:
        model: a built model; of a subclassed one there is a single box.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what boxes
            say.
        rankdir: `"TB"` from top to bottom, or `"LR"` from left to right.
        expand_nested: whether a model within the model is a frame around its own boxes.
        dpi: pixels an inch.
        subgraph: whether to return a `pydot.Cluster`, which can be part of another graph, and not a
            `pydot.Dot`.
        splines: how arrows run: `"ortho"`, `"curved"`, `"polyline"`, `"spline"` or `"line"`.

    Raises ValueError for a model that is not built, ImportError if pydot is not installed.

    Source: Keras: model_to_dot.
    """
    return model._to_dot(
        show_shapes=show_shapes,
        show_dtype=show_dtype,
        show_layer_names=show_layer_names,
        rankdir=rankdir,
        expand_nested=expand_nested,
        dpi=dpi,
        subgraph=subgraph,
        show_activations=show_layer_activations,
        show_trainable=show_trainable,
        splines=splines,
    )


__all__ = [
    "Config",
    "CustomObjectScope",
    "FeatureSpace",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "audio_dataset_from_directory",
    "bounding_boxes",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "legacy",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "reset_uids",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
