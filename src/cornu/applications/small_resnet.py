"""A small residual network, trained on CIFAR-10, whose weights come with the package."""

from cornu import layers
from cornu.applications.imagenet_utils import preprocessing
from cornu.applications.network import Design, Request, channel_axis, rows_and_columns
from cornu.applications.packaged import Packaged, about, build_packaged

PACKAGED = Packaged("small_resnet.npz", "cifar10", (32, 32, 3), 10)
# From this many rows and columns on, the first convolution halves the image.
_LARGE = 48
# Filters of each stage, and convolutions in its residual part.
_STAGES = ((64, 2), (128, 2), (192, 0))


def _convolution(x, filters: int, name: str):
    return layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)


def _normalized(x, name: str):
    axis = channel_axis()
    x = layers.BatchNormalization(axis=axis, momentum=0.6, scale=False, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _body(x, request: Request):
    x = layers.Rescaling(1 / 64, -121 / 64, name="rescaling")(x)
    sizes = rows_and_columns(x.shape)
    if None in sizes or min(sizes) < _LARGE:
        x = layers.Conv2D(24, 2, use_bias=False, activation="relu", name="stem_conv")(x)
    else:
        x = layers.Conv2D(24, 4, 2, use_bias=False, activation="relu", name="stem_conv_large")(x)
    for number, (filters, count) in enumerate(_STAGES, 1):
        name = f"stage{number}"
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(_convolution(x, filters, name))
        x = shortcut = _normalized(x, name)
        for part in (f"{name}_residual{i}" for i in range(1, count + 1)):
            x = _normalized(_convolution(x, filters, part), part)
        if count:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


_DESIGN = Design(_body, None, default_size=32, min_size=16)


def SmallResNet(
    include_top=True,
    weights="cifar10",
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    name="small_resnet",
):
    return build_packaged(_DESIGN, Request.of(locals()), PACKAGED)


SmallResNet.__doc__ = about(
    "SmallResNet: seven convolutions, 680,000 weights, for small images on a CPU.",
    PACKAGED,
    "32x32 with three channels",
    "They were trained on CIFAR-10 by\n`benchmarks/packaged.py`. "
    "From 48 rows and columns on, the first convolution has a stride of two; it was\ntrained with the same "
    "images at 64x64.",
    'He et al. 2015, "Deep residual learning for image recognition"; Jordan 2024, "94% on CIFAR-10 in 3.29 '
    'seconds on a single GPU"',
)
preprocess_input = preprocessing(None, __name__)

__all__ = ["SmallResNet", "preprocess_input"]
