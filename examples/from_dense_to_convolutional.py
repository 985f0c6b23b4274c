"""From a dense network to a convolutional one, on MNIST, and ways to improve it.

After "Convolutional neural networks with Keras" (Jakob): a dense baseline, two convolutions, the
same with pooling, and the improvements that the lesson names but does not build. As in the lesson,
pixels stay 0 to 255 in the lesson's own three.

    python examples/from_dense_to_convolutional.py --epochs 10 pooling
"""

import argparse

import numpy as np

import cornu as keras
from cornu.datasets import mnist
from cornu.layers import (
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    ReLU,
    Rescaling,
)
from cornu.models import Model, Sequential
from cornu.utils import to_categorical


def load():
    (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    train_images = np.expand_dims(train_images, axis=3)
    test_images = np.expand_dims(test_images, axis=3)
    return (train_images, to_categorical(train_labels)), (test_images, to_categorical(test_labels))


def dense():
    """26,506 parameters; the document reports 92.33 %."""
    model = Sequential()
    model.add(Input((28, 28, 1)))
    model.add(Flatten())
    model.add(Dense(32, activation="relu"))
    model.add(Dense(32, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    return model


def rescaled_dense():
    """The same with pixels from 0 to 1, which makes it reliable."""
    return Sequential([Input((28, 28, 1)), Rescaling(1 / 255), *dense().layers])


def convolutions():
    """Two convolutions before the dense layers; the document reports 97.95 %."""
    model = Sequential()
    model.add(Input((28, 28, 1)))
    model.add(Conv2D(64, (3, 3), strides=(1, 1), padding="same", activation="relu"))
    model.add(Conv2D(32, (3, 3), strides=(1, 1), padding="same", activation="relu"))
    model.add(Flatten())
    model.add(Dense(32, activation="relu"))
    model.add(Dense(32, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    return model


def pooling():
    """The same with pooling: 70,698 parameters; the document reports 98.38 %."""
    return _pooled()


def _pooled(extra=None, kernel_regularizer=None, hidden=True, normalize=False, scale=None):
    model = Sequential()
    model.add(Input((28, 28, 1)))
    if scale is not None:
        model.add(Rescaling(scale))
    for filters in (64, 32):
        if normalize:
            model.add(Conv2D(filters, (3, 3), padding="same", use_bias=False))
            model.add(BatchNormalization())
            model.add(ReLU())
        else:
            model.add(
                Conv2D(
                    filters,
                    (3, 3),
                    padding="same",
                    activation="relu",
                    kernel_regularizer=kernel_regularizer,
                )
            )
        model.add(MaxPooling2D(pool_size=(2, 2)))
        if extra is not None:
            model.add(extra())
    if hidden:
        model.add(Flatten())
        model.add(Dense(32, activation="relu", kernel_regularizer=kernel_regularizer))
        model.add(Dense(32, activation="relu", kernel_regularizer=kernel_regularizer))
    else:
        model.add(GlobalAveragePooling2D())
    model.add(Dense(10, activation="softmax"))
    return model


def dropout():
    """Pooling, with a quarter of the features dropped in training."""
    return _pooled(extra=lambda: Dropout(0.25), scale=1 / 255)


def l1():
    """Pooling, with an L1 penalty on the kernels."""
    return _pooled(kernel_regularizer=keras.regularizers.L1(1e-5), scale=1 / 255)


def l2():
    """Pooling, with an L2 penalty on the kernels."""
    return _pooled(kernel_regularizer=keras.regularizers.L2(1e-4), scale=1 / 255)


def batch_normalization():
    """Pooling, with batch normalization between convolution and relu."""
    return _pooled(normalize=True)


def no_hidden_dense():
    """Pooling, without hidden dense layers: a global average of each feature map instead."""
    return _pooled(normalize=True, hidden=False)


def inception():
    """Two inception modules with dimension reduction (Szegedy et al. 2015)."""

    def module(x, reduced, filters):
        one = Conv2D(filters, 1, padding="same", activation="relu")(x)
        three = Conv2D(reduced, 1, padding="same", activation="relu")(x)
        three = Conv2D(filters, 3, padding="same", activation="relu")(three)
        five = Conv2D(reduced, 1, padding="same", activation="relu")(x)
        five = Conv2D(filters, 5, padding="same", activation="relu")(five)
        pooled = MaxPooling2D(3, strides=1, padding="same")(x)
        pooled = Conv2D(filters, 1, padding="same", activation="relu")(pooled)
        return Concatenate()([one, three, five, pooled])

    inputs = Input((28, 28, 1))
    x = Rescaling(1 / 255)(inputs)
    x = Conv2D(32, 3, padding="same", activation="relu")(x)
    x = MaxPooling2D()(x)
    x = module(x, 8, 16)
    x = MaxPooling2D()(x)
    x = module(x, 16, 24)
    x = AveragePooling2D(7)(x)
    x = Flatten()(x)
    return Model(inputs, Dense(10, activation="softmax")(x))


def residual():
    """Three residual blocks (He et al. 2016)."""

    def block(x, filters, strides):
        y = Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        y = ReLU()(BatchNormalization()(y))
        y = Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = BatchNormalization()(y)
        if strides != 1 or x.shape[-1] != filters:
            x = Conv2D(filters, 1, strides=strides, use_bias=False)(x)
            x = BatchNormalization()(x)
        return ReLU()(Add()([x, y]))

    inputs = Input((28, 28, 1))
    x = Rescaling(1 / 255)(inputs)
    x = Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = ReLU()(BatchNormalization()(x))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        x = block(x, filters, strides)
    x = GlobalAveragePooling2D()(x)
    return Model(inputs, Dense(10, activation="softmax")(x))


MODELS = {
    model.__name__: model
    for model in (
        dense,
        rescaled_dense,
        convolutions,
        pooling,
        dropout,
        l1,
        l2,
        batch_normalization,
        no_hidden_dense,
        inception,
        residual,
    )
}
REPORTED = {"dense": 0.9233, "convolutions": 0.9795, "pooling": 0.9838}


def run(name="pooling", epochs=10, seed=0, verbose=1):
    """Train one of the models as the document does; returns its test accuracy."""
    keras.utils.set_random_seed(seed)
    (train_images, train_labels), (test_images, test_labels) = load()
    # %% One of the networks above; try another name
    model = MODELS[name]()
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    # %% Training
    history = model.fit(
        train_images,
        train_labels,
        batch_size=128,
        epochs=epochs,
        verbose=verbose,
        validation_data=(test_images, test_labels),
    )
    # %% How well it does on images that it has not seen
    return history.history["val_accuracy"][-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="pooling", choices=list(MODELS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    MODELS[arguments.model]().summary()
    accuracy = run(arguments.model, arguments.epochs, arguments.seed)
    reported = REPORTED.get(arguments.model)
    print(f"Test accuracy: {accuracy:.4f}" + (f" (document: {reported:.4f})" if reported else ""))
