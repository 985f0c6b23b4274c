"""Several processes on this machine, to try what they do on several."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque

from cornu.core.process_group import HAVE_MET, PARENT

# Seconds that the others may still run when one has failed, and when that was before they have met.
_PATIENCE, _ALIKE = 30, 5
# So many lines of what a process printed last are shown.
_LINES = 5


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return stream.getsockname()[1]


def run_local(command: list[str], processes: int) -> int:
    """Run a command in several processes, which `distribution.initialize` connects; returns the exit
    status.

    Each gets its share of the cores. The output is process 0's. If one fails, the others are ended, too; if
    that is before they have met, it is named with what it printed last. On Ctrl-C and SIGTERM they end as
    they would alone.
    """
    shares = _shares_of_cores(processes)
    common = {
        **os.environ,
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
        PARENT: str(os.getpid()),
    }
    started: list[_Started] = []
    seen: set[str] = set()
    stopped, before = threading.Event(), None
    if threading.current_thread() is threading.main_thread():

        def end(number, frame):
            stopped.set()
            for each in started:
                with contextlib.suppress(OSError):
                    each.child.send_signal(number)

        before = signal.signal(signal.SIGTERM, end)
    try:
        for number in range(processes):
            own = {"KERAS_DISTRIBUTION_PROCESS_ID": str(number)}
            started.append(_Started(number, command, {**common, **own}, seen))
            if shares is not None:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(started[-1].child.pid, shares[number])
        return _wait(started, stopped)
    finally:
        for each in started:
            each.child.kill()
            each.child.wait()
            each.read()
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class _Started:
    """A process, what it printed last, and whether it has met the others."""

    def __init__(self, number: int, command: list[str], environment: dict, seen: set[str]):
        self.number, self.has_met = number, False
        self.last: deque[str] = deque(maxlen=_LINES)
        self.child = subprocess.Popen(
            command,
            # Only process 0 may have a terminal; what the others print has to be here when they die.
            env=environment if number == 0 else {**environment, "PYTHONUNBUFFERED": "1"},
            stdout=None if number == 0 else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._hear, args=(stream, seen), daemon=True)
            for stream in (self.child.stdout, self.child.stderr)
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _hear(self, stream, seen: set[str]) -> None:
        """Pass on the errors of a process; once, if all say the same."""
        with stream:
            for raw in stream:
                line = raw.decode(errors="replace")
                if line.startswith("[Gloo]"):
                    continue
                if line.rstrip() == HAVE_MET:
                    self.has_met = True
                    continue
                self.last.append(line.rstrip())
                if stream is self.child.stdout or (line.startswith("cornu:") and line in seen):
                    continue
                seen.add(line)
                sys.stderr.write(line)
                sys.stderr.flush()

    def read(self) -> None:
        """Wait until all that it has printed is read."""
        for reader in self._readers:
            reader.join(1)

    def ending(self) -> str:
        """How it has ended, and what it printed last."""
        status = self.child.returncode
        how = f"with exit status {status}"
        if status < 0:
            how = f"by {_name_of_signal(-status)}"
        text = f"Process {self.number} (pid {self.child.pid}) ended {how} before all had met."
        if -status == getattr(signal, "SIGKILL", None):
            text += " Was there too little memory?"
        if not self.last:
            return text
        return "\n  ".join((f"{text} It printed last:", *self.last))


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _shares_of_cores(processes: int) -> list[set[int]] | None:
    """Which cores each process may use; None where there are fewer than processes."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // processes
    if each < 1:
        return None
    return [set(cores[i * each : (i + 1) * each]) for i in range(processes)]


def _wait(started: list[_Started], stopped: threading.Event) -> int:
    status, limit = 0, float("inf")
    # Each is asked, also those after one that runs.
    while None in [each.child.poll() for each in started]:
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            # The terminal has sent it to all of them.
            stopped.set()
            limit = min(limit, time.monotonic() + _PATIENCE)
        failed = [each for each in started if each.child.returncode]
        if failed and not status:
            status = failed[0].child.returncode
            # Those that have met tell each other; the others may have the same error soon.
            patience = _PATIENCE if _have_met(started) or stopped.is_set() else _ALIKE
            limit = min(limit, time.monotonic() + patience)
        if time.monotonic() > limit:
            break
    running = [each for each in started if each.child.poll() is None]
    failed = [each for each in started if each.child.returncode]
    for each in failed:
        each.read()
    if failed and not _have_met(started) and not stopped.is_set():
        words = {tuple(each.last)[-1:] for each in failed}
        if running or len(words) > 1 or () in words:
            for each in failed:
                print(f"cornu: {each.ending()}", file=sys.stderr)
    elif running:
        print("cornu: some processes do not end; they are killed.", file=sys.stderr)
    status = status or (failed[0].child.returncode if failed else 0)
    # As a shell says it.
    return 128 - status if status < 0 else status


def _have_met(started: list[_Started]) -> bool:
    return any(each.has_met for each in started)
