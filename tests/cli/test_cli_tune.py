"""`tune` searches for settings with `train`, and goes on where it was stopped."""

import json
import tomllib

import pytest

from cornu.cli.command import CommandError
from cornu.cli.search_space import parse


def test_what_is_searched():
    settings = parse(
        ["learning-rate=1e-4:1e-1:log, epochs=2:5", "model=lenet|a.py:f,augment=yes|no"]
    )
    assert [setting.name for setting in settings] == ["learning_rate", "epochs", "model", "augment"]
    assert settings[0].is_log and not settings[0].is_whole and settings[1].is_whole
    assert settings[2].words("a.py:f") == ["--model", "a.py:f"]
    assert settings[3].words("yes") == ["--augment"] and settings[3].words("no") == []


@pytest.mark.parametrize(
    "text",
    ["", "rate", "rate=", "rate=3:1", "rate=0:1:log", "rate=1:2:cube", "model=a|a", "a=1:2,a=3:4"],
)
def test_what_is_no_search(text):
    with pytest.raises(CommandError, match="--search"):
        parse([text])


def test_trials_go_on_and_the_best_is_kept(run, npz, tiny, tmp_path, monkeypatch):
    from cornu.cli import tune

    folder = tmp_path / "tuned"
    options = ("--search", "learning_rate=1e-4:3e-1:log,batch_size=16|32", "--output", folder)
    options += ("--model", tiny, "--epochs", 3, "--seed", 0)
    # Within the third trial somebody presses Ctrl-C.
    plain = tune._Reporter.on_epoch_end

    def interrupted(self, epoch, logs=None):
        plain(self, epoch, logs)
        if self.trial.number == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(tune._Reporter, "on_epoch_end", interrupted)
    done = run("tune", npz, "--trials", 4, *options)
    assert done.exit_code == 130 and "The same command goes on." in done.stderr, done.stderr
    monkeypatch.undo()
    done = run("tune", npz, "--trials", 4, *options)
    assert done.exit_code == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[:2]] == ["3/4", "4/4"]
    assert (folder / "tuning.png").stat().st_size > 10_000
    # The interrupted trial is tried again.
    settings = [
        json.loads((folder / f"trial-{n:03}" / "settings.json").read_text()) for n in (3, 4)
    ]
    assert settings[0]["learning_rate"] == settings[1]["learning_rate"]
    best = done.stdout.split("Best: trial ")[1].split(",")[0]
    kept = json.loads((folder / f"trial-{int(best):03}" / "settings.json").read_text())
    assert kept["accuracy"] > 0.5 and kept["seed"] == 0
    options_of_best = tomllib.loads((folder / "best.toml").read_text())
    assert options_of_best["learning_rate"] == pytest.approx(kept["learning_rate"])
    # All are there already.
    again = run("tune", npz, "--trials", 4, *options)
    assert again.exit_code == 0 and "trial 4/4" not in again.stdout
    done = run("tune", npz, "--trials", 4, *options[:-2], "--seed", 1)
    assert done.exit_code == 1 and "holds a search of another kind" in done.stderr
    # What somebody has changed since.
    (folder / f"trial-{int(best):03}" / "config.toml").unlink()
    with (folder / "trials.journal").open("a") as file:
        file.write('{"op_code": 99}\n')
    journal = (folder / "trials.journal").read_text()
    for name, text, message in (
        ("trials.journal", journal, "trials.journal is damaged, or written by another version"),
        ("trials.journal", journal[: journal.rindex("{")], "holds no config.toml any more"),
        ("tune.json", "[]", "tune.json is damaged, or not written by cornu tune"),
    ):
        (folder / name).write_text(text)
        done = run("tune", npz, "--trials", 4, *options)
        assert done.exit_code == 1 and message in done.stderr.splitlines()[-1]
        assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    "options, message",
    [
        (("--search", "rate=1:2"), "no option --rate"),
        (("--search", "epochs=1:2.5"), "--epochs"),
        (("--search", "batch_size=0|1"), "--batch-size"),
        (("--search", "epochs=1:2", "--epochs", "3"), "both searched and given"),
        (("--epoch", "3"), "No such option"),
        (("--explore",), "not for trials"),
    ],
)
def test_mistakes_are_found_before_any_training(run, npz, tmp_path, options, message):
    done = run("tune", npz, "--output", tmp_path / "out", *options)
    assert done.exit_code == 1 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
