import keras
import numpy as np
import pytest

import cornu
from local_server import cache, server

__all__ = ["cache", "server"]


@pytest.fixture
def no_draws(monkeypatch):
    """Weights are all their seed: most of what building a network takes is drawing random numbers."""

    def seeds(self, shape, dtype=None):
        return np.broadcast_to(np.array(self.seed % 1000, dtype), shape)

    for library in (keras, cornu):
        monkeypatch.setattr(library.initializers.VarianceScaling, "__call__", seeds)
    for name, function in {"Zeros": np.zeros, "Ones": np.ones}.items():
        monkeypatch.setattr(
            getattr(keras.initializers, name),
            "__call__",
            lambda self, shape, dtype=None, function=function: function(shape, dtype),
        )


@pytest.fixture
def fresh_names():
    """Numbered names begin again in both libraries."""
    keras.utils.clear_session()
    cornu.utils.clear_session()


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    for library in (keras, cornu):
        library.config.set_image_data_format("channels_first")
    yield
    for library in (keras, cornu):
        library.config.set_image_data_format(before)
