"""Several steps in one call of the compiled function: faster, and the same to the bit."""

import itertools

import jax
import jax.numpy as jnp
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


class Asked:
    """Batches of arrays, each in an array that is filled anew, as far as they were asked for."""

    def __init__(self, *parts, size=8, changed=()):
        self.parts, self.size, self.changed, self.asked = parts, size, changed, 0

    def __iter__(self):
        self.asked = 0
        buffers = [np.empty_like(part[: self.size]) for part in self.parts]
        for start in range(0, len(self.parts[0]), self.size):
            self.asked += 1
            rows = min(self.size, len(self.parts[0]) - start) - (self.asked - 1 in self.changed)
            for buffer, part in zip(buffers, self.parts, strict=True):
                buffer[:rows] = part[start : start + rows]
            yield tuple(buffer[:rows] for buffer in buffers)


def train_on(data, *callbacks, validation=None, **arguments):
    model = made(**arguments)
    found = model.fit(
        data, epochs=3, verbose=0, callbacks=list(callbacks), validation_data=validation
    )
    return found.history, [v.numpy().tolist() for v in (*model.weights, *model.optimizer.variables)]


def test_streams_as_arrays(groups):
    """The same bits whether a call does one step on a stream or several, and as from arrays."""
    batches, validation = Asked(X, Y), Asked(X, Y, size=16)
    together = train_on(batches, validation=validation)
    assert max(groups) > 4 and sum(groups) == 3 * (42 + 21)
    watch = EachBatch()
    told = train_on(Asked(X, Y), watch, validation=Asked(X, Y, size=16))
    assert told == together and watch.seen == list(range(42)) * 3
    model = made()
    history = model.fit(X, Y, 8, 3, verbose=0, shuffle=False).history
    assert history == {name: together[0][name] for name in history}
    assert [w.numpy().tolist() for w in model.weights] == together[1][: len(model.weights)]


def test_batches_of_other_shapes_are_alone(groups):
    changed = {3, 4, 9}
    expected = train_on(Asked(X, Y, changed=changed), EachBatch())
    groups.clear()
    assert train_on(Asked(X, Y, changed=changed)) == expected
    assert max(groups) > 4


def test_callbacks_see_a_stream_that_stands_where_the_steps_are():
    batches, ahead = Asked(X, Y), []
    watch = EachBatch()
    watch.on_train_batch_end = lambda batch, logs: ahead.append(batches.asked - batch - 1)
    train_on(batches, watch, steps_per_execution=5)
    assert set(ahead) == {0}


@pytest.mark.parametrize("steps", [5, 60])
def test_steps_of_an_epoch(steps, groups):
    """Fewer than a pass has, and more."""

    def run(*callbacks):
        data = cornu.data.Dataset.from_tensor_slices((X, Y)).shuffle(400, seed=1).batch(8)
        model = made()
        arguments = {"epochs": 3, "steps_per_epoch": steps, "callbacks": list(callbacks)}
        return model.fit(data, verbose=0, **arguments).history

    alone = run(EachBatch())
    groups.clear()
    assert run() == alone and max(groups) > (1 if steps == 5 else 4)


def test_slow_streams_are_served_one_by_one(groups, monkeypatch):
    monkeypatch.setattr(loop, "PATIENCE", -1)
    monkeypatch.setattr(loop, "is_ready", lambda result: True)
    train_on(Asked(X, Y))
    assert set(groups) == {1}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_came_before_an_error_is_trained_on(error):
    def batches():
        for number, batch in enumerate(Asked(X, Y)):
            if number == 40:
                raise error("here")
            yield batch

    model = made()
    with pytest.raises(error, match="here"):
        model.fit(batches(), verbose=0)
    assert int(model.optimizer.iterations) == 40
    x = np.where(np.arange(333)[:, None, None, None] == 270, np.nan, X).astype("float32")
    with pytest.raises(ValueError, match="of batch 33"):
        model.fit(Asked(x, Y), verbose=0)
    assert int(model.optimizer.iterations) == 40 + 33


@pytest.mark.parametrize(
    "form, dtype", [("dict", "uint8"), ("nested", "float16"), ("nested", "int64"), ("dict", "bool")]
)
def test_forms_of_batches(form, dtype, groups):
    x = np.random.default_rng(2).integers(0, 2, (40, 3)).astype(dtype)
    y, weight = np.arange(40) % 2, np.linspace(0, 1, 40)
    first, second = cornu.Input((3,), name="a", dtype=dtype), cornu.Input((3,), name="b")
    outputs = layers.Dense(2)(layers.Concatenate()([layers.Rescaling(0.5)(first), second]))
    inputs = {"a": first, "b": second} if form == "dict" else [first, [second]]
    parts = {"a": x, "b": x * 1.0} if form == "dict" else [x, [x * 1.0]]
    seen = []
    for kind in ("arrays", "stream", "told"):
        cornu.utils.set_random_seed(0)
        model = cornu.Model(inputs, outputs)
        model = cornu.models.clone_model(model)
        loss = cornu.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, weighted_metrics=["accuracy"])
        batches = [
            (
                cornu.tree.map_structure(lambda a, i=i: a[i : i + 4], parts),
                y[i : i + 4],
                weight[i : i + 4],
            )
            for i in range(0, 40, 4)
        ]
        given = (parts, y, 4) if kind == "arrays" else (itertools.cycle(batches), None, None)
        others = (
            {"sample_weight": weight, "shuffle": False}
            if kind == "arrays"
            else {"steps_per_epoch": 10}
        )
        history = model.fit(
            *given,
            epochs=2,
            verbose=0,
            class_weight={0: 1.0, 1: 3.0},
            callbacks=[EachBatch()] if kind == "told" else [],
            **others,
        )
        seen.append(history.history)
    assert seen[1] == seen[2] and max(groups) > 1
    # XLA may fuse the sums of weights in another way with what gathers them.
    assert seen[1] == {name: pytest.approx(value, rel=1e-6) for name, value in seen[0].items()}


class OfXla(layers.Layer):
    """A convolution that has no kernel, which XLA computes slowly in a loop on a CPU."""

    def call(self, x):
        return jax.lax.conv_general_dilated(
            x, jnp.ones((2, 1, 1)), (1,), "VALID", dimension_numbers=_ORDER
        )


_ORDER = ("NWC", "WIO", "NWC")


@pytest.mark.parametrize("kind", ["arrays", "stream"])
def test_convolutions_of_xla_are_no_loop(kind):
    x, y = np.ones((62, 5, 1), "float32"), np.ones((62, 1), "float32")
    cornu.utils.set_random_seed(0)
    model = cornu.Sequential([cornu.Input((5, 1)), OfXla(), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    data = (x, y, 4) if kind == "arrays" else (Asked(x, y, size=4),)
    losses = model.fit(*data, epochs=3, verbose=0).history["loss"]
    assert int(model.optimizer.iterations) == 3 * 16 and losses[2] < losses[0]
    function = model.make_train_function()
    assert function._run_rows not in {method for method, *_ in function._sizes}
