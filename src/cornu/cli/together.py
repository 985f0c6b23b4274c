"""`cornu train` on several devices, and in several processes."""

import contextlib
import os
import socket
import sys

import jax

from cornu import distribution
from cornu.cli.command import CommandError
from cornu.core import processes
from cornu.distribution.detection import DEFAULT_PORT, is_started_by_cluster, with_port
from cornu.distribution.launch import run_local


def start_here(count: int | None, hosts, coordinator, process) -> int | None:
    """Run this very command in several processes of this machine, if it is one of none; the exit status."""
    if count in (None, 1) or hosts or coordinator or process is not None or is_started_by_cluster():
        return None
    return run_local([sys.executable, "-m", "cornu", *sys.argv[1:]], count)


def use(
    devices: int | None,
    hosts,
    coordinator,
    count: int | None,
    process: int | None,
    batch_size: int,
) -> None:
    """Join the other processes, if there are any, and spread batches over all devices.

    Args:
        devices: how many of this machine; None for all GPUs, or for the CPU as one.
        hosts: text of hosts with a comma between, on each of which the command was started.
        coordinator: address of process 0.
        count, process: how many processes, and which of them this is.
        batch_size: images a step; what cannot be shared out evenly, each device would compute whole.
    """
    if devices is not None:
        _check_shares(batch_size, devices)
        # If there are no others: the CPU passes for as many. JAX refuses where it has its devices already.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", devices)
    if hosts or coordinator or process is not None or is_started_by_cluster():
        _join(hosts, coordinator, count, process)
    mine = jax.local_devices()
    if devices is not None and devices > len(mine):
        raise CommandError(
            f"This machine has {len(mine)} devices of the kind {mine[0].platform}. Received: --devices "
            f"{devices}"
        )
    if jax.process_count() == 1:
        # A CPU that passes for several is no quicker for it.
        fitting = 1 if mine[0].platform == "cpu" else _fitting(batch_size, len(mine))
        used = mine[: fitting if devices is None else devices]
    else:
        used = [d for d in jax.devices() if devices is None or _number_on_its_machine(d) < devices]
        _check_shares(batch_size, len(used))
    if len(used) > 1:
        distribution.set_distribution(distribution.DataParallel(devices=used))
    if not processes.is_first():
        # All say the same.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _fitting(batch_size: int, devices: int) -> int:
    """The most devices of so many to which a batch can be shared out evenly."""
    return max(n for n in range(1, min(batch_size, devices) + 1) if batch_size % n == 0)


def _check_shares(batch_size: int, devices: int) -> None:
    if batch_size % devices:
        raise CommandError(
            f"The {batch_size} images of a step cannot be shared out evenly to {devices} devices, and "
            f"each would compute all of them. Try --batch-size {-(-batch_size // devices) * devices}, or "
            f"{_fitting(batch_size, devices)} devices."
        )


def _number_on_its_machine(device) -> int:
    same = [d for d in jax.devices() if d.process_index == device.process_index]
    return same.index(device)


def _join(hosts, coordinator, count: int | None, process: int | None) -> None:
    names = [name.strip() for name in hosts.split(",") if name.strip()] if hosts else []
    if names and coordinator:
        raise CommandError(
            "Give --hosts or --coordinator: the first of the hosts is the coordinator."
        )
    if len(names) == 1:
        raise CommandError(
            f"--hosts names all hosts, the first of them for process 0. Received: {hosts}"
        )
    if names and process is None:
        found = [i for i, name in enumerate(names) if _is_here(name)]
        if len(found) != 1:
            raise CommandError(
                f"Which of --hosts this machine ({socket.gethostname()}) is cannot be told: {len(found)} "
                "of them have one of its addresses. Give --process N, counted from 0."
            )
        process = found[0]
    if names:
        host = names[0]
        coordinator = with_port(host if ":" in host else f"{host}:{DEFAULT_PORT}")
        if count not in (None, len(names)):
            raise CommandError(
                f"--hosts names {len(names)} processes. Received: --processes {count}"
            )
        count = len(names)
    distribution.initialize(coordinator, count, process)


def _is_here(name: str) -> bool:
    host = name.rpartition(":")[0] or name
    if host in (socket.gethostname(), socket.getfqdn()):
        return True
    try:
        address = socket.gethostbyname(host)
        # Only an address of this machine can be listened at.
        with socket.socket() as stream:
            stream.bind((address, 0))
    except OSError:
        return False
    return True
