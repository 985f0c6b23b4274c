"""Labels that are perhaps wrong: that they are found, and where they are named."""

import csv
from types import SimpleNamespace

import numpy as np
from bars import write_images

from cornu.cli.label_noise import Candidate, left_out, rivals, write


def test_answers_without_each_image_are_those_of_fits_without_it():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 4)), np.arange(30) % 3
    found = left_out(x, y, 3)
    # By definition, with the means and deviations of all.
    a = np.c_[(x - x.mean(0)) / x.std(0), np.ones(30)]
    penalty = np.diag([3.0] * 4 + [0])
    for row in (0, 7, 29):
        rest = np.arange(30) != row
        weights = np.linalg.solve(a[rest].T @ a[rest] + penalty, a[rest].T @ np.eye(3)[y[rest]])
        np.testing.assert_allclose(found[row], a[row] @ weights, atol=1e-12)
    other, score = rivals(np.array([[0.9, 0.4, 0.1], [0.2, 0.3, 0.7]]), np.array([0, 1]))
    assert other.tolist() == [1, 2]
    np.testing.assert_allclose(score, [-0.5, 0.4])


def test_planted_labels_are_found_among_many_features():
    random = np.random.default_rng(1)
    centers, y = random.normal(size=(4, 600)), np.arange(400) % 4
    x = centers[y] + 1.5 * random.normal(size=(400, 600))
    wrong = np.arange(0, 400, 19)
    given = y.copy()
    given[wrong] = (y[wrong] + 1) % 4
    other, score = rivals(left_out(x, given, 4), given)
    found = np.argsort(-score)[: len(wrong)]
    assert len(np.intersect1d(found, wrong)) >= 20
    assert (other[found] == y[found]).mean() >= 0.9


def test_a_run_lists_them(run, tmp_path, tiny):
    write_images(tmp_path / "photos", 60)
    folder = tmp_path / "photos"
    (folder / "level" / "1.png").rename(folder / "upright" / "wrong.png")
    options = ("--image-size", 8, "--model", tiny, "--epochs", 12, "--seed", 1, "--batch-size", 8)
    done = run("train", folder, *options, "--learning-rate", 0.01, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "1 label may be wrong, going by all other images: upright/wrong.png" in done.stderr
    assert "upright/wrong.png (upright, or level?)" in done.stderr
    with open(tmp_path / "out" / "label_noise.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["name"] == "upright/wrong.png" and rows[0]["looks_like"] == "level"
    assert len(rows) <= 6
    # The network is good enough for its list to be worth a look.
    assert float(rows[0]["network_accuracy"]) >= 0.8 and "own mistakes" not in done.stderr


def test_a_weak_network_is_said_to_be_weak(tmp_path, capsys):
    data = SimpleNamespace(class_names=["a", "b"], findings=[])
    found = [Candidate("train", 0, "0.png", 0, 1, 0.5)]
    write(found, data, tmp_path / "label_noise.csv", 0.475)
    text = "takes 52 % of images that it was not trained on for another class, so most of these may be its"
    assert text in capsys.readouterr().err and text in data.findings[0]
    assert (tmp_path / "label_noise.csv").read_text().splitlines() == [
        "name,class,looks_like,part,score,network_accuracy",
        "0.png,a,b,train,0.500,0.475",
    ]
