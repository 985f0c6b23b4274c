import pytest
from fake_training import FakeModel


@pytest.fixture
def fake_model():
    return FakeModel()
