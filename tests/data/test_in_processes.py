"""Functions of elements in worker processes: the same elements, and nothing left behind."""

import gc
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from tiny import slow_python

from cornu.data import Dataset


def test_functions_in_processes():
    apart, here = (
        Dataset.range(40).shuffle(40, seed=1).map(slow_python, **how)
        for how in ({"processes": 2}, {})
    )
    for data in (apart, here):
        with pytest.raises(ValueError, match="a hole"):
            list(data.as_numpy_iterator())
    found = apart.ignore_errors(log_warning=False)
    for expected in (here.ignore_errors(log_warning=False),) * 2:
        elements = list(found.as_numpy_iterator())
        assert [x for x, _ in elements] == [x for x, _ in expected.as_numpy_iterator()]
        workers = {int(pid) for _, pid in elements} - {os.getpid()}
        assert len(elements) == 39 and 1 <= len(workers) <= 2
    # One that is killed is no element's fault.
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="process of `slow_python` has ended before its work"):
        list(found.as_numpy_iterator())
    next(apart.as_numpy_iterator())
    del apart, data, found
    gc.collect()
    deadline = time.monotonic() + 60
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def draw(x):
    return x + np.random.random()


@pytest.mark.parametrize(
    "function, arguments, error, message",
    [
        (
            draw,
            {"processes": 2},
            ValueError,
            "draws from a global generator.*leave `processes` out",
        ),
        (draw, {"processes": 0}, ValueError, "`processes` must be an integer of at least 1"),
        (draw, {"processes": 2, "synchronous": True}, ValueError, "leave one of the two out"),
    ],
)
def test_mistakes(function, arguments, error, message):
    with pytest.raises(error, match=message):
        list(Dataset.range(3).map(function, **arguments).as_numpy_iterator())
