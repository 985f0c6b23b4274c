"""A first convolutional network on MNIST, trained with plain stochastic gradient descent.

After the tutorial "CNN with Keras": one convolution of 32 5x5 filters and a pooling layer (832
parameters), a second of 64 (52,096), and a softmax layer on top (62,346), trained for ten epochs
with batches of 100. The document reports 98.06 % on the test images.

    python examples/mnist_with_sgd.py
"""

import argparse

import cornu as keras
from cornu import layers, models
from cornu.datasets import mnist
from cornu.utils import to_categorical

REPORTED = 0.9806


def first_layers():
    """One convolution and one pooling layer: 832 parameters."""
    model = models.Sequential()
    model.add(layers.Input((28, 28, 1)))
    model.add(layers.Conv2D(32, (5, 5), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2)))
    return model


def two_groups():
    """A second group with 64 filters: 52,096 parameters."""
    model = first_layers()
    model.add(layers.Conv2D(64, (5, 5), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2)))
    return model


def full_model():
    """With a softmax layer: 62,346 parameters."""
    model = two_groups()
    model.add(layers.Flatten())
    model.add(layers.Dense(10, activation="softmax"))
    return model


def load():
    (train_images, train_labels), (test_images, test_labels) = mnist.load_data()
    train_images = train_images.reshape((60000, 28, 28, 1)).astype("float32") / 255
    test_images = test_images.reshape((10000, 28, 28, 1)).astype("float32") / 255
    return (train_images, to_categorical(train_labels)), (test_images, to_categorical(test_labels))


def run(epochs=10, seed=0, verbose=1):
    """Train as the document does; returns the test accuracy."""
    keras.utils.set_random_seed(seed)
    (train_images, train_labels), (test_images, test_labels) = load()
    # %% The network, and how it is trained
    model = full_model()
    model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
    model.fit(train_images, train_labels, batch_size=100, epochs=epochs, verbose=verbose)
    # %% How well it does on images that it has not seen
    test_loss, test_accuracy = model.evaluate(test_images, test_labels, verbose=verbose)
    if verbose:
        print("Test loss:", test_loss)
    return test_accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for make in (first_layers, two_groups, full_model):
        make().summary()
    accuracy = run(arguments.epochs, arguments.seed)
    print(f"Test accuracy: {accuracy:.4f} (document: {REPORTED:.4f})")
