"""Layers: the building blocks of models.  Source: Keras: Layers API."""

from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.registry import deserialize as _deserialize
from cornu.core.registry import serialize
from cornu.layers.activation import ELU, Activation, Identity, LeakyReLU, PReLU, ReLU, Softmax
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.dense import Dense, EinsumDense
from cornu.layers.dot import Dot, dot
from cornu.layers.embedding import Embedding, Masking
from cornu.layers.image_augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
)
from cornu.layers.image_movement import RandomRotation, RandomTranslation, RandomZoom
from cornu.layers.input import Input, InputLayer
from cornu.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from cornu.layers.normalization import (
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from cornu.layers.preprocessing import CenterCrop, Normalization, Rescaling, Resizing
from cornu.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from cornu.layers.reshaping import Flatten, Permute, RepeatVector, Reshape
from cornu.layers.wrappers import Lambda, SpectralNormalization, TimeDistributed, Wrapper


def deserialize(config, custom_objects=None):
    """Make the layer that `serialize` described.

    >>> import cornu
    >>> config = cornu.layers.serialize(cornu.layers.Dense(3))
    >>> cornu.layers.deserialize(config).units
    3
    """
    return _deserialize(config, custom_objects, kind="layer")


__all__ = [
    "ELU",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Dense",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
    "Subtract",
    "TimeDistributed",
    "UnitNormalization",
    "Wrapper",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]
