"""Batches that somebody else makes: generators, loaders, `PyDataset`s, folders, beside Keras."""

import itertools
import threading
import time

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import scipy.sparse
from PIL import Image
from tiny import (
    BATCHES,
    LABELS,
    PARTS,
    TARGETS,
    WEIGHTS,
    Batches,
    Indexed,
    Stop,
    Tensor,
    TensorFlowLike,
    X,
    Y,
    check_same,
    history,
    network,
    numbered,
    two_inputs,
)

import cornu
from cornu.data.adapt import adapt
from cornu.data.ahead import LONG_WAIT, Turn
from cornu.utils.image_dataset import image_dataset_from_directory
from cornu.utils.image_folder import ImageReader


def fit(k, data, **arguments):
    return history(k, data, **{"batch_size": None, "shuffle": False, **arguments})


def generator(passes=1):
    for _ in range(passes):
        yield from Batches(X, Y)


def forever():
    while True:
        yield from Batches(X, Y)


SOURCES = {
    "iterable": lambda: Batches(X, Y),
    "lists": lambda: Batches(X, Y, kind=list),
    "lists of numbers": lambda: Batches(X, Y, wrap=np.ndarray.tolist),
    "float64": lambda: Batches(X.astype("float64"), Y.astype("float64")),
    "jax": lambda: Batches(jnp.asarray(X), jnp.asarray(Y)),
    "sparse": lambda: Batches(X, Y, wrap=scipy.sparse.csr_matrix),
    "torch": lambda: Batches(X, Y, wrap=Tensor, kind=list),
    "tensorflow": lambda: TensorFlowLike(X, Y),
    "tensorflow, of unknown length": lambda: TensorFlowLike(X, Y, length=-2),
    "by number": lambda: Indexed(X, Y),
    "PyDataset": lambda: numbered(cornu),
    "no worker": lambda: numbered(cornu, workers=0),
    "threads": lambda: numbered(cornu, workers=3, max_queue_size=2),
}


@pytest.fixture(scope="module")
def reference():
    """The history on arrays and the predictions after it."""
    model = network(keras)
    expected = history(
        keras, X, Y, model=model, validation_data=(X, Y), validation_batch_size=8, shuffle=False
    )
    return expected, model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources(source, reference):
    expected, loss, outputs = reference
    model = network(cornu)
    check_same(fit(cornu, source(), model=model, validation_data=source()), expected)
    assert model.evaluate(source(), verbose=0) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(model.predict(source(), verbose=0), outputs, rtol=1e-5)


@pytest.mark.parametrize("make", [lambda: forever(), lambda: TensorFlowLike(X, Y, length=-1)])
@pytest.mark.parametrize("steps", [2, 3, 5])
def test_data_without_end(make, steps):
    arguments = {"steps_per_epoch": steps, "epochs": 3, "validation_steps": 4}
    mine = fit(cornu, make(), validation_data=make(), **arguments)
    del arguments["validation_steps"]
    other = fit(keras, forever(), **arguments)
    assert len(mine.pop("val_loss")) == 3
    check_same(mine, other)


def test_a_generator_lasts_as_long_as_it_is_read(reference):
    mine = fit(cornu, generator(), epochs=1)
    assert mine["loss"] == pytest.approx(reference[0]["loss"][:1], rel=1e-5)
    batches = generator(3)
    model = network(cornu)
    fit(cornu, batches, model=model, steps_per_epoch=2)
    expected = model.predict_on_batch(X)
    np.testing.assert_allclose(
        model.predict(batches, steps=2, verbose=0),
        np.concatenate([expected[8:16], expected[16:]]),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(next(batches)[0], X[:8])


def test_nothing_is_read_twice_or_for_nothing():
    """Not even by a model without shapes, which looks at the first batch before it begins."""
    read = []
    batches = Batches(X, wrap=lambda a: read.append(len(a)) or a)
    for data, reads in ((batches, [8, 8, 6]), (iter(batches), [8, 8, 6])):
        model = cornu.Sequential([cornu.layers.Dense(1)])
        assert model.predict(data, verbose=0).shape == (22, 1)
        assert read == reads
        read.clear()
    model = cornu.Sequential([cornu.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = Batches(X, Y, wrap=lambda a: read.append(len(a)) or a)
    model.evaluate(batches, verbose=0)
    assert read == [8, 8, 8, 8, 6, 6]
    model.fit(batches, steps_per_epoch=2, epochs=2, verbose=0)
    assert read[6:] == [8, 8, 8, 8, 6, 6, 8, 8]


class Refilled(cornu.utils.PyDataset):
    """Gives one array, which each batch fills anew."""

    def __init__(self, wrap=lambda array: array):
        super().__init__()
        self.buffer, self.wrap = np.zeros((8, 3), "float32"), wrap

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.buffer[:] = index
        return self.wrap(self.buffer)


@pytest.mark.parametrize("wrap", [np.asarray, Tensor, lambda array: {"a": array[2:]}])
@pytest.mark.parametrize("source", [lambda d: d, iter], ids=["by number", "generator"])
def test_a_batch_stays_as_it_is_when_its_array_is_filled_again(source, wrap):
    # A step reads its batch later than the next one is made.
    batches = list(adapt(source(Refilled(wrap))).batches())
    assert [np.unique(batch["a"] if isinstance(batch, dict) else batch) for batch in batches] == [
        [0],
        [1],
        [2],
    ]


def test_batches_start_again_if_they_can():
    expected = fit(keras, forever(), steps_per_epoch=5, epochs=3)
    for data in (Batches(X, Y), Indexed(X, Y), numbered(cornu), numbered(cornu, workers=2)):
        check_same(fit(cornu, data, steps_per_epoch=5, epochs=3), expected)
        once = adapt(data, steps=5, repeat=False)
        assert len(list(once.batches())) == 3


@pytest.mark.parametrize("kind", [tuple, list, lambda parts: next(iter(parts))])
@pytest.mark.parametrize("make", [Batches, Indexed, lambda *p, **k: iter(Batches(*p, **k))])
def test_inputs_only(kind, make):
    model = network(cornu)
    result = model.predict(make(X, kind=kind), verbose=0)
    np.testing.assert_allclose(result, model.predict_on_batch(X), rtol=1e-6)


def test_weights_of_samples_and_classes():
    expected = history(keras, X, Y, sample_weight=WEIGHTS, shuffle=False)
    check_same(fit(cornu, Batches(X, Y, WEIGHTS)), expected)
    check_same(fit(cornu, Batches(X, Y, WEIGHTS[:, None], kind=list, wrap=Tensor)), expected)
    factors = np.array([1.0, 0.5, 4.0], "float32")[LABELS]
    for parts, weights in (((X, LABELS), factors), ((X, LABELS, WEIGHTS), factors * WEIGHTS)):
        models = [
            network(k, 3, "softmax", loss="sparse_categorical_crossentropy") for k in (cornu, keras)
        ]
        mine = fit(cornu, Batches(*parts), model=models[0], class_weight={1: 0.5, 2: 4.0})
        check_same(
            mine, history(keras, X, LABELS, model=models[1], sample_weight=weights, shuffle=False)
        )


@pytest.mark.parametrize("steps", [None, 2])
def test_several_outputs(steps):
    model = two_inputs(cornu)
    expected = {name: y[:16] if steps else y for name, y in model.predict(PARTS, verbose=0).items()}
    listed = cornu.Model(model.inputs, list(model.outputs))
    for data in (Batches(PARTS), Batches(PARTS, TARGETS), iter(Batches(PARTS, TARGETS))):
        check_same(model.predict(data, steps=steps, verbose=0), expected)
    mine = listed.predict(Batches(PARTS), steps=steps, verbose=0)
    assert isinstance(mine, list)
    check_same(dict(zip(expected, mine, strict=True)), expected)
    mine = fit(cornu, Batches(PARTS, TARGETS), model=model)
    check_same(mine, history(keras, PARTS, TARGETS, model=two_inputs(keras), shuffle=False))


# ---- PyDataset


@pytest.mark.parametrize(
    "num_batches, arguments",
    [
        (3, {"shuffle": True}),
        (3, {}),
        (4, {"steps_per_epoch": 2}),
        (4, {"steps_per_epoch": 2, "shuffle": True}),
        (3, {"steps_per_epoch": 1, "epochs": 3}),
        (None, {"steps_per_epoch": 2, "epochs": 3}),
    ],
    ids=str,
)
def test_the_order_of_a_py_dataset(num_batches, arguments):
    mine, other = (numbered(k, num_batches) for k in (cornu, keras))
    check_same(fit(cornu, mine, **arguments), fit(keras, other, **arguments))
    order, expected = ([i for i in data.log if isinstance(i, int)] for data in (mine, other))
    assert order == expected
    threads = numbered(cornu, num_batches, workers=3)
    check_same(
        fit(cornu, threads, **arguments), fit(cornu, numbered(cornu, num_batches), **arguments)
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_the_epochs_of_a_py_dataset(workers):
    data, validation = numbered(cornu, workers=workers), numbered(cornu, workers=workers)
    fit(cornu, data, epochs=3, validation_data=validation)
    for log in (data.log, validation.log):
        for i in range(0, 15, 5):
            assert (log[i], sorted(log[i + 1 : i + 4]), log[i + 4]) == ("begin", [0, 1, 2], "end")
        assert len(log) == 15
    data.log.clear()
    fit(cornu, data, epochs=3, steps_per_epoch=1, callbacks=[Stop()])
    assert data.log == ["begin", 0, "end"]
    data.log.clear()
    network(cornu).predict(data, verbose=0)
    assert (data.log[0], data.log[-1]) == ("begin", "end")


def fails(i):
    if i == 2:
        raise KeyError("a hole")
    return BATCHES.batch(i)


class Fail(cornu.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyError("a hole")


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch, callback", [(fails, None), (BATCHES.batch, Fail), (fails, Stop)])
def test_nothing_is_left_running(workers, batch, callback):
    before = set(threading.enumerate())
    data = numbered(cornu, batch=batch, workers=workers, max_queue_size=2)
    model = network(cornu)
    callbacks = [callback()] if callback else []
    if callback is Stop:
        fit(cornu, data, model=model, callbacks=callbacks)
    else:
        with pytest.raises(KeyError, match="a hole") as caught:
            fit(cornu, data, model=model, callbacks=callbacks)
        if callback is None:
            assert caught.value.__notes__ == ["This happened in Numbered.__getitem__(2)."]
    assert data.log[-1] == "end"
    assert set(threading.enumerate()) <= before
    assert fit(cornu, Batches(X, Y), model=model)["loss"][1] > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_an_interrupt_between_batches_leaves_the_model_as_it_was(error, method):
    def batches():
        yield from itertools.islice(Batches(X, Y), 2)
        raise error

    model = network(cornu)
    with pytest.raises(error):
        getattr(model, method)(batches(), verbose=0)
    expected = network(keras)
    if method == "fit":
        fit(keras, generator(), model=expected, steps_per_epoch=2, epochs=1)
    np.testing.assert_allclose(
        model.predict(X, verbose=0), expected.predict(X, verbose=0), rtol=1e-5
    )
    assert np.isfinite(fit(cornu, generator(), model=model, epochs=1)["loss"]).all()


# ---- folders of images


def test_no_more_images_are_read_ahead_than_the_queue_holds(tmp_path, monkeypatch):
    for name, number in itertools.product("ab", range(20)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (6, 1)).save(tmp_path / name / f"{number}.png")
    read, ahead = [], []

    def reader(self, path, out):
        read.append(path)
        out.fill(number_of(path) / 20)

    def number_of(path):
        return int(path.rsplit("/", 1)[1][:-4])

    class Watch(cornu.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ahead.append(len(read) - 2 * (batch + 1))

    monkeypatch.setattr(ImageReader, "__call__", reader)
    data = image_dataset_from_directory(
        tmp_path, color_mode="grayscale", image_size=(1, 6), batch_size=2, seed=0, verbose=False
    )
    data.workers, data.max_queue_size = 3, 4
    model = cornu.Sequential(
        [cornu.Input((1, 6, 1)), cornu.layers.Flatten(), cornu.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    fit(cornu, data, model=model, epochs=1, callbacks=[Watch()])
    assert len(ahead) == 20 and 0 < max(ahead) <= 2 * 4
    assert sorted(read) == sorted(data.file_paths)


def test_a_turn_ends_with_an_error_and_where_items_take_long():
    def is_free():
        free = Turn._lock.acquire(blocking=False)
        if free:
            Turn._lock.release()
        return free

    with Turn() as turn:
        turn.end_if_long(8)
        assert not is_free()
        time.sleep(8 * LONG_WAIT)
        turn.end_if_long(8)
        assert is_free()
    with pytest.raises(OSError), Turn():
        raise OSError
    assert is_free()


# ---- mistakes


def used_up():
    batches = generator()
    list(batches)
    return batches


def test_batches_without_numbers():
    model = cornu.Sequential([cornu.Input((0, 2)), cornu.layers.Identity()])
    assert model.predict(iter([np.ones((3, 0, 2))]), verbose=0).shape == (3, 0, 2)


@pytest.mark.parametrize(
    "data, arguments, message",
    [
        (Batches(X, Y), {"y": Y}, "`x` as a Batches, `y` should not be passed"),
        (forever(), {"sample_weight": WEIGHTS}, "generator, `sample_weight` should not be passed"),
        (Batches(X, Y, Y, Y), {}, "found a tuple of 4 entries"),
        (iter([()]), {}, "found a tuple of 0 entries"),
        (iter([None]), {}, "holds no samples.*Received: None"),
        (iter([(3.0, 1.0)]), {}, r"holds no samples.*Received: \(3.0, 1.0\)"),
        (Batches(X[:0], Y[:0]), {}, "Batches has length 0"),
        (iter([(X[:0], Y[:0])]), {}, "holds no samples"),
        (Batches(X, Y, wrap=lambda a: a.astype(str)), {}, "text or dates"),
        (Batches(X, Y, wrap=lambda a: a.astype(object)), {}, "Python objects"),
        (Batches(X), {"class_weight": {0: 1.0}}, "`class_weight` needs labels"),
        (iter(()), {}, r"\(tuple_iterator\) yielded no batch.*used up"),
        (used_up(), {}, r"\(generator\) yielded no batch.*used up"),
        (used_up(), {"steps_per_epoch": 2}, r"\(generator\) yielded no batch.*used up"),
        (TensorFlowLike(X, Y, length=0), {}, "TensorFlowLike has length 0"),
        (numbered(cornu, 0), {}, "Numbered has length 0"),
        (forever(), {"steps_per_epoch": 0}, "`steps` must be at least 1"),
        (Batches(X, Y), {"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_mistakes(data, arguments, message):
    model = network(cornu)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0, **arguments)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_generator_that_ends_too_early():
    with pytest.warns(UserWarning, match="ran out of data after 1 of 2 batches"):
        assert len(fit(cornu, generator(), steps_per_epoch=2)["loss"]) == 2


class Once:
    """Can be read once, though it does not say so."""

    def __init__(self, batches):
        self._batches = iter(batches)

    def __iter__(self):
        yield from self._batches


def pieces(count):
    return ((X[:2], Y[:2]) for _ in range(count))


@pytest.mark.filterwarnings("ignore:Your input ran out of data after 2 of 3 batches")
@pytest.mark.parametrize("made", [lambda count: pieces(count), lambda count: Once(pieces(count))])
@pytest.mark.parametrize("count, steps, epochs", [(5, 3, 2), (6, 3, 2), (4, None, 1), (2, 3, 1)])
def test_what_ends_early_loses_nothing(made, count, steps, epochs):
    ends = []
    watch = cornu.callbacks.LambdaCallback(on_train_end=lambda logs: ends.append(logs))
    model = network(cornu)
    model.compile("sgd", "mse")
    with pytest.warns(
        UserWarning, match=f"ran out of data before the end of epoch {epochs + 1} of 9"
    ):
        found = model.fit(
            made(count), steps_per_epoch=steps, epochs=9, verbose=0, callbacks=[watch]
        )
    assert len(found.history["loss"]) == epochs and int(model.optimizer.iterations) == count
    assert len(ends) == 1 and ends[0]["loss"] == found.history["loss"][-1]


@pytest.mark.filterwarnings("ignore:Your input ran out of data after 2 of 3 batches")
@pytest.mark.parametrize("steps, epochs", [(3, 2), (None, 1)])
def test_validation_data_that_end_early(steps, epochs):
    model = network(cornu)
    model.compile("sgd", "mse")
    with pytest.warns(
        UserWarning, match=f"validation data before the end of epoch {epochs + 1} of 4"
    ):
        found = model.fit(
            *(X, Y), epochs=4, verbose=0, validation_data=pieces(5), validation_steps=steps
        )
    assert [len(found.history[name]) for name in ("loss", "val_loss")] == [4, epochs]
