"""Xception: depthwise separable convolutions in residual blocks."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, channel_axis


def _normalized(x, name: str | None = None):
    return layers.BatchNormalization(axis=channel_axis(-1), name=name)(x)


def _relu(x, name: str):
    return layers.Activation("relu", name=name)(x)


def _separable(x, filters: int, name: str):
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return _normalized(x, f"{name}_bn")


def _halving_block(x, block: int, filters: tuple[int, int]):
    """Two separable convolutions and pooling; the shortcut is a strided convolution of size one."""
    name = f"block{block}"
    shortcut = layers.Conv2D(filters[1], 1, strides=2, padding="same", use_bias=False)(x)
    shortcut = _normalized(shortcut)
    for i, number in enumerate(filters, 1):
        # The block before the first of these has ended with an activation.
        if block > 2 or i > 1:
            x = _relu(x, f"{name}_sepconv{i}_act")
        x = _separable(x, number, f"{name}_sepconv{i}")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return layers.add([x, shortcut])


def body(x, request: Request):
    """The entry, the middle with eight blocks alike, and the exit."""
    for i, (filters, stride) in enumerate([(32, 2), (64, 1)], 1):
        name = f"block1_conv{i}"
        x = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=name)(x)
        x = _relu(_normalized(x, f"{name}_bn"), f"{name}_act")
    for block, filters in enumerate((128, 256, 728), 2):
        x = _halving_block(x, block, (filters, filters))
    for block in range(5, 13):
        shortcut = x
        for i in (1, 2, 3):
            name = f"block{block}_sepconv{i}"
            x = _separable(_relu(x, f"{name}_act"), 728, name)
        x = layers.add([x, shortcut])
    x = _halving_block(x, 13, (728, 1024))
    for i, filters in enumerate((1536, 2048), 1):
        name = f"block14_sepconv{i}"
        x = _relu(_separable(x, filters, name), f"{name}_act")
    return x


Xception = constructor(
    "Xception",
    "xception",
    Design(
        body,
        published.standard(
            "xception",
            "xception",
            "0a58e3b7378bc2990ea3b43d5981f1f6",
            "b0042744bf5b25fce3cb969f33bebb97",
        ),
        default_size=299,
        min_size=71,
        pool_names=(None, None),
        preprocessing="tf",
    ),
    "36 convolutions, nearly all of them depthwise separable.\n"
    'Chollet 2017, "Xception: Deep learning with depthwise separable convolutions"',
    __name__,
)
preprocess_input = preprocessing("tf", __name__)

__all__ = ["Xception", "decode_predictions", "preprocess_input"]
