"""One of several processes, or the only one, that trains; what it finds goes to a file."""

import contextlib
import io
import json
import os
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np

import cornu
from cornu import layers
from cornu.cli.programs import keep_programs_in
from cornu.core import shared_memory
from cornu.core.kernels import native
from cornu.data import Dataset
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


class Killed(cornu.callbacks.Callback):
    """Kills this process so many seconds after it has come to a moment of its life, which it draws out.

    Without `delay`, it draws the moment out as the one that is killed does.
    """

    def __init__(self, moment=None, delay=None):
        self._moment, self._delay, self._epoch = moment, delay, 0

    def at(self, moment):
        if moment != self._moment:
            return
        if moment == "checkpoint":
            sync = os.fsync
            os.fsync = lambda handle: (time.sleep(0.1), sync(handle))
        if self._delay is not None:
            kill = threading.Timer(self._delay, os.kill, (os.getpid(), signal.SIGKILL))
            kill.daemon = True
            kill.start()

    def last(self, moment, seconds):
        if moment == self._moment:
            time.sleep(seconds)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 1 and batch == 1:
            self.at("epoch")
        if self._epoch == 1 and batch == 3:
            self.at("checkpoint")
        self.last("epoch", 0.03)

    def on_test_begin(self, logs=None):
        if self._epoch == 1:
            self.at("evaluation")

    def on_test_batch_end(self, batch, logs=None):
        self.last("evaluation", 0.03)


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


def write_pictures(folder, x, y):
    for i, (picture, each) in enumerate(zip(x, y, strict=True)):
        path = folder / f"class {np.argmax(each)}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cornu.utils.save_img(path, picture)


def write_csv(folder, x, y):
    folder.mkdir()
    with open(folder / "rows.csv", "w") as file:
        file.write(",".join([f"x{i}" for i in range(64)] + ["y"]) + "\n")
        for picture, each in zip(x, y, strict=True):
            file.write(",".join(map(str, [*picture.ravel(), np.argmax(each)])) + "\n")


def write_tar(folder, x, y):
    folder.mkdir()
    for part in range(2):
        with tarfile.open(folder / f"{part}.tar", "w") as file:
            for i in range(part, len(x), 2):
                found = {"bin": x[i].tobytes(), "cls": b"%d" % np.argmax(y[i])}
                for ending, data in found.items():
                    info = tarfile.TarInfo(f"{i}.{ending}")
                    info.size = len(data)
                    file.addfile(info, io.BytesIO(data))


def pictures(folder):
    return cornu.utils.image_dataset_from_directory(
        folder,
        label_mode="categorical",
        color_mode="grayscale",
        batch_size=8,
        image_size=(8, 8),
        seed=3,
        verbose=False,
    )


def csv(folder):
    def example(row):
        x = np.array([row[f"x{i}"] for i in range(64)], "float32")
        return x.reshape(8, 8, 1), np.eye(5, dtype="float32")[row["y"]]

    rows = Dataset.from_csv(folder / "*.csv").shuffle(20, seed=1)
    return rows.map(example, num_parallel_calls=2).batch(8).prefetch(2)


def tar(folder):
    """With random changes; by `ignore_errors`, what came before is made again when it goes on."""

    def example(sample, seed):
        x = np.frombuffer(sample["bin"], "float32").reshape(8, 8, 1)
        noise = np.random.default_rng(seed).random((8, 8, 1), "float32")
        return x + noise, np.eye(5, dtype="float32")[int(sample["cls"])]

    samples = Dataset.from_tar(folder / "*.tar").shuffle(100, seed=1)
    samples = Dataset.zip(samples, Dataset.random(seed=1)).map(example, num_parallel_calls=2)
    return samples.ignore_errors().batch(8)


# What writes files that are read as a stream, and what reads them.
STREAMS = {"pictures": (write_pictures, pictures), "csv": (write_csv, csv), "tar": (write_tar, tar)}


def write_stream(folder, kind):
    """Files of the rows that `train` trains on."""
    STREAMS[kind][0](Path(folder) / kind, *data(42))


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
    save_freq="epoch",
    streams=False,
    stream=None,
    killed=(),
    name=None,
):
    """Train three epochs; batches of 8, of which the last has 2 rows. Then, on request, on a stream."""
    killed = Killed(*killed)
    killed.at("start")
    number = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
    if "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        cornu.distribution.initialize(timeout=START)
        spread = cornu.distribution.DataParallel()
        cornu.distribution.set_distribution(spread)
        shares = (
            native().in_use and Path("/dev/shm").is_dir() and "CORNU_SHARED_SUMS" not in os.environ
        )
        assert shared_memory.spans(spread.device_mesh.backend_mesh) == shares
    # Names as in a process of its own.
    cornu.utils.clear_session()
    cornu.utils.set_random_seed(7)
    x, y = data(rows)
    model = model_of(filters)
    callbacks = [Event(EVENTS.get(event, EVENTS["nothing"])), killed]
    if resumes:
        callbacks.append(cornu.callbacks.BackupAndRestore(f"{folder}/backup", save_freq))
    callbacks.append(cornu.callbacks.ModelCheckpoint(f"{folder}/best.keras"))
    callbacks.append(cornu.callbacks.CSVLogger(f"{folder}/log.csv"))
    killed.at("compilation")
    how = {"epochs": 3, "verbose": 0, "callbacks": callbacks, "validation_data": (x, y)}
    if stream is None:
        history = model.fit(x + shift, y, batch_size=8, **how)
    else:
        history = model.fit(STREAMS[stream][1](Path(folder) / stream), **how)
    killed.at("end")
    predicted = model.predict(x, verbose=0)
    again = cornu.saving.load_model(f"{folder}/best.keras").predict(x, verbose=0)
    measured = model.evaluate(x, y, verbose=0, return_dict=True)
    results = {**history.history, **{f"measured {name}": [each] for name, each in measured.items()}}
    if streams:
        batches = Dataset.from_tensor_slices((x, y)).shuffle(rows, seed=1).batch(8)
        model.steps_per_execution = 3
        with counted() as sizes:
            found = model.fit(batches, epochs=2, verbose=0, callbacks=[Event(EVENTS["nothing"])])
        # Of six batches the last has another size.
        assert sizes == [3, 2, 1] * 2, sizes
        results |= {f"streamed {name}": each for name, each in found.history.items()}
    name = name or f"process {number}"
    np.savez(f"{folder}/{name}.npz", *[np.asarray(w) for w in model.weights], predicted, again)
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump(results, file)
    killed.last("end", 2)


if __name__ == "__main__":
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # That of all tests, which conftest.py names as well.
        keep_programs_in(Path(__file__).parents[2] / "build" / "tested-programs")
    settings = json.loads(sys.argv[1])
    own = settings.pop(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"), {})
    for each in [key for key in settings if key.isdecimal()]:
        del settings[each]
    train(**{**settings, **own})
