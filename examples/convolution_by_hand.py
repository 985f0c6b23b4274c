"""How Conv1D and Conv2D work, with numbers that can be checked by hand.

After D. Akgun, "Working principles of convolutional neural networks in Keras", 2023. Prints the
tables and results of its figures 3 to 6, 12, 14 and 17:

    python examples/convolution_by_hand.py
"""

import numpy as np

import cornu as keras
from cornu import layers
from cornu.models import Model

KERNEL = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], np.float32)

# Figure 17: two kernels of three weights, and a signal of ten numbers.
SIGNAL = np.array([6, 9, 4, 8, 9, 9, 7, 4, 1, 7], np.float32)
KERNELS_1D = np.array(
    [[0.4928695, 0.17138624, 0.77633095], [0.24819446, 0.7414068, 0.39970565]], np.float32
)


def single_convolution(padding="valid"):
    """Figure 2: one 3x3 filter on an 8x8 image. 10 parameters."""
    in1 = layers.Input(shape=(8, 8, 1))
    out1 = layers.Conv2D(filters=1, kernel_size=(3, 3), padding=padding)(in1)
    return Model(inputs=in1, outputs=out1)


def two_convolutions():
    """Figure 11: 30 + 84 + 772 + 15 = 901 parameters."""
    in1 = layers.Input(shape=(8, 8, 1))
    x = layers.Conv2D(filters=3, kernel_size=(3, 3), activation="relu", padding="same")(in1)
    x = layers.Conv2D(filters=3, kernel_size=(3, 3), activation="relu", padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(4, activation="relu")(x)
    out1 = layers.Dense(3, activation="softmax")(x)
    return Model(inputs=in1, outputs=out1)


def colour_model():
    """Figure 13: a network for ten classes of 32x32 colour images. 586,250 parameters."""
    in1 = layers.Input(shape=(32, 32, 3))
    x = layers.Conv2D(filters=32, kernel_size=(3, 3), activation="relu", padding="same")(in1)
    x = layers.MaxPool2D()(x)
    x = layers.Conv2D(filters=64, kernel_size=(3, 3), padding="same", activation="relu")(x)
    x = layers.MaxPool2D()(x)
    x = layers.Conv2D(filters=64, kernel_size=(3, 3), padding="same", activation="relu")(x)
    x = layers.MaxPool2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(512, activation="relu")(x)
    out1 = layers.Dense(10, activation="softmax")(x)
    return Model(inputs=in1, outputs=out1)


def two_kernels_1d(padding="valid"):
    """Figure 16 and 17: a Conv1D layer of two kernels with the document's weights."""
    in1 = layers.Input(shape=(10, 1))
    out1 = layers.Conv1D(filters=2, kernel_size=3, padding=padding)(in1)
    model = Model(inputs=in1, outputs=out1)
    # Keras keeps kernels as (width, channels in, filters).
    model.set_weights([KERNELS_1D.T[:, None, :], np.zeros(2, np.float32)])
    return model


def convolve_by_hand(image, kernel):
    """Every window of the image times the kernel, summed: what Conv2D computes."""
    rows, columns = kernel.shape
    height, width = image.shape[0] - rows + 1, image.shape[1] - columns + 1
    return np.array(
        [
            [np.sum(image[r : r + rows, c : c + columns] * kernel) for c in range(width)]
            for r in range(height)
        ],
        np.float32,
    )


def main():
    # %% One kernel on an image: each number of the output is a window times the kernel, summed.
    print("One 3x3 kernel on an 8x8 image (figures 2 to 5)")
    model = single_convolution()
    model.summary()
    model.set_weights([KERNEL[:, :, None, None], np.zeros(1, np.float32)])
    image = np.random.default_rng(0).integers(0, 10, (8, 8)).astype(np.float32)
    result = model.predict(image[None, :, :, None], verbose=0)[0, :, :, 0]
    print("input:", image, "kernel:", KERNEL, "output:", result, sep="\n")
    print("the same by hand:", bool((result == convolve_by_hand(image, KERNEL)).all()))

    # %% With zeros around the image the output is as large as the image.
    print("\nThe same with zeros around the image, padding='same' (figure 6)")
    same = single_convolution(padding="same")
    same.set_weights(model.get_weights())
    padded = same.predict(image[None, :, :, None], verbose=0)[0, :, :, 0]
    print(padded)
    by_hand = convolve_by_hand(np.pad(image, 1), KERNEL)
    print("the same by hand:", bool((padded == by_hand).all()))

    # %% Layers in a row: the parameters of each can be counted by hand.
    print("\nA small network (figures 10 to 12)")
    two_convolutions().summary()

    # %% A kernel has weights for each channel of its input.
    print("\nA network for colour images (figures 13 and 14)")
    colour_model().summary()

    # %% The same along one axis.
    print("\nTwo kernels on a signal (figure 17)")
    outputs = two_kernels_1d().predict(SIGNAL[None, :, None], verbose=0)[0]
    for i in range(2):
        print(f"Kernel {i + 1}: {KERNELS_1D[i]}")
        print(f"Convolution result for output {i + 1}: {outputs[:, i]}")


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()
