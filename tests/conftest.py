import gc
import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
# Beside what the caller wants, such as the instructions of another processor.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
)
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
