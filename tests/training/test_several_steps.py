"""Several steps in one call of the compiled function: faster, and the same to the bit."""

import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.training import compiled_step, loop

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
    run = compiled_step.CompiledStep.__call__

    def call(self, batch, arrays=None):
        sizes.append(len(batch) if arrays is not None else 1)
        return run(self, batch, arrays)

    monkeypatch.setattr(compiled_step.CompiledStep, "__call__", call)
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
    assert max(groups) == min(per_call, compiled_step.MOST_AT_ONCE)


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


class Odd(cornu.Sequential):
    """A step whose state comes back in other formats, as tuples, and partly as Python's numbers."""

    def train_step(self, state, data):
        logs, (weights, others, optimizer, metrics) = super().train_step(state, data)
        others = [v.astype("float16") for v in others]
        metrics = tuple(m.astype("float16") for m in metrics)
        return logs, (
            weights,
            [*others[:-1], np.zeros(1)],
            (optimizer[0] * 1.0, *optimizer[1:]),
            metrics,
        )


@pytest.mark.parametrize(
    "arguments", [{}, {"run_eagerly": True}, {"jit_compile": False}], ids=["jit", "eager", "plain"]
)
@pytest.mark.parametrize("callbacks", [[], [EachBatch]], ids=["free", "told"])
def test_each_step_is_done_once(arguments, callbacks):
    """Whatever the state is that a step returns, and however many steps a call does."""
    cornu.utils.set_random_seed(0)
    model = Odd([cornu.Input((2,)), layers.Dense(1), layers.BatchNormalization()])
    formats = [v.dtype for v in model.variables]
    model.compile("sgd", "mse", steps_per_execution=10, **arguments)
    watch = [callback() for callback in callbacks]
    x = np.ones((62, 2), "float32")
    model.fit(x, x[:, :1], batch_size=3, verbose=0, callbacks=watch, epochs=2)
    assert int(model.optimizer.iterations) == 2 * 21
    assert all(each.seen == [9, 19, 20] * 2 for each in watch)
    assert formats == [v.dtype for v in model.variables] == [v.value.dtype for v in model.variables]
    # Streams, and epochs that end within a call, of a length that is not known.
    for each in watch:
        each.seen.clear()
    batches = ((x[:3], x[:3, :1]) for _ in range(14))
    model.fit(batches, verbose=0, callbacks=watch)
    assert int(model.optimizer.iterations) == 42 + 14
    assert all(each.seen == [9, 13] for each in watch)


@pytest.mark.parametrize(
    "kind, flag",
    [("train", "stop_training"), ("test", "stop_evaluating"), ("predict", "stop_predicting")],
)
def test_stopping(kind, flag):
    model = cornu.Sequential([cornu.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    watch, seen = cornu.callbacks.Callback(), []
    setattr(watch, f"on_{kind}_batch_end", lambda batch, logs: seen.append(batch) or stop(batch))

    def stop(batch):
        setattr(model, flag, batch == 1)

    x = np.ones((62, 2), "float32")
    work = {"train": model.fit, "test": model.evaluate, "predict": model.predict}[kind]
    data = (x,) if kind == "predict" else (x, x[:, :1])
    for _ in range(2):
        result = work(*data, batch_size=10, verbose=0, callbacks=[watch])
        assert seen == [0, 1]
        seen.clear()
    if kind == "predict":
        assert result.shape == (20, 1)


@pytest.mark.parametrize("seconds, waiting", [(0.001, 1), (0.004, 0)])
def test_only_short_steps_are_called_ahead(monkeypatch, seconds, waiting):
    """By a clock that lets each step take so long: calls that are unfinished when the next is made."""
    time, unfinished, seen = [0.0], [], []
    run, wait = compiled_step.CompiledStep.__call__, loop.jax.block_until_ready

    def call(self, batch, arrays=None):
        seen.append(len(unfinished))
        unfinished.append(len(batch))
        return run(self, batch, arrays)

    def block(result):
        time[0] += seconds * unfinished.pop(0)
        return wait(result)

    monkeypatch.setattr(compiled_step.CompiledStep, "__call__", call)
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
