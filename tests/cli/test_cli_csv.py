"""`cornu train` on a CSV file: images of one class each, and of several."""

import csv
import json

import numpy as np
import pytest

from cornu.cli import quality, train
from cornu.saving import load_model

SEVERAL = """
from cornu import Sequential, layers


def several(input_shape, num_classes):
    return Sequential(
        [
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(num_classes, activation="sigmoid"),
        ]
    )
"""


def write(folder, count):
    """Images with a bright row, a bright column, both or none; returns their classes, `a;b`."""
    from PIL import Image

    random = np.random.default_rng(0)
    folder.mkdir()
    found = []
    for number in range(count):
        x = random.integers(0, 60, (8, 8, 3)).astype("uint8")
        labels = [name for bit, name in enumerate(("level", "upright")) if number >> bit & 1]
        if "level" in labels:
            x[random.integers(1, 7)] = 250
        if "upright" in labels:
            x[:, random.integers(1, 7)] = 250
        Image.fromarray(x).save(folder / f"{number}.png")
        found.append(";".join(labels))
    return found


def rows_of(folder, labels, column, keep=lambda label: True):
    """A CSV file: the first images for training, then for validation and for the test."""
    parts = ["train"] * (len(labels) - 40) + ["validation"] * 20 + ["test"] * 20
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", column, "split"])
        rows = zip(range(len(labels)), labels, parts, strict=True)
        writer.writerows((f"{n}.png", label, part) for n, label, part in rows if keep(label))
    return folder / "labels.csv"


def settings_of(folder):
    return json.loads((folder / "settings.json").read_text())


OPTIONS = ("--image-size", 8, "--batch-size", 8, "--seed", 1, "--learning-rate", 0.03)


def test_images_of_one_class_each(run, tmp_path, tiny):
    labels = write(tmp_path / "photos", 120)
    file = rows_of(
        tmp_path / "photos", labels, "label", lambda label: label in ("level", "upright")
    )
    done = run("train", file, *OPTIONS, "--epochs", 4, "--model", tiny, "--output", tmp_path / "a")
    assert done.exit_code == 0, done.stderr
    assert "labels: 40 training, 10 validation, 10 test images of 8x8x3, 2 classes" in done.stdout
    settings = settings_of(tmp_path / "a")
    assert settings["classes"] == ["level", "upright"] and settings["accuracy"] >= 0.9


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run on images of several classes, and the CSV file."""
    from typer.testing import CliRunner

    from cornu.cli.app import app

    folder = tmp_path_factory.mktemp("several")
    labels = write(folder / "photos", 200)
    file = rows_of(folder / "photos", labels, "labels")
    (folder / "m.py").write_text(SEVERAL)
    words = ["train", file, *OPTIONS, "--epochs", 12, "--model", f"{folder / 'm.py'}:several"]
    words += ["--output", folder / "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return folder / "run", file, done.stdout, words


def test_images_of_several_classes(several):
    folder, _, said, _ = several
    assert "2 classes, of which an image may be of several" in said
    settings = settings_of(folder)
    assert settings["image"]["is_multi_label"] and settings["temperature"] == 1
    assert settings["mean_average_precision"] > 0.9 and settings["f1_macro"] > 0.8
    # Of 20 validation images, ten have each class.
    assert (
        all(0 < each < 1 for each in settings["thresholds"]) and settings["thresholds"] != [0.5] * 2
    )
    assert f"mean average precision {settings['mean_average_precision']:.4f}" in said
    with open(folder / "history.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    values = [float(row["val_pr_auc"]) for row in rows]
    assert settings["best_epoch"] == 1 + int(np.argmax(values)) and "accuracy" not in rows[0]
    model = load_model(folder / "model.keras")
    assert model.loss == "binary_crossentropy"
    assert not (folder / "confusion_matrix.png").exists()
    page = (folder / "report.html").read_text()
    assert "mean average precision of test" in page and "threshold" in page
    assert "Calibration</h2>" not in page and "taken for which" not in page


def test_their_thresholds_are_used(run, several, tmp_path):
    folder, file, *_ = several
    whole = settings_of(folder)
    found = json.loads(run("evaluate", folder, file, "--json").stdout)
    assert found["f1_macro"] == whole["f1_macro"]
    assert [each["threshold"] for each in found["classes"]] == whole["thresholds"]
    # With other thresholds, other answers.
    copy = tmp_path / "run"
    copy.mkdir()
    for thresholds, expected in (([0.0, 1.0], ["level"]), ([1.0, 0.0], ["upright"])):
        for name in ("model.keras",):
            (copy / name).write_bytes((folder / name).read_bytes())
        text = json.dumps({**whole, "thresholds": thresholds})
        (copy / "settings.json").write_text(text)
        done = run("predict", copy, file.parent / "3.png", "--json")
        assert [each["class"] for each in json.loads(done.stdout)["classes"]] == expected
    (copy / "settings.json").write_text(json.dumps({**whole, "thresholds": [0.5]}))
    done = run("predict", copy, file.parent / "3.png")
    assert done.exit_code == 1 and "a threshold for each of its classes" in done.stderr


def test_what_does_not_go_with_several_classes(run, several, tmp_path):
    *_, words = several
    (tmp_path / "soft.py").write_text(SEVERAL.replace("sigmoid", "softmax"))
    soft = ("--model", f"{tmp_path / 'soft.py'}:several")
    for more, message in (
        (("--class-weights",), "--class-weights is for images of one class each"),
        (soft, "activation='sigmoid'"),
    ):
        done = run(*words[:-2], "--output", tmp_path / "out", *more)
        assert done.exit_code == 1 and message in done.stderr, done.stderr
        assert not (tmp_path / "out").exists()


def test_thresholds_have_the_largest_f1():
    random = np.random.default_rng(0)
    y = (random.random((200, 3)) < [0.5, 0.2, 0.02]).astype("float32")
    scores = np.round(np.clip(0.3 * y + random.random((200, 3)) * 0.7, 0, 1), 2).astype("float32")
    found = quality.best_thresholds(y, scores)
    # Of the last class there are too few images.
    assert found[2] == 0.5
    for label in (0, 1):
        f1 = [
            2
            * ((scores[:, label] >= t) & (y[:, label] > 0)).sum()
            / ((scores[:, label] >= t).sum() + y[:, label].sum())
            for t in (found[label], *np.arange(0.005, 1, 0.01))
        ]
        assert f1[0] == max(f1)


def test_few_images_of_a_class_are_a_finding(capsys):
    from bars import make_images

    from cornu.cli.data import Data, Part

    x, _ = make_images(60)
    for labels, hint in (
        (np.repeat([0, 1], [52, 8]), True),
        (np.eye(2, dtype="float32")[np.repeat([0, 1], [52, 8])], False),
    ):
        part = Part((x, labels))
        data = Data("a", ["many", "few"], part, part, None, (8, 8, 1), 255, True)
        train._say_of_balance(data, {"class_weights": False})
        (finding,) = data.findings
        assert "52 training images of many, and 8 of few" in finding
        assert ("--class-weights" in finding) == hint
        assert finding in capsys.readouterr().err
