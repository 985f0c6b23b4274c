"""Networks that the lessons do not have, for the benchmarks; like those, for any Keras."""

from cornu.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv1D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    Input,
    MaxPooling1D,
    ReLU,
    Reshape,
)
from cornu.models import Sequential


def lenet5():
    """LeNet-5 (LeCun et al. 1998), with tanh and average pooling."""
    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(6, 5, padding="same", activation="tanh"),
            AveragePooling2D(2),
            Conv2D(16, 5, activation="tanh"),
            AveragePooling2D(2),
            Flatten(),
            Dense(120, activation="tanh"),
            Dense(84, activation="tanh"),
            Dense(10, activation="softmax"),
        ]
    )


def mobile():
    """Depthwise-separable convolutions, as in MobileNet (Howard et al. 2017)."""
    stack = [Input((32, 32, 3)), Conv2D(32, 3, strides=2, padding="same", use_bias=False)]
    stack += [BatchNormalization(), ReLU()]
    for filters, strides in ((64, 1), (128, 2), (128, 1), (256, 2)):
        stack += [DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)]
        stack += [BatchNormalization(), ReLU(), Conv2D(filters, 1, use_bias=False)]
        stack += [BatchNormalization(), ReLU()]
    return Sequential([*stack, GlobalAveragePooling2D(), Dense(10, activation="softmax")])


def signal():
    """Convolutions over a signal: the 784 pixels of a digit one after the other."""
    stack = [Input((28, 28, 1)), Reshape((784, 1))]
    for filters in (16, 32, 64):
        stack += [Conv1D(filters, 9, padding="same", activation="relu"), MaxPooling1D(4)]
    return Sequential([*stack, GlobalAveragePooling1D(), Dense(10, activation="softmax")])
