"""Trains with a backup after every second step; says when it begins and writes all results at the end."""

import json
import os
import sys

import numpy as np

import cornu
from cornu import layers


class Mixed(cornu.utils.PyDataset):
    """Mixes its rows at the end of each epoch, as many a data set does."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.order = x, y, np.arange(len(x))

    def __len__(self):
        return len(self.x) // 8

    def __getitem__(self, index):
        rows = self.order[8 * index : 8 * index + 8]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        np.random.shuffle(self.order)


def generator(x, y):
    while True:
        rows = np.random.permutation(len(x))
        for start in range(0, len(x) - 7, 8):
            chosen = rows[start : start + 8]
            yield x[chosen], y[chosen]


def chain(x, y):
    """Mixed, changed at random by a function and by a layer, and read ahead."""
    noise = layers.GaussianNoise(0.1)
    data = cornu.data.Dataset.from_tensor_slices((x, y)).shuffle(50)
    data = data.map(lambda a, b: (a * np.float32(1 + np.random.random()), b))
    return data.batch(8).map(lambda a, b: (noise(a, training=True), b)).prefetch(2)


class Count(cornu.callbacks.Callback):
    """A callback of the user's, with a state of its own."""

    def __init__(self):
        self.batches, self.losses = 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches % 10 == 0:
            self.losses.append(logs["loss"])


def main(folder, kind):
    cornu.utils.set_random_seed(7)
    random = np.random.default_rng(0)
    x = random.standard_normal((100, 6, 6, 1)).astype("float32")
    y = random.integers(0, 3, 100)
    model = cornu.Sequential(
        [
            cornu.Input((6, 6, 1)),
            layers.RandomTranslation(0.2, 0.2),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    count = Count()
    # Not the best order of callbacks: it does not matter.
    callbacks = [
        cornu.callbacks.BackupAndRestore(f"{folder}/backup", save_freq=2),
        count,
        cornu.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
        cornu.callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.5),
        cornu.callbacks.ModelCheckpoint(f"{folder}/best.keras", "val_loss", save_best_only=True),
        cornu.callbacks.CSVLogger(f"{folder}/log.csv"),
    ]
    how = {"epochs": 6, "validation_data": (x[:20], y[:20]), "callbacks": callbacks, "verbose": 0}
    print("begins", flush=True)
    if kind == "arrays":
        history = model.fit(x, y, batch_size=8, **how)
    elif kind == "arrays by steps":
        history = model.fit(x, y, batch_size=8, steps_per_epoch=9, **how)
    elif kind == "dataset":
        history = model.fit(Mixed(x, y), **how)
    elif kind == "chain":
        history = model.fit(chain(x, y), **how)
    else:
        history = model.fit(generator(x, y), steps_per_epoch=9, **how)
    variables = [*model.variables, *model.optimizer.variables]
    np.savez(f"{folder}/end.npz", *[v.numpy() for v in variables])
    rest = [history.history, history.epoch, count.batches, count.losses, np.random.random()]
    with open(f"{folder}/end.part", "w") as file:
        json.dump(rest, file)
    # Whole, or not there.
    os.replace(f"{folder}/end.part", f"{folder}/end.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
