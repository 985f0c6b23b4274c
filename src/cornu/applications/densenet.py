"""DenseNet: each block's feature maps are put beside all those before it."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request
from cornu.applications.resnet import normalized

# How many feature maps a block adds.
_GROWTH = 32


def _block(x, name: str):
    new = normalized(x, f"{name}_0", f"{name}_0_relu")
    new = layers.Conv2D(4 * _GROWTH, 1, use_bias=False, name=f"{name}_1_conv")(new)
    new = normalized(new, f"{name}_1", f"{name}_1_relu")
    new = layers.Conv2D(_GROWTH, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(new)
    return layers.Concatenate(axis=3, name=f"{name}_concat")([x, new])


def _transition(x, name: str):
    """Half as many feature maps, half as wide."""
    x = normalized(x, name, f"{name}_relu")
    x = layers.Conv2D(x.shape[3] // 2, 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def body(depths: tuple[int, ...]):
    """Stages of so many blocks, with a transition between two."""

    def convolutional_part(x, request: Request):
        x = layers.ZeroPadding2D(3)(x)
        x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
        x = normalized(x, "conv1", "conv1_relu")
        x = layers.ZeroPadding2D(1)(x)
        x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
        for stage, depth in enumerate(depths, 2):
            if stage > 2:
                x = _transition(x, f"pool{stage - 1}")
            for block in range(1, depth + 1):
                x = _block(x, f"conv{stage}_block{block}")
        x = layers.BatchNormalization(axis=3, epsilon=1.001e-5, name="bn")(x)
        return layers.Activation("relu", name="relu")(x)

    return convolutional_part


def _constructor(title: str, depths: tuple[int, ...], hashes: tuple[str, str]):
    name = title.lower()
    design = Design(
        body(depths),
        published.standard("densenet", name, *hashes),
        is_channels_last_only=True,
        preprocessing="torch",
    )
    about = (
        f"{2 * sum(depths) + 5} layers with weights, each of which sees all feature maps before it.\n"
        'Huang et al. 2017, "Densely connected convolutional networks"'
    )
    return constructor(title, name, design, about, __name__)


DenseNet121 = _constructor(
    "DenseNet121",
    (6, 12, 24, 16),
    ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"),
)
DenseNet169 = _constructor(
    "DenseNet169",
    (6, 12, 32, 32),
    ("d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"),
)
DenseNet201 = _constructor(
    "DenseNet201",
    (6, 12, 48, 32),
    ("1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"),
)
preprocess_input = preprocessing("torch", __name__)

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]
