"""Things to learn from that a tiny network learns at once."""

import numpy as np

TINY_MODEL = '''
from cornu import Sequential, layers


def tiny(input_shape, num_classes):
    """Learns shapes of a few pixels, and compiles fast."""
    return Sequential(
        [
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(num_classes, activation="softmax"),
        ]
    )
'''


def make_images(n, size=8, seed=0, channels=()):
    """Bright bars, upright (class 0) or level (class 1), and their classes."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 60, (n, size, size, *channels)).astype("uint8")
    y = np.arange(n) % 2
    for image, label in zip(x, y, strict=True):
        position = generator.integers(1, size - 1)
        image[(position,) if label else (slice(None), position)] = 250
    return x, y


def write_images(folder, n, seed=0):
    """A folder of PNG files, a subfolder a class."""
    from PIL import Image

    for number, (image, label) in enumerate(zip(*make_images(n, 8, seed, (3,)), strict=True)):
        subfolder = folder / ("level" if label else "upright")
        subfolder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(subfolder / f"{number}.png")
