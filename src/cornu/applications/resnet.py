"""Residual networks: each block adds what it computes to its input."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, channel_axis


def normalized(x, name: str, activation: str | None = None):
    """Batch normalization, and an activation of this name after it."""
    x = layers.BatchNormalization(axis=channel_axis(), epsilon=1.001e-5, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=activation)(x) if activation else x


def stem(x, use_bias: bool, is_normalized: bool):
    """The first convolution and pooling, which make an image a quarter as wide."""
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, use_bias=use_bias, name="conv1_conv")(x)
    if is_normalized:
        x = normalized(x, "conv1", "conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def _block(x, filters: int, stride: int, is_first: bool, name: str):
    shortcut = x
    if is_first:
        shortcut = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x)
        shortcut = normalized(shortcut, f"{name}_0")
    x = layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = normalized(x, f"{name}_1", f"{name}_1_relu")
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = normalized(x, f"{name}_2", f"{name}_2_relu")
    x = normalized(layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x), f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def body(depths: tuple[int, ...]):
    """Stages of so many blocks; each but the first halves rows and columns in its first block."""

    def convolutional_part(x, request: Request):
        x = stem(x, use_bias=True, is_normalized=True)
        for stage, depth in enumerate(depths, 2):
            for block in range(1, depth + 1):
                stride = 2 if block == 1 and stage > 2 else 1
                name = f"conv{stage}_block{block}"
                x = _block(x, 64 * 2 ** (stage - 2), stride, block == 1, name)
        return x

    return convolutional_part


def _constructor(title: str, depths: tuple[int, ...], hashes: tuple[str, str]):
    name = title.lower()
    design = Design(
        body(depths), published.standard("resnet", name, *hashes), preprocessing="caffe"
    )
    about = (
        f"{3 * sum(depths) + 2} layers with weights, in residual blocks of three.\n"
        'He et al. 2015, "Deep residual learning for image recognition"'
    )
    return constructor(title, name, design, about, __name__)


ResNet50 = _constructor(
    "ResNet50",
    (3, 4, 6, 3),
    ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
)
ResNet101 = _constructor(
    "ResNet101",
    (3, 4, 23, 3),
    ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
)
ResNet152 = _constructor(
    "ResNet152",
    (3, 8, 36, 3),
    ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
)
preprocess_input = preprocessing("caffe", __name__)

__all__ = ["ResNet50", "ResNet101", "ResNet152", "decode_predictions", "preprocess_input"]
