"""`cornu explore` and `cornu train --explore`, as their own processes and in this one."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from bars import TINY_MODEL, make_images

import cornu
from cornu import layers as L
from cornu.cli.explore import load_examples
from cornu.explorer import Examples, Network, guess_white

HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = [sys.executable, "-c", HEAR + "from cornu.cli import main; main()"]


class Served:
    """A command that serves a page until it is stopped."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.link = re.search(r"(http\S+)#([\w-]+)(\S*)", self.until("The page:"))
        self.viewer = re.search(r"(http\S+)#(\S+)", self.until("For others"))

    def until(self, text: str) -> str:
        """The next line of the output that holds a text."""
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came: {self.lines} {self.process.stderr.read()}")

    def get(self, path):
        """What the page receives."""
        headers = {"Authorization": f"Bearer {self.link[2]}"}
        request = urllib.request.Request(self.link[1] + path, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def end(self) -> tuple[int, str, str]:
        """Ctrl-C, and what it says then."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, "".join(self.lines) + out, err

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()


def test_a_trained_model_is_served(run, npz, tiny, tmp_path):
    out = tmp_path / "out"
    options = ["--model", tiny, "--epochs", 1, "--seed", 0, "--output", out]
    assert run("train", npz, *options).exit_code == 0
    # Of a run that has not saved a model yet there are curves.
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "history.csv").write_text("epoch,loss\n1,0.5\n")
    with Served("explore", begun, out, "--data", npz, "--tour") as served:
        runs = served.get("api/runs")["runs"]
        assert [run["name"] for run in runs] == [str(begun), str(out)]
        assert runs[1]["values"].keys() >= {"loss", "val_accuracy"} and runs[1]["epochs"] == [1]
        # The tour is about its own network, which every page has.
        assert served.link[3] == "&net=tour&view=tour"
        assert served.get("api/model?net=tour")["parameters"] == 2346
        told = served.get("api/model")
        assert told["classes"] == ["0", "1"] and told["examples"] == 20
        assert told["white"] == 255 and not told["is_training"]
        assert served.link[2] != served.viewer[2]
        code, _, err = served.end()
    assert code == 0 and "the page is closed" in err and "Traceback" not in err


def shown_training(npz, tmp_path, epochs):
    """A training of a small network, with its page."""
    (tmp_path / "tiny_model.py").write_text(TINY_MODEL)
    model = f"{tmp_path / 'tiny_model.py'}:tiny"
    options = ["--model", model, "--epochs", epochs, "--output", tmp_path / "out"]
    return Served("train", npz, "--explore", *options)


def test_a_training_is_served_and_stays(npz, tmp_path):
    with shown_training(npz, tmp_path, 2) as served:
        served.until("Ctrl-C closes it")
        state = served.get("api/training")
        assert state["status"] == "finished" and len(state["rows"]) == 2
        assert len(state["labels"]) == 20
        code, out, err = served.end()
    assert code == 0 and "Test accuracy" in out and "Traceback" not in err
    assert (tmp_path / "out" / "model.keras").is_file()


def test_ctrl_c_in_a_training_that_is_shown(npz, tmp_path):
    with shown_training(npz, tmp_path, 100_000) as served:
        served.until("epoch      3/100000")
        code, _, err = served.end()
        assert code == 130 and "Stopped by Ctrl-C" in err and "Traceback" not in err
        with pytest.raises(urllib.error.URLError):
            served.get("api/model")
    assert (tmp_path / "out" / "model.keras").is_file()


def test_wrong_arguments(run, npz, tmp_path):
    model = cornu.Sequential([cornu.Input((6, 6, 1)), L.Flatten(), L.Dense(2)])
    model.save(tmp_path / "m.keras")
    wrong = run("explore", tmp_path / "m.keras", "--data", npz)
    assert wrong.exit_code == 1 and "(20, 8, 8)" in wrong.stderr and "(n, 6, 6, 1)" in wrong.stderr
    assert run("explore", tmp_path / "none.keras").exit_code == 1
    assert "none is given" in run("explore", "--input-shape", "8x8x1").stderr
    (tmp_path / "history.csv").write_text("no table")
    damaged = run("explore", tmp_path / "m.keras", tmp_path)
    assert damaged.exit_code == 1 and "is damaged" in damaged.stderr.splitlines()[-1]
    refused = run("explore", tmp_path / "m.keras", "--host", "203.0.113.9")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1].startswith("cornu: Cannot listen on 203.0.113.9: ")
    alone = run("train", npz, "--port", 8000)
    assert alone.exit_code == 2 and "--explore" in alone.stderr
    a, b = cornu.Input((3,)), cornu.Input((3,))
    cornu.Model([a, b], L.Add()([a, b])).save(tmp_path / "two.keras")
    two = run("explore", tmp_path / "two.keras")
    assert two.exit_code == 1 and "2 inputs" in two.stderr
    open_size = cornu.Sequential([cornu.Input((None, None, 1)), L.Conv2D(2, 3)])
    open_size.save(tmp_path / "open.keras")
    assert "Give the shape" in run("explore", tmp_path / "open.keras").stderr


def test_what_is_white():
    shape = cornu.Input((4, 4, 1))
    bare = Network(cornu.Sequential([shape, L.Flatten()]))
    scaling = Network(cornu.Sequential([shape, L.Rescaling(1 / 255), L.Flatten()]))
    assert (guess_white(bare, None), guess_white(scaling, None)) == (1, 255)
    pixels = np.full((2, 4, 4, 1), 200)
    assert guess_white(bare, Examples(pixels)) == guess_white(scaling, Examples(pixels)) == 255
    assert guess_white(scaling, Examples(pixels / 255)) == 1
    assert guess_white(bare, Examples(pixels / -255)) is None


def test_examples_of_all_kinds(photos, npz, tmp_path):
    images = cornu.Sequential([cornu.Input((8, 8, 3)), L.Flatten(), L.Dense(2)])
    found = load_examples(str(photos), Network(images, class_names=sorted(os.listdir(photos))))
    assert found.x.shape == (30, 8, 8, 3) and set(found.y) == {0, 1}
    gray = Network(cornu.Sequential([cornu.Input((8, 8, 1)), L.Flatten(), L.Dense(2)]))
    found = load_examples(str(npz), gray)
    np.testing.assert_array_equal(found.x[..., 0], make_images(20, seed=1)[0])
    # Signals, with classes by name that the model does not know: shown without.
    signals = np.random.default_rng(0).standard_normal((7, 20))
    np.savez(tmp_path / "signals.npz", x=signals, y=np.array(["a"] * 7))
    signal_model = Network(cornu.Sequential([cornu.Input((20, 1)), L.GlobalMaxPooling1D()]))
    found = load_examples(str(tmp_path / "signals.npz"), signal_model)
    np.testing.assert_allclose(found.x[..., 0], signals, rtol=1e-6)
    assert found.y is None
    with pytest.raises(cornu.cli.command.CommandError, match=r"Expected an \.npz"):
        load_examples("digits", signal_model)
    with pytest.raises(cornu.cli.command.CommandError, match=r"shape \(n, 8, 8, 1\)"):
        load_examples(str(tmp_path / "signals.npz"), gray)
