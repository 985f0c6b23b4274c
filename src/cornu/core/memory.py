"""What the C library does with memory that is freed."""

import ctypes
import os
import sys

# Of <malloc.h>: M_ARENA_MAX (those of threads give memory back in any case), M_MMAP_MAX, M_TRIM_THRESHOLD.
_OPTIONS = {-8: 1, -4: 0, -1: 2**30}


def keep_freed_memory() -> bool:
    """Let this process keep what is freed, up to a gigabyte, for what is allocated next.

    XLA allocates what a training step needs when it begins and frees it at its end. Large blocks go back to
    the system, which maps and clears every page anew for the next step; with large images that can take a
    third of the step. This setting makes the C library keep them. It applies to the whole process,
    not only to Cornu, and cannot be undone, so `import cornu` leaves it alone; the command line
    makes it, and so does the environment variable `CORNU_KEEP_MEMORY=1`. It works for threads that start
    later: call it before the first computation.

    Returns whether it was done: only the C library of most Linux systems, glibc, has such a setting.

    >>> import cornu
    >>> isinstance(cornu.config.keep_freed_memory(), bool)
    True
    """
    library = _c_library()
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        return False
    for option, value in _OPTIONS.items():
        library.mallopt(option, value)
    return True


def _c_library():
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


if os.environ.get("CORNU_KEEP_MEMORY") == "1":
    keep_freed_memory()
