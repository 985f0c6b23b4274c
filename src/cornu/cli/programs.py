"""Compiled programs, kept on disk: the second run of a model starts without compiling."""

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax

import cornu
from cornu.core.kernels import native
from cornu.utils.files import cache_folder


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the cache folder, unless the user has said where.

    A program fits one kind of processor and one version of the kernels that it calls, so each has
    a folder of its own. `CORNU_COMPILATION_CACHE=0` switches it off, as does a folder that cannot
    be written.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or os.environ.get("CORNU_COMPILATION_CACHE") == "0":
        return
    folder = cache_folder() / "programs" / _this_machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _this_machine() -> str:
    known: list = [cornu.__version__, jax.__version__, platform.machine(), *native()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        known += sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    if library := native().library:
        known += [Path(library).stat().st_size, Path(library).stat().st_mtime_ns]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]
