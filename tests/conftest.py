import os

os.environ.setdefault("KERAS_BACKEND", "jax")
# Beside what the caller wants, such as the instructions of another processor.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
)
os.environ.setdefault("MPLBACKEND", "agg")
# Tests leave nothing in the cache folder of whoever runs them.
os.environ.setdefault("CORNU_COMPILATION_CACHE", "0")

import hypothesis
import pytest

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
