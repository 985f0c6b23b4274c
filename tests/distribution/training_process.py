"""One of several processes, or the only one, that trains; what it finds goes to a file."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import cornu
from cornu import layers
from cornu.cli.programs import keep_programs_in
from cornu.training.compiled_step import CompiledStep

# Seconds to wait for the others.
START = 60


class Event(cornu.callbacks.Callback):
    """Does something to this process after a step of the second epoch."""

    def __init__(self, happens):
        self._happens, self._epoch = happens, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 1 and batch == 1:
            self._happens()


def fail():
    raise RuntimeError("the data are gone")


EVENTS = {
    "raise": fail,
    "exit": lambda: sys.exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "ctrl_c": lambda: os.kill(os.getpid(), signal.SIGINT),
    "sigterm": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "nothing": lambda: None,
}


def data(rows):
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, 8, 8, 1)).astype("float32")
    return x, np.eye(5, dtype="float32")[random.integers(0, 5, rows)]


def model_of(filters):
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 1)),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(5, activation="softmax"),
        ]
    )
    # The mean over processes of an AUC would be another number.
    metrics = ["accuracy", cornu.metrics.TopKCategoricalAccuracy(2), cornu.metrics.AUC()]
    model.compile("adam", "categorical_crossentropy", metrics=metrics)
    return model


@contextlib.contextmanager
def counted():
    """How many steps each call of a compiled function does within."""
    sizes, call = [], CompiledStep.__call__

    def count(self, batch, arrays=None):
        sizes.append(1 if arrays is None else len(batch))
        return call(self, batch, arrays)

    CompiledStep.__call__ = count
    try:
        yield sizes
    finally:
        CompiledStep.__call__ = call


def train(
    folder,
    event="nothing",
    rows=42,
    filters=4,
    shift=0.0,
    resumes=False,
    lasts=0.0,
    streams=False,
    name=None,
):
    """Train three epochs; batches of 8, of which the last has 2 rows. Then, on request, on a stream."""
    number = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
    if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        cornu.distribution.initialize(timeout=START)
        cornu.distribution.set_distribution(cornu.distribution.DataParallel())
    cornu.utils.set_random_seed(7)
    x, y = data(rows)
    model = model_of(filters)
    callbacks = [Event(EVENTS.get(event, EVENTS["nothing"]))]
    if resumes:
        callbacks.append(cornu.callbacks.BackupAndRestore(f"{folder}/backup"))
    callbacks.append(cornu.callbacks.ModelCheckpoint(f"{folder}/best.keras"))
    callbacks.append(cornu.callbacks.CSVLogger(f"{folder}/log.csv"))
    print("begins", flush=True)
    history = model.fit(
        x + shift, y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks, validation_data=(x, y)
    )
    time.sleep(lasts)
    predicted = model.predict(x, verbose=0)
    again = cornu.saving.load_model(f"{folder}/best.keras").predict(x, verbose=0)
    measured = model.evaluate(x, y, verbose=0, return_dict=True)
    results = {**history.history, **{f"measured {name}": [each] for name, each in measured.items()}}
    if streams:
        stream = cornu.data.Dataset.from_tensor_slices((x, y)).shuffle(rows, seed=1).batch(8)
        model.steps_per_execution = 3
        with counted() as sizes:
            found = model.fit(stream, epochs=2, verbose=0, callbacks=[Event(EVENTS["nothing"])])
        # Of six batches the last has another size.
        assert sizes == [3, 2, 1] * 2, sizes
        results |= {f"streamed {name}": each for name, each in found.history.items()}
    name = name or f"process {number}"
    np.savez(f"{folder}/{name}.npz", *[np.asarray(w) for w in model.weights], predicted, again)
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # That of all tests, which conftest.py names as well.
        keep_programs_in(Path(__file__).parents[2] / "build" / "tested-programs")
    settings = json.loads(sys.argv[1])
    own = settings.pop(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"), {})
    for each in [key for key in settings if key.isdecimal()]:
        del settings[each]
    train(**{**settings, **own})
