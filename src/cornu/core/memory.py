"""What the C library does with memory that is freed.

XLA allocates what a training step needs when it begins and frees it at its end. Large blocks go back to the
system, which maps and clears every page anew for the next step; with large images that is a large part of
the step's time.
"""

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator

# Of <malloc.h>. Each thread gets an arena of its own, which gives memory back in any case.
_ARENAS = {-8: 1}
# M_MMAP_MAX, M_TRIM_THRESHOLD: never map a block by itself, never give the end of the heap back.
_KEEP = {-4: 0, -1: -1}
_DEFAULTS = {-4: 65536, -1: 128 * 1024}

_lock = threading.Lock()
# How many calls keep memory at the moment; whether it is kept for good.
_keeping, _for_good = 0, False


def keep_freed_memory() -> bool:
    """Let this process keep what is freed for what is allocated next.

    `fit` does that while it runs, and gives back what is left at its end. This is for all else, such as
    loops over `train_on_batch` with large images, and for good: the process stays as large as it ever was.
    It applies to the whole process, not only to Cornu, and cannot be undone; the command line does it, and
    so does the environment variable `CORNU_KEEP_MEMORY=1`. With `CORNU_KEEP_MEMORY=0` neither `fit` nor the
    command line does; nor where MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_MAX_ or GLIBC_TUNABLES set the C
    library. It works for threads that start later: call it before the first computation.

    Returns whether it was done: only the C library of most Linux systems, glibc, has such a setting.

    >>> import cornu
    >>> isinstance(cornu.config.keep_freed_memory(), bool)
    True
    """
    global _for_good
    library = _glibc()
    if library is None:
        return False
    with _lock:
        _for_good = True
        _set(library, _ARENAS | _KEEP)
    return True


@functools.cache
def share_an_arena() -> None:
    """Let the threads that start from now on allocate where `kept` has an effect.

    To be called before XLA starts its threads, or as early as can be.
    """
    if (library := _glibc()) is not None and _is_wanted():
        _set(library, _ARENAS)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within, what is freed is kept; what is not used at the end goes back to the system."""
    global _keeping
    library = _glibc() if _is_wanted() else None
    if library is None:
        yield
        return
    with _lock:
        _keeping += 1
        if _keeping == 1 and not _for_good:
            _set(library, _KEEP)
    try:
        yield
    finally:
        with _lock:
            _keeping -= 1
            if _keeping == 0 and not _for_good:
                _set(library, _DEFAULTS)
                library.malloc_trim(0)


def _is_wanted() -> bool:
    """Whether nobody has said otherwise, to Cornu or to the C library, whose settings would be lost."""
    said = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    said |= {"malloc"} & set(os.environ.get("GLIBC_TUNABLES", "").split("."))
    return not said and os.environ.get("CORNU_KEEP_MEMORY") != "0"


def _set(library, options: dict) -> None:
    for option, value in options.items():
        library.mallopt(option, value)


def _glibc():
    library = _c_library()
    return library if hasattr(library, "gnu_get_libc_version") else None


def _c_library():
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


if os.environ.get("CORNU_KEEP_MEMORY") == "1":
    keep_freed_memory()
