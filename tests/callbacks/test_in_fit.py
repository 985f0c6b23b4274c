"""Callbacks in real trainings."""

import csv
import itertools

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import callbacks, layers, models
from cornu.training.callback import HOOKS

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5], [0.0]], "float32")).astype("float32")
START = [np.linspace(-0.5, 0.5, 4, dtype="float32")[:, None], np.zeros(1, "float32")]


def model_of(k, optimizer=None, rate=0.05, **compile_arguments):
    model = k.models.Sequential([k.layers.Input((4,)), k.layers.Dense(1)])
    optimizer = optimizer or k.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, "mse", metrics=["mae"], **compile_arguments)
    model.set_weights(START)
    return model


def fit(model, *own, epochs=4, **arguments):
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(X, Y, epochs=epochs, callbacks=list(own), **arguments)


def close(ours, theirs):
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---- what a training tells its callbacks


def spy(k):
    class Spy(k.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

    def record(hook):
        def method(self, *args, **kwargs):
            logs = kwargs.get("logs", args[-1] if args else None)
            numbers = [a for a in args if isinstance(a, int)]
            self.seen.append((hook, numbers, sorted(logs or {})))

        return method

    for hook in HOOKS:
        # The older names are called by the newer ones, which replace them here.
        if not hook.startswith("on_batch"):
            setattr(Spy, hook, record(hook))
    return Spy()


@pytest.mark.parametrize("per_call", [1, 2])
def test_hooks_are_called_as_keras_calls_them(per_call):
    seen = []
    for k in (cornu, keras):
        model, watch = model_of(k, steps_per_execution=per_call), spy(k)
        fit(model, watch, epochs=2, validation_data=(X[:8], Y[:8]), batch_size=4)
        model.evaluate(X[:8], Y[:8], batch_size=4, verbose=0, callbacks=[watch])
        model.predict(X[:8], batch_size=4, verbose=0, callbacks=[watch])
        seen.append(watch.seen)
    assert seen[0] == seen[1]


def test_logs_are_those_of_keras():
    kept = []
    for k in (cornu, keras):
        batches = []

        def keep(batch, logs, batches=batches):
            batches.append((batch, logs["loss"], logs.get("mae")))

        history = fit(
            model_of(k),
            k.callbacks.LambdaCallback(on_train_batch_end=keep),
            validation_data=(X[:8], Y[:8]),
        )
        assert history.epoch == [0, 1, 2, 3]
        kept.append((batches, history.history))
    np.testing.assert_allclose(kept[0][0], kept[1][0], rtol=1e-5)
    assert sorted(kept[0][1]) == sorted(kept[1][1]) == ["loss", "mae", "val_loss", "val_mae"]
    for name, values in kept[1][1].items():
        np.testing.assert_allclose(kept[0][1][name], values, rtol=1e-5)


def test_weights_are_live_in_callbacks():
    seen = []
    model = model_of(cornu)
    fit(
        model,
        callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: seen.append(model.get_weights()[0])
        ),
        epochs=1,
    )
    assert len(seen) == 3
    assert all(np.abs(a - b).max() > 1e-6 for a, b in itertools.pairwise(seen))


# ---- each callback next to Keras'


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("EarlyStopping", {"monitor": "loss", "patience": 1, "restore_best_weights": True}),
        ("EarlyStopping", {"monitor": "val_mae", "patience": 1, "min_delta": 0.5}),
        ("ReduceLROnPlateau", {"monitor": "loss", "patience": 1, "factor": 0.5}),
        ("LearningRateScheduler", {"schedule": lambda epoch, lr: lr * 0.5}),
    ],
    ids=["stops", "stops by delta", "reduces", "schedules"],
)
@pytest.mark.parametrize("rate", [0.05, 0.8])
def test_trains_as_keras_does(name, arguments, rate):
    results = []
    for k in (cornu, keras):
        model = model_of(k, rate=rate)
        own = getattr(k.callbacks, name)(**arguments)
        history = fit(model, own, epochs=8, validation_data=(X[:8], Y[:8]))
        results.append((model, history.history))
    ours, theirs = results
    assert {n: len(v) for n, v in ours[1].items()} == {n: len(v) for n, v in theirs[1].items()}
    for values, expected in zip(
        *([h[n] for n in sorted(h)] for h in (ours[1], theirs[1])), strict=True
    ):
        np.testing.assert_allclose(values, expected, rtol=2e-4)
    for a, b in zip(ours[0].get_weights(), theirs[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4)


def test_ends_when_the_loss_is_broken(capsys):
    texts, lengths = [], []
    for k in (cornu, keras):
        batches = []
        count = k.callbacks.LambdaCallback(
            on_train_batch_begin=lambda b, logs, n=batches: n.append(b)
        )
        fit(model_of(k, rate=1e15), k.callbacks.TerminateOnNaN(), count, epochs=8)
        texts.append(capsys.readouterr().out)
        lengths.append(len(batches))
    assert texts[0] == texts[1] and "Invalid loss, terminating training" in texts[0]
    assert lengths[0] == lengths[1] < 24


@pytest.mark.parametrize("streamed", [False, True])
def test_data_that_are_not_finite(streamed):
    """They are an error, unless a callback waits for the loss that they give."""
    y = Y.copy()
    y[10] = np.inf
    batches = [(X[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)]

    def run(k, *own):
        seen = []
        begin = k.callbacks.LambdaCallback(on_train_batch_begin=lambda b, logs: seen.append(b))
        data = {"x": X, "y": y, "batch_size": 8}
        if streamed:
            data = {"x": (batch for batch in itertools.cycle(batches)), "steps_per_epoch": 3}
        model_of(k).fit(**data, epochs=2, shuffle=False, verbose=0, callbacks=[begin, *own])
        return seen

    with pytest.raises(ValueError, match="`y` holds infinity"):
        run(cornu, callbacks.EarlyStopping("loss"))
    with pytest.warns(UserWarning, match="`y` holds infinity"):
        seen = run(cornu, callbacks.TerminateOnNaN())
    assert seen == run(keras, keras.callbacks.TerminateOnNaN()) == [0, 1]
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="at batch 1"):
        run(cornu, callbacks.TerminateOnNaN(raise_error=True))


def test_best_weights_survive_the_training_that_follows():
    model = model_of(cornu, rate=0.8)
    stop = callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    fit(model, stop, epochs=8)
    best = [w.copy() for w in stop.best_weights]
    # Buffers of the weights are given away to the steps that follow.
    fit(model, epochs=2)
    for kept, value in zip(stop.best_weights, best, strict=True):
        np.testing.assert_array_equal(kept, value)


def test_checkpoints_can_be_loaded(tmp_path):
    model = model_of(cornu)
    fit(
        model,
        callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
        callbacks.ModelCheckpoint(tmp_path / "b{batch}.weights.h5", None, 0, False, True, "min", 2),
        epochs=2,
    )
    # Every second batch of six: the second, and in the second epoch the first and the third.
    names = "1.keras 2.keras 1.weights.h5 2.weights.h5 b2.weights.h5 b1.weights.h5 b3.weights.h5"
    assert {path.name for path in tmp_path.iterdir()} == set(names.split())
    close(cornu.models.load_model(tmp_path / "2.keras"), model)
    close(keras.models.load_model(tmp_path / "2.keras"), model)
    other = model_of(cornu)
    other.load_weights(tmp_path / "2.weights.h5")
    close(other, model)


def test_log_and_progress_of_a_training(tmp_path, capsys):
    history = fit(
        model_of(cornu), callbacks.CSVLogger(tmp_path / "log.csv"), verbose=1, epochs=2
    ).history
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["loss"]) for row in rows] == history["loss"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0] == "Epoch 1/2"
    assert lines[3].startswith("3/3 ━━━━━━━━━━━━━━━━━━━━ ")
    assert lines[3].endswith(f" - loss: {history['loss'][1]:.4f} - mae: {history['mae'][1]:.4f}")


def test_tensorboard_of_a_training(tmp_path):
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2, write_images=True)
    fit(model_of(cornu), board, epochs=2, validation_data=(X[:8], Y[:8]))
    assert list((tmp_path / "train").glob("events*"))
    assert list((tmp_path / "validation").glob("events*"))


# ---- BackupAndRestore


class Interruption(Exception):
    pass


def interrupt(epoch=None, batch=None):
    def stop(number, logs):
        if number == (epoch if batch is None else batch):
            raise Interruption

    if batch is None:
        return callbacks.LambdaCallback(on_epoch_begin=stop)
    return callbacks.LambdaCallback(on_train_batch_end=stop)


def test_goes_on_where_it_was_interrupted(tmp_path):
    expected = model_of(cornu)
    whole = fit(expected).history["loss"]
    with pytest.raises(Interruption):
        fit(model_of(cornu), callbacks.BackupAndRestore(tmp_path / "b"), interrupt(epoch=2))
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["latest.weights.h5"]
    model = model_of(cornu)
    history = fit(model, callbacks.BackupAndRestore(tmp_path / "b"))
    assert history.epoch == [0, 1, 2, 3]
    # With momentum this is only so if the optimizer's state was kept as well.
    assert history.history["loss"] == whole
    same(model, expected)
    assert not (tmp_path / "b").exists()
    assert fit(model, epochs=1).epoch == [0]


def same(model, expected):
    for mine, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_backup_after_batches(tmp_path):
    backup = callbacks.BackupAndRestore(tmp_path / "b", save_freq=2)
    first = model_of(cornu)
    kept = []
    keep = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: kept.append(first.get_weights())
    )
    with pytest.raises(Interruption):
        fit(first, backup, keep, interrupt(batch=2))
    model = model_of(cornu)
    seen = []
    look = callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: seen.append(model.get_weights()))
    history = fit(model, callbacks.BackupAndRestore(tmp_path / "b", save_freq=2), look, epochs=1)
    assert history.epoch == [0]
    np.testing.assert_array_equal(seen[0][0], kept[1][0])


def test_backup_is_kept_on_request_and_nothing_else_is_deleted(tmp_path):
    fit(model_of(cornu), callbacks.BackupAndRestore(tmp_path / "a", delete_checkpoint=False))
    assert (tmp_path / "a" / "latest.weights.h5").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("irreplaceable")
    fit(model_of(cornu), callbacks.BackupAndRestore(tmp_path / "b"))
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["thesis.txt"]


def test_damaged_backup(tmp_path):
    def run(*own, double=True):
        model = model_of(cornu)
        backup = callbacks.BackupAndRestore(tmp_path / "b", double_checkpoint=double)
        return fit(model, backup, *own)

    with pytest.raises(Interruption):
        run(interrupt(epoch=3))
    path, previous = (tmp_path / "b" / f"latest.weights.h5{end}" for end in ("", ".bkp"))
    path.write_bytes(path.read_bytes()[:100])
    with (
        pytest.warns(UserWarning, match="The last backup cannot be used"),
        pytest.raises(Interruption),
    ):
        run(interrupt(epoch=2))
    previous.unlink()
    with pytest.raises(ValueError, match="is damaged"):
        run()


def test_backup_of_another_model(tmp_path):
    with pytest.raises(Interruption):
        fit(model_of(cornu), callbacks.BackupAndRestore(tmp_path / "b"), interrupt(epoch=1))
    other = models.Sequential([layers.Input((4,)), layers.Dense(2), layers.Dense(1)])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match="latest"):
        fit(other, callbacks.BackupAndRestore(tmp_path / "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backup_dir": ""}, "Empty `backup_dir`"),
        ({"backup_dir": "b", "save_freq": "batch"}, "save_freq"),
        ({"backup_dir": "b", "save_freq": False}, "save_freq"),
    ],
)
def test_backup_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        callbacks.BackupAndRestore(**arguments)


# ---- SwapEMAWeights


def averaging(k):
    return k.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_evaluates_with_averages_as_keras_does(swap_on_epoch):
    results = []
    for k in (cornu, keras):
        model = model_of(k, averaging(k))
        kept = []
        history = fit(
            model,
            k.callbacks.SwapEMAWeights(swap_on_epoch),
            k.callbacks.LambdaCallback(
                on_epoch_end=lambda e, logs, m=model, kept=kept: kept.append(m.get_weights()[0])
            ),
            validation_data=(X[:8], Y[:8]),
        )
        results.append((history.history["val_loss"], np.array(kept), model))
    (losses, weights, ours), (their_losses, their_weights, theirs) = results
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
    np.testing.assert_allclose(weights, their_weights, rtol=1e-4, atol=1e-6)
    close(ours, theirs)
    fit(ours, epochs=1)


def test_training_goes_on_after_a_swap_and_an_interruption():
    def stop(epoch, logs):
        raise Interruption

    model = model_of(cornu, averaging(cornu))
    stops = callbacks.LambdaCallback(on_epoch_end=stop)
    with pytest.raises(Interruption):
        fit(model, callbacks.SwapEMAWeights(swap_on_epoch=True), stops, epochs=1)
    # No two variables may share a buffer that the next step is given.
    fit(model, epochs=1)


def test_predicts_with_averages_and_changes_back():
    model = model_of(cornu, averaging(cornu))
    model.optimizer.build(model.trainable_variables)
    before = jax.tree.map(np.copy, model.get_weights())
    for average in model.optimizer._averages:
        average.assign(np.ones(average.shape))
    swap = callbacks.SwapEMAWeights()
    np.testing.assert_allclose(
        model.predict(X, verbose=0, callbacks=[swap])[:, 0], X.sum(1) + 1, rtol=1e-5, atol=1e-5
    )
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_there_is_no_average_before_training():
    model = model_of(cornu, averaging(cornu))
    swapped = model.evaluate(X, Y, verbose=0, callbacks=[callbacks.SwapEMAWeights()])
    assert swapped == model.evaluate(X, Y, verbose=0)


def test_averages_must_be_kept():
    with pytest.raises(ValueError, match="must be used when `use_ema=True`"):
        fit(model_of(cornu), callbacks.SwapEMAWeights(), validation_data=(X, Y))
