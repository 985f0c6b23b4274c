"""Compiled programs, kept on disk: the second run of a model starts without compiling."""

import functools
import hashlib
import inspect
import os
import platform
import threading
from pathlib import Path
from typing import Any

import jax

import cornu
from cornu.core.kernels import native
from cornu.utils.files import cache_folder


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in the cache folder, unless the user has chosen another.

    `CORNU_COMPILATION_CACHE=0` switches it off, as does a folder that cannot be written.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or os.environ.get("CORNU_COMPILATION_CACHE") == "0":
        return
    keep_programs_in(cache_folder() / "programs")


def keep_programs_in(folder: Path) -> None:
    """Let JAX keep what it compiles in a folder, if it can be written.

    A program fits one kind of processor and one version of the kernels that it calls, so each has
    a folder of its own.
    """
    folder = folder / _this_machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        _write_whole_entries()


def _write_whole_entries() -> None:
    """Let JAX write an entry beside its path and rename it, so that there is a whole one or none.

    JAX writes in place: another process, or the next one after a crash, reads half an entry. It has no
    public way to say otherwise; a version of JAX that writes differently is left as it is.
    """
    cache: Any = getattr(getattr(getattr(jax, "_src", None), "lru_cache", None), "LRUCache", None)
    if cache is None or list(inspect.signature(cache.put).parameters) != ["self", "key", "value"]:
        return
    written = cache.put

    @functools.wraps(written)
    def put(self, key: str, value: bytes) -> None:
        path = Path(self.path) / f"{key}-cache"
        if self.eviction_enabled:
            written(self, key, value)
        elif not path.exists():
            part = path.with_name(f".{key[-64:]}.{os.getpid()}.{threading.get_ident()}.part")
            try:
                part.write_bytes(value)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    if not hasattr(written, "__wrapped__"):
        cache.put = put


def _this_machine() -> str:
    known: list = [cornu.__version__, jax.__version__, platform.machine(), *native()]
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        known += sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    if library := native().library:
        known += [Path(library).stat().st_size, Path(library).stat().st_mtime_ns]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]
