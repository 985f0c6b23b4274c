"""Each mistake ends with one clear line, exit code 1, and nothing left behind."""

import pickle
import socket

import numpy as np
import pytest
from bars import make_images


def refuse(run, *arguments):
    done = run(*arguments)
    assert done.exit_code == 1, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def refuse_train(run, tmp_path):
    def refused(data, *arguments):
        message = refuse(run, "train", data, "--output", tmp_path / "out", *arguments)
        assert not (tmp_path / "out").exists()
        return message

    return refused


@pytest.mark.parametrize(
    "data, message",
    [
        ("digit", "Did you mean 'digits'?"),
        ("nothing.npz", "There is no data 'nothing.npz'"),
        (__file__, "Expected an .npz file, a .csv file or a folder"),
    ],
)
def test_data_that_is_not_there(refuse_train, data, message):
    assert message in refuse_train(data)


X, Y = make_images(20)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_train": X, "labels": Y}, "lacks arrays. Expected x_train, y_train, x_test, y_test"),
        ({"images": X, "labels": Y}, "Found: images, labels."),
        ({}, "Found: none."),
        ({"x": X, "y": Y[:5]}, "There are 20 images for y, but 5 labels."),
        ({"x": X[:, 0], "y": Y}, "x must hold images"),
        ({"x": X[:0], "y": Y[:0]}, "x must hold images"),
        ({"x": X, "y": Y * 0}, "y holds one class only: 0"),
        ({"x": X, "y": Y + 0.5}, "y must hold a class for each image"),
        ({"x": X, "y": np.zeros((20, 3))}, "y must hold a class for each image"),
        ({"x": np.where(X > 240, np.nan, X), "y": Y}, "x holds NaN or infinity in 20 of 20"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y},
            "those of x_test (7, 8, 1)",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
            "y_test holds classes that the model does not have: 2",
        ),
        ({"x": X[:3], "y": Y[:3]}, "of 3 images leaves 3 for training and 0 for validation"),
    ],
)
def test_arrays_that_do_not_fit(refuse_train, tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    assert message in refuse_train(tmp_path / "a.npz")


def cut(content):
    return content[: len(content) // 2]


def change(content):
    middle = len(content) // 3
    return content[:middle] + bytes(200) + content[middle + 200 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: b"text", cut, change],
    ids=["empty", "text", "cut", "changed"],
)
def test_damaged_npz(refuse_train, tmp_path, npz, damage):
    npz.write_bytes(damage(npz.read_bytes()))
    message = refuse_train(npz)
    assert str(npz) in message and "Expected x_train" in message


class Exploding:
    def __reduce__(self):
        return (open, ("unpickled.txt", "w"))


def test_pickles_are_never_opened(refuse_train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", x=X, y=np.array([Exploding()] * 20, dtype=object))
    assert "pickled objects" in refuse_train(tmp_path / "a.npz")
    assert not (tmp_path / "unpickled.txt").exists()
    pickle.loads(pickle.dumps(Exploding())).close()
    assert (tmp_path / "unpickled.txt").exists()


def test_folders_that_cannot_be_learned(refuse_train, tmp_path):
    (tmp_path / "empty").mkdir()
    message = refuse_train(tmp_path / "empty")
    assert "no subfolders" in message and "labels=None" not in message
    (tmp_path / "empty" / "cat").mkdir()
    assert "No images found" in refuse_train(tmp_path / "empty")


def test_a_folder_of_one_class(refuse_train, photos):
    for path in (photos / "level").iterdir():
        path.unlink()
    (photos / "level").rmdir()
    assert "one class only, 'upright'" in refuse_train(photos)


def test_test_folder_of_other_classes(refuse_train, tmp_path, photos):
    (tmp_path / "data").mkdir()
    photos.rename(tmp_path / "data" / "train")
    (tmp_path / "data" / "test" / "level").mkdir(parents=True)
    assert "has no subfolder for the classes upright" in refuse_train(tmp_path / "data")
    for name in ("upright", "round"):
        (tmp_path / "data" / "test" / name).mkdir()
    assert "no class of the model: round" in refuse_train(tmp_path / "data")


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "tutorial"], "needs images of at least 16x16 pixels; these are 8x8"),
        (["--image-size", "9"], "--image-size is for image files"),
    ],
)
def test_options_that_do_not_fit(refuse_train, options, message):
    assert message in refuse_train("digits", *options)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "resnt"], "Did you mean 'resnet'?"),
        (["--model", "nothing.py:make"], "There is no file nothing.py"),
        (["--model", "{folder}/mine.py:mak"], "has no function 'mak'. Functions in it: make"),
        (["--optimizer", "adm"], "There is no optimizer 'adm'. Did you mean 'adam'?"),
        (["--optimizer", "LossScaleOptimizer"], "Optimizers: adadelta, "),
        (["--output", "{folder}/file"], "file cannot be made or written: "),
        (["--output", "{folder}/file/below"], "below cannot be made or written: "),
        (["--output", "{folder}/old"], "holds a training already: curves.png. Choose another"),
        (["--explore", "--port", "{port}"], "Cannot listen on 127.0.0.1, port {port}"),
    ],
)
def test_options_are_checked_before_the_data_are_loaded(
    run, tmp_path, monkeypatch, options, message
):
    def load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("cornu.cli.arrays.load_named", load)
    (tmp_path / "mine.py").write_text("def make(shape, n): pass")
    (tmp_path / "file").write_text("")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "curves.png").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = {"folder": tmp_path, "port": server.getsockname()[1]}
        options = [option.format(**words) for option in options]
        assert message.format(**words) in refuse(run, "train", "mnist", *options)
    with pytest.raises(AssertionError, match="loaded"):
        run("train", "mnist")


def test_other_commands_look_at_their_arguments_first(run, tmp_path):
    """The model is none, and would be opened next."""
    (tmp_path / "m.keras").write_bytes(b"nothing")
    for command, options, message in [
        ("export", [tmp_path / "a.pb"], "must end in .stablehlo or .onnx"),
        ("export", [tmp_path / "none" / "a.onnx"], "there is no folder"),
        ("evaluate", ["digit"], "Did you mean 'digits'?"),
        ("explore", ["--data", "digit"], "Did you mean 'digits'?"),
        ("explore", ["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        ("summary", ["--classes", 3], "for networks that have a name"),
    ]:
        assert message in refuse(run, command, tmp_path / "m.keras", *options)


@pytest.mark.parametrize(
    "x, message",
    [
        (X[:, None], "x_train has its channels first: its shape is (20, 1, 8, 8)"),
        (
            X / 255,
            "x_test in {path} hold values from 0 to 250; those of x_train hold values",
        ),
    ],
)
def test_arrays_of_another_layout_or_range(refuse_train, tmp_path, x, message):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=x, y_train=Y, x_test=X, y_test=Y)
    assert message.format(path=path) in refuse_train(path)


@pytest.mark.parametrize(
    "code, message",
    [
        ("def other(a, b): pass", "has no function 'make'. Functions in it: other"),
        ("make = 3", "has no function 'make'"),
        ("1 / 0", "cannot be run: ZeroDivisionError: division by zero"),
        ("def make(: pass", "cannot be run: SyntaxError"),
        ("def make(): pass", "the call make((8, 8, 1), 10) failed: TypeError"),
        ("def make(shape, n): return 5", "must return a cornu Model. Received: int"),
        (
            "from cornu import Sequential, layers\n"
            "def make(shape, n): return Sequential([layers.Flatten(), layers.Dense(3)])",
            "output has shape (None, 10)",
        ),
    ],
)
def test_models_that_cannot_be_used(refuse_train, tmp_path, code, message):
    (tmp_path / "mine.py").write_text(code)
    assert message in refuse_train("digits", "--model", f"{tmp_path / 'mine.py'}:make")


def test_a_model_without_softmax(refuse_train, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from cornu import Sequential, layers\n"
        "def make(shape, n): return Sequential([layers.Flatten(), layers.Dense(n)])"
    )
    message = refuse_train("digits", "--model", f"{tmp_path / 'mine.py'}:make")
    assert "activation='softmax'" in message


def test_output_that_is_a_file(run, tmp_path, npz, tiny):
    (tmp_path / "out").write_text("")
    assert "out" in refuse(run, "train", npz, "--model", tiny, "--output", tmp_path / "out")
    assert (tmp_path / "out").read_text() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["tran", "digits"],
        ["train", "digits", "--epochs", "0"],
        ["train", "digits", "--epochs", "x"],
        ["train", "digits", "--image-size", "3x"],
        ["train", "digits", "--validation-split", "1"],
        ["train", "digits", "--learning-rate", "-1"],
        ["predict", "demo"],
        ["summary", "simple", "--input-shape", "28"],
    ],
)
def test_wrong_usage(run, arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Usage" in done.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("a.png,up\n", "must name the columns path and label"),
        ("path,label\nnone.png,up\n", "are not there: none.png (line 2)"),
        ("path,label\n{0},up\n{0},up\n", "twice, in the lines 2 and 3"),
        ("path,label\n{0},up\n{1},up\n", "one class only, 'up'"),
        ("path,label\n{0},up\n{1},Up\n", "differ in case or spaces only: 'Up' and 'up'"),
        ("path,label\n{0}\n", "line 2: expected 2 values"),
        ("path,label,split\n{0},up,train\n{1},down,tset\n", "the split is 'tset'"),
        (
            "path,label,split\n{0},up,train\n{1},level,train\n{2},round,test\n",
            "classes in the split test that there are none of to learn from: round",
        ),
    ],
)
def test_csv_files_that_cannot_be_learned(refuse_train, photos, text, message):
    names = [f"level/{n}.png" for n in (1, 3, 5)]
    (photos / "labels.csv").write_text(text.format(*names))
    assert message in refuse_train(photos / "labels.csv")


def test_folders_whose_names_do_not_fit(refuse_train, photos):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    assert "None of the 30 images can be read" in refuse_train(photos)
    (photos / "upright").rename(photos / "Level")
    assert "differ in case or spaces only: 'Level' and 'level'" in refuse_train(photos)
