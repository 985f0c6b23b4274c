"""Several steps in one call of the compiled function: faster, and the same to the bit."""

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import loop, trainer

X = np.random.default_rng(0).standard_normal((333, 8, 8, 1)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 333)


class EachBatch(cornu.callbacks.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)


class FewerBatches(EachBatch):
    needs_every_batch = False


def made(cls=cornu.Sequential, **arguments):
    cornu.utils.set_random_seed(0)
    stack = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Dropout(0.5)]
    model = cls(
        [
            cornu.Input((8, 8, 1)),
            *stack,
            layers.Flatten(),
            layers.BatchNormalization(),
            layers.Dense(3),
        ]
    )
    loss = cornu.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], **arguments)
    return model


@pytest.fixture
def groups(monkeypatch):
    """How many steps each call of a compiled function did."""
    sizes = []
    run = trainer._Function.__call__

    def call(self, batch, source=None):
        sizes.append(len(batch) if source is not None else 1)
        return run(self, batch, source)

    monkeypatch.setattr(trainer._Function, "__call__", call)
    return sizes


def trained(*callbacks, **arguments):
    model = made(**arguments)
    history = model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=list(callbacks))
    return model, history.history


def test_the_same_bits(groups):
    together, its_history = trained()
    assert max(groups) > 4 and sum(groups) == 3 * 42
    groups.clear()
    watch = EachBatch()
    alone, other_history = trained(watch)
    assert groups == [1] * 3 * 42 and watch.seen == list(range(42)) * 3
    assert its_history == other_history
    for mine, other in zip(together.weights, alone.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    for mine, other in zip(together.optimizer.variables, alone.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


def test_callbacks_that_need_fewer_batches(groups):
    watch = FewerBatches()
    trained(watch, cornu.callbacks.TensorBoard("logs"), cornu.callbacks.ModelCheckpoint("m.keras"))
    assert len(watch.seen) == len(groups) < 3 * 42
    ends = np.cumsum(groups) - 1
    assert watch.seen == list(ends % 42)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("per_call", [5, 40])
def test_steps_per_execution(groups, per_call):
    watch = EachBatch()
    trained(watch, steps_per_execution=per_call)
    ends = sorted({*range(per_call - 1, 42, per_call), 41})
    assert watch.seen == ends * 3
    assert max(groups) == min(per_call, trainer.MOST_AT_ONCE)


def test_evaluation(groups):
    model, _ = trained()
    groups.clear()
    first = model.evaluate(X, Y, batch_size=8, verbose=0)
    assert max(groups) > 4

    class Watch(cornu.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            pass

    groups.clear()
    assert model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[Watch()]) == first
    assert groups == [1] * 42


def test_step_that_changes_its_state(groups):
    """A step of the user's whose numbers come back in another format is done by itself."""

    class Odd(cornu.Sequential):
        def train_step(self, state, data):
            logs, (weights, others, optimizer, metrics) = super().train_step(state, data)
            metrics = [m.astype("float16") for m in metrics]
            return logs, (weights, others, optimizer, metrics)

    model = made(Odd)
    model.fit(X, Y, batch_size=8, verbose=0)
    assert set(groups) == {1}


def test_eager_steps_are_single(groups):
    model = made(run_eagerly=True)
    model.fit(X[:32], Y[:32], batch_size=8, verbose=0)
    assert groups == [1] * 4


@pytest.mark.parametrize("seconds, waiting", [(0.001, 1), (0.004, 0)])
def test_only_short_steps_are_called_ahead(monkeypatch, seconds, waiting):
    """By a clock that lets each step take so long: calls that are unfinished when the next is made."""
    time, unfinished, seen = [0.0], [], []
    run, wait = trainer._Function.__call__, loop.jax.block_until_ready

    def call(self, batch, source=None):
        seen.append(len(unfinished))
        unfinished.append(len(batch))
        return run(self, batch, source)

    def block(result):
        time[0] += seconds * unfinished.pop(0)
        return wait(result)

    monkeypatch.setattr(trainer._Function, "__call__", call)
    monkeypatch.setattr(loop.jax, "block_until_ready", block)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: time[0])
    made().fit(X, Y, batch_size=8, epochs=1, verbose=0)
    assert seen[0] == 0 and max(seen) == waiting


def test_what_changes_between_two_fits_is_seen():
    model = made()
    model.fit(X, Y, verbose=0)
    kernel, before = model.layers[0].kernel, model.layers[0].kernel.numpy()
    optimizer = cornu.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    model.optimizer = optimizer
    model.fit(X, Y, verbose=0)
    assert (kernel.numpy() != before).any() and int(optimizer.iterations) == 11
    model.layers[-1].seen = cornu.metrics.Sum(name="seen")
    assert "seen" in model.fit(X, Y, verbose=0).history
