"""`export` writes what the model computes and what its users must know; `deploy-check` is such a user."""

import json
import os
import re
import shutil
import sys

import numpy as np
import onnx
import pytest
from bars import make_images
from PIL import Image

import cornu
from cornu import layers
from cornu.cli import alone, export
from cornu.cli.int8 import _divided


def bars_model():
    """Tells upright from level bars, as its first kernels look for them."""
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 3), name="pictures"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(2, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            # No convolution takes it in.
            layers.BatchNormalization(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    upright = np.tile([-1.0, 2.0, -1.0], (3, 1)) / 9
    kernel = np.stack([upright, upright.T], -1)[:, :, None].repeat(3, 2)
    model.layers[1].set_weights([kernel])
    model.layers[-1].set_weights([np.array([[3.0, -3.0], [-3.0, 3.0]]), np.zeros(2)])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder and its pictures: some in gray, turned by EXIF, or of another size."""
    folder = tmp_path_factory.mktemp("export")
    for n, (image, label) in enumerate(zip(*make_images(150, 8, 0, (3,)), strict=True)):
        path = folder / "photos" / ("level" if label else "upright") / f"{n:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        picture = Image.fromarray(image)
        if n % 7 == 0:
            exif[0x0112] = 6
            picture = picture.rotate(90)
        elif n % 7 == 1:
            picture = picture.convert("L")
        elif n % 7 == 2:
            picture = picture.resize((19, 11))
        picture.save(path, exif=exif)
    (folder / "run").mkdir()
    bars_model().save(folder / "run" / "model.keras")
    settings = {
        "data": str(folder / "photos"),
        "classes": ["upright", "level"],
        "image": {"shape": [8, 8, 3], "white": 255},
        "temperature": 2.0,
    }
    (folder / "run" / "settings.json").write_text(json.dumps(settings))
    return folder


def done_well(run, *arguments):
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    return done


def test_what_is_exported_says_how_to_use_it_and_a_stranger_does(run, folder, tmp_path):
    file = tmp_path / "bars.onnx"
    done = done_well(run, "export", folder / "run", file, "--threshold", 0.9)
    assert f"150 images of {folder / 'photos'}: at most" in done.stdout
    assert "150 of 150 have the same class" in done.stdout
    about = json.loads({m.key: m.value for m in onnx.load(file).metadata_props}["cornu"])
    assert about["classes"] == ["upright", "level"]
    assert about["input"] == {
        "name": "pictures",
        "dtype": "float32",
        "layout": "NHWC",
        "shape": [8, 8, 3],
        "colors": "rgb",
        "white": 255,
    }
    assert (about["threshold"], about["temperature"], about["batch_size"]) == (0.9, 2.0, None)
    options = ("--model", folder / "run", "--json")
    found = json.loads(done_well(run, "deploy-check", file, *options).stdout)
    assert found["opset"] == 18 and found["custom_operations"] == []
    assert found["bytes"] == file.stat().st_size
    assert found["pictures"] == 150 and set(found["milliseconds"]) == {"1", "32"}
    assert found["model"]["same_class"] == 150
    assert found["model"]["largest_difference"] < 1e-5
    answers = {each["image"]: each for each in found["answers"]}
    picture = str(folder / "photos" / "level" / "003.png")
    right = [path for path, each in answers.items() if each["class"] == path.split(os.sep)[-2]]
    unsure = [each for each in answers.values() if each["class"] is None]
    assert len(right) > 100
    assert all(each["probability"] < 0.9 for each in unsure)
    # Calibrated, as predict says it.
    plain = json.loads(run("predict", folder / "run", picture, "--json").stdout)["classes"][0]
    assert answers[picture]["probability"] == pytest.approx(plain["probability"], rel=1e-4)
    text = done_well(run, "deploy-check", file, picture).stdout
    assert "without Cornu" in text and f"{picture}  {answers[picture]['class']}" in text


def test_int8_is_judged_on_other_pictures(run, folder, tmp_path, caplog):
    file = tmp_path / "bars.onnx"
    done = done_well(run, "export", folder / "run", file, "--int8")
    model = onnx.load(file)
    assert {"QuantizeLinear", "BatchNormalization"} <= {n.op_type for n in model.graph.node}
    # The tool has nothing to complain of.
    assert not caplog.records
    about = json.loads({m.key: m.value for m in model.metadata_props}["cornu"])["int8"]
    assert (about["calibrated_on"], about["judged_on"]) == (32, 118)
    assert about["accuracy_before"] > 0.9 and about["accuracy"] > 0.9
    assert (
        f"{100 * about['accuracy']:.2f} %, {100 * about['accuracy_before']:.2f} % before, on 118 "
        in done.stdout
    )
    assert (
        about["trained_on"] is None and "whether it was trained on them is not known" in done.stdout
    )
    assert f"the same answer for {about['same_answer']} of them" in done.stdout
    done = run("export", folder / "run", file, "--int8")
    assert (
        done.exit_code == 1 and f"{file} exists. Choose another FILE, or pass --over" in done.stderr
    )
    # Probabilities themselves are no bytes: the temperature needs the small ones.
    _, answers, _ = alone.open_onnx(str(file))
    found = answers(255 * np.eye(8, dtype="float32")[None, :, :, None].repeat(3, 3))
    assert 0 < found.min() < 1 and not np.isin(found, np.arange(256) / 255).any()


def test_int8_of_layer_normalization(run, folder, tmp_path):
    model = cornu.Sequential(
        [
            cornu.Input((8, 8, 3)),
            layers.Conv2D(2, 3),
            layers.LayerNormalization(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.save(tmp_path / "model.keras")
    shutil.copy(folder / "run" / "settings.json", tmp_path)
    done = done_well(run, "export", tmp_path, tmp_path / "a.onnx", "--int8")
    found = re.search(r"the same answer for (\d+) of them", done.stdout)
    assert int(found[1]) > 90


@pytest.mark.parametrize(
    "seen, shown, judged",
    [
        # Trained on: none, some, most and all of the pictures.
        (range(0), (32, 0), (118, 0)),
        (range(20), (32, 0), (98, 0)),
        (range(110), (32, 32), (40, 0)),
        (range(150), (32, 32), (118, 118)),
    ],
)
def test_pictures_to_judge_by_are_such_that_were_not_trained_on(seen, shown, judged):
    trained_on = np.isin(np.arange(150), seen)
    found = _divided(150, 32, trained_on)
    counts = [(len(rows), int(trained_on[rows].sum())) for rows in found]
    assert counts == [shown, judged]
    assert not np.intersect1d(*found).size


@pytest.mark.parametrize("ending, count", [("stablehlo", None), ("onnx", 4)])
def test_one_number_of_pictures_and_programs_of_jax(run, folder, tmp_path, ending, count):
    file = tmp_path / f"bars.{ending}"
    options = ("--batch-size", count) if count else ()
    done_well(run, "export", folder / "run", file, *options)
    found = done_well(run, "deploy-check", file, "--model", folder / "run", "--json").stdout
    found = json.loads(found)
    assert found["model"]["same_class"] == found["pictures"] == 150
    assert found["model"]["largest_difference"] < 1e-5
    assert found["custom_operations"] == []
    assert list(found["milliseconds"]) == (["4"] if count else ["1", "32"])
    if ending == "stablehlo":
        assert json.loads((tmp_path / "bars.stablehlo.json").read_text())["temperature"] == 2.0


def test_a_model_that_is_no_classifier_of_images(run, tmp_path):
    x = cornu.Input((5,))
    cornu.Model(x, [layers.Dense(2)(x), layers.Dense(3)(x)]).save(tmp_path / "two.keras")
    done = done_well(run, "export", tmp_path / "two.keras", tmp_path / "two.onnx")
    assert "on made-up inputs: at most" in done.stdout
    done = run("deploy-check", tmp_path / "two.onnx")
    assert done.exit_code == 1 and "has no metadata that says" in done.stderr
    done = run("export", tmp_path / "two.keras", tmp_path / "three.onnx", "--threshold", 0.5)
    assert done.exit_code == 1 and "is no classifier of images" in done.stderr


def test_what_is_refused(run, folder, tmp_path, monkeypatch):
    def refused(*arguments):
        done = run(*arguments)
        assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    trained = folder / "run"
    file = tmp_path / "a.onnx"
    assert ".onnx" in refused("export", trained, tmp_path / "a.stablehlo", "--int8")
    assert "no data" in refused("export", trained, file, "--data", tmp_path / "nowhere")
    alone_file = tmp_path / "alone.keras"
    bars_model().save(alone_file)
    assert "give --data" in refused("export", alone_file, file, "--int8")
    assert "no file" in refused("deploy-check", file)
    done_well(run, "export", trained, file)
    for name, why in (
        ("none.png", "No such file or directory."),
        ("a.onnx", "no known image form"),
    ):
        said = refused("deploy-check", file, tmp_path / name)
        assert f"Cannot read the image {tmp_path / name}: {why}" in said
    file.unlink()
    (tmp_path / "b.onnx").write_bytes(b"none of it")
    assert "no ONNX file" in refused("deploy-check", tmp_path / "b.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in refused("export", trained, file, "--int8")
    monkeypatch.undo()
    other = bars_model()
    other.layers[-1].set_weights([np.ones((2, 2)), np.zeros(2)])
    wrong = export.program(other, "onnx")
    monkeypatch.setattr(export, "program", lambda *arguments: wrong)
    assert "does not compute what the model does" in refused("export", trained, file)
    assert not file.exists()


def test_without_pictures_numbers_are_made_up(run, tmp_path):
    bars_model().save(tmp_path / "alone.keras")
    done = done_well(run, "export", tmp_path / "alone.keras", tmp_path / "a.onnx")
    assert "on made-up pictures: at most" in done.stdout
    assert "there are no pictures to compare on" in done.stderr


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_pictures_become_what_the_model_was_trained_on(tmp_path, fit):
    """As the library itself reads them."""
    from cornu.utils.image_folder import ImageReader

    random = np.random.default_rng(0)
    about = {
        "input": {"dtype": "float32", "shape": [12, 9, 3], "colors": "rgb", "white": 255},
        "resize": {"proportions": fit},
    }
    aspect = None if fit == "stretch" else fit
    read = ImageReader("rgb", (12, 9), "bilinear", aspect, "channels_last", True)
    for size in ((30, 20), (7, 9), (5, 40), (12, 9), (31, 1), (8, 8)):
        path = tmp_path / "a.png"
        if size == (8, 8):
            pixels = random.integers(0, 65536, size).astype("uint16")
        else:
            pixels = random.integers(0, 256, (*size, 3)).astype("uint8")
        Image.fromarray(pixels).save(path)
        np.testing.assert_allclose(
            alone.pixels_of(str(path), about), read(str(path)), rtol=1e-5, atol=1e-3
        )
