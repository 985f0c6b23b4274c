"""Two 5x5 convolutions and a dense layer of a thousand units, trained with SGD(lr=0.01).

After "Understanding convolutional neural networks (CNN) with Keras", typed as it stands there, the
old spellings `input_shape=` and `lr=` included. The document reports no accuracy.

    python examples/thousand_units.py
"""

import argparse
import warnings

import cornu as keras
from cornu.callbacks import Callback
from cornu.datasets import mnist
from cornu.layers import Conv2D, Dense, Flatten, MaxPooling2D
from cornu.models import Sequential


class AccuracyHistory(Callback):
    """Keeps each epoch's accuracy, as the lesson's `history` callback does."""

    def on_train_begin(self, logs=None):
        self.acc = []

    def on_epoch_end(self, epoch, logs=None):
        self.acc.append(logs.get("accuracy"))


def make_model(input_shape=(28, 28, 1), num_classes=10):
    with warnings.catch_warnings():
        # The old spelling works, and says that there is a new one.
        warnings.simplefilter("ignore")
        model = Sequential()
        model.add(
            Conv2D(
                32,
                kernel_size=(5, 5),
                strides=(1, 1),
                activation="relu",
                input_shape=input_shape,
            )
        )
    model.add(MaxPooling2D(pool_size=(2, 2), strides=(2, 2)))
    model.add(Conv2D(64, (5, 5), activation="relu"))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Flatten())
    model.add(Dense(1000, activation="relu"))
    model.add(Dense(num_classes, activation="softmax"))
    return model


def run(epochs=10, seed=0, verbose=1):
    """Train with batches of 128; returns the test accuracy."""
    keras.utils.set_random_seed(seed)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, x_test = x_train[..., None] / 255.0, x_test[..., None] / 255.0
    y_train, y_test = keras.utils.to_categorical(y_train), keras.utils.to_categorical(y_test)
    # %% The network, and how it is trained: `lr` is what the learning rate was called then
    model = make_model()
    history = AccuracyHistory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = keras.optimizers.SGD(lr=0.01)
    model.compile(
        loss=keras.losses.categorical_crossentropy, optimizer=optimizer, metrics=["accuracy"]
    )
    # %% Training
    model.fit(
        x_train,
        y_train,
        batch_size=128,
        epochs=epochs,
        verbose=verbose,
        validation_data=(x_test, y_test),
        callbacks=[history],
    )
    # %% How well it does on images that it has not seen
    return model.evaluate(x_test, y_test, verbose=0)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_model().summary()
    print(f"Test accuracy: {run(arguments.epochs, arguments.seed):.4f}")
