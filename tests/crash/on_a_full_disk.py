"""Writes files where none can grow beyond twenty thousand bytes, as on a disk that is nearly full.

Prints, for each case, what went wrong.
"""

import json
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

import cornu
from cornu import callbacks, layers

X = np.random.default_rng(0).standard_normal((40, 200)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 40)
SAVERS = {
    "m.keras": lambda model, path: model.save(path),
    "m.weights.h5": lambda model, path: model.save_weights(path),
    "m.safetensors": lambda model, path: model.save_weights(path),
}


def model_of():
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential([cornu.Input((200,)), layers.Dense(50), layers.Dense(3)])
    loss = cornu.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def fill(limit=20_000):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def saving(folder, name):
    path, model = folder / name, model_of()
    SAVERS[name](model, path)
    good = path.read_bytes()
    assert len(good) > 20_000
    model.fit(X, Y, verbose=0)
    fill()
    try:
        SAVERS[name](model, path)
    except OSError as error:
        assert f"{name}: " in str(error) and "The file that was there is as it was." in str(
            error
        ), error
    else:
        raise AssertionError("it was written all the same")
    assert path.read_bytes() == good
    assert [p.name for p in folder.iterdir()] == [name]


def training(folder, kind, on_error):
    if kind == "checkpoint":
        path = folder / "best.keras"
        keeper = callbacks.ModelCheckpoint(path, "loss", save_best_only=True, on_error=on_error)
    else:
        path = folder / "b" / "latest.weights.h5"
        keeper = callbacks.BackupAndRestore(
            folder / "b", delete_checkpoint=False, on_error=on_error
        )
    kept = []

    class Fill(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                kept.append(path.read_bytes())
                fill()

    model, epochs = model_of(), 0
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[keeper, Fill()])
        epochs = len(history.history["loss"])
    except OSError as error:
        assert on_error == "raise" and "Cannot write" in str(error), error
    else:
        assert on_error == "warn" and epochs == 3
        assert any("training goes on" in str(warning.message) for warning in said)
    assert path.read_bytes() == kept[0]
    if kind == "checkpoint":
        assert cornu.saving.load_model(path).count_params() == model.count_params()


def run(folder, what, *how):
    folder.mkdir()
    try:
        {"saving": saving, "training": training}[what](folder, *how)
    except BaseException:
        return traceback.format_exc()
    finally:
        fill(resource.RLIM_INFINITY)
    return ""


if __name__ == "__main__":
    folder, *cases = sys.argv[1:]
    print(json.dumps({case: run(Path(folder, case), *case.split()) for case in cases}))
