"""`cornu train`: what it leaves, and that it learns."""

import csv
import errno
import json
import os

import numpy as np
import pytest
from bars import make_images, write_images

from cornu.cli.command import CommandError
from cornu.cli.run_folder import held, make_free
from cornu.saving import load_model

FILES = {
    "model.keras",
    "history.csv",
    "curves.png",
    "confusion_matrix.png",
    "predictions.png",
    "settings.json",
    "config.toml",
    "split.csv",
    "report.html",
}
# What a run has that is not finished.
BEGUN = {"model.keras", "history.csv", "settings.json", "config.toml", "split.csv", "resume"}


def settings_of(folder):
    return json.loads((folder / "settings.json").read_text())


def history_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_digits(run, tmp_path, tiny):
    folder = tmp_path / "out"
    done = run("train", "digits", "--epochs", 2, "--seed", 3, "--model", tiny, "--output", folder)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in folder.iterdir()} - {"label_noise.csv"} == FILES
    rows, settings = history_of(folder), settings_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    accuracies = [float(row["val_accuracy"]) for row in rows]
    assert settings["best_epoch"] == 1 + int(np.argmax(accuracies))
    assert settings["classes"] == [str(digit) for digit in range(10)]
    assert settings["image"] == {"shape": [8, 8, 1], "white": 16}
    assert settings["seed"] == 3
    assert settings["images"] == 360
    wrong = settings["wrong"]
    assert f"Test accuracy: {1 - wrong / 360:.2%}".replace("%", " %") in done.stdout
    assert f"(360 images, {wrong} wrong)" in done.stdout
    assert str(folder) in done.stdout
    # The saved model takes raw pixels.
    from cornu.datasets import digits

    _, (x, y) = digits.load_data()
    answers = load_model(folder / "model.keras").predict(x[..., None], verbose=0)
    assert (answers.argmax(-1) != y).sum() == wrong


def test_the_same_seed_gives_the_same_results(run, tmp_path, tiny, npz):
    histories = []
    for name in ("a", "b"):
        options = ("--epochs", 2, "--seed", 5, "--model", tiny)
        done = run("train", npz, *options, "--output", tmp_path / name)
        # Without a terminal, a line an epoch and nothing that moves the cursor.
        lines = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
        assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
        assert not set("\x1b\b\r") & set(done.stdout)
        assert done.stderr == ""
        rows = history_of(tmp_path / name)
        histories.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert histories[0] == histories[1]


def test_a_run_without_seed_prints_the_one_it_took(run, tmp_path, tiny, npz, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", npz, "--epochs", 1, "--model", tiny)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("bars-")
    seed = settings_of(folder)["seed"]
    run("train", npz, "--epochs", 1, "--seed", seed, "--model", tiny, "--output", tmp_path / "b")
    assert history_of(folder)[0]["loss"] == history_of(tmp_path / "b")[0]["loss"]


def test_options_reach_the_training(run, tmp_path, tiny, npz):
    options = ("--optimizer", "sgd", "--learning-rate", 0.25, "--batch-size", 16)
    more = ("--validation-split", 0.25, "--epochs", 1, "--augment", "--model", tiny)
    done = run("train", npz, *options, *more, "--output", tmp_path / "out")
    assert "60 training, 20 validation, 20 test images" in done.stdout
    settings = settings_of(tmp_path / "out")
    assert (settings["optimizer"], settings["learning_rate"]) == ("sgd", 0.25)
    model = load_model(tmp_path / "out" / "model.keras")
    assert float(model.optimizer.learning_rate) == 0.25
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[1:5] == ["Rescaling", "RandomTranslation", "RandomRotation", "RandomZoom"]


def test_schedule_early_end_and_weights_of_classes(run, tmp_path, tiny):
    x, y = make_images(70)
    keep = (y == 0) | (np.arange(70) < 10)
    np.savez(tmp_path / "few.npz", x=x[keep], y=y[keep])
    # Such a rate teaches nothing: the first epoch stays the best.
    options = (tmp_path / "few.npz", "--model", tiny, "--seed", 0, "--learning-rate", 1e-7)
    options = (*options, "--batch-size", 8, "--epochs", 30, "--early-stopping", 2)
    done = run("train", *options, "--output", tmp_path / "plain")
    assert "training images of 0" in done.stderr and "--class-weights" in done.stderr
    assert len(history_of(tmp_path / "plain")) == 3
    more = ("--class-weights", "--schedule", "cosine")
    done = run("train", *options, *more, "--output", tmp_path / "weighted")
    assert done.exit_code == 0 and done.stderr == ""
    # Of 30 epochs of 5 steps, 7 steps to warm up.
    schedule = load_model(tmp_path / "weighted" / "model.keras").optimizer._learning_rate
    assert (schedule.decay_steps, schedule.warmup_steps) == (143, 7)
    # The loss counts classes and not images, and this network takes most images for one of them.
    plain, weighted = (
        float(history_of(tmp_path / name)[0]["loss"]) for name in ("plain", "weighted")
    )
    assert abs(plain - weighted) > 0.02
    done = run("train", "digits", "--schedule", "linear", "--output", tmp_path / "c")
    assert done.exit_code == 2 and "constant or cosine" in done.stderr


def test_arrays_without_test_part_are_judged_by_validation(run, tmp_path, tiny):
    x, y = make_images(60)
    # Sorted by class: a validation part cut off from the end would hold one class only.
    order = np.argsort(y, kind="stable")
    np.savez(tmp_path / "sorted.npz", x=x[order] / 255, y=np.array(["up", "level"])[y[order]])
    options = ("--validation-split", 0.3, "--epochs", 1, "--model", tiny, "--seed", 0)
    done = run("train", tmp_path / "sorted.npz", *options, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "Validation accuracy:" in done.stdout and "no test part" in done.stdout
    settings = settings_of(tmp_path / "out")
    assert settings["judged_on"] == "validation" and settings["images"] == 18
    assert settings["classes"] == ["level", "up"]
    # Numbers from 0 to 1 need no rescaling.
    model = load_model(tmp_path / "out" / "model.keras")
    assert "Rescaling" not in [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(2)[np.arange(40) % 2],
        (np.arange(40) % 2)[:, None],
        np.arange(40) % 2 * 5.0 + 1,
    ],
    ids=["one-hot", "column", "whole floats"],
)
def test_forms_of_labels(labels, tmp_path):
    from cornu.cli.data import load_data

    x, y = make_images(40)
    np.savez(tmp_path / "a.npz", x=x, y=labels)
    data = load_data(str(tmp_path / "a.npz"), 0.5, 0, None, 32)
    found = np.concatenate([data.train.source[1], data.validation.source[1]])
    assert found.dtype == np.int32
    assert sorted(found) == sorted(y)
    expected = ["1", "6"] if labels.max() > 1 else ["0", "1"]
    assert data.class_names == expected


def test_a_folder_of_images(run, tmp_path, tiny, photos):
    options = ("--image-size", "10x12", "--epochs", 1, "--model", tiny, "--batch-size", 8)
    done = run("train", photos, *options, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "photos: 27 training, 3 validation images of 10x12x3, 2 classes" in done.stdout
    assert settings_of(tmp_path / "out")["classes"] == ["level", "upright"]


def test_a_run_is_the_backbone_of_another(run, tmp_path, tiny, photos, monkeypatch):
    monkeypatch.setenv("CORNU_HOME", str(tmp_path / "cache"))
    data = (photos, "--image-size", "10x12", "--batch-size", 8, "--seed", 1)
    first, second = tmp_path / "first", tmp_path / "second"
    done = run("train", *data, "--epochs", 1, "--model", tiny, "--augment", "--output", first)
    assert done.exit_code == 0, done.stderr
    options = ("--backbone", first, "--head-epochs", 3, "--epochs", 1)
    done = run("train", *data, *options, "--output", second)
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in second.iterdir()} - {"label_noise.csv"} == FILES
    settings, rows = settings_of(second), history_of(second)
    assert len(rows) == 4 and settings["best_epoch"] in (3, 4)
    assert settings["head_rate"] > 0 and settings["whole_rate"] > 0
    # What changed images in the first training is not in the backbone.
    model = load_model(second / "model.keras")
    assert sum("random" in layer.name for layer in model._flatten_layers()) == 0
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Model", "Dropout", "Dense"]
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2
    done = run("evaluate", second, photos)
    assert done.exit_code == 0 and "30 images" in done.stdout

    for arguments, message in (
        (
            ("--backbone", first, "--image-size", "10x10"),
            "takes images of 10x12x3; these are 10x10x3",
        ),
        (
            ("--backbone", "mobilenetv9"),
            "There is no backbone 'mobilenetv9'. Did you mean MobileNetV2?",
        ),
        (("--backbone", "small_resnet"), "SmallResNet for images of 10x12"),
        (("--backbone", "LeNet5"), "LeNet5 takes images with channels: 1; these have 3"),
        (
            ("--backbone", "LeNet5", "--backbone-weights", "imagenet"),
            "there is no file imagenet. Expected 'mnist', 'none'",
        ),
        (("--backbone", "VGG16", "--backbone-weights", "none"), "VGG16 for images of 10x12"),
        (("--backbone", "VGG16", "--backbone-weights", "no.h5"), "there is no file no.h5"),
        (("--backbone", first, "--backbone-weights", "none"), "is for networks by name"),
    ):
        done = run("train", *data, "--output", tmp_path / "third", *arguments)
        assert done.exit_code == 1 and message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "third").exists()


def test_a_folder_with_parts(run, tmp_path, tiny):
    for seed, (part, n) in enumerate({"train": 16, "validation": 6, "test": 8}.items()):
        write_images(tmp_path / "data" / part, n, seed)
    options = ("--image-size", 8, "--epochs", 1, "--model", tiny, "--batch-size", 8, "--augment")
    done = run("train", tmp_path / "data", *options, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "16 training, 6 validation, 8 test images of 8x8x3" in done.stdout
    assert "(8 images, " in done.stdout
    model = load_model(tmp_path / "out" / "model.keras")
    assert "RandomFlip" in [type(layer).__name__ for layer in model.layers]


@pytest.mark.filterwarnings("default")
def test_unreadable_images_are_named_and_can_be_skipped(run, tmp_path, tiny, photos):
    (photos / "level" / "broken.png").write_bytes(b"\x89PNG damaged")
    options = ("--image-size", 8, "--epochs", 1, "--model", tiny, "--output", tmp_path / "out")
    refused = run("train", photos, *options)
    assert refused.exit_code == 1
    assert "broken.png" in refused.stderr and "--skip-unreadable" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    skipped = run("train", photos, *options, "--skip-unreadable")
    assert skipped.exit_code == 0
    assert "1 of 31 images left out: " in skipped.stderr and "broken.png" in skipped.stderr


def test_nothing_is_mixed_with_an_older_run(run, tmp_path, tiny, npz):
    folder = tmp_path / "out"
    options = ("--epochs", 1, "--model", tiny, "--output", folder)
    assert run("train", npz, *options).exit_code == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused = run("train", npz, *options)
    assert refused.exit_code == 1 and "--overwrite" in refused.stderr
    # A run that fails takes nothing away.
    assert run("train", npz, *options, "--overwrite", "--validation-split", 0.001).exit_code == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "resume").mkdir()
    (folder / "own notes.txt").write_text("kept")

    def stop(*_, **__):
        names = {path.name for path in folder.iterdir()}
        assert names == {*BEGUN, "own notes.txt"}
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cornu.cli.finish.judge", stop)
        assert run("train", npz, *options, "--overwrite").exit_code == 130
    assert run("train", npz, *options, "--overwrite").exit_code == 0
    assert {path.name for path in folder.iterdir()} - {"label_noise.csv"} == {
        *FILES,
        "own notes.txt",
    }


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path):
    names = [make_free(tmp_path / "runs" / "a") for _ in range(3)]
    assert [name.name for name in names] == ["a", "a-2", "a-3"]


def test_one_process_at_a_time_trains_in_a_folder(run, tmp_path, npz, tiny):
    folder = tmp_path / "out"
    folder.mkdir()
    words = ("train", npz, "--model", tiny, "--epochs", 1, "--output", folder)
    with held(folder):
        done = run(*words)
        assert done.exit_code == 1 and "Another process is training in" in done.stderr
    with held(folder), pytest.raises(CommandError, match="Another process"), held(folder):
        pass
    assert not list(folder.iterdir())


def test_folders_without_images_and_hidden_files_are_no_classes_and_no_images(
    run, tmp_path, tiny, photos
):
    (photos / "empty").mkdir()
    (photos / "notes" / "below").mkdir(parents=True)
    (photos / "notes" / "readme.txt").write_text("")
    (photos / "level" / "._1.png").write_bytes(b"what macOS leaves")
    options = ("--image-size", 8, "--epochs", 1, "--model", tiny, "--output", tmp_path / "out")
    done = run("train", photos, *options)
    assert (
        done.exit_code == 0
        and "no class, as there are no images in them: empty, notes" in done.stderr
    )
    assert "27 training, 3 validation images of 8x8x3, 2 classes" in done.stdout
    assert "(30 images, " in run("evaluate", tmp_path / "out", photos).stdout


def test_images_of_all_parts_are_looked_at_before_training(run, tmp_path, tiny):
    for part in ("train", "test"):
        write_images(tmp_path / "data" / part, 12)
    whole = (tmp_path / "data" / "test" / "level" / "1.png").read_bytes()
    broken = []
    for part, n in (("train", 1), ("train", 3), ("test", 1)):
        broken.append(tmp_path / "data" / part / "level" / f"{n}.png")
        broken[-1].write_bytes(whole[: len(whole) // 2])
    options = ("--image-size", 8, "--epochs", 1, "--model", tiny, "--output", tmp_path / "out")
    refused = run("train", tmp_path / "data", *options)
    assert refused.exit_code == 1 and refused.stdout == ""
    assert str(broken[0]) in refused.stderr and str(broken[1]) in refused.stderr
    for path in broken[:2]:
        path.unlink()
    refused = run("train", tmp_path / "data", *options)
    assert refused.exit_code == 1 and str(broken[2]) in refused.stderr


@pytest.mark.parametrize("of_files", [True, False])
def test_a_full_disk(run, tmp_path, photos, npz, tiny, monkeypatch, of_files):
    """It is not the fault of an image, and the run goes on when there is room."""

    def full(folder):
        if (folder / "model.keras").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = (photos, "--image-size", 8) if of_files else (npz,)
    output = ("--output", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("cornu.saving.atomic._sync_folder", full)
        done = run("train", *data, "--epochs", 1, "--model", tiny, *output)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    assert f"Cannot write {tmp_path / 'out' / 'model.keras'}: No space left" in done.stderr
    assert f"go on: cornu train --resume --output {tmp_path / 'out'}" in done.stderr
    assert run("train", "--resume", *output).exit_code == 0
