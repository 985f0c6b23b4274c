import gc
import importlib.util
import mmap
import os
from pathlib import Path

import hypothesis
import pytest


def known_to_xla(options):
    """Those that are in its library: XLA ends the process on others."""
    package = importlib.util.find_spec("jaxlib").submodule_search_locations[0]
    try:
        with open(Path(package, "libjax_common.so"), "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return [o for o in options if content.find(f"\0{o}\0".encode()) >= 0]
    except OSError:
        return []


os.environ.setdefault("KERAS_BACKEND", "jax")
# Beside what the caller wants, such as the instructions of another processor.
flags = {"xla_force_host_platform_device_count": "2"}
if os.environ.get("CORNU_QUICK_XLA") != "0":
    # Compiling takes most of the time, and this a third less. No test may depend on it.
    quick = {
        "xla_cpu_use_fusion_emitters": "false",
        "xla_backend_optimization_level": "1",
        "xla_cpu_parallel_codegen_split_count": "1",
    }
    quick = {k: v for k, v in quick.items() if k not in os.environ.get("XLA_FLAGS", "")}
    flags |= {option: quick[option] for option in known_to_xla(quick)}
for option, value in flags.items():
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{option}={value}"
os.environ.setdefault("MPLBACKEND", "agg")
# Tests leave nothing in the cache folder of whoever runs them.
os.environ.setdefault("CORNU_COMPILATION_CACHE", "0")

# The same examples in every run, so that what passed here passes everywhere.
hypothesis.settings.register_profile("cornu", derandomize=True, deadline=None)
hypothesis.settings.load_profile("cornu")


@pytest.fixture(autouse=True)
def _fresh_names():
    from cornu.core import naming

    naming.reset_uids()


@pytest.fixture(autouse=True)
def _seed():
    import cornu

    cornu.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _small_process():
    """What JAX keeps of a file's programs serves no other file, and makes the process slow."""
    yield
    import jax

    jax.clear_caches()


def pytest_sessionstart():
    # Compiling takes most of the time. What one test has compiled serves the others, and the next run.
    from cornu.cli.programs import keep_programs_in

    keep_programs_in(Path(__file__).parent.parent / "build" / "tested-programs")


def pytest_collection_finish():
    # What was imported stays: looking through it for garbage takes a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
