import numpy as np
import pytest

import cornu
from cornu import layers as L


@pytest.fixture(scope="session")
def digits():
    """Small images of two kinds, which a few steps tell apart, and the model that does."""
    cornu.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 96)
    x = random.uniform(0, 0.2, (96, 12, 12, 1)).astype("float32")
    for image, label in zip(x, y, strict=True):
        image[2 + 3 * label : 5 + 3 * label, 2:10] = 1
    model = cornu.Sequential(
        [
            cornu.Input((12, 12, 1)),
            L.Conv2D(4, 3, padding="same", activation="relu", name="first"),
            L.MaxPooling2D(name="pool"),
            L.Conv2D(6, 3, activation="relu", name="second"),
            L.Flatten(name="flat"),
            L.Dense(3, activation="softmax", name="out"),
        ],
        name="bars",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=15, batch_size=16, verbose=0)
    return model, x, y
