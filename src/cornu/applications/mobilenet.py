"""MobileNet: depthwise and pointwise convolutions instead of full ones."""

import warnings

from cornu import layers
from cornu.applications.describing import described
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import (
    Design,
    Request,
    build,
    channel_axis,
    resolved_shape,
    rows_and_columns,
)
from cornu.applications.published import ADDRESS, Published

# The sizes of images that there are published weights for.
_SIZES = (128, 160, 192, 224)
# Filters and stride of each depthwise and pointwise pair.
_PAIRS = [
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *[(512, 1)] * 5,
    *((1024, 2), (1024, 1)),
]


def _normalized(x, name: str):
    x = layers.BatchNormalization(axis=channel_axis(-1), name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _body(alpha: float, depth_multiplier: int):
    def body(x, request: Request):
        convolution = layers.Conv2D(
            int(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="conv1"
        )
        x = _normalized(convolution(x), "conv1")
        for i, (filters, stride) in enumerate(_PAIRS, 1):
            if stride == 2:
                x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{i}")(x)
            x = layers.DepthwiseConv2D(
                3,
                strides=stride,
                padding="same" if stride == 1 else "valid",
                depth_multiplier=depth_multiplier,
                use_bias=False,
                name=f"conv_dw_{i}",
            )(x)
            x = _normalized(x, f"conv_dw_{i}")
            x = layers.Conv2D(
                int(filters * alpha), 1, padding="same", use_bias=False, name=f"conv_pw_{i}"
            )(x)
            x = _normalized(x, f"conv_pw_{i}")
        return x

    return body


def _top(dropout: float):
    def top(x, request: Request):
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Conv2D(request.classes, 1, padding="same", name="conv_preds")(x)
        x = layers.Reshape((request.classes,), name="reshape_2")(x)
        return layers.Activation(request.classifier_activation, name="predictions")(x)

    return top


def size_of_images(shape, sizes: tuple[int, ...]) -> int:
    """Which of the published weights are meant: those for images of the given size, or of 224 pixels."""
    rows, columns = rows_and_columns(shape) if shape and len(shape) >= 3 else (None, None)
    return rows if rows == columns and rows in sizes else 224


def check_size(shape, sizes: tuple[int, ...]) -> None:
    """Warn that the published weights were trained on images of another size."""
    rows, columns = rows_and_columns(shape)
    if rows != columns or rows not in sizes:
        warnings.warn(
            f"`input_shape` is undefined or non-square, or its rows are not in {list(sizes)}. Weights "
            "for input shape (224, 224) will be loaded as the default.",
            stacklevel=3,
        )


@described(
    "MobileNet",
    "28 convolutions, every other one of them depthwise; made for telephones.\n"
    'Howard et al. 2017, "MobileNets: Efficient convolutional neural networks for mobile vision '
    'applications"',
    "tf",
    more="""\
    alpha: factor for the number of filters of each layer; 0.25, 0.5, 0.75 or 1 with published weights.
    depth_multiplier: filters of the depthwise convolutions for each of their inputs' feature maps.
    dropout: part of the features that the classifier does without in training.
""",
)
def MobileNet(
    input_shape=None,
    alpha=1.0,
    depth_multiplier=1,
    dropout=1e-3,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name=None,
):
    size = size_of_images(input_shape, _SIZES)
    request = Request.of(locals(), name=name or "mobilenet")
    if weights == "imagenet" and depth_multiplier != 1:
        raise ValueError(
            "If imagenet weights are being loaded, depth multiplier must be 1. Received: "
            f"depth_multiplier={depth_multiplier}"
        )
    if weights == "imagenet" and alpha not in (0.25, 0.5, 0.75, 1.0):
        raise ValueError(
            "If imagenet weights are being loaded, alpha can be one of `0.25`, `0.50`, `0.75` or "
            f"`1.0` only. Received: alpha={alpha}"
        )
    shape = resolved_shape(request, size, 32)
    if weights == "imagenet":
        check_size(shape, _SIZES)
    rows = size_of_images(shape, _SIZES) if weights == "imagenet" else rows_and_columns(shape)[0]
    request.name = name or f"mobilenet_{alpha:0.2f}_{rows}"

    def published(request: Request) -> Published:
        width = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}[alpha]
        ending = "" if include_top else "_no_top"
        file = f"mobilenet_{width}_{rows}_tf{ending}.h5"
        return Published(file, f"{ADDRESS}mobilenet/{file}")

    design = Design(
        _body(alpha, depth_multiplier), published, _top(dropout), pool_names=(None, None)
    )
    return build(design, request, shape)


preprocess_input = preprocessing("tf", __name__)

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]
