"""LeNet-5, trained on MNIST, whose weights come with the package."""

from cornu import layers
from cornu.applications.imagenet_utils import preprocessing
from cornu.applications.network import Design, Request, is_channels_first, predictions
from cornu.applications.packaged import Packaged, about, build_packaged

PACKAGED = Packaged("lenet5.npz", "mnist", (28, 28, 1), 10)


def _body(x, request: Request):
    x = layers.Rescaling(1 / 255, name="rescaling")(x)
    x = layers.Conv2D(6, 5, padding="same", activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(name="pool1")(x)
    x = layers.Conv2D(16, 5, activation="relu", name="conv2")(x)
    return layers.MaxPooling2D(name="pool2")(x)


def _top(x, request: Request):
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation="relu", name="dense1")(x)
    x = layers.Dense(84, activation="relu", name="dense2")(x)
    return predictions(x, request)


_DESIGN = Design(_body, None, _top, default_size=28, min_size=12)


def LeNet5(
    include_top=True,
    weights="mnist",
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    name="lenet5",
):
    if input_shape is None and input_tensor is None:
        size = 28 if include_top else None
        input_shape = (1, size, size) if is_channels_first() else (size, size, 1)
    return build_packaged(_DESIGN, Request.of(locals()), PACKAGED)


LeNet5.__doc__ = about(
    "LeNet-5 with today's activations: two convolutions and three dense layers, 61,706 weights.",
    PACKAGED,
    "28x28 with one channel",
    "They were trained on MNIST by\n`benchmarks/packaged.py`.",
    'LeCun et al. 1998, "Gradient-based learning applied to document recognition"',
)
preprocess_input = preprocessing(None, __name__)

__all__ = ["LeNet5", "preprocess_input"]
