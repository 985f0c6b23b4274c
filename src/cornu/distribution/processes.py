"""`initialize`: several processes that compute as one."""

import contextlib
import hashlib
import inspect
import os
import platform
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from cornu.core import processes, shared_memory
from cornu.core.random import set_random_seed
from cornu.data.position import random_state, set_random_state
from cornu.distribution.detection import place_of
from cornu.distribution.rendezvous import meet

# Seconds. JAX notices within the first that a process is stopped or its machine is gone.
_HEARTBEAT, _SHUTDOWN = 20, 30
_is_initialized = False


def initialize(job_addresses=None, num_processes=None, process_id=None, *, timeout=None):
    """Let this process compute together with others, on the same machine or on several.

    Call it in each process, in the same script, before anything is computed. Then `list_devices` names the
    devices of all processes, and a `DataParallel` spreads the batches over them. All processes make the
    same calls. Where arguments are missing, they are taken from the environment variables
    KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID,
    else from what has started the process: Slurm, Open MPI (4 and 5), an indexed job of Kubernetes, a cloud
    TPU.

    Args:
        job_addresses: `"host:port"` of process 0, or of all processes, separated by commas; only the first
        is
            used. Without a port, 47363.
        num_processes: how many processes there are.
        process_id: this process' own number, from 0.
        timeout: how many seconds to wait for the others; default: the environment variable
            CORNU_PROCESSES_TIMEOUT, or 300.

    Process 0 writes all files and the progress bar. Random numbers are process 0's in all processes. A
    process that fails, or is killed, ends all others within seconds, and they say why; SIGTERM to one stops
    `fit` in all of them after the same step, and `BackupAndRestore` keeps it.

    Raises ValueError if the arguments contradict each other or if processes differ in their number, their
    script or their versions of Cornu, JAX or Python; TimeoutError if not all come in time; RuntimeError if
    it is called twice, or after something was computed. Source: Keras: initialize.

    >>> import cornu
    >>> cornu.distribution.initialize("10.0.0.1:1234", num_processes=2, process_id=2)
    Traceback (most recent call last):
    ValueError: `process_id` must be from 0 to `num_processes` - 1. Received: process_id=2, num_processes=2
    """
    global _is_initialized
    if _is_initialized:
        raise RuntimeError(
            "`distribution.initialize` was called before. Call it once in a process."
        )
    seconds = _timeout(timeout)
    place = place_of(job_addresses, num_processes, process_id, seconds)
    if jax.distributed.is_initialized():
        raise RuntimeError(
            "`jax.distributed.initialize` was called before. Leave that to `distribution.initialize`."
        )
    if _is_jax_in_use():
        raise RuntimeError(
            "`distribution.initialize` comes first, before anything is computed: JAX has its devices "
            "already. Call it right after `import cornu`, before the first layer, array or `list_devices`."
        )
    if place.processes == 1:
        _is_initialized = True
        return
    hello = {
        "process": place.process,
        "processes": place.processes,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "same": {**_versions(), "script": _script()},
    }
    group = meet(place.address, hello, seconds)
    _let_threads_finish()
    _is_initialized = True
    processes.join(group)
    limits: dict[str, Any] = {
        "initialization_timeout": max(int(seconds), 1),
        "heartbeat_timeout_seconds": _HEARTBEAT,
        "shutdown_timeout_seconds": _SHUTDOWN,
        # What is its own is known already.
        "cluster_detection_method": "deactivate",
    }
    known = inspect.signature(jax.distributed.initialize).parameters
    jax.distributed.initialize(
        place.address,
        place.processes,
        place.process,
        local_device_ids=place.devices,
        **{name: value for name, value in limits.items() if name in known},
    )
    processes.hear_sigterm(group)
    shared_memory.share(group)
    # What another seed had made begins anew.
    state = random_state()
    set_random_seed(0)
    set_random_state(group.first("distribution.initialize", state))


def _let_threads_finish() -> None:
    """Let no thread that JAX starts from now on interrupt another one of its core when it wakes up.

    The thread that receives messages waits for a lock in a loop while the one that computes sends. Where it
    takes that one's core, both wait for the scheduler's clock: 4 ms for a sum that takes 0.1 ms.
    """
    if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _timeout(given) -> float:
    text = os.environ.get("CORNU_PROCESSES_TIMEOUT", "300") if given is None else given
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = 0
    if not 0 < seconds < 1e6:
        raise ValueError(
            f"`timeout` (CORNU_PROCESSES_TIMEOUT) is a number of seconds. Received: {text!r}"
        )
    return seconds


def _is_jax_in_use() -> bool:
    bridge = getattr(getattr(jax, "_src", None), "xla_bridge", None)
    return bridge is not None and bridge.backends_are_initialized()


def _versions() -> dict[str, str]:
    found = {name: metadata.version(name) for name in ("cornu", "jax", "jaxlib", "numpy")}
    found = {f"version of {name}": number for name, number in found.items()}
    return {**found, "version of Python": ".".join(platform.python_version_tuple()[:2])}


def _script() -> str:
    """The name of the script with a digest of its text."""
    path = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    if path is None or not path.is_file():
        return str(path)
    lines = path.read_bytes().splitlines(keepends=True)
    # The first line of a program that pip has installed names the machine's own Python.
    text = b"".join(lines[1:] if lines and lines[0].startswith(b"#!") else lines)
    return f"{path.name} ({hashlib.sha256(text).hexdigest()[:12]})"
