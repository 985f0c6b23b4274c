"""MobileNet v3: blocks as in v2, some with squeeze and excitation, found by a search."""

import warnings

from cornu import layers
from cornu.applications.describing import described
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.mobilenet_v2 import normalized, rounded
from cornu.applications.network import (
    Design,
    Request,
    build,
    channel_axis,
    is_channels_first,
    rows_and_columns,
    same_padding,
)
from cornu.applications.published import ADDRESS, Published
from cornu.core.symbolic import KerasTensor

# Of each block: expansion, filters, size of the depthwise window, stride, whether it is squeezed and
# excited, and whether its activation is hard swish. What is not minimalistic has windows of 5.
_SMALL = [
    (1, 16, 3, 2, True, False),
    (72 / 16, 24, 3, 2, False, False),
    (88 / 24, 24, 3, 1, False, False),
    (4, 40, 5, 2, True, True),
    *[(6, 40, 5, 1, True, True)] * 2,
    *[(3, 48, 5, 1, True, True)] * 2,
    (6, 96, 5, 2, True, True),
    *[(6, 96, 5, 1, True, True)] * 2,
]
_LARGE = [
    (1, 16, 3, 1, False, False),
    (4, 24, 3, 2, False, False),
    (3, 24, 3, 1, False, False),
    (3, 40, 5, 2, True, False),
    *[(3, 40, 5, 1, True, False)] * 2,
    (6, 80, 3, 2, False, True),
    (2.5, 80, 3, 1, False, True),
    *[(2.3, 80, 3, 1, False, True)] * 2,
    *[(6, 112, 3, 1, True, True)] * 2,
    (6, 160, 5, 2, True, True),
    *[(6, 160, 5, 1, True, True)] * 2,
]
# MD5 of the published files, with and without the classifier.
_HASHES = {
    "large_224_0.75_float": (
        "765b44a33ad4005b3ac83185abf1d0eb",
        "40af19a13ebea4e2ee0c676887f69a2e",
    ),
    "large_224_1.0_float": ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
    "large_minimalistic_224_1.0_float": (
        "675e7b876c45c57e9e63e6d90a36599c",
        "ec5221f64a2f6d1ef965a614bdae7973",
    ),
    "small_224_0.75_float": (
        "cb65d4e5be93758266aa0a7f2c6708b7",
        "ebdb5cc8e0b497cd13a7c275d475c819",
    ),
    "small_224_1.0_float": ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    "small_minimalistic_224_1.0_float": (
        "99cd97fb2fcdad2bf028eb838de69e37",
        "cde8136e733e811080d9fcd8a252f7e4",
    ),
}


def _activated(x, hard_swish: bool):
    return (layers.Activation("hard_swish") if hard_swish else layers.ReLU())(x)


def _squeezed_and_excited(x, filters: int, prefix: str):
    inputs = x
    prefix = f"{prefix}squeeze_excite"
    x = layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}_avg_pool")(x)
    x = layers.Conv2D(rounded(filters * 0.25), 1, padding="same", name=f"{prefix}_conv")(x)
    x = layers.ReLU(name=f"{prefix}_relu")(x)
    x = layers.Conv2D(filters, 1, padding="same", name=f"{prefix}_conv_1")(x)
    x = layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    return layers.Multiply(name=f"{prefix}_mul")([inputs, x])


def _block(x, expansion, filters, size, stride, is_excited, hard_swish, number):
    inputs, channels = x, x.shape[channel_axis(-1)]
    prefix = f"expanded_conv_{number}_" if number else "expanded_conv_"
    expanded = rounded(channels * expansion)
    if number:
        x = layers.Conv2D(expanded, 1, padding="same", use_bias=False, name=f"{prefix}expand")(x)
        x = _activated(normalized(x, f"{prefix}expand_bn"), hard_swish)
    if stride == 2:
        x = layers.ZeroPadding2D(same_padding(x, size), name=f"{prefix}depthwise_pad")(x)
    x = layers.DepthwiseConv2D(
        size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{prefix}depthwise",
    )(x)
    x = _activated(normalized(x, f"{prefix}depthwise_bn"), hard_swish)
    if is_excited:
        x = _squeezed_and_excited(x, expanded, prefix)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
    x = normalized(x, f"{prefix}project_bn")
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{prefix}add")([inputs, x])
    return x


def _body(blocks, alpha: float, minimalistic: bool, include_preprocessing: bool):
    def body(x, request: Request):
        if include_preprocessing:
            x = layers.Rescaling(1.0 / 127.5, offset=-1.0)(x)
        x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
        x = _activated(normalized(x, "conv_bn"), not minimalistic)
        for number, (expansion, filters, size, stride, excited, swish) in enumerate(blocks):
            if minimalistic:
                size, excited, swish = 3, False, False
            filters = rounded(filters * alpha)
            x = _block(x, expansion, filters, size, stride, excited, swish, number)
        last = rounded(x.shape[channel_axis(-1)] * 6)
        x = layers.Conv2D(last, 1, padding="same", use_bias=False, name="conv_1")(x)
        return _activated(normalized(x, "conv_1_bn"), not minimalistic)

    return body


def _top(filters: int, minimalistic: bool, dropout_rate: float):
    def top(x, request: Request):
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Conv2D(filters, 1, padding="same", name="conv_2")(x)
        x = _activated(x, not minimalistic)
        if dropout_rate > 0:
            x = layers.Dropout(dropout_rate)(x)
        x = layers.Conv2D(request.classes, 1, padding="same", name="logits")(x)
        x = layers.Flatten()(x)
        return layers.Activation(request.classifier_activation, name="predictions")(x)

    return top


def _image_shape(request: Request) -> tuple:
    """The shape of one image; this family takes one of any size, with its classifier, too."""
    if isinstance(request.input_tensor, KerasTensor) and request.input_shape is None:
        shape = request.input_tensor.shape[1:]
    else:
        any_size = (3, None, None) if is_channels_first() else (None, None, 3)
        shape = tuple(request.input_shape or any_size)
    if len(shape) != 3:
        raise ValueError(
            f"`input_shape` must be a tuple of three integers. Received: input_shape={shape}"
        )
    if any(size is not None and size < 32 for size in rows_and_columns(shape)):
        raise ValueError(f"Input size must be at least 32x32; Received `input_shape={shape}`")
    if request.weights == "imagenet" and rows_and_columns(shape) != (224, 224):
        warnings.warn(
            "`input_shape` is undefined or non-square, or `rows` is not 224. Weights for input shape "
            "(224, 224) will be loaded as the default.",
            stacklevel=4,
        )
    return shape


def _constructor(size: str, blocks: list, last_filters: int, number: str):
    title = f"MobileNetV3{size.capitalize()}"

    @described(
        title,
        f"{number} blocks as in MobileNetV2, some with squeeze and excitation.\n"
        'Howard et al. 2019, "Searching for MobileNetV3"',
        None,
        more="""\
    alpha: factor for the number of filters of each layer; 0.75 or 1 with published weights.
    minimalistic: whether to do without squeeze and excitation, hard swish and windows of 5.
    dropout_rate: part of the features that the classifier does without in training.
    include_preprocessing: whether pixels are brought from 0 to 255 to -1 to 1 within the network.
""",
    )
    def construct(
        input_shape=None,
        alpha=1.0,
        minimalistic=False,
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        classes=1000,
        pooling=None,
        dropout_rate=0.2,
        classifier_activation="softmax",
        include_preprocessing=True,
        name=title,
    ):
        request = Request.of(locals())
        if weights == "imagenet" and alpha not in ((1.0,) if minimalistic else (0.75, 1.0)):
            raise ValueError(
                "If imagenet weights are being loaded, alpha can be one of `0.75`, `1.0` for non "
                f"minimalistic or `1.0` for minimalistic only. Received: alpha={alpha}, "
                f"minimalistic={minimalistic}"
            )

        def published(request: Request) -> Published:
            kind = f"{size}{'_minimalistic' if minimalistic else ''}_224_{float(alpha)}_float"
            ending = "" if include_top else "_no_top_v2"
            file = f"weights_mobilenet_v3_{kind}{ending}.h5"
            file_hash = _HASHES[kind][0 if include_top else 1]
            return Published(file, f"{ADDRESS}mobilenet_v3/{file}", file_hash)

        features = rounded(last_filters * alpha) if alpha > 1.0 else last_filters
        design = Design(
            _body(blocks, alpha, minimalistic, include_preprocessing),
            published,
            _top(features, minimalistic, dropout_rate),
        )
        return build(design, request, _image_shape(request))

    return construct


MobileNetV3Small = _constructor("small", _SMALL, 1024, "11")
MobileNetV3Large = _constructor("large", _LARGE, 1280, "15")
preprocess_input = preprocessing(None, __name__)

__all__ = ["decode_predictions", "preprocess_input"]
