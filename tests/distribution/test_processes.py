"""Several processes train as one, and end as one."""

import json
import random
import re
import signal
import time

import numpy as np
import pytest
from starting import PROMISED, START, ended, run, started
from training_process import train


def results(folder, name):
    with np.load(folder / f"{name}.npz") as arrays:
        values = [arrays[each] for each in arrays.files]
    return json.loads((folder / f"{name}.json").read_text()), values


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder, name="alone")
    return results(folder, "alone")


def check_equal(found, expected):
    numbers, values = found
    assert numbers.keys() == expected[0].keys()
    for name, each in numbers.items():
        np.testing.assert_allclose(each, expected[0][name], rtol=1e-5, atol=1e-5, err_msg=name)
    for mine, other in zip(values, expected[1], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def check_trained(folder, count, expected):
    for number in range(count):
        check_equal(results(folder, f"process {number}"), expected)
    # Nothing was written twice, and nothing is left.
    assert len((folder / "log.csv").read_text().splitlines()) == 4
    assert not list(folder.glob(".*.part"))


def test_two_processes_train_as_one(tmp_path):
    statuses, errors = run(2, tmp_path, streams=True)
    assert statuses == [0, 0], errors
    (tmp_path / "alone").mkdir()
    train(tmp_path / "alone", streams=True, name="alone")
    check_trained(tmp_path, 2, results(tmp_path / "alone", "alone"))


@pytest.mark.slow
def test_four_processes_train_as_one(tmp_path, alone):
    statuses, errors = run(4, tmp_path)
    assert statuses == [0] * 4, errors
    check_trained(tmp_path, 4, alone)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, so that more of the time goes to training."""
    folder = tmp_path_factory.mktemp("compiled")
    for count in (2, 4):
        inner = folder / str(count)
        inner.mkdir()
        assert run(count, inner, cache=folder / "cache")[0] == [0] * count
    return folder / "cache"


@pytest.mark.slow
@pytest.mark.parametrize("count, who", [(2, 0), (2, 1), (4, 2)])
@pytest.mark.parametrize(
    "event, said",
    [
        ("raise", r"RuntimeError: the data are gone \(training_process.py, line \d+\)"),
        ("exit", "SystemExit: 3"),
        ("kill", "ended without a word"),
        ("ctrl_c", "KeyboardInterrupt"),
    ],
)
def test_who_ends_ends_the_others(tmp_path, cache, count, who, event, said):
    with started(count, tmp_path, cache, **{str(who): {"event": event}}) as processes:
        processes[who].wait(200)
        begin = time.monotonic()
        statuses, errors = ended(processes, tmp_path, PROMISED)
        assert time.monotonic() - begin < PROMISED
    assert all(statuses), (statuses, errors)
    for number in set(range(count)) - {who}:
        pattern = rf"Process {who} \(host .*, pid {processes[who].pid}\).*{said}"
        assert re.search(pattern, errors[number]), errors[number]


@pytest.mark.slow
@pytest.mark.parametrize("who, then", [(0, 2), (1, 1), (1, 4), (0, 3)])
def test_sigterm_keeps_the_run_for_any_number_of_processes(tmp_path, cache, alone, who, then):
    statuses, errors = run(
        2, tmp_path, cache=cache, resumes=True, **{str(who): {"event": "sigterm"}}
    )
    assert statuses == [143, 143], errors
    assert f"Process {who} (host" in errors[0] and "received SIGTERM" in errors[0]
    assert (tmp_path / "backup" / "latest.weights.h5").exists()
    if then == 1:
        train(tmp_path, resumes=True, name="process 0")
    else:
        statuses, errors = run(then, tmp_path, cache=cache, resumes=True)
        assert statuses == [0] * then, errors
    check_trained(tmp_path, then, alone)
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
@pytest.mark.parametrize("count, kills", [(2, 12), (4, 6)])
def test_killed_at_random_moments(tmp_path, cache, alone, count, kills):
    """Whoever is killed, and whenever: nobody hangs, and the run goes on to the same numbers."""
    moments, done = random.Random(count), 0
    slowest = 0.0
    while done < kills:
        folder = tmp_path / str(done)
        folder.mkdir()
        while not (folder / "process 0.json").exists():
            with started(count, folder, cache, resumes=True) as processes:
                if done < kills:
                    victim = processes[moments.randrange(count)]
                    early = done % 4 == 0
                    # Early: while it starts, when the others may have to wait for it to come.
                    if not early:
                        assert victim.stdout.readline() == "begins\n"
                    time.sleep(moments.uniform(0, 6 if early else 3))
                    if victim.poll() is None:
                        victim.send_signal(signal.SIGKILL)
                        done += 1
                        begin = time.monotonic()
                        limit = PROMISED + START * early
                        statuses, errors = ended(processes, folder, limit)
                        slowest = max(slowest, 0 if early else time.monotonic() - begin)
                        assert all(statuses), (statuses, errors)
                        continue
                statuses, errors = ended(processes, folder)
                assert statuses == [0] * count, errors
        check_trained(folder, count, alone)
    print(f"{count} processes: {done} killed, the others ended within {slowest:.1f} s")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, said",
    [
        ({"rows": 40}, "number of rows must be the same in every process. Process 1"),
        ({"shift": 1.0}, "contents must be the same in every process"),
        ({"filters": 5}, "the weight 'sequential/conv2d/kernel' must be the same in every process"),
    ],
)
def test_processes_that_do_not_fit_together(tmp_path, cache, settings, said):
    statuses, errors = run(2, tmp_path, cache=cache, **{"1": settings})
    assert statuses == [1, 1]
    assert all(said in each for each in errors), errors


@pytest.mark.slow
def test_a_callback_of_one_process_does_not_wait_for_the_others(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import os
import numpy as np
import cornu

cornu.distribution.initialize()
cornu.distribution.set_distribution(cornu.distribution.FullyShardedDataParallel(min_size=4))
model = cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(8)])
model.compile("adam", "mse")
board = cornu.callbacks.TensorBoard(os.path.join(os.path.dirname(__file__), "logs"), histogram_freq=1)
model.fit(np.ones((8, 4), "float32"), np.ones((8, 8), "float32"), verbose=0, callbacks=[board])
"""
    )
    status, errors = run(2, tmp_path, script=script)
    assert 0 not in status
    assert all("TensorBoard reads an array that is spread over processes" in e for e in errors)
