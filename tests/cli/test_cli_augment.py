"""`--augment`: its words, what each strength is, and labels that are mixed as their images are."""

import csv

import numpy as np
import pytest
from bars import make_images

from cornu.cli import augmentation, config, mixing, progress
from cornu.cli.app import train
from cornu.cli.data import Data, Part
from cornu.cli.strength import with_strength
from cornu.saving import load_model


@pytest.mark.parametrize(
    "words, expected",
    [
        ("photos --augment", "photos --augment=light"),
        ("--augment photos --epochs 3", "--augment=light photos --epochs 3"),
        ("--augment strong photos", "--augment=strong photos"),
        ("photos --augment=medium", "photos --augment=medium"),
        ("photos -- --augment", "photos -- --augment"),
    ],
)
def test_the_strength_may_be_left_out(words, expected):
    assert with_strength(words.split()) == expected.split()


def test_no_other_strengths(run, tmp_path):
    for words in (("--augment", "storng"), ("--augment=storng",)):
        done = run("train", "digits", *words)
        assert done.exit_code == 2 and "--augment" in done.stderr
        assert "light, medium or strong, not storng. Did you mean strong?" in done.stderr
    file = tmp_path / "a.toml"
    # What files of before say.
    for text, expected in (("true", "light"), ("false", None), ("'strong'", "strong")):
        file.write_text(f"augment = {text}")
        assert config.read(file, train) == {"augment": expected}


def data_of(x, y, class_weights=2):
    part = Part((x, y))
    names = [str(n) for n in range(class_weights)]
    return Data("a", names, part, part, None, x.shape[1:], 255, True)


LIGHT = ["RandomFlip", "RandomTranslation", "RandomRotation", "RandomZoom"]
STRONG = [*LIGHT, "RandomColorJitter", "RandAugment", "RandomErasing"]
GRAY = [*LIGHT, "RandomBrightness", "RandomContrast"]


@pytest.mark.parametrize(
    "strength, channels, white, expected",
    [
        (None, 3, 255, []),
        ("light", 3, 255, LIGHT),
        ("medium", 3, 255, STRONG[:5]),
        ("strong", 3, 255, STRONG),
        ("medium", 1, 1, GRAY),
        ("strong", 1, 1, [*GRAY, "RandomErasing"]),
        ("strong", 3, None, LIGHT),
    ],
)
def test_what_each_strength_is(strength, channels, white, expected):
    data = data_of(np.zeros((4, 8, 8, channels), "uint8"), np.arange(4) % 2)
    found = augmentation.changes(data, strength, white)
    assert [type(layer).__name__ for layer in found] == expected


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_labels_are_mixed_as_images_are(is_multi_label):
    # The mean of each channel is the label.
    y = np.random.default_rng(0).integers(0, 2, (30, 3)) if is_multi_label else np.arange(30) % 3
    codes = y if is_multi_label else np.eye(3)[y]
    x = np.broadcast_to(codes[:, None, None], (30, 16, 16, 3)).astype("float32")
    data = data_of(x, codes.astype("float32") if is_multi_label else y, 3)
    weights = None if is_multi_label else {0: 1.0, 1: 2.0, 2: 5.0}
    batches = mixing.mixed(data, 8, 1, weights)
    assert len(batches) == 4
    passes = [list(batches.as_numpy_iterator()) for _ in range(2)]
    inner = []
    for x_mixed, labels, *weight in passes[0] + passes[1]:
        means = x_mixed.mean((1, 2))
        # A rectangle ends within pixels.
        np.testing.assert_allclose(means, labels, atol=0.13)
        if weight:
            np.testing.assert_allclose(weight[0], labels @ [1, 2, 5], rtol=1e-6)
            np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
        inner.append(((x_mixed > 0.01) & (x_mixed < 0.99)).any())
    # Some batches were mixed pixel by pixel, others have rectangles.
    assert len(set(inner)) == 2
    # Each pass has other ones, and the same seed the same.
    assert not np.array_equal(passes[0][0][0], passes[1][0][0])
    again = next(iter(mixing.mixed(data, 8, 1, weights).as_numpy_iterator()))
    np.testing.assert_array_equal(again[0], passes[0][0][0])


def test_mixed_images_of_a_run_that_was_stopped(run, tmp_path, tiny, monkeypatch):
    # Of the layers that change images, other tests tell that they go on.
    monkeypatch.setattr(augmentation, "changes", lambda *_: [])
    x, y = make_images(60)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    words = (tmp_path / "a.npz", "--model", tiny, "--epochs", 3, "--seed", 5, "--batch-size", 16)
    words = (*words, "--augment", "strong", "--class-weights")
    assert run("train", *words, "--output", tmp_path / "whole").exit_code == 0
    with monkeypatch.context() as patch:
        ended = progress.Recorder.on_epoch_end

        def stopped(self, epoch, logs=None):
            ended(self, epoch, logs)
            if len(self.rows) == 2:
                raise KeyboardInterrupt

        patch.setattr(progress.Recorder, "on_epoch_end", stopped)
        assert run("train", *words, "--output", tmp_path / "part").exit_code == 130
    done = run("train", "--resume", "--output", tmp_path / "part")
    assert done.exit_code == 0, done.stderr
    rows = []
    for name in ("whole", "part"):
        with open(tmp_path / name / "history.csv", newline="") as file:
            rows.append([{**row, "seconds": ""} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]
    models = [load_model(tmp_path / name / "model.keras") for name in ("whole", "part")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert models[0].loss == "categorical_crossentropy"
