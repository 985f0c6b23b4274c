"""MobileNet v2: blocks that widen, convolve each feature map, and narrow again."""

from cornu import layers
from cornu.applications import network
from cornu.applications.describing import described
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.mobilenet import check_size, size_of_images
from cornu.applications.network import (
    Design,
    Request,
    build,
    channel_axis,
    resolved_shape,
    rows_and_columns,
    same_padding,
)
from cornu.applications.published import ADDRESS, Published

# The sizes of images, and the widths, that there are published weights for.
_SIZES = (96, 128, 160, 192, 224)
_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
# Filters, number of blocks and the stride of the first.
_STAGES = [(16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]


def rounded(filters: float) -> int:
    """The nearest multiple of 8 that is at least 8, and not less than nine tenths of the number."""
    multiple = max(8, int(filters + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * filters else multiple


def normalized(x, name: str):
    """Batch normalization as this family has it."""
    return layers.BatchNormalization(
        axis=channel_axis(-1), epsilon=1e-3, momentum=0.999, name=name
    )(x)


def _block(x, filters: int, stride: int, number: int):
    inputs, channels = x, x.shape[channel_axis(-1)]
    prefix = f"block_{number}_" if number else "expanded_conv_"
    if number:
        x = layers.Conv2D(6 * channels, 1, padding="same", use_bias=False, name=f"{prefix}expand")(
            x
        )
        x = normalized(x, f"{prefix}expand_BN")
        x = layers.ReLU(6.0, name=f"{prefix}expand_relu")(x)
    if stride == 2:
        x = layers.ZeroPadding2D(same_padding(x, 3), name=f"{prefix}pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        use_bias=False,
        padding="same" if stride == 1 else "valid",
        name=f"{prefix}depthwise",
    )(x)
    x = normalized(x, f"{prefix}depthwise_BN")
    x = layers.ReLU(6.0, name=f"{prefix}depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{prefix}project")(x)
    x = normalized(x, f"{prefix}project_BN")
    if channels == filters and stride == 1:
        return layers.Add(name=f"{prefix}add")([inputs, x])
    return x


def _body(alpha: float):
    def body(x, request: Request):
        x = layers.Conv2D(
            rounded(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="Conv1"
        )(x)
        x = layers.ReLU(6.0, name="Conv1_relu")(normalized(x, "bn_Conv1"))
        number = 0
        for filters, blocks, stride in _STAGES:
            for block in range(blocks):
                x = _block(x, rounded(int(filters * alpha)), 1 if block else stride, number)
                number += 1
        last = rounded(1280 * alpha) if alpha > 1.0 else 1280
        x = layers.Conv2D(last, 1, use_bias=False, name="Conv_1")(x)
        return layers.ReLU(6.0, name="out_relu")(normalized(x, "Conv_1_bn"))

    return body


def _top(x, request: Request):
    return network.predictions(layers.GlobalAveragePooling2D()(x), request)


@described(
    "MobileNetV2",
    "17 blocks that widen sixfold, convolve depthwise and narrow again.\n"
    'Sandler et al. 2018, "MobileNetV2: Inverted residuals and linear bottlenecks"',
    "tf",
    more="""\
    alpha: factor for the number of filters of each layer; with published weights 0.35, 0.5, 0.75, 1, 1.3
        or 1.4.
""",
)
def MobileNetV2(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name=None,
):
    request = Request.of(locals(), name=name or "mobilenetv2")
    if weights == "imagenet" and alpha not in _WIDTHS:
        raise ValueError(
            "If imagenet weights are being loaded, alpha must be one of `0.35`, `0.50`, `0.75`, "
            f"`1.0`, `1.3` or `1.4` only; Received `alpha={alpha}`"
        )
    of_input = getattr(input_tensor, "shape", None) if input_shape is None else input_shape
    shape = resolved_shape(request, size_of_images(of_input, _SIZES), 32)
    rows = rows_and_columns(shape)[0]
    if weights == "imagenet":
        check_size(shape, _SIZES)
        rows = size_of_images(shape, _SIZES)
    request.name = name or f"mobilenetv2_{alpha:0.2f}_{rows}"

    def published(request: Request) -> Published:
        ending = "" if include_top else "_no_top"
        file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}{ending}.h5"
        return Published(file, f"{ADDRESS}mobilenet_v2/{file}")

    design = Design(_body(alpha), published, _top, pool_names=(None, None))
    return build(design, request, shape)


preprocess_input = preprocessing("tf", __name__)

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]
