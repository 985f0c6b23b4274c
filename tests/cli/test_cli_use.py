"""`evaluate`, `predict` and `summary` use what `train` left."""

import csv
import json
import re
import shutil
import sys

import numpy as np
import pytest
from bars import make_images
from PIL import Image

from cornu.cli import quality
from cornu.saving import load_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run on arrays of upright and level bars, classes 0 and 1."""
    from typer.testing import CliRunner

    from cornu.cli.app import app

    folder = tmp_path_factory.mktemp("run")
    x, y = make_images(240)
    x_test, y_test = make_images(40, seed=1)
    names = np.array(["upright", "level"])
    np.savez(folder / "bars.npz", x_train=x, y_train=names[y], x_test=x_test, y_test=names[y_test])
    options = [
        "--epochs",
        "12",
        "--batch-size",
        "32",
        "--seed",
        "0",
        "--validation-split",
        "0.25",
        "--output",
        str(folder / "out"),
    ]
    done = CliRunner().invoke(app, ["train", str(folder / "bars.npz"), *options])
    assert done.exit_code == 0, done.stderr
    return folder / "out"


@pytest.fixture
def bar(tmp_path):
    """An image of a level bar, twice as large as the training images, in colours."""
    pixels = np.zeros((16, 16, 3), "uint8")
    pixels[6:8] = 250
    path = tmp_path / "bar.png"
    Image.fromarray(pixels).save(path)
    return path


def test_evaluate_prints_what_train_printed(run, trained):
    settings = json.loads((trained / "settings.json").read_text())
    assert settings["accuracy"] >= 0.9 and settings["temperature"] != 1
    for model in (trained, trained / "model.keras"):
        done = run("evaluate", model, trained.parent / "bars.npz")
        assert done.exit_code == 0, done.stderr
        assert f"(40 images, {settings['wrong']} wrong)" in done.stdout
    found = json.loads(run("evaluate", trained, trained.parent / "bars.npz", "--json").stdout)
    assert found["accuracy"] == settings["accuracy"] and found["wrong"] == settings["wrong"]
    low, high = found["accuracy_interval"]
    assert f"{100 * low:.1f} to {100 * high:.1f} %" in done.stdout
    assert low < found["accuracy"] <= high
    assert [each["images"] for each in found["classes"]] == [20, 20]
    assert len(found["worst"]) == min(found["wrong"], 5)
    assert found["temperature"] == settings["temperature"]
    # The last batch has few images: XLA may have predicted them, or a program.
    assert found["loss"] == pytest.approx(settings["loss"], rel=1e-6)
    assert (found["trained_on"], found["chose_the_best_epoch"]) == (0, 0)
    assert "The run was trained on none of these images." in done.stdout


def test_evaluate_says_which_images_were_trained_on(run, trained, tmp_path):
    x, y = make_images(240)
    new, y_new = make_images(10, seed=7)
    labels = np.array(["upright", "level"])[np.concatenate([y[:50], y_new])]
    np.savez(tmp_path / "a.npz", x=np.concatenate([x[:50], new]), y=labels)
    found = json.loads(run("evaluate", trained, tmp_path / "a.npz", "--json").stdout)
    assert found["trained_on"] + found["chose_the_best_epoch"] == 50 and found["trained_on"] > 30
    done = run("evaluate", trained, tmp_path / "a.npz")
    assert f"trained on {found['trained_on']} of these 60 images" in done.stdout
    shutil.copy(trained / "model.keras", tmp_path / "alone.keras")
    np.savez(tmp_path / "b.npz", x=new, y=y_new)
    done = run("evaluate", tmp_path / "alone.keras", tmp_path / "b.npz", "--json")
    alone = json.loads(done.stdout)
    assert alone["trained_on"] is None and alone["temperature"] == 1


def test_runs_are_compared(run, trained, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    settings = json.loads((trained / "settings.json").read_text())
    shutil.copy(trained / "history.csv", other)
    settings |= {"accuracy": 0.25, "wrong": 30, "judged_sha256": "others", "batch_size": 9}
    (other / "settings.json").write_text(json.dumps(settings))
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "settings.json").write_text(json.dumps({"batch_size": 32, "optimizer": "adam"}))
    runs = (other, tmp_path / "nothing", trained, stopped)
    done = run("compare", *runs)
    assert done.exit_code == 0
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[:2] == ["run", "accuracy"] and "batch_size" in head and "optimizer" not in head
    assert [row[0] for row in rows] == [str(trained), str(other), str(stopped)]
    assert rows[1][1] == "25.00" and rows[2][1:3] == ["not", "finished"]
    assert "not all runs were judged by the same images" in done.stderr
    assert "nothing holds no settings.json" in done.stderr
    found = json.loads(run("compare", *runs, "--json").stdout)
    assert [each["accuracy"] for each in found["runs"]][1:] == [0.25, None]
    settings |= {"image": {**settings["image"], "is_multi_label": True}}
    for folder, f1, accuracy in ((other, 0.5, 0.25), (stopped, 0.75, 0.125)):
        results = {"f1_macro": f1, "mean_average_precision": None, "accuracy": accuracy}
        (folder / "settings.json").write_text(json.dumps({**settings, **results}))
    # Those of several classes have a table of their own, by F1.
    of_one, of_several = run("compare", *runs).stdout.split("\n\n")
    assert [line.split()[0] for line in of_one.splitlines()] == ["run", str(trained)]
    head, *rows = of_several.splitlines()
    assert head.split()[1:6] == ["F1", "average", "precision", "all", "classes"]
    assert [row.split()[:4] for row in rows] == [
        [str(stopped), "0.7500", "none", "12.50"],
        [str(other), "0.5000", "none", "25.00"],
    ]
    done = run("compare", tmp_path)
    assert done.exit_code == 1 and "None of these folders holds a run." in done.stderr


def test_networks_of_the_package_have_names(run, bar, monkeypatch):
    monkeypatch.chdir(bar.parent)
    for name, classes in {"SmallResNet": "airplane", "LeNet5": "7"}.items():
        done = run("predict", name, bar, "--top", 10)
        assert done.exit_code == 0 and not done.stderr
        assert classes in done.stdout.split()
    # A file of this name comes first.
    (bar.parent / "LeNet5").mkdir()
    done = run("predict", "LeNet5", bar)
    assert done.exit_code == 1 and "holds no model.keras" in done.stderr


def test_evaluate_all_of_data_without_parts(run, trained, tmp_path):
    x, y = make_images(30, seed=2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["upright", "level"])[y])
    assert "(30 images, " in run("evaluate", trained, tmp_path / "a.npz").stdout


def test_evaluate_refuses_what_does_not_fit(run, trained, tmp_path, photos):
    done = run("evaluate", trained, "digits")
    assert done.exit_code == 1
    x, y = make_images(4, size=9)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["upright", "level"])[y])
    done = run("evaluate", trained, tmp_path / "a.npz")
    assert done.exit_code == 1 and "shape (9, 9, 1)" in done.stderr
    np.savez(tmp_path / "a.npz", x=x, y=y)
    done = run("evaluate", trained, tmp_path / "a.npz")
    assert done.exit_code == 1 and "does not have: 0, 1" in done.stderr


@pytest.mark.filterwarnings("default")
def test_evaluate_reads_image_files_as_predict_does(run, trained, tmp_path):
    """A model of gray bars; colour files, 16-bit files, one on its side, and one that is not an image."""
    x, y = make_images(12, seed=3)
    names = ["upright", "level"]
    for name in names:
        (tmp_path / "bars" / name).mkdir(parents=True)
    for n, (image, label) in enumerate(zip(x, y, strict=True)):
        path = tmp_path / "bars" / names[label] / f"{n}.png"
        if n % 3 == 0:
            Image.fromarray(image.astype("uint16") * 257).save(path)
        elif n % 3 == 1:
            Image.fromarray(image).convert("RGB").save(path)
        else:
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(np.rot90(image)).save(path, exif=exif)
    (wrong,) = [
        int(n)
        for n in re.findall(r"(\d+) wrong", run("evaluate", trained, tmp_path / "bars").stdout)
    ]
    np.savez(tmp_path / "bars.npz", x=x, y=np.array(names)[y])
    assert f" {wrong} wrong" in run("evaluate", trained, tmp_path / "bars.npz").stdout
    (tmp_path / "bars" / "level" / "x.png").write_bytes(b"none")
    done = run("evaluate", trained, tmp_path / "bars")
    assert done.exit_code == 1 and "x.png" in done.stderr and "--skip-unreadable" in done.stderr
    done = run("evaluate", trained, tmp_path / "bars", "--skip-unreadable")
    assert f"(12 images, {wrong} wrong)" in done.stdout
    np.savez(tmp_path / "bars.npz", x=x / 255, y=np.array(names)[y])
    done = run("evaluate", trained, tmp_path / "bars.npz")
    assert done.exit_code == 1 and "the model was trained on values from 0 to 255" in done.stderr


def test_a_model_alone_takes_arrays_of_any_range(run, trained, tmp_path):
    """Only its settings say what it was trained on."""
    shutil.copy(trained / "model.keras", tmp_path / "alone.keras")
    x, y = make_images(4)
    np.savez(tmp_path / "a.npz", x=x / 255, y=1 - y)
    assert "(4 images, " in run("evaluate", tmp_path / "alone.keras", tmp_path / "a.npz").stdout


def test_predict_prepares_images_as_training_did(run, trained, bar):
    done = run("predict", trained, bar)
    assert done.exit_code == 0, done.stderr
    name, *lines = done.stdout.splitlines()
    assert name == str(bar)
    found = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert next(iter(found)) == "level"
    assert sum(found.values()) == pytest.approx(100, abs=0.02)
    from cornu.utils.resizing import resize

    gray = np.asarray(Image.open(bar).convert("L"))[..., None]
    pixels = resize(gray, (8, 8), "bilinear")
    raw = load_model(trained / "model.keras").predict(pixels[None], verbose=0)
    divisor = json.loads((trained / "settings.json").read_text())["temperature"]
    assert f"calibrated, with the run's temperature {divisor:.3f}" in done.stderr
    expected = quality.calibrated(raw, divisor)[0]
    assert found["level"] == pytest.approx(100 * expected[0], abs=0.006)


def test_top_and_invert(run, trained, bar, tmp_path):
    dark = tmp_path / "dark.png"
    Image.fromarray(255 - np.asarray(Image.open(bar))).save(dark)
    plain = run("predict", trained, bar, "--top", 1).stdout.splitlines()
    inverted = run("predict", trained, dark, "--top", 1, "--invert").stdout.splitlines()
    assert len(plain) == 2
    assert plain[1] == inverted[1]


def test_unreadable_images_are_named_and_the_others_predicted(run, trained, bar, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 damaged")
    done = run("predict", trained, broken, bar, tmp_path / "missing.png")
    assert done.exit_code == 1
    assert done.stdout.startswith(str(bar))
    messages = [line for line in done.stderr.splitlines() if "calibrated" not in line]
    assert len(messages) == 3
    assert "broken.jpg" in messages[0] and "missing.png" in messages[1]
    assert "2 of 3 images could not be read" in messages[2]


def test_predict_takes_folders_patterns_and_names_and_prints_for_programs(run, trained, photos):
    paths = sorted(str(path) for path in photos.rglob("*.png"))
    options = ("--top", 1, "--json")
    done = run("predict", trained, photos, *options)
    assert done.exit_code == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(each["image"] for each in found) == paths
    # The same numbers as one by one, and in whatever batch.
    assert json.loads(run("predict", trained, paths[-1], *options).stdout)["classes"][0][
        "probability"
    ] == pytest.approx(
        next(each for each in found if each["image"] == paths[-1])["classes"][0]["probability"],
        abs=1e-6,
    )
    assert run("predict", trained, photos / "*" / "*.png", *options).stdout == done.stdout
    names = "\n".join(paths[:2]) + "\n"
    rows = list(csv.reader(run("predict", trained, "-", "--csv", given=names).stdout.splitlines()))
    assert rows[0] == ["image", "class", "probability"]
    assert [row[0] for row in rows[1:]] == [paths[0]] * 2 + [paths[1]] * 2
    sure = found[0]["classes"][0]["probability"]
    for threshold, count in ((sure - 1e-4, 1), (min(sure + 1e-4, 1), 0)):
        done = run("predict", trained, found[0]["image"], "--threshold", threshold, "--json")
        assert len(json.loads(done.stdout)["classes"]) == count
    (photos / "empty").mkdir()
    for name, message in (
        (photos / "empty", "holds no images"),
        (photos / "*.bmp", "No file is called"),
    ):
        done = run("predict", trained, name)
        assert done.exit_code == 1 and message in done.stderr


def test_a_model_without_settings(run, trained, bar, tmp_path):
    shutil.copy(trained / "model.keras", tmp_path / "alone.keras")
    done = run("predict", tmp_path / "alone.keras", bar)
    assert done.exit_code == 0
    assert "no settings.json" in done.stderr
    assert re.match(r"\s*0\s", done.stdout.splitlines()[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: "{",
        lambda settings: "[]",
        lambda settings: json.dumps({**settings, "classes": ["a"]}),
        lambda settings: json.dumps({**settings, "image": None}),
        lambda settings: json.dumps({**settings, "image": {"white": "255"}}),
        lambda settings: json.dumps({**settings, "image": {"white": float("nan")}}),
        lambda settings: json.dumps({**settings, "image": {"white": 1, "fit": ["crop"]}}),
        lambda settings: json.dumps({**settings, "classes": ["a", "a"]}),
        lambda settings: json.dumps({**settings, "temperature": True}),
        lambda settings: json.dumps({**settings, "accuracy": "high"}),
        lambda settings: json.dumps({**settings, "wrong": None}),
        lambda settings: json.dumps({**settings, "data": 5}),
        lambda settings: json.dumps({**settings, "versions": ["0.1.0"]}),
    ],
)
def test_damaged_settings(run, copy, bar, change):
    change_settings(copy, change)
    line = the_line(run("predict", copy, bar), 1)
    assert re.search("settings.json (is damaged|does not belong to)", line)


def test_runs_of_other_versions(run, copy, bar, photos):
    versions = {"cornu": "99.0"}
    change_settings(copy, lambda settings: json.dumps({**settings, "versions": versions}))
    newer = "written by cornu 99.0, which is newer than this one"
    for command in (("predict", copy, bar), ("evaluate", copy, photos), ("summary", copy)):
        assert newer in the_line(run(*command), 0)
    (copy / "config.toml").write_text("telepathy = true")
    assert newer in the_line(run("train", "--config", copy / "config.toml"), 1)
    (copy / "model.keras").write_text("of a new form")
    assert newer in the_line(run("predict", copy, bar), 1)
    change_settings(copy, lambda settings: json.dumps({**settings, "form": 2}))
    for command in (
        ("predict", copy, bar),
        ("compare", copy),
        ("train", "--resume", "--output", copy),
    ):
        assert "by cornu 99.0 in form 2, which this version" in the_line(run(*command), 1)


def test_files_of_a_run_that_were_changed(run, copy, photos):
    with (copy / "split.csv").open("a") as file:
        file.write("x")
    unknown = "so which images were trained on is not known"
    assert unknown in the_line(run("evaluate", copy, photos), 0)
    (copy / "split.csv").unlink()
    assert unknown in the_line(run("evaluate", copy, photos), 0)
    (copy / "history.csv").write_bytes(b"\xff\xfe")
    assert "history.csv is damaged" in the_line(run("compare", copy), 1)
    with (copy / "model.keras").open("ab") as file:
        file.write(b" ")
    assert "is not the file that the run wrote" in run("summary", copy).stderr


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def change_settings(folder, change):
    file = folder / "settings.json"
    file.write_text(change(json.loads(file.read_text())))


def the_line(done, status):
    """What a command says besides its output and its temperature."""
    assert done.exit_code == status
    [line] = [line for line in done.stderr.splitlines() if "are calibrated" not in line]
    return line


def test_models_that_are_not_there_or_damaged(run, tmp_path, bar):
    for model in ("nothing.keras", tmp_path):
        done = run("predict", model, bar)
        assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    done = run("evaluate", tmp_path / "bad.keras", "digits")
    assert done.exit_code == 1 and "bad.keras" in done.stderr


def test_summary(run, trained):
    saved = run("summary", trained)
    assert saved.exit_code == 0 and "Rescaling" in saved.stdout
    assert run("summary", trained / "model.keras").stdout == saved.stdout
    explained = run("summary", trained, "--explain").stdout
    assert explained.startswith(saved.stdout.rstrip()) and "For one example:" in explained


@pytest.mark.parametrize(
    "name, shape, classes, parameters",
    [
        ("lecture", "28x28x1", 10, "34,826"),
        ("tutorial", "28x28x1", 10, "62,346"),
        ("lenet", "28x28x1", 10, "61,706"),
        ("simple", "8x8x1", 10, None),
        ("resnet", "32x32x3", 100, None),
    ],
)
def test_summary_of_named_networks(run, name, shape, classes, parameters):
    done = run("summary", name, "--input-shape", shape, "--classes", classes)
    assert done.exit_code == 0, done.stderr
    assert f"(None, {classes})" in done.stdout
    if parameters:
        assert f"Total params: {parameters} " in done.stdout


def test_export(run, trained, tmp_path, monkeypatch):
    import jax.export

    path = tmp_path / "bars.stablehlo"
    done = run("export", trained, path)
    assert done.exit_code == 0 and f"{path.stat().st_size:,} bytes" in done.stdout
    images, _ = make_images(5)
    x = images.reshape(5, *load_model(trained / "model.keras").input_shape[1:]).astype("float32")
    found = jax.export.deserialize(path.read_bytes()).call(x)
    expected = load_model(trained / "model.keras").predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    done = run("export", trained, tmp_path / "bars.pb")
    assert done.exit_code == 1 and ".stablehlo" in done.stderr and "Traceback" not in done.stderr
    done = run("export", tmp_path / "none.keras", tmp_path / "a.onnx")
    assert done.exit_code == 1 and "File not found" in done.stderr
    for ending, package in (("onnx", "onnx"), ("stablehlo", "flatbuffers")):
        monkeypatch.setitem(sys.modules, package, None)
        done = run("export", trained, tmp_path / f"new.{ending}")
        assert done.exit_code == 1 and done.stderr.count("\n") == 1
        assert done.stderr.endswith(f"Run: pip install {package}\n")
