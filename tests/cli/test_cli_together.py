"""`cornu train` on several devices and in several processes."""

import csv
import subprocess
import sys

import jax
import numpy as np
import pytest

import cornu
from cornu.distribution.detection import is_started_by_cluster


@pytest.fixture(autouse=True)
def _no_distribution():
    yield
    cornu.distribution.set_distribution(None)


def losses(folder):
    with (folder / "history.csv").open() as file:
        return np.array(
            [[float(row["loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]
        )


@pytest.mark.skipif(len(jax.devices("cpu")) < 2, reason="there is one device")
def test_devices(run, tmp_path, npz, tiny):
    done = run("train", npz, "--model", tiny, "--epochs", 1, "--output", tmp_path, "--devices", 2)
    assert done.exit_code == 0, done.stderr
    assert cornu.distribution.distribution().num_model_replicas == 2
    cornu.distribution.set_distribution(None)
    arguments = "--model", tiny, "--epochs", 1, "--output", tmp_path, "--overwrite"
    assert run("train", npz, *arguments).exit_code == 0
    assert cornu.distribution.distribution() is None


@pytest.mark.parametrize(
    "options, said",
    [
        (("--devices", 64), "This machine has"),
        (("--devices", 9999), "Try --batch-size 9999, or 64 devices"),
        (("--hosts", "a"), "--hosts names all hosts"),
        (("--hosts", "a,b", "--coordinator", "a:1"), "Give --hosts or --coordinator"),
        (("--hosts", "a.invalid,b.invalid"), "cannot be told: 0 of them"),
        (("--hosts", "a,b", "--process", 1, "--processes", 3), "--hosts names 2 processes"),
        (("--coordinator", "a:b", "--processes", 2, "--process", 1), "a host and a port"),
        (("--process", 1), "lacks `job_addresses`"),
    ],
)
def test_what_does_not_fit(run, options, said):
    done = run("train", "digits", *options)
    assert done.exit_code == 1 and said in done.stderr


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, False),
        ({"SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, False),
        ({"SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, True),
        # Each of many tasks may train on its own.
        ({"JOB_COMPLETION_INDEX": "2"}, False),
    ],
)
def test_who_belongs_together(monkeypatch, variables, expected):
    for name in ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "KERAS_DISTRIBUTION_NUM_PROCESSES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_started_by_cluster() is expected


@pytest.mark.slow
@pytest.mark.skipif(len(jax.devices("cpu")) < 2, reason="there is one device")
def test_processes(run, tmp_path, npz, tiny):
    options = ["train", npz, "--model", tiny, "--epochs", "2", "--seed", "0", "--batch-size", "15"]
    for count in (1, 2):
        done = run(*options, "--output", tmp_path / str(count), "--devices", count)
        assert done.exit_code == 0, done.stderr
        np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / str(count)), rtol=1e-5)
    command = [
        sys.executable,
        "-m",
        "cornu",
        *options,
        "--output",
        tmp_path / "3",
        "--processes",
        "2",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Saved in") == 1
    np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / "3"), rtol=1e-5)
    command[4] = "nothing.npz"
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 1 and "There is no data" in done.stderr, done.stderr
