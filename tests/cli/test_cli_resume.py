"""`--resume`, `--config` and `--log`: runs that were stopped, and what programs read of a run."""

import csv
import json

import numpy as np
import pytest

from cornu.cli import progress
from cornu.saving import load_model


def history_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def stop_after(monkeypatch, epochs, error=KeyboardInterrupt):
    """Let a run end when so many epochs are done, before the last of them is in the backup."""
    whole = progress.Recorder.on_epoch_end

    def stopped(self, epoch, logs=None):
        whole(self, epoch, logs)
        if len(self.rows) == epochs:
            raise error

    monkeypatch.setattr(progress.Recorder, "on_epoch_end", stopped)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(run, places, tmp_path, monkeypatch):
    folder, words = places
    part = tmp_path / "part"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        done = run("train", *words, "--output", part)
    assert done.exit_code == 130 and "--resume" in done.stderr
    # Another option, and other data, would give another run.
    for more, message in (
        (("--epochs", 9), "Changed: --epochs 9 (it was 4)"),
        (("--learning-rate", 0.1, "--seed", 5), "Changed: --learning-rate 0.1 (it was None)"),
    ):
        done = run("train", "--resume", "--output", part, *more)
        assert done.exit_code == 1 and message in done.stderr and done.stderr.count("\n") == 1
    split = (part / "split.csv").read_text()
    (part / "split.csv").write_text(split.replace("train", "test", 1))
    done = run("train", "--resume", "--output", part)
    assert done.exit_code == 1 and "The data have changed" in done.stderr
    (part / "split.csv").write_text(split)
    config = (part / "config.toml").read_text()
    (part / "config.toml").write_text(config.replace("epochs = 4", "epochs = 5"))
    done = run("train", "--resume", "--output", part)
    assert done.exit_code == 1 and "config.toml has been changed" in done.stderr
    (part / "config.toml").write_text(config)
    done = run("train", "--resume", "--output", part)
    assert done.exit_code == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("epoch")] == [
        "3/4",
        "4/4",
    ]
    assert history_of(part) == history_of(folder / "whole")
    models = [load_model(path / "model.keras") for path in (part, folder / "whole")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    found, expected = (
        json.loads((path / "settings.json").read_text()) for path in (part, folder / "whole")
    )
    # The file says when it was saved.
    assert found.pop("model_sha256") != expected.pop("model_sha256")
    assert found == expected
    assert {path.name for path in part.iterdir()} == {
        path.name for path in (folder / "whole").iterdir()
    }


def test_what_cannot_be_resumed(run, places, tmp_path):
    folder, _ = places
    done = run("train", "--resume", "--output", folder / "whole")
    assert done.exit_code == 0 and "is finished: its best epoch is" in done.stdout
    for arguments, message in (
        (("--output", tmp_path), "holds no run that can be resumed"),
        (("--output", folder / "whole", "--epochs", 99), "Changed: --epochs 99"),
        ((), "--resume needs the folder of the run"),
    ):
        done = run("train", "--resume", *arguments)
        assert done.exit_code == 1 and message in done.stderr
    done = run("train", "--resume", "--overwrite", "--output", tmp_path)
    assert done.exit_code == 2
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "settings.json").write_text('{"versions": {"cornu": "0.0.1"}}')
    done = run("train", "--resume", "--output", tmp_path)
    assert done.exit_code == 1 and "was begun by cornu 0.0.1" in done.stderr


@pytest.mark.slow
def test_a_backbone_is_resumed(run, tmp_path, photos, tiny, monkeypatch):
    monkeypatch.setenv("CORNU_HOME", str(tmp_path / "cache"))
    data = (photos, "--image-size", 8, "--seed", 1, "--augment", "--batch-size", 8)
    assert (
        run(
            "train", *data, "--epochs", 1, "--model", tiny, "--output", tmp_path / "first"
        ).exit_code
        == 0
    )
    words = (*data, "--backbone", tmp_path / "first", "--head-epochs", 3, "--epochs", 3)
    assert run("train", *words, "--output", tmp_path / "whole").exit_code == 0
    for epochs in (2, 5):
        part = tmp_path / f"part{epochs}"
        with monkeypatch.context() as patch:
            stop_after(patch, epochs)
            assert run("train", *words, "--output", part).exit_code == 130
        assert run("train", "--resume", "--output", part).exit_code == 0
        assert history_of(part) == history_of(tmp_path / "whole")
        models = [load_model(path / "model.keras") for path in (part, tmp_path / "whole")]
        for one, other in zip(*(model.get_weights() for model in models), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_options_of_a_run_are_those_of_another(run, places, tmp_path):
    folder, _ = places
    file = folder / "whole" / "config.toml"
    done = run("train", "--config", file, "--epochs", 1, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert history_of(tmp_path / "out")[0]["val_loss"] != ""
    found = (tmp_path / "out" / "config.toml").read_text()
    assert found == file.read_text().replace("epochs = 4", "epochs = 1")
    # The same seed and data: the same pictures.
    for name in ("settings.json", "split.csv"):
        assert (tmp_path / "out" / name).exists()
    assert (tmp_path / "out" / "split.csv").read_text() == (
        folder / "whole" / "split.csv"
    ).read_text()


@pytest.mark.parametrize(
    "text, message",
    [
        ("epoch = 3", "there is no key 'epoch'. Did you mean epochs?"),
        ("batch-size = 3", "Did you mean batch_size?"),
        ("zzz = 3", "Keys: data, model"),
        ("epochs = '3'", "epochs must be a whole number. Received: '3'"),
        ("epochs = true", "epochs must be a whole number. Received: True"),
        ("epochs = 0", "epochs must be at least 1. Received: 0"),
        ("class_weights = 1", "class_weights must be true or false. Received: 1"),
        ("schedule = 'linear'", "schedule: It is constant or cosine, not linear."),
        ("learning_rate = -1", "learning_rate: -1.0 is not a positive number."),
        ("image_size = 'big'", "image_size: 'big' is no size."),
        ("output = 'a'", "output is for the command line alone"),
        ("epochs = ", "is no TOML file"),
        ("[train]\nepochs = 3", "there is no key 'train'"),
    ],
)
def test_files_of_options_that_cannot_be_read(run, tmp_path, text, message):
    (tmp_path / "a.toml").write_text(text)
    done = run("train", "digits", "--config", tmp_path / "a.toml")
    assert done.exit_code == 1 and message in done.stderr
    assert done.stderr.count("\n") == 1 and "a.toml" in done.stderr


def test_options_survive_their_file(tmp_path):
    from cornu.cli.app import train
    from cornu.cli.config import read, text_of

    options = {
        "data": 'a "b"\\ä\n\x7f😀',
        "learning_rate": 1e-07,
        "image_size": (3, 4),
        "augment": "light",
        "seed": None,
    }
    (tmp_path / "a.toml").write_text(text_of(options), "utf-8")
    del options["seed"]
    assert read(tmp_path / "a.toml", train) == options


def test_logs_for_programs(run, places, monkeypatch):
    folder, words = places
    lines = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines if line["event"] != "step"]
    assert events == ["begun", *["epoch"] * 4, "finished"]
    assert lines[-2]["val_loss"] == float(history_of(folder / "whole")[-1]["val_loss"])
    assert lines[0]["options"]["seed"] == 5
    assert {path.name for path in (folder / "tensorboard").iterdir()} == {"train", "validation"}
    for option, name in (("--log", "a.jsonl"), ("--tensorboard", "tensorboard")):
        done = run("train", *words, "--output", folder / "none", option, folder / name)
        assert done.exit_code == 1 and option in done.stderr and "--overwrite" in done.stderr
        assert not (folder / "none").exists()


def test_there_is_a_line_whenever_there_was_none_for_long(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(progress, "SILENCE", 0)
    recorder = progress.Recorder(tmp_path, {})
    recorder.set_params({"epochs": 12, "steps": 30})
    log = progress.Log(tmp_path / "a.jsonl", False, False)
    beat = progress.Heartbeat(recorder, True, log)
    beat.set_params({"epochs": 12, "steps": 30})
    beat.on_epoch_begin(0)
    beat.on_train_batch_end(4, {"loss": 0.5, "accuracy": float("nan")})
    assert capsys.readouterr().out == "epoch  1/12  step 5/30  loss 0.5000  accuracy nan  0 s\n"
    log.close()
    (line,) = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (line["event"], line["step"], line["accuracy"]) == ("step", 5, None)
