"""Processes that are started together, and end before the test does."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from cornu.distribution.launch import free_port

TRAINING = Path(__file__).with_name("training_process.py")
# Seconds within which the others end, as `distribution.initialize` promises; that they wait for one that is
# still missing; and for a whole training.
PROMISED, START, LONGEST = 30, 60, 600


@contextlib.contextmanager
def started(count, folder, cache=None, script=TRAINING, port=None, environment=None, **settings):
    """Processes that run a script; a setting named by a number is a dict for that process alone."""
    port = free_port() if port is None else port
    # Not the devices that conftest.py lets this process have.
    environment = {**os.environ, "XLA_FLAGS": "", **(environment or {})}
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    argument = json.dumps({"folder": str(folder), **settings})
    found = []
    try:
        for number in range(count):
            own = {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
            with (Path(folder) / f"errors {number}").open("w") as errors:
                process = subprocess.Popen(
                    [sys.executable, script, argument],
                    env={**environment, **own},
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            found.append(process)
        yield found
    finally:
        for process in found:
            process.kill()
            process.wait()
            process.stdout.close()


def ended(processes, folder, limit=LONGEST):
    """Wait until all have ended; their exit statuses, and what they wrote to stderr."""
    end = time.monotonic() + limit
    for process in processes:
        process.wait(max(end - time.monotonic(), 0.1))
    errors = [(Path(folder) / f"errors {n}").read_text() for n in range(len(processes))]
    return [process.returncode for process in processes], errors


def run(count, folder, **settings):
    """Start processes and wait for their ends."""
    with started(count, folder, **settings) as processes:
        return ended(processes, folder)
