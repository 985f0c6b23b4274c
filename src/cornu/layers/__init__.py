"""Layers: the building blocks of models.  Source: Keras: Layers API."""

import importlib

from cornu.core import registry as _registry
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.core.registry import deserialize as _deserialize
from cornu.core.registry import serialize as _serialize
from cornu.layers.activation import ELU, Activation, Identity, LeakyReLU, PReLU, ReLU, Softmax
from cornu.layers.adaptive_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from cornu.layers.attention import (
    AdditiveAttention,
    Attention,
    GroupedQueryAttention,
    MultiHeadAttention,
)
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.convolution import Conv1D, Conv2D, Conv3D
from cornu.layers.convolution_transpose import (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
)
from cornu.layers.dense import Dense, EinsumDense
from cornu.layers.dot import Dot, dot
from cornu.layers.embedding import Embedding, Masking, ReversibleEmbedding
from cornu.layers.input import Input, InputLayer
from cornu.layers.keras1 import (
    Convolution1D,
    Convolution2D,
    Convolution3D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
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
from cornu.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    L2Pooling1D,
    L2Pooling2D,
    L2Pooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from cornu.layers.preprocessing import Normalization, Rescaling
from cornu.layers.recurrent import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    ConvLSTM1D,
    ConvLSTM2D,
    ConvLSTM3D,
    GRUCell,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
)
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
from cornu.layers.resampling import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from cornu.layers.reshaping import Flatten, Permute, RepeatVector, Reshape

# Files name these, though Keras exports them nowhere.
from cornu.layers.scaled_sum import CustomScaleLayer, LayerScale  # noqa: F401
from cornu.layers.separable import (
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
)
from cornu.layers.wrappers import Lambda, SpectralNormalization, TimeDistributed, Wrapper

# Other names that Keras keeps.
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
L2Pool1D, L2Pool2D, L2Pool3D = L2Pooling1D, L2Pooling2D, L2Pooling3D
GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D
GlobalAvgPool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D
GlobalAvgPool3D, GlobalMaxPool3D = GlobalAveragePooling3D, GlobalMaxPooling3D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
GroupQueryAttention = GroupedQueryAttention


# Loaded when first used: families that most programs do without. Name and module.
_ON_USE = {
    "CategoryEncoding": "preprocessing.encoding",
    "Discretization": "preprocessing.discretization",
    "FlaxLayer": "jax_layer",
    "HashedCrossing": "preprocessing.hashing",
    "Hashing": "preprocessing.hashing",
    "IntegerLookup": "preprocessing.integer_lookup",
    "JaxLayer": "jax_layer",
    "MelSpectrogram": "preprocessing.spectrogram",
    "Pipeline": "pipeline",
    "STFTSpectrogram": "preprocessing.spectrogram",
    "StringLookup": "preprocessing.string_lookup",
    "TFSMLayer": "jax_layer",
    "TorchModuleWrapper": "jax_layer",
    "TextVectorization": "preprocessing.text_vectorization",
    **dict.fromkeys(
        (
            "AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix "
            "Equalization MaxNumBoundingBoxes MixUp RandAugment RandomBrightness "
            "RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop "
            "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale "
            "RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation "
            "RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom Resizing "
            "Solarization"
        ).split(),
        "augmentation",
    ),
}


def __getattr__(name):
    if name in _ON_USE:
        return getattr(importlib.import_module(f"cornu.layers.{_ON_USE[name]}"), name)
    raise AttributeError(f"module 'cornu.layers' has no attribute {name!r}")


def _load():
    for file in sorted(set(_ON_USE.values())):
        importlib.import_module(f"cornu.layers.{file}")


_registry.load_on_use("layer", _load)


def serialize(layer):
    """The configuration of a layer, with its class; see `deserialize`."""
    return _serialize(layer)


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
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "AugMix",
    "AutoContrast",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "CategoryEncoding",
    "CenterCrop",
    "Concatenate",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "CutMix",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Discretization",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Equalization",
    "Flatten",
    "FlaxLayer",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "GroupQueryAttention",
    "HashedCrossing",
    "Hashing",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "IntegerLookup",
    "JaxLayer",
    "L2Pool1D",
    "L2Pool2D",
    "L2Pool3D",
    "L2Pooling1D",
    "L2Pooling2D",
    "L2Pooling3D",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxNumBoundingBoxes",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "MelSpectrogram",
    "Minimum",
    "MixUp",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "Pipeline",
    "RMSNormalization",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "ReversibleEmbedding",
    "STFTSpectrogram",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "Solarization",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TFSMLayer",
    "TextVectorization",
    "TimeDistributed",
    "TorchModuleWrapper",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "Wrapper",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
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
