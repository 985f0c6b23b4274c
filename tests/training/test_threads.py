"""A model's methods in several threads at once: each gives the numbers that it gives alone."""

import sys
import threading

import numpy as np
import pytest

import cornu
from cornu import layers

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 24, 4)).astype("float32")
Y = RANDOM.standard_normal((2, 24, 1)).astype("float32")


@pytest.fixture(autouse=True)
def _eager_to_switch():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def network():
    model = cornu.Sequential(
        [cornu.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(1)]
    )
    model.compile(
        "sgd", "mse", metrics=["mae"], weighted_metrics=[cornu.metrics.RootMeanSquaredError()]
    )
    return model


def at_once(*works, times=6):
    """What each of the works returns each time; all of them run at the same time."""
    results = [[] for _ in works]
    errors, barrier = [], threading.Barrier(len(works))

    def run(index):
        try:
            barrier.wait()
            for _ in range(times):
                results[index].append(works[index]())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def readings(model, x, y):
    return [
        lambda: model.predict(x, batch_size=5, verbose=0),
        lambda: model.evaluate(x, y, batch_size=5, verbose=0),
        lambda: model.evaluate(((x[i : i + 5], y[i : i + 5]) for i in (0, 5)), verbose=0),
        lambda: model.test_on_batch(x, y),
        lambda: model.predict_on_batch(x),
        lambda: np.asarray(model(x)),
    ]


@pytest.mark.parametrize("how", [{}, {"run_eagerly": True}], ids=["jit", "eager"])
def test_reading(how):
    model = network()
    model.compile("sgd", "mse", metrics=["mae"], **how)
    works = [work for x, y in zip(X, Y, strict=True) for work in readings(model, x, y)]
    expected = [work() for work in works]
    fresh = network()
    fresh.compile("sgd", "mse", metrics=["mae"], **how)
    fresh.set_weights(model.get_weights())
    # Nothing of it is compiled yet.
    works = [work for x, y in zip(X, Y, strict=True) for work in readings(fresh, x, y)]
    for found, right in zip(at_once(*works, times=3), expected, strict=True):
        for each in found:
            np.testing.assert_allclose(each, right, rtol=1e-5, atol=1e-6)


def test_reading_while_training_goes_on():
    """With a learning rate of zero only what is counted could change."""
    model = cornu.Sequential([cornu.Input((4,)), layers.Dense(3), layers.Dense(1)])
    model.compile(cornu.optimizers.SGD(0.0), "mse", metrics=["mae"])
    arguments = {"batch_size": 4, "epochs": 12, "verbose": 0, "shuffle": False}
    expected = model.fit(X[0], Y[0], **arguments).history
    works = readings(model, X[1], Y[1])[:5]
    right = [work() for work in works]
    found = []

    class InAThread(cornu.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.thread = threading.Thread(target=lambda: found.append([work() for work in works]))
            self.thread.start()

        def on_epoch_end(self, epoch, logs=None):
            self.thread.join()

    history = model.fit(X[0], Y[0], callbacks=[InAThread()], **arguments).history
    assert history == expected
    assert len(found) == 12
    for each in found:
        for result, value in zip(each, right, strict=True):
            np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-6)


class Counting(cornu.Model):
    """Every variable is the number of the step."""

    def __init__(self):
        super().__init__()
        self.first = self.add_weight(shape=(), initializer="zeros")
        self.second = self.add_weight(shape=(), initializer="zeros")
        self.third = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        return x * 0 + self.first - self.second, x * 0 + self.first - self.third

    def train_step(self, state, data):
        trainable, others, optimizer, counts = state
        return {}, ([v + 1 for v in trainable], [v + 1 for v in others], optimizer, counts)


@pytest.mark.parametrize("how", [{}, {"run_eagerly": True}], ids=["jit", "eager"])
def test_a_prediction_sees_the_weights_of_one_step(how):
    model = Counting()
    model.compile("sgd", **how)
    model.predict(X[0], verbose=0)

    def training():
        model.fit(X[0], batch_size=4, epochs=3, verbose=0)

    _, *found = at_once(
        training,
        lambda: model.predict(X[0], batch_size=4, verbose=0),
        lambda: model.predict_on_batch(X[1]),
        times=10,
    )
    assert not any(np.any(part) for results in found for outputs in results for part in outputs)
    assert [float(v) for v in model.weights] == [180.0] * 3


def test_steps_of_training_in_two_threads_are_all_done():
    model = network()
    model.train_on_batch(X[0], Y[0])
    before = int(model.optimizer.iterations)
    at_once(*[lambda x=x, y=y: model.train_on_batch(x, y) for x, y in zip(X, Y, strict=True)])
    assert int(model.optimizer.iterations) == before + 12


def test_a_model_that_is_built_by_the_first_data():
    model = cornu.Sequential([layers.Dense(1)])
    found = at_once(*[lambda: model.predict(X[0], verbose=0)] * 3, times=1)
    assert len(model.weights) == 2
    for each in found[1:]:
        np.testing.assert_array_equal(each[0], found[0][0])
