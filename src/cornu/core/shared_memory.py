"""Memory that the processes of one machine share, in which kernels sum over them.

What a process sends to another of its machine by way of a socket wakes two threads on each side, and takes
longer than a small layer computes.
"""

import contextlib
import ctypes
import mmap
import os
import secrets
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cornu.core import processes
from cornu.core.kernels import native
from cornu.core.process_group import Group

_FOLDER = Path("/dev/shm")
# Of numbers that the kernels sum.
DTYPES = [np.dtype(name) for name in ("float32", "float64", "int32", "uint32")]
# The memory, once all processes share it: the kernels hold its address.
_memory: mmap.mmap | None = None


def share(group: Group) -> None:
    """Let all processes share memory, if all are on one machine and have the kernels; called once, in each.

    `CORNU_SHARED_SUMS=0` switches it off.
    """
    global _memory
    wanted = os.environ.get("CORNU_SHARED_SUMS", "1") != "0" and native().in_use
    count, opened = len(group.members), None
    path = _FOLDER / f"cornu-{secrets.token_hex(16)}"
    library: Any = ctypes.CDLL(native().library) if wanted else None
    with contextlib.ExitStack() as stack:
        if wanted and group.number == 0:
            # With its memory at hand: whoever writes where there is none is killed.
            opened = _opened(path, os.O_CREAT | os.O_EXCL, stack)
            stack.callback(path.unlink, missing_ok=True)
            wanted = opened is not None and _grows(opened, _size(library, count))
        name = group.first("shared memory", path.name if wanted else None)
        if group.number and wanted and name is not None:
            opened = _opened(_FOLDER / name, 0, stack)
        found = None
        if opened is not None and name is not None:
            with contextlib.suppress(OSError, ValueError):
                found = mmap.mmap(opened, _size(library, count))
        if not group.least("shared memory", int(found is not None)) or found is None:
            return
    _memory = found
    address = ctypes.addressof(ctypes.c_char.from_buffer(found))
    have_cores = count <= (os.cpu_count() or 1)
    library.cornu_share(
        ctypes.c_void_p(address),
        ctypes.c_int64(group.number),
        ctypes.c_int64(count),
        ctypes.c_bool(have_cores),
    )


def _size(library, count: int) -> int:
    library.cornu_bytes_to_share.restype = ctypes.c_int64
    return library.cornu_bytes_to_share(ctypes.c_int64(count))


def _opened(path: Path, flags: int, stack: contextlib.ExitStack) -> int | None:
    try:
        opened = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    stack.callback(os.close, opened)
    return opened


def _grows(opened: int, size: int) -> bool:
    try:
        os.posix_fallocate(opened, 0, size)
    except (OSError, AttributeError):
        return False
    return True


def spans(mesh: Mesh) -> bool:
    """Whether a mesh has one device of each process that shares memory, in their order."""
    group = processes.group()
    return (
        _memory is not None
        and group is not None
        and [d.process_index for d in mesh.devices.flat] == list(range(len(group.members)))
    )


def total(arrays: list[jax.Array], key: int, gathers: bool, after: list[jax.Array]) -> list:
    """Sums over all processes, or their parts along a new first axis; traced within `shard_map`.

    Args:
        arrays: of one dtype.
        key: tells this call from others.
        after: what has to be computed before: all processes call in the same order.
    """
    shape = (lambda a: (len(_members()), *a.shape)) if gathers else (lambda a: a.shape)
    results = [jax.ShapeDtypeStruct(shape(a), a.dtype) for a in arrays]
    call = jax.ffi.ffi_call("cornu_sum_over_processes", results)
    return list(call(*arrays, *after, key=np.int64(key), gathers=gathers))


def _members() -> list:
    group = processes.group()
    return [] if group is None else group.members
