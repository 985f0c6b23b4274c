"""Which processes there are, as arguments, the environment or a cluster's scheduler say."""

import os
import re
import socket
from typing import Any, NamedTuple

# Where process 0 listens if only its host is known.
DEFAULT_PORT = 47_363


class Place(NamedTuple):
    """Where this process stands among all."""

    address: str
    processes: int
    process: int
    # Which devices of its machine are its own; None: all.
    devices: list[int] | None = None


def place_of(job_addresses, num_processes, process_id, timeout: float) -> Place:
    """What `distribution.initialize` was given, completed by the environment.

    Raises ValueError if it contradicts itself, or if something is missing.
    """
    given = {
        "job_addresses": job_addresses,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    for name in given:
        text = os.environ.get(f"KERAS_DISTRIBUTION_{name.upper()}")
        if given[name] is None and text:
            given[name] = text if name == "job_addresses" else _number(name, text)
    addresses = _addresses(given["job_addresses"])
    count = _integer("num_processes", given["num_processes"])
    number = _integer("process_id", given["process_id"])
    if len(addresses) > 1:
        if count is not None and count != len(addresses):
            raise ValueError(
                f"`job_addresses` names {len(addresses)} processes, and `num_processes` is {count}: "
                f"{', '.join(addresses)}"
            )
        count = len(addresses)
    address = addresses[0] if addresses else None
    devices = None
    if None in (address, count, number):
        address, count, number, devices = _detected(address, count, number, timeout)
    missing = [
        name
        for name, value in (
            ("job_addresses", address),
            ("num_processes", count),
            ("process_id", number),
        )
        if value is None
    ]
    if missing:
        raise ValueError(
            f"`distribution.initialize` lacks {', '.join(f'`{name}`' for name in missing)}. Give them as "
            "arguments or in the environment (KERAS_DISTRIBUTION_JOB_ADDRESSES=HOST:PORT of process 0, "
            "…_NUM_PROCESSES, …_PROCESS_ID), or start the script with srun (Slurm), mpirun (Open MPI), in "
            "an indexed job of Kubernetes or on a cloud TPU, where they are found. On one machine: cornu "
            "train … --processes N"
        )
    if address is None or count is None or number is None or count < 1 or not 0 <= number < count:
        raise ValueError(
            f"`process_id` must be from 0 to `num_processes` - 1. Received: process_id={number}, "
            f"num_processes={count}"
        )
    return Place(with_port(address), count, number, devices)


def _addresses(given) -> list[str]:
    if given is None:
        return []
    if isinstance(given, list | tuple):
        given = ",".join(map(str, given))
    if not isinstance(given, str):
        raise ValueError(
            "`job_addresses` is a text, such as '10.0.0.1:1234,10.0.0.2:1234'; the first is process 0's. "
            f"Received: {given!r}"
        )
    return [part.strip() for part in given.split(",") if part.strip()]


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"The environment variable KERAS_DISTRIBUTION_{name.upper()} must be a number. It is {text!r}."
        ) from None


def _integer(name: str, value) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}")
    return value


def with_port(address: str) -> str:
    """An address with its port, or with the default one."""
    host, colon, port = address.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        # No port; an address of IPv6 has colons of its own.
        return f"[{address}]:{DEFAULT_PORT}" if ":" in address else f"{address}:{DEFAULT_PORT}"
    if not port.isdecimal() or not 0 < int(port) < 65536 or not host:
        raise ValueError(
            f"An address is a host and a port, such as 10.0.0.1:1234. Received: {address!r}"
        )
    return address


def _detected(address, count, number, timeout: float) -> tuple[Any, Any, Any, list[int] | None]:
    """What is missing, from whatever has started this process; None where that does not say."""
    env = os.environ
    if "OMPI_COMM_WORLD_RANK" in env and "OMPI_MCA_orte_hnp_uri" not in env:
        # Open MPI 5, which JAX does not know yet.
        count = int(env["OMPI_COMM_WORLD_SIZE"]) if count is None else count
        number = int(env["OMPI_COMM_WORLD_RANK"]) if number is None else number
        local = int(env.get("OMPI_COMM_WORLD_LOCAL_RANK", 0))
        return address or _mpi_address(), count, number, [local]
    if "JOB_COMPLETION_INDEX" in env and count is not None:
        # An indexed job of Kubernetes: its pods are called job-0, job-1 …
        number = int(env["JOB_COMPLETION_INDEX"]) if number is None else number
        return address or _pod_address(), count, number, None
    from jax._src import clusters

    try:
        address, count, number, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            address, count, number, None, None, int(timeout)
        )
    except (AttributeError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(
            "The cluster that this process runs in cannot be understood; give the address of process 0, "
            f"the number of processes and the process' own number. JAX says: {error}"
        ) from error
    return address, count, number, None if devices is None else list(devices)


def _mpi_address() -> str | None:
    """The host that `mpirun` was called on, where process 0 runs unless it was told otherwise."""
    env = os.environ
    if env.get("OMPI_COMM_WORLD_LOCAL_SIZE") == env["OMPI_COMM_WORLD_SIZE"]:
        host = "127.0.0.1"
    else:
        found = re.match(r"prterun-(.+)-\d+@\d+$", env.get("PMIX_NAMESPACE", ""))
        if found is None:
            return None
        host = found[1]
    # The same for all processes of a job, and another for each job.
    jobs = sum(env.get("PMIX_NAMESPACE", "").encode())
    return f"{host}:{DEFAULT_PORT + jobs % 1000}"


def _pod_address() -> str | None:
    name = socket.getfqdn()
    host, dot, domain = name.partition(".")
    job, _, index = host.rpartition("-")
    if not job or index != os.environ["JOB_COMPLETION_INDEX"]:
        return None
    return f"{job}-0{dot}{domain}:{DEFAULT_PORT}"


def is_started_by_cluster() -> bool:
    """Whether a scheduler has started this process as one of several that belong together."""
    env = os.environ
    counts = ("KERAS_DISTRIBUTION_NUM_PROCESSES", "OMPI_COMM_WORLD_SIZE")
    if any(env.get(name, "1") != "1" for name in counts):
        return True
    is_step = "SLURM_STEP_NODELIST" in env and "SLURM_PROCID" in env
    return is_step and env.get("SLURM_NTASKS", "1") != "1"
