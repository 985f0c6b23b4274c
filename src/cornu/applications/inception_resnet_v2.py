"""Inception-ResNet v2: what the branches of a block compute is added to its input."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.inception_v3 import branches, convolved, entry
from cornu.applications.network import Design, Request, channel_axis
from cornu.layers.scaled_sum import CustomScaleLayer

# The branches of each kind of residual block, how often it comes, and by how much its sum is scaled.
_KINDS = {
    "block35": (((32,), (32, (32, 3)), (32, (48, 3), (64, 3))), 10, 0.17),
    "block17": (((192,), (128, (160, (1, 7)), (192, (7, 1)))), 20, 0.1),
    "block8": (((192,), (192, (224, (1, 3)), (256, (3, 1)))), 10, 0.2),
}


def _residual_blocks(x, kind: str):
    ways, number, scale = _KINDS[kind]
    for i in range(1, number + 1):
        is_last = kind == "block8" and i == number
        name = f"{kind}_{i}"
        mixed = branches(x, f"{name}_mixed", *ways)
        channels = x.shape[channel_axis()]
        up = layers.Conv2D(channels, 1, padding="same", name=f"{name}_conv")(mixed)
        x = CustomScaleLayer(1.0 if is_last else scale)([x, up])
        if not is_last:
            x = layers.Activation("relu", name=f"{name}_ac")(x)
    return x


def body(x, request: Request):
    """Three rows of residual blocks, with a block that halves rows and columns before each."""
    x = entry(x)
    x = branches(x, "mixed_5b", (96,), (48, (64, 5)), (64, (96, 3), (96, 3)), ("average", 64))
    x = _residual_blocks(x, "block35")
    x = branches(x, "mixed_6a", ((384, 3, 2),), (256, (256, 3), (384, 3, 2)), ("halve",))
    x = _residual_blocks(x, "block17")
    x = branches(
        x,
        "mixed_7a",
        (256, (384, 3, 2)),
        (256, (288, 3, 2)),
        (256, (288, 3), (320, 3, 2)),
        ("halve",),
    )
    x = _residual_blocks(x, "block8")
    return convolved(x, 1536, names=("conv_7b", "conv_7b_bn", "conv_7b_ac"))


InceptionResNetV2 = constructor(
    "InceptionResNetV2",
    "inception_resnet_v2",
    Design(
        body,
        published.standard(
            "inception_resnet_v2",
            "inception_resnet_v2",
            "e693bd0210a403b3192acc6073ad2e96",
            "d19885ff4a710c122648d3b5c3b684e4",
        ),
        default_size=299,
        min_size=75,
        pool_names=(None, None),
        preprocessing="tf",
    ),
    "244 convolutions in blocks with branches and a shortcut.\n"
    'Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the impact of residual connections"',
    __name__,
)
preprocess_input = preprocessing("tf", __name__)

__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]
