"""EfficientNet v2: EfficientNet with full convolutions instead of depthwise ones in its first stages."""

import math

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import described
from cornu.applications.efficientnet import (
    CONVOLUTIONS,
    added,
    classifier,
    convolution,
    normalized,
    squeezed_and_excited,
)
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, build, channel_axis

# Of each stage: number of blocks, filters before and after, factor by which a block widens, stride of the
# first, and whether its convolution is full (and nothing squeezed) instead of depthwise.
_B = [
    (1, 32, 16, 1, 1, True),
    (2, 16, 32, 4, 2, True),
    (2, 32, 48, 4, 2, True),
    (3, 48, 96, 4, 2, False),
    (5, 96, 112, 6, 1, False),
    (8, 112, 192, 6, 2, False),
]
_S = [
    (2, 24, 24, 1, 1, True),
    (4, 24, 48, 4, 2, True),
    (4, 48, 64, 4, 2, True),
    (6, 64, 128, 4, 2, False),
    (9, 128, 160, 6, 1, False),
    (15, 160, 256, 6, 2, False),
]
_M = [
    (3, 24, 24, 1, 1, True),
    (5, 24, 48, 4, 2, True),
    (5, 48, 80, 4, 2, True),
    (7, 80, 160, 4, 2, False),
    (14, 160, 176, 6, 1, False),
    (18, 176, 304, 6, 2, False),
    (5, 304, 512, 6, 1, False),
]
_L = [
    (4, 32, 32, 1, 1, True),
    (7, 32, 64, 4, 2, True),
    (7, 64, 96, 4, 2, True),
    (10, 96, 192, 4, 2, False),
    (19, 192, 224, 6, 1, False),
    (25, 224, 384, 6, 2, False),
    (7, 384, 640, 6, 1, False),
]
# Of each network: stages, width, depth, size of images, and MD5 of the published files, with and without
# the classifier.
_NETWORKS = {
    "b0": (
        _B,
        1.0,
        1.0,
        224,
        "21ecbf6da12460d5c40bb2f29ceb2188",
        "893217f2bb855e2983157299931e43ff",
    ),
    "b1": (
        _B,
        1.0,
        1.1,
        240,
        "069f0534ff22adf035c89e2d9547a9dc",
        "0e80663031ca32d657f9caa404b6ec37",
    ),
    "b2": (
        _B,
        1.1,
        1.2,
        260,
        "424e49f28180edbde1e94797771950a7",
        "1dfe2e7a5d45b6632553a8961ea609eb",
    ),
    "b3": (
        _B,
        1.2,
        1.4,
        300,
        "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
        "f6abf7b5849ac99a89b50dd3fd532856",
    ),
    "s": (
        _S,
        1.0,
        1.0,
        384,
        "e1d88a8495beba45748fedd0cecbe016",
        "af0682fb74e8c54910f2d4393339c070",
    ),
    "m": (
        _M,
        1.0,
        1.0,
        480,
        "a3bf6aa3276309f4fc6a34aa114c95cd",
        "1b8dc055df72dde80d614482840fe342",
    ),
    "l": (
        _L,
        1.0,
        1.0,
        480,
        "27e6d408b53c7ebc868fefa357689935",
        "b0b66b5c863aef5b46e8608fe1711615",
    ),
}
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _rounded(filters: float) -> int:
    return max(8, int(filters + 4) // 8 * 8)


def _normalized(x, prefix: str, activation: str | None = "swish"):
    return normalized(x, prefix, activation, momentum=0.9)


def _depthwise_part(x, filters_in, expansion, stride, prefix):
    filters = filters_in * expansion
    if expansion != 1:
        x = _normalized(convolution(filters, 1, f"{prefix}expand_conv")(x), f"{prefix}expand_")
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        depthwise_initializer=CONVOLUTIONS,
        padding="same",
        use_bias=False,
        name=f"{prefix}dwconv2",
    )(x)
    x = _normalized(x, prefix)
    return squeezed_and_excited(x, filters, max(1, filters_in // 4), prefix)


def _block(x, filters_in, filters_out, expansion, stride, is_full, drop_rate, prefix):
    inputs, widens, last_size, last_stride = x, expansion != 1, 1, 1
    if not is_full:
        x = _depthwise_part(x, filters_in, expansion, stride, prefix)
    elif widens:
        x = convolution(filters_in * expansion, 3, f"{prefix}expand_conv", strides=stride)(x)
        x = _normalized(x, f"{prefix}expand_")
    else:
        last_size, last_stride = 3, stride
    x = convolution(filters_out, last_size, f"{prefix}project_conv", strides=last_stride)(x)
    x = _normalized(x, f"{prefix}project_", "swish" if is_full and not widens else None)
    if stride == 1 and filters_in == filters_out:
        x = added(x, inputs, drop_rate, prefix)
    return x


def _scaled(x, size: str):
    """Pixels from 0 to 255 as the published weights expect them."""
    axis = channel_axis()
    if size.startswith("b") and x.shape[axis] == 3:
        x = layers.Rescaling(1.0 / 255)(x)
        variances = [deviation**2 for deviation in _DEVIATIONS]
        return layers.Normalization(mean=list(_MEANS), variance=variances, axis=axis)(x)
    return layers.Rescaling(1.0 / 128.0, offset=-1)(x)


def _body(size: str, include_preprocessing: bool):
    stages, width, depth, *_ = _NETWORKS[size]

    def body(x, request: Request):
        if include_preprocessing:
            x = _scaled(x, size)
        x = convolution(_rounded(stages[0][1] * width), 3, "stem_conv", strides=2)(x)
        x = _normalized(x, "stem_")
        # As in Keras, B1 to B3 are deeper than what the rates are divided by.
        number, blocks = 0, float(sum(stage[0] for stage in stages))
        for i, (repeats, before, after, expansion, stride, is_full) in enumerate(stages):
            filters_in, filters_out = _rounded(before * width), _rounded(after * width)
            for j in range(math.ceil(depth * repeats)):
                prefix = f"block{i + 1}{chr(ord('a') + j)}_"
                rate = 0.2 * number / blocks
                x = _block(x, filters_in, filters_out, expansion, stride, is_full, rate, prefix)
                filters_in, stride, number = filters_out, 1, number + 1
        x = convolution(_rounded(1280 * width), 1, "top_conv")(x)
        return _normalized(x, "top_")

    return body


def _constructor(size: str):
    _, width, depth, default_size, *hashes = _NETWORKS[size]
    title = f"EfficientNetV2{size.upper()}"
    default_name = f"efficientnetv2-{size}"
    files = published.by_name(f"{published.ADDRESS}efficientnet_v2/", default_name, *hashes)
    is_b = size.startswith("b")

    @described(
        title,
        (
            f"{width} times as wide and {depth} times as deep as V2B0.\n"
            if is_b
            else "found by a search for networks that train fast.\n"
        )
        + 'Tan and Le 2021, "EfficientNetV2: Smaller models and faster training"',
        None,
        default_size,
        more="""\
    include_preprocessing: whether pixels are scaled within the network; if not, it takes -1 to 1.
""",
    )
    def construct(
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        include_preprocessing=True,
        name=default_name,
    ):
        request = Request.of(locals())
        design = Design(
            _body(size, include_preprocessing),
            files,
            classifier(0.2, bias_initializer={"class_name": "Constant", "config": {"value": 0.0}}),
            default_size=default_size,
        )
        return build(design, request)

    return construct


EfficientNetV2B0 = _constructor("b0")
EfficientNetV2B1 = _constructor("b1")
EfficientNetV2B2 = _constructor("b2")
EfficientNetV2B3 = _constructor("b3")
EfficientNetV2S = _constructor("s")
EfficientNetV2M = _constructor("m")
EfficientNetV2L = _constructor("l")
preprocess_input = preprocessing(None, __name__)

__all__ = [
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "decode_predictions",
    "preprocess_input",
]
