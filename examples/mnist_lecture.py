"""The lecture's network: two convolutions, dropout and a softmax layer, on MNIST.

After "Convolutional neural networks using Keras" (Machine Learning Methods, module 7). 34,826
parameters; 15 epochs of Adam with batches of 128, a tenth of the images for validation. The
document reports 99.11 % on the test images.

    python examples/mnist_lecture.py
"""

import argparse

import numpy as np

import cornu as keras
from cornu import layers

NUM_CLASSES = 10
INPUT_SHAPE = (28, 28, 1)
REPORTED = 0.9911


def load():
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    x_train = x_train.astype("float32") / 255
    x_test = x_test.astype("float32") / 255
    x_train = np.expand_dims(x_train, -1)
    x_test = np.expand_dims(x_test, -1)
    y_train = keras.utils.to_categorical(y_train, NUM_CLASSES)
    y_test = keras.utils.to_categorical(y_test, NUM_CLASSES)
    return (x_train, y_train), (x_test, y_test)


def make_model():
    return keras.Sequential(
        [
            keras.Input(shape=INPUT_SHAPE),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(NUM_CLASSES, activation="softmax"),
        ]
    )


def run(epochs=15, seed=0, verbose=1):
    """Train as the document does; returns the test accuracy."""
    keras.utils.set_random_seed(seed)
    (x_train, y_train), (x_test, y_test) = load()
    # %% The data, and what the network is made of
    model = make_model()
    if verbose:
        print("x_train shape:", x_train.shape)
        print(x_train.shape[0], "train samples")
        print(x_test.shape[0], "test samples")
        print(y_train[0])
        model.summary()
    # %% Training: 15 times through the images
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(
        x_train, y_train, batch_size=128, epochs=epochs, validation_split=0.1, verbose=verbose
    )
    # %% How well it does on images that it has not seen
    score = model.evaluate(x_test, y_test, verbose=0)
    if verbose:
        print("Test loss:", score[0])
    return score[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    accuracy = run(arguments.epochs, arguments.seed)
    print(f"Test accuracy: {accuracy:.4f} (document: {REPORTED:.4f})")
