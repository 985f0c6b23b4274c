"""EfficientNet: depth, width and size of images grow together from B0 to B7."""

import math

from cornu import layers
from cornu.applications import network, published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.mobilenet_v2 import rounded
from cornu.applications.network import (
    Design,
    Request,
    channel_axis,
    is_channels_first,
    same_padding,
)

CONVOLUTIONS = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}
_DENSE = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0 / 3.0, "mode": "fan_out", "distribution": "uniform"},
}
# Of each stage of B0: size of the depthwise window, number of blocks, filters before and after, factor by
# which a block widens, and stride of the first.
_STAGES = [
    (3, 1, 32, 16, 1, 1),
    (3, 2, 16, 24, 6, 2),
    (5, 2, 24, 40, 6, 2),
    (3, 3, 40, 80, 6, 2),
    (5, 3, 80, 112, 6, 1),
    (5, 4, 112, 192, 6, 2),
    (3, 1, 192, 320, 6, 1),
]
_DEVIATIONS = (0.229, 0.224, 0.225)


def convolution(filters: int, size: int, name: str, **arguments):
    """A convolution of this family: no bias, and initial values for swish."""
    arguments = {"padding": "same", "use_bias": False, **arguments}
    return layers.Conv2D(filters, size, kernel_initializer=CONVOLUTIONS, name=name, **arguments)


def normalized(x, prefix: str, activation: str | None = "swish", momentum: float = 0.99):
    """Batch normalization called `…bn`, and an activation called `…activation`."""
    x = layers.BatchNormalization(axis=channel_axis(), momentum=momentum, name=f"{prefix}bn")(x)
    return layers.Activation(activation, name=f"{prefix}activation")(x) if activation else x


def squeezed_and_excited(x, filters: int, squeezed: int, prefix: str):
    """Each feature map times a number from 0 to 1 that depends on the means of all."""
    means = layers.GlobalAveragePooling2D(name=f"{prefix}se_squeeze")(x)
    shape = (filters, 1, 1) if is_channels_first() else (1, 1, filters)
    y = layers.Reshape(shape, name=f"{prefix}se_reshape")(means)
    y = convolution(squeezed, 1, f"{prefix}se_reduce", activation="swish", use_bias=True)(y)
    y = convolution(filters, 1, f"{prefix}se_expand", activation="sigmoid", use_bias=True)(y)
    return layers.multiply([x, y], name=f"{prefix}se_excite")


def added(x, inputs, drop_rate: float, prefix: str):
    """The block's input besides what it computes, which training leaves out for some examples."""
    if drop_rate > 0:
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
    return layers.add([x, inputs], name=f"{prefix}add")


def _block(x, size, filters_in, filters_out, expansion, stride, drop_rate, prefix):
    inputs, filters = x, filters_in * expansion
    if expansion != 1:
        x = normalized(convolution(filters, 1, f"{prefix}expand_conv")(x), f"{prefix}expand_")
    if stride == 2:
        x = layers.ZeroPadding2D(same_padding(x, size), name=f"{prefix}dwconv_pad")(x)
    x = layers.DepthwiseConv2D(
        size,
        strides=stride,
        padding="valid" if stride == 2 else "same",
        use_bias=False,
        depthwise_initializer=CONVOLUTIONS,
        name=f"{prefix}dwconv",
    )(x)
    x = normalized(x, prefix)
    x = squeezed_and_excited(x, filters, max(1, filters_in // 4), prefix)
    x = convolution(filters_out, 1, f"{prefix}project_conv")(x)
    x = normalized(x, f"{prefix}project_", None)
    if stride == 1 and filters_in == filters_out:
        x = added(x, inputs, drop_rate, prefix)
    return x


def classifier(dropout_rate: float, **arguments):
    """The mean of each feature map, dropout, and the dense layer."""

    def top(x, request: Request):
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(dropout_rate, name="top_dropout")(x)
        return network.predictions(x, request, kernel_initializer=_DENSE, **arguments)

    return top


def _body(width: float, depth: float):
    def body(x, request: Request):
        x = layers.Rescaling(1.0 / 255.0)(x)
        x = layers.Normalization(axis=channel_axis())(x)
        if request.weights == "imagenet":
            # The published weights were trained with a division by variances where deviations were meant.
            x = layers.Rescaling([1.0 / math.sqrt(deviation) for deviation in _DEVIATIONS])(x)
        x = layers.ZeroPadding2D(same_padding(x, 3), name="stem_conv_pad")(x)
        x = convolution(rounded(32 * width), 3, "stem_conv", strides=2, padding="valid")(x)
        x = normalized(x, "stem_")
        repeats = [math.ceil(depth * stage[1]) for stage in _STAGES]
        number = 0
        for i, (size, _, before, after, expansion, stride) in enumerate(_STAGES):
            filters_in, filters_out = rounded(before * width), rounded(after * width)
            for j in range(repeats[i]):
                rate = 0.2 * number / float(sum(repeats))
                prefix = f"block{i + 1}{chr(ord('a') + j)}_"
                x = _block(x, size, filters_in, filters_out, expansion, stride, rate, prefix)
                filters_in, stride, number = filters_out, 1, number + 1
        x = convolution(rounded(1280 * width), 1, "top_conv")(x)
        return normalized(x, "top_")

    return body


# Of each network: width, depth, size of images, dropout, and MD5 of the published files, with and without
# the classifier.
_NETWORKS = {
    "B0": (
        1.0,
        1.0,
        224,
        0.2,
        "902e53a9f72be733fc0bcb005b3ebbac",
        "50bc09e76180e00e4465e1a485ddc09d",
    ),
    "B1": (
        1.0,
        1.1,
        240,
        0.2,
        "1d254153d4ab51201f1646940f018540",
        "74c4e6b3e1f6a1eea24c589628592432",
    ),
    "B2": (
        1.1,
        1.2,
        260,
        0.3,
        "b15cce36ff4dcbd00b6dd88e7857a6ad",
        "111f8e2ac8aa800a7a99e3239f7bfb39",
    ),
    "B3": (
        1.2,
        1.4,
        300,
        0.3,
        "ffd1fdc53d0ce67064dc6a9c7960ede0",
        "af6d107764bb5b1abb91932881670226",
    ),
    "B4": (
        1.4,
        1.8,
        380,
        0.4,
        "18c95ad55216b8f92d7e70b3a046e2fc",
        "ebc24e6d6c33eaebbd558eafbeedf1ba",
    ),
    "B5": (
        1.6,
        2.2,
        456,
        0.4,
        "ace28f2a6363774853a83a0b21b9421a",
        "38879255a25d3c92d5e44e04ae6cec6f",
    ),
    "B6": (
        1.8,
        2.6,
        528,
        0.5,
        "165f6e37dce68623721b423839de8be5",
        "9ecce42647a20130c1f39a5d4cb75743",
    ),
    "B7": (
        2.0,
        3.1,
        600,
        0.5,
        "8c03f828fec3ef71311cd463b6759d99",
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
    ),
}


def _constructor(size: str):
    width, depth, default_size, dropout_rate, *hashes = _NETWORKS[size]
    name = f"efficientnet{size.lower()}"
    design = Design(
        _body(width, depth),
        published.by_name("https://storage.googleapis.com/keras-applications/", name, *hashes),
        classifier(dropout_rate),
        default_size=default_size,
    )
    about = (
        f"{width} times as wide and {depth} times as deep as B0.\n"
        'Tan and Le 2019, "EfficientNet: Rethinking model scaling for convolutional neural networks"'
    )
    return constructor(f"EfficientNet{size}", name, design, about, __name__)


EfficientNetB0 = _constructor("B0")
EfficientNetB1 = _constructor("B1")
EfficientNetB2 = _constructor("B2")
EfficientNetB3 = _constructor("B3")
EfficientNetB4 = _constructor("B4")
EfficientNetB5 = _constructor("B5")
EfficientNetB6 = _constructor("B6")
EfficientNetB7 = _constructor("B7")
preprocess_input = preprocessing(None, __name__)

__all__ = [
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "decode_predictions",
    "preprocess_input",
]
