"""Names of metrics: each has its own, and Keras' where Keras keeps them apart."""

import keras
import numpy as np
import pytest

import cornu

X = np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]], "float32")
WEIGHTS = np.array([1.0, 0.0, 2.0], "float32")


def model_of(k, outputs, **arguments):
    inputs = k.Input((2,))
    layers = [k.layers.Dense(1, kernel_initializer="ones", name=name) for name in outputs]
    results = [layer(inputs) for layer in layers]
    model = k.Model(inputs, results if len(results) > 1 else results[0])
    model.compile("sgd", "mse", **arguments)
    return model


def difference(y_true, y_pred):
    return abs(y_true - y_pred)


CASES = {
    "both": ("a", lambda k: (["mae"], ["mae"])),
    "twice": ("a", lambda k: (["mae", "mae"], ["mae", "mae", "mse"])),
    "objects": (
        "a",
        lambda k: (
            [k.metrics.MeanAbsoluteError(), k.metrics.MeanAbsoluteError()],
            [k.metrics.MeanAbsoluteError(name="other")],
        ),
    ),
    "functions": ("a", lambda k: ([difference, difference], [difference])),
    "accuracy": ("a", lambda k: (["acc", "accuracy"], ["accuracy", "acc"])),
    "weighted": ("a", lambda k: (None, ["mae"])),
    "nested": ("a", lambda k: ([["mae", "mse"]], {"a": ["mae"]})),
    "outputs": ("ab", lambda k: ([["mae"], ["mae", "mae"]], [["mae"], ["mae", "mae"]])),
    "some": ("ab", lambda k: ({"a": "mae", "b": ["mae"]}, {"b": "mae"})),
    "none": ("ab", lambda k: (["mae", None], [None, "mae"])),
}


@pytest.mark.parametrize("case", CASES)
def test_names(case):
    outputs, given = CASES[case]
    results = []
    for k in (cornu, keras):
        metrics, weighted = given(k)
        model = model_of(k, outputs, metrics=metrics, weighted_metrics=weighted)
        y = [0 * X[:, :1] + i for i in range(len(outputs))]
        weights = [WEIGHTS] * len(outputs)
        data = (X, y, weights) if len(outputs) > 1 else (X, y[0], weights[0])
        logs = model.evaluate(*data[:2], sample_weight=data[2], return_dict=True, verbose=0)
        ordered = model.evaluate(*data[:2], sample_weight=data[2], verbose=0)
        history = model.fit(*data[:2], sample_weight=data[2], verbose=0).history
        assert set(history) == set(logs)
        results.append((logs, ordered, [m.name for m in model.metrics], model.metrics_names))
    (logs, ordered, *names), (expected, keras_ordered, *keras_names) = results
    assert list(logs) == list(expected) and names == keras_names
    for name, value in logs.items():
        assert value == pytest.approx(expected[name], rel=1e-5), name
    # Keras lists some values twice, where names are the same.
    assert len(ordered) == len(logs) and sorted(ordered) == sorted(logs.values())
    if len(keras_ordered) == len(ordered):
        np.testing.assert_allclose(ordered, keras_ordered, rtol=1e-5)


class Two(cornu.metrics.Metric):
    def __init__(self, name="two"):
        super().__init__(name=name)
        self.seen = self.add_weight(name="seen", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign_add(1.0 if sample_weight is None else sample_weight.sum())

    def result(self):
        return {"mae": self.seen.value, "more": 2 * self.seen.value}


def test_names_that_keras_mixes_up():
    tracked = cornu.metrics.Mean(name="loss")
    model = model_of(cornu, "a", metrics=["mae", Two(), tracked], weighted_metrics=[Two()])
    model.layers[-1].kept, model.kept = Two(), cornu.metrics.Mean(name="mae")
    tracked.update_state = lambda y_true, y_pred, sample_weight=None: None
    logs = model.evaluate(X, X[:, :1], sample_weight=WEIGHTS, return_dict=True, verbose=0)
    expected = {"loss": (4.0 + 2 * 0.25) / 3, "mae": (2 + 4 + 0.5) / 3, "loss_1": 0.0}
    # The metrics of `compile` come first, then those of the model and of its layers.
    expected |= {"mae_1": 1.0, "more": 2.0, "weighted_mae": 3.0, "weighted_more": 6.0}
    expected |= {"mae_2": 0.0, "mae_3": 0.0, "more_1": 0.0}
    assert logs == pytest.approx(expected)


def test_one_metric_object_used_twice():
    shared = cornu.metrics.MeanAbsoluteError(name="s")
    model = model_of(cornu, "a", metrics=[shared])
    model.kept = shared
    assert model.evaluate(X, X[:, :1], return_dict=True, verbose=0).keys() == {"loss", "s"}
    assert model.metrics_names == ["loss", "compile_metrics"]
    assert len(model.metrics_variables) == 4


@pytest.mark.parametrize(
    "monitor, is_up",
    [("mae", False), ("mae_1", False), ("weighted_mae", False), ("val_acc", True), ("kept", True)],
)
def test_callbacks_know_which_way_is_better(monitor, is_up):
    given = {"metrics": ["mae", "mae", "acc"], "weighted_metrics": ["mae"]}
    model = model_of(cornu, "a", **given)
    model.kept = cornu.metrics.BinaryAccuracy(name="kept")
    model.evaluate(X, X[:, :1], verbose=0)
    callback = cornu.callbacks.EarlyStopping(monitor)
    callback.set_model(model)
    assert callback._more_is_better() == is_up


@pytest.mark.parametrize("labels", [X[:, :1] > 0, np.eye(3), np.arange(3)], ids=str)
def test_more_accuracy_is_better(labels):
    units = 1 if labels.shape[-1] == 1 else 3
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(units)])
    model.compile("sgd", lambda y_true, y_pred: y_pred**2, metrics=["accuracy"])
    stops = cornu.callbacks.EarlyStopping("val_accuracy", patience=9)
    history = model.fit(
        *(X, labels), epochs=2, verbose=0, validation_data=(X, labels), callbacks=[stops]
    )
    assert len(history.history["val_accuracy"]) == 2


def test_a_list_of_one_loss_for_an_output():
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1, name="out")])
    x = np.ones((2, 2), "float32")
    for loss in ("mse", ["mse"], {"out": ["mse"]}):
        model.compile("sgd", loss)
        assert model.evaluate(x, x[:, :1], verbose=0) == pytest.approx(
            float(np.mean((model(x) - 1) ** 2)), rel=1e-5
        )
    with pytest.raises(ValueError, match="one loss for each output"):
        model.compile("sgd", {"out": [["mse"], "mae"]})


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_variable_outside_of_the_model_is_assigned_in_every_step(eagerly):
    count = cornu.Variable(0.0, trainable=False)

    def counted(x):
        count.assign_add(1.0)
        return x * 2

    inputs = cornu.Input((3,))
    hidden = cornu.layers.Dense(2, activation="relu")(inputs)
    model = cornu.Model(inputs, cornu.layers.Lambda(counted, output_shape=(2,))(hidden))
    model.compile("sgd", "mse", run_eagerly=eagerly)
    x, y = np.ones((12, 3), "float32"), np.ones((12, 2), "float32")
    count.assign(0.0)
    for run, steps in (
        (lambda: model.fit(x, y, batch_size=4, epochs=2, verbose=0), 6),
        (lambda: model.evaluate(x, y, batch_size=4, verbose=0), 3),
        (lambda: model.predict(x, batch_size=4, verbose=0), 3),
        (lambda: model.train_on_batch(x, y), 1),
        (lambda: model.predict_on_batch(x), 1),
    ):
        before = float(count)
        run()
        assert float(count) - before == steps


def test_what_an_earlier_call_set_is_gone():
    model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(1, activity_regularizer="l2")])
    x, y = np.ones((4, 3), "float32"), np.full((4, 1), 9, "float32")
    model.compile("sgd", "mse", metrics=["mae"])
    assert model.evaluate(x, y, verbose=0)[0] > 1
    model.compile("sgd")
    expected = float(np.square(model(x)).sum() * 0.01 / len(x))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)
    assert model.loss is None and model.get_compile_config()["metrics"] is None


class Count(cornu.metrics.Metric):
    """Returns its variable, as a guide of Keras does, and its value."""

    def __init__(self, name="count", returns_value=False):
        super().__init__(name=name)
        self.total, self.returns_value = (
            self.add_weight(name="total", initializer="zeros"),
            returns_value,
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(cornu.ops.sum(cornu.ops.cast(y_pred, "float32")))

    def result(self):
        return self.total.value if self.returns_value else self.total

    def reset_state(self):
        self.total.assign(0)


class Kept(cornu.layers.Layer):
    """Gives a variable that it has just changed."""

    def build(self, shape):
        self.kept = self.add_weight(shape=(1, 1), initializer="zeros", trainable=False)

    def call(self, x):
        self.kept.assign(cornu.ops.sum(x, keepdims=True))
        return self.kept


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_variable_that_is_returned_is_its_value_of_that_moment(eagerly):
    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1, kernel_initializer="ones")])
    metrics = [Count(), Count("value", returns_value=True)]
    model.compile("sgd", "mse", metrics=metrics, run_eagerly=eagerly)
    history = model.fit(
        X, X[:, :1], epochs=3, batch_size=2, validation_data=(X, X[:, :1]), verbose=0
    )
    logs = history.history
    assert logs["count"] == logs["value"] and len(set(logs["count"])) == 3
    assert logs["val_count"] == logs["val_value"] and len(set(logs["val_count"])) == 3
    for results in (model.evaluate(X, X[:, :1], verbose=0), model.train_on_batch(X, X[:, :1])):
        assert results[1] == results[2] != 0
    kept = cornu.Sequential([cornu.Input((2,)), Kept()])
    kept.compile("sgd", "mse", run_eagerly=eagerly)
    for rows in (X[:1], X[1:2]):
        np.testing.assert_allclose(kept.predict_on_batch(rows), [[rows.sum()]])
