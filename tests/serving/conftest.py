import pytest
from serving_tools import Events, write_run

import cornu
from cornu import layers as L


@pytest.fixture
def events():
    return Events()


@pytest.fixture(scope="session")
def classifier():
    """A small network for pictures of three classes."""
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [
            cornu.Input((9, 8, 3), name="pixels"),
            L.Rescaling(1 / 255),
            L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(),
            L.Flatten(),
            L.Dense(3, activation="softmax", name="class"),
        ]
    )
    return model


@pytest.fixture
def run_folder(classifier, tmp_path):
    return write_run(tmp_path / "photos", classifier)
