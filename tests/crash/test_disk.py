"""Disks that are full, read-only or gone: a clear error, and the last good file as it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


FULL = [f"saving {name}" for name in ("m.keras", "m.weights.h5", "m.safetensors")]
FULL += [
    f"training {kind} {then}" for kind in ("checkpoint", "backup") for then in ("raise", "warn")
]


@pytest.fixture(scope="module")
def on_a_full_disk(tmp_path_factory):
    """What went wrong in each case, in another process: the limit holds for all files of one."""
    folder = tmp_path_factory.mktemp("full")
    command = [sys.executable, Path(__file__).with_name("on_a_full_disk.py"), folder, *FULL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", FULL)
def test_full_disk(on_a_full_disk, case):
    assert on_a_full_disk[case] == ""


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


def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    """As on Windows, which opens none, and on some network file systems."""
    opened = os.open

    def no_folders(path, flags, *mode, **more):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", no_folders)
    model_of().save(tmp_path / "m.keras")
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_what_killed_processes_have_left_goes_after_a_day(tmp_path):
    old, young, other = (
        tmp_path / f".{name}.part" for name in ("[m].keras.aa", "[m].keras.bb", "n.keras.aa")
    )
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    model_of().save(tmp_path / "[m].keras")
    assert not old.exists() and young.exists() and other.exists()
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == ["[m].keras"]
