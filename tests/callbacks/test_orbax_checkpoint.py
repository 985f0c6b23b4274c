"""Checkpoints with Orbax."""

import numpy as np
import pytest

import cornu

pytest.importorskip("orbax.checkpoint")
X = np.cos(np.arange(64.0)).reshape(16, 4).astype("float32")


def model_of(units=3):
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential(
        [cornu.Input((4,)), cornu.layers.Dense(units, "relu"), cornu.layers.BatchNormalization()]
    )
    model.compile("adam", "mse")
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("background", [True, False])
def test_saving_and_restoring(background, tmp_path):
    model, whole = model_of(), model_of()
    checkpoint = cornu.callbacks.OrbaxCheckpoint(
        tmp_path / "c", max_to_keep=2, save_on_background=background
    )
    model.fit(X, X[:, :3], epochs=3, shuffle=False, verbose=0, callbacks=[checkpoint])
    assert sorted(p.name for p in (tmp_path / "c").iterdir() if p.name.isdigit()) == ["1", "2"]
    other = model_of()
    assert checkpoint.restore(other) == 2
    for mine, theirs in zip(
        other.variables + other.optimizer.variables,
        model.variables + model.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    # A step further is the step that an unbroken training does.
    whole.fit(X, X[:, :3], epochs=4, shuffle=False, verbose=0)
    assert checkpoint.restore(other, step=2) == 2
    other.fit(X, X[:, :3], epochs=1, shuffle=False, verbose=0)
    np.testing.assert_array_equal(other.get_weights()[0], whole.get_weights()[0])
    with pytest.raises(FileNotFoundError, match="no checkpoint 7"):
        checkpoint.restore(other, step=7)
    with pytest.raises(ValueError, match="does not fit the model"):
        checkpoint.restore(model_of(units=2))


@pytest.mark.filterwarnings("ignore")
def test_batches_and_the_best(tmp_path):
    model = model_of()
    by_batch = cornu.callbacks.OrbaxCheckpoint(
        tmp_path / "b", save_freq=3, max_to_keep=None, save_weights_only=True
    )
    best = cornu.callbacks.OrbaxCheckpoint(
        tmp_path / "best", monitor="loss", save_best_only=True, initial_value_threshold=0.0
    )
    model.fit(X, X[:, :3], batch_size=4, epochs=2, verbose=0, callbacks=[by_batch, best])
    assert sorted(p.name for p in (tmp_path / "b").iterdir() if p.name.isdigit()) == ["3", "6"]
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        best.restore(model)
    with pytest.raises(ValueError, match="max_to_keep"):
        cornu.callbacks.OrbaxCheckpoint(tmp_path, max_to_keep=0)
