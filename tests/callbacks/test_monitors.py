"""Callbacks that decide something from the numbers of an epoch, next to Keras' own."""

import types
import warnings

import keras
import numpy as np
import pytest
from fake_training import run_epochs

import cornu
from cornu import callbacks

NAN = float("nan")
CURVES = {
    "falls": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "rises": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "turns": [1.0, 0.5, 0.4, 0.6, 0.7, 0.8, 0.3, 0.9, 0.9, 0.9],
    "flat": [0.5] * 8,
    "crawls": [1.0, 0.9999, 0.9997, 0.9994, 0.9990, 0.9985, 0.9, 0.8],
    "broken": [NAN, NAN, 0.5, NAN, 0.4, NAN, NAN, NAN],
}


def same(name, capsys, curve, **arguments):
    """Run both callbacks; returns what ours left, after comparing it with Keras'."""
    logs = [{"val_loss": value, "loss": 0.0} for value in CURVES[curve]]
    results = []
    for module in (callbacks, keras.callbacks):
        callback = getattr(module, name)(**arguments)
        model, trace = run_epochs(callback, logs)
        trace = [(float(rate), stops, rest) for rate, stops, rest in trace]
        results.append((repr(trace), repr(model.weights), model.saved, capsys.readouterr().out))
    assert results[0] == results[1]
    return results[0]


EARLY = {
    "plain": {},
    "patient": {"patience": 2},
    "max": {"patience": 1, "mode": "max"},
    "min": {"patience": 1, "mode": "min"},
    "delta": {"patience": 2, "min_delta": 0.001},
    "negative delta": {"patience": 2, "min_delta": -0.001},
    "restores": {"patience": 2, "restore_best_weights": True},
    "baseline": {"patience": 3, "baseline": 0.45, "restore_best_weights": True},
    "baseline reached": {"patience": 2, "baseline": 0.75},
    "late": {"patience": 1, "start_from_epoch": 3, "restore_best_weights": True},
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("case", EARLY)
def test_early_stopping_is_keras(capsys, case, curve):
    same("EarlyStopping", capsys, curve, verbose=1, **EARLY[case])


def test_early_stopping_stops_and_restores(capsys):
    model, trace = run_epochs(
        callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1),
        [{"val_loss": v} for v in CURVES["turns"]],
    )
    assert len(trace) == 5 and model.stop_training
    np.testing.assert_array_equal(model.weights[0], [3.0, 3.0])
    assert capsys.readouterr().out == (
        "Epoch 5: early stopping\nRestoring model weights from the end of the best epoch: 3.\n"
    )


def test_early_stopping_can_be_used_again():
    stop = callbacks.EarlyStopping(patience=1)
    logs = [{"val_loss": v} for v in CURVES["turns"]]
    first = run_epochs(stop, logs)[1]
    assert run_epochs(stop, logs)[1] == first


PLATEAU = {
    "plain": {"patience": 1},
    "patient": {"patience": 3, "factor": 0.5},
    "cools": {"patience": 1, "cooldown": 2, "factor": 0.2},
    "bounded": {"patience": 1, "min_lr": 0.03, "factor": 0.5},
    "max": {"patience": 1, "mode": "max"},
    "delta": {"patience": 1, "min_delta": 0.05},
    "never": {"patience": 100},
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("case", PLATEAU)
def test_reduce_learning_rate_is_keras(capsys, case, curve):
    same("ReduceLROnPlateau", capsys, curve, verbose=1, **PLATEAU[case])


def test_reduce_learning_rate_needs_a_factor_below_one():
    with pytest.raises(ValueError, match="does not support a factor >= 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)
    # Keras takes any argument here, and leaves it out.
    with pytest.warns(UserWarning, match="use `min_delta`"):
        assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5
    with pytest.raises(TypeError, match="no argument named 'patience_'"):
        callbacks.ReduceLROnPlateau(patience_=3)


SCHEDULES = {
    "of both": lambda epoch, lr: lr if epoch < 2 else lr * 0.5,
    "of the epoch": lambda epoch: 0.1 / (epoch + 1),
    "numpy": lambda epoch, lr: np.float32(0.25),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_scheduler_is_keras(capsys, case):
    trace = same("LearningRateScheduler", capsys, "flat", schedule=SCHEDULES[case], verbose=1)[0]
    assert "learning_rate" in trace


def test_scheduler_takes_scalars_and_refuses_the_rest():
    def run(value):
        return run_epochs(callbacks.LearningRateScheduler(lambda epoch: value), [{}])[1][0][0]

    assert run(np.asarray(0.5)) == 0.5
    assert run(1) == 1.0
    for wrong in (None, "0.1", np.ones(2), [0.1], True):
        with pytest.raises(ValueError, match="output of the `schedule` function should be a float"):
            run(wrong)


@pytest.mark.parametrize(
    "callback",
    [callbacks.LearningRateScheduler(lambda e, lr: lr), callbacks.ReduceLROnPlateau()],
    ids=lambda c: type(c).__name__,
)
def test_optimizer_without_a_learning_rate(callback, fake_model):
    fake_model.optimizer = object()
    callback.set_model(fake_model)
    with pytest.raises(ValueError, match='must have a "learning_rate" attribute'):
        callback.on_epoch_begin(0)
        callback.on_epoch_end(0, {"val_loss": 1.0})


SAVES = {
    "every epoch": {"filepath": "a.keras"},
    "formats": {"filepath": "w{epoch:02d}-{val_loss:.2f}.weights.h5", "save_weights_only": True},
    "best": {"filepath": "best.keras", "save_best_only": True},
    "best max": {"filepath": "best-{epoch}.keras", "save_best_only": True, "mode": "max"},
    "threshold": {
        "filepath": "best.keras",
        "save_best_only": True,
        "initial_value_threshold": 0.45,
    },
}


@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("case", SAVES)
def test_checkpoint_is_keras(capsys, case, curve, verbose):
    same("ModelCheckpoint", capsys, curve, verbose=verbose, **SAVES[case])


@pytest.mark.parametrize("save_freq", [1, 3, 4])
@pytest.mark.parametrize("per_call", [1, 2])
def test_checkpoint_after_batches_is_keras(fake_model, save_freq, per_call):
    saved = []
    for module in (callbacks, keras.callbacks):
        fake_model.saved = []
        callback = module.ModelCheckpoint(
            "{epoch}-{batch}-{loss:.1f}.keras", save_freq=save_freq, mode="min"
        )
        callback.set_model(fake_model)
        for epoch in range(3):
            callback.on_epoch_begin(epoch)
            for batch in range(per_call - 1, 6, per_call):
                callback.on_train_batch_end(batch, {"loss": 0.5})
            callback.on_epoch_end(epoch, {"loss": 0.5})
        saved.append(fake_model.saved)
    assert saved[0] == saved[1] and saved[0]


def test_checkpoint_makes_its_folder_and_takes_paths(tmp_path, fake_model):
    path = tmp_path / "run" / "{epoch}.keras"
    callback = callbacks.ModelCheckpoint(path)
    callback.set_model(fake_model)
    callback.on_epoch_end(0, {})
    assert path.parent.is_dir()
    assert fake_model.saved == [("model", str(tmp_path / "run" / "1.keras"), True)]
    (tmp_path / "run" / "2.keras").mkdir()
    with pytest.raises(IsADirectoryError, match="non-directory filepath"):
        callback.on_epoch_end(1, {})


@pytest.mark.parametrize("path", ["{val_los}.keras", "{0}.keras"])
def test_checkpoint_with_an_unknown_name(fake_model, path):
    callback = callbacks.ModelCheckpoint(path)
    callback.set_model(fake_model)
    with pytest.raises(KeyError, match="Failed to format this callback filepath") as error:
        callback.on_epoch_end(0, {"val_loss": 0.5})
    assert "Known: epoch, val_loss" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": "a.weights.h5"}, "must end in `.keras`"),
        ({"filepath": "a.hdf"}, "must end in `.keras`"),
        ({"filepath": "a.keras", "save_weights_only": True}, "must end in `.weights.h5`"),
        ({"filepath": "a.keras", "save_freq": "batch"}, "Invalid value for `save_freq`"),
        ({"filepath": "a.keras", "save_freq": 0}, "Invalid value for `save_freq`"),
        ({"filepath": "a.keras", "save_freq": True}, "Invalid value for `save_freq`"),
    ],
)
def test_checkpoint_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ModelCheckpoint(**arguments)


def test_checkpoint_without_a_number_to_go_by(fake_model):
    callback = callbacks.ModelCheckpoint("a.keras", save_best_only=True)
    callback.set_model(fake_model)
    with pytest.warns(UserWarning, match="Can save best model only with val_loss available"):
        callback.on_epoch_end(0, {"loss": 0.5})
    with pytest.warns(UserWarning, match="a scalar value"):
        callback.on_epoch_end(1, {"val_loss": np.ones(2)})
    assert len(fake_model.saved) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EarlyStopping", "Early stopping conditioned on metric `val_loss` which is not available"),
        ("ReduceLROnPlateau", "conditioned on metric `val_loss` which is not available"),
    ],
)
def test_missing_logs_are_a_warning(fake_model, name, text):
    callback = getattr(callbacks, name)()
    callback.set_model(fake_model)
    with pytest.warns(UserWarning, match=text) as caught:
        callback.on_epoch_end(0, {"loss": 0.5})
    assert "Available metrics are: loss" in str(caught[0].message)
    unknown = getattr(callbacks, name)("vall_loss_")
    unknown.set_model(fake_model)
    with pytest.raises(ValueError, match="monitor=vall_loss_"):
        unknown.on_epoch_end(0, {"loss": 0.5})


def metric(name, direction=None):
    return types.SimpleNamespace(name=name, _direction=direction)


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [
        ("loss", False),
        ("val_loss", False),
        ("accuracy", True),
        ("val_accuracy", True),
        ("val_head_accuracy", True),
        ("val_mse", False),
        ("val_head_loss", False),
    ],
)
def test_auto_finds_the_better_direction(fake_model, monitor, expected):
    fake_model.metrics = [
        metric("loss"),
        metric("head_loss"),
        metric("accuracy", "up"),
        metric("mse", "down"),
    ]
    callback = callbacks.EarlyStopping(monitor)
    callback.set_model(fake_model)
    assert callback._is_improvement(2.0, 1.0) is expected
    assert callback._is_improvement(1.0, 2.0) is not expected
    assert callback.monitor_op == (cornu.ops.greater if expected else cornu.ops.less)
    # As programs set it.
    callback.monitor_op = np.less if expected else np.greater
    assert callback._is_improvement(1.0, 2.0) is expected


def test_auto_refuses_an_unknown_direction(fake_model):
    fake_model.metrics = [metric("my_metric")]
    callback = callbacks.EarlyStopping("val_my_metric")
    callback.set_model(fake_model)
    callback.on_epoch_end(0, {"val_my_metric": 0.5})
    with pytest.raises(ValueError, match="Pass `mode='max'` in order to"):
        callback.on_epoch_end(1, {"val_my_metric": 0.5})


def test_unknown_mode_is_a_warning():
    with pytest.warns(UserWarning, match="EarlyStopping mode 'best' is unknown"):
        assert callbacks.EarlyStopping(mode="best").mode == "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        callbacks.EarlyStopping(mode="max")


def test_get_monitor_value_may_be_overridden():
    for module in (callbacks, keras.callbacks):

        class Gap(module.EarlyStopping):
            def get_monitor_value(self, logs):
                return logs["val_loss"] - logs["loss"]

        logs = [{"val_loss": v, "loss": loss} for v, loss in ((1, 0.5), (0.9, 0.3), (0.8, 0.1))]
        _, trace = run_epochs(Gap(mode="min"), logs)
        assert len(trace) == 2
