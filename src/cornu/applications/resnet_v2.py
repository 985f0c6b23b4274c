"""Residual networks that normalize before each convolution, so that nothing changes what is added."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request
from cornu.applications.resnet import normalized, stem


def _block(x, filters: int, stride: int, is_first: bool, name: str):
    before = normalized(x, f"{name}_preact", f"{name}_preact_relu")
    if is_first:
        shortcut = layers.Conv2D(4 * filters, 1, name=f"{name}_0_conv")(before)
    else:
        shortcut = layers.MaxPooling2D(1, strides=stride)(x) if stride > 1 else x
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(before)
    x = normalized(x, f"{name}_1", f"{name}_1_relu")
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(x)
    x = normalized(x, f"{name}_2", f"{name}_2_relu")
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    return layers.Add(name=f"{name}_out")([shortcut, x])


def body(depths: tuple[int, ...]):
    """Stages of so many blocks; each but the last halves rows and columns in its last block."""

    def convolutional_part(x, request: Request):
        x = stem(x, use_bias=True, is_normalized=False)
        last_stage = len(depths) + 1
        for stage, depth in enumerate(depths, 2):
            for block in range(1, depth + 1):
                stride = 2 if block == depth and stage < last_stage else 1
                name = f"conv{stage}_block{block}"
                x = _block(x, 64 * 2 ** (stage - 2), stride, block == 1, name)
        return normalized(x, "post", "post_relu")

    return convolutional_part


def _constructor(title: str, depths: tuple[int, ...], hashes: tuple[str, str]):
    name = title.lower()
    design = Design(body(depths), published.standard("resnet", name, *hashes), preprocessing="tf")
    about = (
        f"{title.removesuffix('V2')} with normalization and relu before each convolution.\n"
        'He et al. 2016, "Identity mappings in deep residual networks"'
    )
    return constructor(title, name, design, about, __name__)


ResNet50V2 = _constructor(
    "ResNet50V2",
    (3, 4, 6, 3),
    ("3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
)
ResNet101V2 = _constructor(
    "ResNet101V2",
    (3, 4, 23, 3),
    ("6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
)
ResNet152V2 = _constructor(
    "ResNet152V2",
    (3, 8, 36, 3),
    ("a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
)
preprocess_input = preprocessing("tf", __name__)

__all__ = ["ResNet50V2", "ResNet101V2", "ResNet152V2", "decode_predictions", "preprocess_input"]
