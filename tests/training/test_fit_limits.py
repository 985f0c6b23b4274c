"""A limit on the length of training, for trying scripts."""

import numpy as np
import pytest

import cornu
from cornu import config

X, Y = np.arange(20, dtype="float32").reshape(10, 2), np.ones((10, 1), "float32")


@pytest.fixture
def limited():
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(3)
    yield
    config.set_max_epochs(None)
    config.set_max_steps_per_epoch(None)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.usefixtures("limited")
def test_epochs_and_steps_are_limited(streamed):
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    ends = cornu.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    seen: list = []
    data = cornu.data.Dataset.from_tensor_slices((X, Y)).batch(2) if streamed else X
    kwargs = {} if streamed else {"y": Y, "batch_size": 2}
    with pytest.warns(UserWarning, match="Limiting") as said:
        history = model.fit(data, epochs=9, verbose=0, callbacks=[ends], **kwargs)
    assert [str(w.message).split(",")[0] for w in said] == [
        "Limiting epochs to 2",
        "Limiting steps_per_epoch to 3",
    ]
    assert seen == [0, 1, 2, 0, 1, 2] and len(history.epoch) == 2
    with pytest.warns(UserWarning, match="Limiting steps"):
        assert model.predict(X, batch_size=2, verbose=0).shape == (6, 1)
    # Shorter than the limit: nothing is said, and nothing read twice.
    assert model.predict(X, verbose=0).shape == (10, 1)
    assert len(model.fit(X, Y, epochs=1, verbose=0).epoch) == 1


def test_limits_are_numbers():
    assert config.max_epochs() is None is config.max_steps_per_epoch()
    for wrong in (0, 1.5, "2"):
        for change in (config.set_max_epochs, config.set_max_steps_per_epoch):
            with pytest.raises(ValueError, match="must be an integer of at least 1"):
                change(wrong)
