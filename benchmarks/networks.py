"""Networks that the lessons do not have, for the benchmarks; like those, for any Keras."""

from cornu.layers import (
    LSTM,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Conv1D,
    Conv2D,
    ConvLSTM2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    Input,
    Layer,
    LayerNormalization,
    MaxPooling1D,
    MaxPooling2D,
    MultiHeadAttention,
    ReLU,
    Reshape,
)
from cornu.models import Model, Sequential


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


def lstm():
    """An LSTM over the 28 rows of a digit."""
    return Sequential(
        [Input((28, 28, 1)), Reshape((28, 28)), LSTM(64), Dense(10, activation="softmax")]
    )


def conv_lstm():
    """A convolutional LSTM over four strips of a digit, as if they were the frames of a video."""
    return Sequential(
        [
            Input((28, 28, 1)),
            Reshape((4, 7, 28, 1)),
            ConvLSTM2D(16, 3, padding="same"),
            Flatten(),
            Dense(10, activation="softmax"),
        ]
    )


class Positions(Layer):
    """Adds a vector of its own to each position of a sequence."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=input_shape[1:], initializer="random_normal")

    def call(self, inputs):
        return inputs + self.table


def vision_transformer():
    """A small vision transformer (Dosovitskiy et al. 2020): 64 patches of 4x4 pixels, two blocks."""
    inputs = Input((32, 32, 3))
    x = Positions()(Reshape((64, 64))(Conv2D(64, 4, strides=4)(inputs)))
    for _ in range(2):
        y = LayerNormalization(epsilon=1e-6)(x)
        x = Add()([x, MultiHeadAttention(4, 16)(y, y)])
        y = Dense(128, activation="gelu")(LayerNormalization(epsilon=1e-6)(x))
        x = Add()([x, Dense(64)(y)])
    x = Flatten()(LayerNormalization(epsilon=1e-6)(x))
    return Model(inputs, Dense(10, activation="softmax")(x))


def resnet(depth: int, side: int, classes: int):
    """ResNet-18 or ResNet-50 (He et al. 2016); for small images, without the first strides and pooling."""

    def convolution(x, filters, size, strides=1, relu=True):
        x = Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        x = BatchNormalization()(x)
        return ReLU()(x) if relu else x

    inputs = Input((side, side, 3))
    x = convolution(inputs, 64, 3) if side <= 64 else convolution(inputs, 64, 7, 2)
    if side > 64:
        x = MaxPooling2D(3, strides=2, padding="same")(x)
    counts, widening = {18: ((2, 2, 2, 2), 1), 50: ((3, 4, 6, 3), 4)}[depth]
    for stage, count in enumerate(counts):
        filters = 64 * 2**stage
        for block in range(count):
            strides = 2 if stage and not block else 1
            if widening == 1:
                y = convolution(x, filters, 3, strides)
            else:
                y = convolution(convolution(x, filters, 1), filters, 3, strides)
            y = convolution(y, widening * filters, 3 if widening == 1 else 1, relu=False)
            if strides > 1 or x.shape[-1] != widening * filters:
                x = convolution(x, widening * filters, 1, strides, relu=False)
            x = ReLU()(Add()([x, y]))
    x = GlobalAveragePooling2D()(x)
    return Model(inputs, Dense(classes, activation="softmax", dtype="float32")(x))
