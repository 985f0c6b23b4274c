"""Fifty users at once: all are answered, and memory does not grow."""

import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from asking import Visitor, floats

VIEWERS, ALLOWED = 50, 48 * 2**20


def serve(path):
    process = subprocess.Popen(
        [sys.executable, "-m", "cornu", "explore", str(path)],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if found := re.search(r"ask: (\S+)", line):
            return process, found[1]
    raise AssertionError("it serves nothing")


def memory_of(process) -> int:
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="no /proc to read the memory from"
)
@pytest.mark.parametrize("seconds", [3, pytest.param(600, marks=pytest.mark.slow)])
def test_fifty_viewers(digits, tmp_path, seconds):
    model, x, _ = digits
    model.save(tmp_path / "m.keras")
    process, link = serve(tmp_path / "m.keras")
    times, problems, ends = [], [], time.monotonic() + 1e9
    expected = model.predict(x, verbose=0)

    def view(n):
        visitor, turn = Visitor(link), n
        while time.monotonic() < ends and not problems:
            body, turn = floats(x[turn % 96]), turn + 1
            try:
                began = time.monotonic()
                told, _ = visitor.arrays("POST", "/api/run", body)
                times.append(time.monotonic() - began)
                assert np.allclose(told["outputs"], expected[(turn - 1) % 96], atol=1e-5)
                visitor.json("POST", f"/api/window?layer=2&channel={turn % 6}&position=1,2", body)
                visitor.arrays("POST", f"/api/map?layer=2&channel={turn % 6}", body)
                visitor.arrays("POST", "/api/class?method=grad_cam", body)
                # What is malformed must cost nothing either.
                visitor.refusal("POST", "/api/run", body[:-4])
                visitor.refusal("POST", "/api/image", body)
            except Exception as error:
                problems.append(error)
            # Somebody who draws, or points, asks some times a second.
            time.sleep(0.2)

    try:
        threads = [threading.Thread(target=view, args=(n,)) for n in range(VIEWERS)]
        for thread in threads:
            thread.start()
        # Until all is compiled, and the allocator has what it wants.
        time.sleep(max(3, seconds / 10))
        before, ends = memory_of(process), time.monotonic() + seconds
        for thread in threads:
            thread.join()
        after = memory_of(process)
    finally:
        ends = 0
        process.kill()
        process.communicate()
    assert not problems
    print(
        f"{VIEWERS} viewers, {seconds} s: {len(times):,} drawings, median {1e3 * np.median(times):.0f} ms, "
        f"95 of 100 below {1e3 * np.quantile(times, 0.95):.0f} ms; memory {before / 2**20:.0f} MB, "
        f"after {(after - before) / 2**20:+.1f} MB"
    )
    assert len(times) > VIEWERS and after - before < ALLOWED
