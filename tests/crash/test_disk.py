"""Disks that are full, read-only or gone: a clear error, and the last good file as it was."""

import os
import resource
import shutil
import signal

import numpy as np
import pytest

import cornu
from cornu import callbacks, layers

X = np.random.default_rng(0).standard_normal((40, 200)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 40)


def model_of(units=50):
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential([cornu.Input((200,)), layers.Dense(units), layers.Dense(3)])
    loss = cornu.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


@pytest.fixture
def full_disk():
    """Files cannot grow beyond twenty thousand bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


SAVERS = {
    "model": ("m.keras", lambda model, path: model.save(path)),
    "weights": ("m.weights.h5", lambda model, path: model.save_weights(path)),
    "safetensors": ("m.safetensors", lambda model, path: model.save_weights(path)),
}


@pytest.mark.parametrize("what", SAVERS)
def test_full_disk(tmp_path, full_disk, what):
    name, save = SAVERS[what]
    path = tmp_path / name
    model = model_of()
    save(model, path)
    good = path.read_bytes()
    model.fit(X, Y, verbose=0)
    full_disk()
    with pytest.raises(OSError, match=rf"{name}: .* The file that was there is as it was\."):
        save(model, path)
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize("kind", ["checkpoint", "backup"])
def test_full_disk_while_training(tmp_path, full_disk, kind, on_error):
    if kind == "checkpoint":
        path = tmp_path / "best.keras"
        keeper = callbacks.ModelCheckpoint(path, "loss", save_best_only=True, on_error=on_error)
    else:
        path = tmp_path / "b" / "latest.weights.h5"
        keeper = callbacks.BackupAndRestore(
            tmp_path / "b", delete_checkpoint=False, on_error=on_error
        )
    kept = []

    class Fill(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                kept.append(path.read_bytes())
                full_disk()

    model = model_of()
    how = {"epochs": 3, "verbose": 0, "callbacks": [keeper, Fill()]}
    if on_error == "raise":
        with pytest.raises(OSError, match="Cannot write"):
            model.fit(X, Y, **how)
    else:
        with pytest.warns(UserWarning, match="training goes on"):
            history = model.fit(X, Y, **how)
        assert len(history.history["loss"]) == 3
    assert path.read_bytes() == kept[0]
    if kind == "checkpoint":
        assert cornu.saving.load_model(path).count_params() == model.count_params()


def test_folder_that_vanishes(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()

    class Delete(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            shutil.rmtree(folder, ignore_errors=True)

    # It is made anew: nothing is lost.
    keep = callbacks.ModelCheckpoint(folder / "m.keras")
    model_of().fit(X, Y, epochs=2, verbose=0, callbacks=[Delete(), keep])
    assert cornu.saving.load_model(folder / "m.keras")
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"runs does not exist\. Create it first"):
        model_of().save(folder / "m.keras")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"Cannot write .*m\.keras: Permission denied"):
        model_of().save(tmp_path / "m.keras")
    tmp_path.chmod(0o700)


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(OSError, match="runs"):
        model_of().save(tmp_path / "runs" / "m.keras")


def test_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    model_of().save(path)
    good = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model_of(60).save(path)
    assert path.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]
