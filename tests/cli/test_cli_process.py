"""The command as its own process: help, version, signals."""

import os
import signal
import subprocess
import sys

import pytest
from bars import TINY_MODEL

from cornu.saving import load_model

# A test run that was started in the background may ignore Ctrl-C, and its children with it.
HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = [sys.executable, "-c", HEAR + "from cornu.cli import main; main()"]


@pytest.fixture
def environment():
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def call(environment, *arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_version_and_help(environment):
    done = call(environment, "--version")
    assert done.returncode == 0 and done.stdout.startswith("cornu ")
    done = call(environment, "train", "--help")
    assert done.returncode == 0 and "cornu train mnist" in done.stdout


def test_help_loads_nothing_that_trains():
    code = (
        "import sys; before = set(sys.modules); import cornu; mine = set(sys.modules)\n"
        "from cornu.cli import app; new = set(sys.modules) - mine\n"
        "print([m for m in new if m.split('.')[0] in ('matplotlib', 'h5py', 'PIL', 'numpy')\n"
        "       or m.startswith('cornu.') and not m.startswith('cornu.cli')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def long_training(tmp_path, environment):
    """A training that would take hours, its output and where it goes."""
    (tmp_path / "tiny_model.py").write_text(TINY_MODEL)
    options = ["--model", f"{tmp_path / 'tiny_model.py'}:tiny", "--epochs", "100000"]
    process = subprocess.Popen(
        [*COMMAND, "train", "digits", *options, "--output", str(tmp_path / "out")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="signals work otherwise there")
def test_ctrl_c_keeps_the_best_model(long_training, tmp_path):
    for line in long_training.stdout:
        if line.startswith("epoch") and " 3/" in line:
            break
    long_training.send_signal(signal.SIGINT)
    _, errors = long_training.communicate(timeout=60)
    assert long_training.returncode == 130
    assert len(errors.splitlines()) == 1
    assert "The best model so far" in errors and "model.keras" in errors
    assert f"cornu train --resume --output {tmp_path / 'out'}" in errors
    names = {path.name for path in (tmp_path / "out").iterdir()}
    begun = {"model.keras", "history.csv", "settings.json", "config.toml", "split.csv", "resume"}
    assert names == begun
    load_model(tmp_path / "out" / "model.keras")


@pytest.mark.skipif(os.name != "posix", reason="signals work otherwise there")
def test_sigterm_before_the_first_epoch(long_training, tmp_path):
    for line in long_training.stdout:
        if line.startswith("digits:"):
            break
    long_training.send_signal(signal.SIGTERM)
    _, errors = long_training.communicate(timeout=60)
    assert long_training.returncode == 143
    assert "SIGTERM" in errors.splitlines()[-1]
    assert not (tmp_path / "out" / "model.keras").exists()


def test_debug_shows_the_traceback(environment):
    done = call(environment, "train", "nothing", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "There is no data 'nothing'" in done.stderr


def test_output_that_nobody_reads(environment):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*COMMAND, "summary", "simple"], env=environment, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert b"Traceback" not in process.stderr
