import numpy as np
import pytest
from bars import TINY_MODEL, make_images, write_images
from typer.testing import CliRunner

from cornu.cli.app import app


@pytest.fixture
def run():
    """Run a command in this process; the result has `exit_code`, `stdout`, `stderr`."""

    def invoke(*arguments, given=None):
        words = [str(a) for a in arguments]
        result = CliRunner().invoke(app, words, env={"COLUMNS": "120"}, input=given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture(autouse=True)
def quick_report(monkeypatch):
    """Grad-CAM takes a second to compile: the runs of fixtures for many tests alone have whole reports."""
    monkeypatch.setattr(
        "cornu.cli.report.page.write", lambda run: (run.folder / "report.html").write_text("")
    )


@pytest.fixture
def tiny(tmp_path):
    """`file.py:function` of a small network."""
    path = tmp_path / "tiny_model.py"
    path.write_text(TINY_MODEL)
    return f"{path}:tiny"


@pytest.fixture
def npz(tmp_path):
    """An `.npz` file with a training and a test part."""
    x, y = make_images(80)
    x_test, y_test = make_images(20, seed=1)
    path = tmp_path / "bars.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder of images without parts."""
    write_images(tmp_path / "photos", 30)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """A folder for runs, and in it that of a whole run of four epochs."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny_model.py").write_text(TINY_MODEL)
    x, y = make_images(80)
    np.savez(folder / "bars.npz", x=x, y=y)
    words = ["train", str(folder / "bars.npz"), "--model", f"{folder / 'tiny_model.py'}:tiny"]
    words += ["--epochs", "4", "--seed", "5", "--augment", "--schedule", "cosine"]
    log = ["--log", str(folder / "a.jsonl"), "--tensorboard", str(folder / "tensorboard")]
    done = CliRunner().invoke(app, [*words, "--output", str(folder / "whole"), *log])
    assert done.exit_code == 0, done.stderr
    return folder, words[1:]
