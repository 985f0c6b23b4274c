"""Several processes train as one, and end as one."""

import json
import random
import re
import signal
import time

import numpy as np
import pytest
from starting import LONGEST, PROMISED, START, ended, run, started
from training_process import STREAMS, train, write_stream

import cornu


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
    # By messages: the other tests share memory.
    statuses, errors = run(4, tmp_path, environment={"CORNU_SHARED_SUMS": "0"})
    assert statuses == [0] * 4, errors
    check_trained(tmp_path, 4, alone)


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
def test_who_ends_ends_the_others(tmp_path, count, who, event, said):
    with started(count, tmp_path, **{str(who): {"event": event}}) as processes:
        processes[who].wait(LONGEST)
        begin = time.monotonic()
        statuses, errors = ended(processes, tmp_path, PROMISED)
        assert time.monotonic() - begin < PROMISED
    assert all(statuses), (statuses, errors)
    for number in set(range(count)) - {who}:
        pattern = rf"Process {who} \(host .*, pid {processes[who].pid}\).*{said}"
        assert re.search(pattern, errors[number]), errors[number]


@pytest.mark.slow
@pytest.mark.parametrize("who, then", [(0, 2), (1, 1), (1, 4), (0, 3)])
def test_sigterm_keeps_the_run_for_any_number_of_processes(tmp_path, alone, who, then):
    statuses, errors = run(2, tmp_path, resumes=True, **{str(who): {"event": "sigterm"}})
    assert statuses == [143, 143], errors
    assert f"Process {who} (host" in errors[0] and "received SIGTERM" in errors[0]
    assert (tmp_path / "backup" / "latest.weights.h5").exists()
    if then == 1:
        train(tmp_path, resumes=True, name="process 0")
    else:
        statuses, errors = run(then, tmp_path, resumes=True)
        assert statuses == [0] * then, errors
    check_trained(tmp_path, then, alone)
    assert not (tmp_path / "backup").exists()


# Until how many seconds after each moment a process is killed.
MOMENTS = {
    "start": 2.0,
    "compilation": 3.0,
    "epoch": 0.2,
    "checkpoint": 0.8,
    "evaluation": 0.2,
    "end": 2.0,
}


@pytest.mark.slow
@pytest.mark.parametrize("count, seed", [(2, 0), (2, 1), (2, 2), (4, 3), (4, 4)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_random_moments(tmp_path, alone, moment, count, seed):
    """Whoever is killed, and whenever: nobody hangs, and another number of processes goes on as if nothing
    had been."""
    chosen = random.Random(f"{moment} {seed}")
    who, then = chosen.randrange(count), chosen.choice([n for n in (1, 2, 3, 4) if n != count])
    delay = chosen.uniform(0, MOMENTS[moment])
    own = {"killed": (moment, None), str(who): {"killed": (moment, delay)}}
    how = {"resumes": True, "save_freq": 2}
    # Programs that are compiled already would leave nothing of the first compilation.
    new = tmp_path / "programs" if moment == "compilation" else None
    with started(count, tmp_path, new, **how, **own) as processes:
        victim = processes[who]
        victim.wait(LONGEST)
        begin = time.monotonic()
        # Who has not met the others yet is waited for.
        limit = PROMISED + START * (moment == "start")
        statuses, errors = ended(processes, tmp_path, limit)
        took = time.monotonic() - begin
    assert statuses[who] == -signal.SIGKILL
    assert all(statuses), (statuses, errors)
    for number in set(range(count)) - {who}:
        missing = rf"did not come to .*: process {who}|cannot reach the coordinator, process {who}"
        pattern = rf"Process {who} \(host .*, pid {victim.pid}\) ended without a word"
        pattern = f"{pattern}|{missing}" if moment == "start" else pattern
        assert re.search(pattern, errors[number]), errors[number]
    if (tmp_path / "best.keras").exists():
        cornu.saving.load_model(tmp_path / "best.keras")
    if then == 1:
        train(tmp_path, **how, name="process 0")
    else:
        statuses, errors = run(then, tmp_path, **how)
        assert statuses == [0] * then, errors
    # What was being written.
    for part in tmp_path.glob(".best.keras.*.part"):
        part.unlink()
    check_trained(tmp_path, then, alone)
    print(f"{moment}: the others of {count} ended within {took:.1f} s; resumed by {then}")


@pytest.fixture(scope="module", params=STREAMS)
def stream(request, tmp_path_factory):
    """A kind of files, and what one process finds that reads them without an interruption."""
    folder = tmp_path_factory.mktemp(request.param)
    write_stream(folder, request.param)
    train(folder, stream=request.param, name="alone")
    return request.param, results(folder, "alone")


@pytest.mark.slow
@pytest.mark.parametrize("event", ["sigterm", "kill"])
@pytest.mark.parametrize("count, then", [(2, 2), (2, 1), (2, 4), (4, 2), (1, 2)])
def test_streams_go_on_in_the_middle_of_an_epoch(tmp_path, stream, event, count, then):
    kind, expected = stream
    write_stream(tmp_path, kind)
    how = {"resumes": True, "stream": kind, "save_freq": 1 if event == "kill" else "epoch"}
    for number, happens in ((count, event), (then, "nothing")):
        statuses, errors = run(number, tmp_path, **how, **{str(number - 1): {"event": happens}})
        if happens == "nothing":
            assert statuses == [0] * number, errors
        else:
            assert all(statuses), errors
            assert (tmp_path / "backup" / "latest.weights.h5").exists()
    check_trained(tmp_path, then, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, said",
    [
        ({"rows": 40}, "number of rows must be the same in every process. Process 1"),
        ({"shift": 1.0}, r"contents \(their checksum\) must be the same in every process"),
        ({"filters": 5}, "the weight 'sequential/conv2d/kernel' must be the same in every process"),
    ],
)
def test_processes_that_do_not_fit_together(tmp_path, settings, said):
    statuses, errors = run(2, tmp_path, **{"1": settings})
    assert statuses == [1, 1]
    assert all(re.search(said, each) for each in errors), errors


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
