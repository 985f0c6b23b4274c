"""`kill -9` at any moment of training: what comes out in the end is, bit for bit, the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cornu

SCRIPT = Path(__file__).with_name("train_and_be_killed.py")
KINDS = ("arrays", "dataset", "chain", "arrays by steps", "generator")


def start(folder, kind, cache):
    environment = {
        **os.environ,
        # Programs that are compiled already leave more of the time to training.
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    process = subprocess.Popen(
        [sys.executable, SCRIPT, folder, kind],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begins\n", process.stderr.read()
    return process


def finish(process):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def results(folder):
    with np.load(folder / "end.npz") as arrays:
        values = [arrays[name] for name in arrays.files]
    return values, (folder / "end.json").read_text(), (folder / "log.csv").read_text()


def whole(folder, kind, cache):
    """A run that is not interrupted, and how long its training takes."""
    folder.mkdir()
    process = start(folder, kind, cache)
    begin = time.perf_counter()
    finish(process)
    return results(folder), time.perf_counter() - begin


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The programs of all kinds: of arrays that the step gathers, and of batches that come."""
    folder = tmp_path_factory.mktemp("compiled")
    for kind in ("arrays", "chain"):
        whole(folder / kind, kind, folder / "cache")
    return folder / "cache"


def check_killed(tmp_path, kind, kills, seed, cache):
    expected, seconds = whole(tmp_path / "whole", kind, cache)
    moments, done, runs = random.Random(seed), 0, 0
    while done < kills:
        folder = tmp_path / f"run {runs}"
        folder.mkdir()
        runs += 1
        while not (folder / "end.json").exists():
            process = start(folder, kind, cache)
            if done < kills:
                try:
                    process.wait(moments.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    done += 1
                    continue
            finish(process)
        values, rest, log = results(folder)
        for mine, other in zip(values, expected[0], strict=True):
            np.testing.assert_array_equal(mine, other)
        assert (rest, log) == expected[1:]
        assert cornu.saving.load_model(folder / "best.keras").count_params() == 251
        assert not (folder / "backup").exists()
        # Only what was being written when the process was killed may be left.
        left = {p.name for p in folder.iterdir()} - {"end.npz", "end.json", "log.csv", "best.keras"}
        assert all(name.startswith(".") and name.endswith(".part") for name in left)
    return done, runs


# Of the others, tests/training/test_resuming.py stops runs within one process.
@pytest.mark.parametrize("kind", ["arrays", "chain"])
def test_killed_twice(tmp_path, kind, cache):
    check_killed(tmp_path, kind, kills=2, seed=KINDS.index(kind), cache=cache)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_many_times(tmp_path, kind, cache):
    done, runs = check_killed(tmp_path, kind, kills=40, seed=100 + KINDS.index(kind), cache=cache)
    print(f"{kind}: killed {done} times in {runs} runs")
