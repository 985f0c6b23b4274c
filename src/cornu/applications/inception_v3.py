"""Inception v3: blocks of parallel branches with windows of different sizes."""

from cornu import layers
from cornu.applications import published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request, channel_axis

# A step of a branch: filters of a convolution of size 1, (filters, size), (filters, size, stride) without
# padding, or the kind of a pooling.
Step = int | tuple | str


def convolved(x, filters, size=1, stride=1, padding="same", activation="relu", names=(None,) * 3):
    """A convolution without bias, normalization without scale, and an activation."""
    convolution, normalization, last = names
    x = layers.Conv2D(
        filters, size, strides=stride, padding=padding, use_bias=False, name=convolution
    )(x)
    x = layers.BatchNormalization(axis=channel_axis(), scale=False, name=normalization)(x)
    return layers.Activation(activation, name=last)(x)


def _step(x, step: Step):
    if step == "average":
        return layers.AveragePooling2D(3, strides=1, padding="same")(x)
    if step == "halve":
        return layers.MaxPooling2D(3, strides=2)(x)
    if isinstance(step, int):
        return convolved(x, step)
    filters, size, stride = (*step, None)[:3]
    return convolved(x, filters, size, stride or 1, "valid" if stride else "same")


def branch(x, *steps: Step):
    """The steps, one after another."""
    for step in steps:
        x = _step(x, step)
    return x


def concatenated(tensors, name: str | None):
    """Feature maps beside each other."""
    return layers.Concatenate(axis=channel_axis(), name=name)(tensors)


def branches(x, name: str, *ways: tuple[Step, ...]):
    """Several branches from one input, their feature maps beside each other."""
    return concatenated([branch(x, *way) for way in ways], name)


def entry(x):
    """From an image to 192 feature maps, an eighth as wide."""
    x = convolved(x, 32, 3, 2, "valid")
    x = convolved(x, 32, 3, padding="valid")
    x = branch(x, (64, 3), "halve")
    x = convolved(x, 80, padding="valid")
    x = convolved(x, 192, 3, padding="valid")
    return branch(x, "halve")


# How many filters the branches with windows of 1x7 and 7x1 have between their ends.
_SEVEN = {"mixed4": 128, "mixed5": 160, "mixed6": 160, "mixed7": 192}
_TALL, _WIDE = (7, 1), (1, 7)


def _split(x, name: str | None):
    """Windows of 1x3 and 3x1 beside each other."""
    return concatenated([convolved(x, 384, size) for size in ((1, 3), (3, 1))], name)


def body(x, request: Request):
    """Eleven blocks, of three sizes of feature maps."""
    x = entry(x)
    for i, pooled in enumerate((32, 64, 64)):
        x = branches(
            x, f"mixed{i}", (64,), (48, (64, 5)), (64, (96, 3), (96, 3)), ("average", pooled)
        )
    x = branches(x, "mixed3", ((384, 3, 2),), (64, (96, 3), (96, 3, 2)), ("halve",))
    for name, n in _SEVEN.items():
        twice = (n, (n, _TALL), (n, _WIDE), (n, _TALL), (192, _WIDE))
        x = branches(x, name, (192,), (n, (n, _WIDE), (192, _TALL)), twice, ("average", 192))
    x = branches(
        x,
        "mixed8",
        (192, (320, 3, 2)),
        (192, (192, _WIDE), (192, _TALL), (192, 3, 2)),
        ("halve",),
    )
    for i in (0, 1):
        ways = [
            branch(x, 320),
            _split(branch(x, 384), f"mixed9_{i}"),
            _split(branch(x, 448, (384, 3)), None),
            branch(x, "average", 192),
        ]
        x = concatenated(ways, f"mixed{9 + i}")
    return x


InceptionV3 = constructor(
    "InceptionV3",
    "inception_v3",
    Design(
        body,
        published.standard(
            "inception_v3",
            "inception_v3",
            "9a0d58056eeedaa3f26cb7ebd46da564",
            "bcbd6486424b2319ff4ef7d526e38f63",
        ),
        default_size=299,
        min_size=75,
        pool_names=(None, None),
        preprocessing="tf",
    ),
    "94 convolutions in blocks of parallel branches.\n"
    'Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision"',
    __name__,
)
preprocess_input = preprocessing("tf", __name__)

__all__ = ["InceptionV3", "decode_predictions", "preprocess_input"]
