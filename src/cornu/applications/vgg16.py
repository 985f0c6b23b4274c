"""VGG16: convolutions of size 3 throughout, in blocks with ever more filters."""

from cornu import layers
from cornu.applications import network, published
from cornu.applications.describing import constructor
from cornu.applications.imagenet_utils import decode_predictions, preprocessing
from cornu.applications.network import Design, Request


def body(convolutions: tuple[int, ...]):
    """Blocks of so many convolutions each, which end in max-pooling."""

    def convolutional_part(x, request: Request):
        for block, number in enumerate(convolutions, 1):
            filters = min(64 * 2 ** (block - 1), 512)
            for i in range(1, number + 1):
                x = layers.Conv2D(
                    filters, 3, activation="relu", padding="same", name=f"block{block}_conv{i}"
                )(x)
            x = layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
        return x

    return convolutional_part


def top(x, request: Request):
    """Two wide dense layers before the last one."""
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
    return network.predictions(x, request)


def design(convolutions: tuple[int, ...], name: str, *hashes: str) -> Design:
    """A network of this family, with the hashes of its published files."""
    return Design(
        body(convolutions),
        published.standard(name, name, *hashes),
        top,
        pool_names=(None, None),
        preprocessing="caffe",
    )


VGG16 = constructor(
    "VGG16",
    "vgg16",
    design(
        (2, 2, 3, 3, 3),
        "vgg16",
        "64373286793e3c8b2b4e3219cbf3544b",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "16 layers with weights, 138 million numbers.\n"
    'Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition"',
    __name__,
)
preprocess_input = preprocessing("caffe", __name__)

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]
