"""Several processes on this machine, to try what they do on several."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

# Seconds that the others may still run when one has failed.
_PATIENCE = 30


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return stream.getsockname()[1]


def run_local(command: list[str], processes: int) -> int:
    """Run a command in several processes, which `distribution.initialize` connects; returns the exit
    status.

    Each gets its share of the cores. The output is process 0's. If one fails, the others are ended, too. On
    Ctrl-C and SIGTERM they end as they would alone.
    """
    shares = _shares_of_cores(processes)
    common = {
        **os.environ,
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
        "CORNU_PROCESSES_PARENT": str(os.getpid()),
    }
    started: list[subprocess.Popen] = []
    seen: set[str] = set()
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, lambda *_: _signal_all(started, signal.SIGTERM))
    try:
        for number in range(processes):
            child = subprocess.Popen(
                command,
                env={**common, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)},
                stdout=None if number == 0 else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            started.append(child)
            if shares is not None:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(child.pid, shares[number])
            threading.Thread(target=_pass_on, args=(child.stderr, seen), daemon=True).start()
        return _wait(started)
    finally:
        for child in started:
            child.kill()
            child.wait()
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _shares_of_cores(processes: int) -> list[set[int]] | None:
    """Which cores each process may use; None where there are fewer than processes."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // processes
    if each < 1:
        return None
    return [set(cores[i * each : (i + 1) * each]) for i in range(processes)]


def _pass_on(stream, seen: set[str]) -> None:
    """What a process says, once, if all say the same."""
    for raw in stream:
        line = raw.decode(errors="replace")
        if line.startswith("[Gloo]") or (line.startswith("cornu:") and line in seen):
            continue
        seen.add(line)
        sys.stderr.write(line)
        sys.stderr.flush()


def _signal_all(started: list, number: int) -> None:
    for child in started:
        with contextlib.suppress(OSError):
            child.send_signal(number)


def _wait(started: list) -> int:
    status, limit = 0, float("inf")
    while any(child.poll() is None for child in started):
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            # The terminal has sent it to all of them.
            limit = min(limit, time.monotonic() + _PATIENCE)
        failed = [child.returncode for child in started if child.returncode]
        if failed and not status:
            status, limit = failed[0], min(limit, time.monotonic() + _PATIENCE)
        if time.monotonic() > limit:
            print("cornu: some processes do not end; they are killed.", file=sys.stderr)
            break
    failed = [child.returncode for child in started if child.returncode]
    status = status or (failed[0] if failed else 0)
    # As a shell says it.
    return 128 - status if status < 0 else status
