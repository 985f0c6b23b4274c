"""Steps, losses and metrics of the user's, as Keras' guides for JAX write them."""

import jax
import numpy as np
import pytest

import cornu
from cornu import layers, losses, metrics

X = np.random.default_rng(0).standard_normal((12, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


class Guide(cornu.Model):
    """`metrics` as they come: the loss, and those of `compile` as one."""

    def loss_of(self, trainable, others, x, y, training=False):
        y_pred, others = self.stateless_call(trainable, others, x, training=training)
        return self.compute_loss(x, y, y_pred), (y_pred, others)

    def count(self, values, loss, y, y_pred):
        new, logs = [], {}
        for metric in self.metrics:
            state = values[len(new) : len(new) + len(metric.variables)]
            arguments = (loss,) if metric.name == "loss" else (y, y_pred)
            state = metric.stateless_update_state(state, *arguments)
            logs[metric.name] = metric.stateless_result(state)
            new += state
        return logs, new

    def train_step(self, state, data):
        trainable, others, optimizer, counts = state
        x, y = data
        gradient = jax.value_and_grad(self.loss_of, has_aux=True)
        (loss, (y_pred, others)), grads = gradient(trainable, others, x, y, training=True)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        logs, counts = self.count(counts, loss, y, y_pred)
        return logs, (trainable, others, optimizer, counts)

    def test_step(self, state, data):
        trainable, others, counts = state
        x, y = data
        loss, (y_pred, others) = self.loss_of(trainable, others, x, y)
        logs, counts = self.count(counts, loss, y, y_pred)
        return logs, (trainable, others, counts)


def graph(cls=cornu.Model, **arguments):
    inputs = cornu.Input((3,))
    x = layers.BatchNormalization()(inputs)
    return cls(inputs, layers.Dense(1, kernel_initializer="ones")(x), **arguments)


def test_the_guides_step_equals_the_built_in_one():
    results = []
    for cls in (Guide, cornu.Model):
        model = graph(cls)
        model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
        assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
        history = model.fit(
            X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0, validation_data=(X, Y)
        )
        results.append({**history.history, "weights": np.concatenate(model.get_weights(), None)})
    assert sorted(results[0]) == [
        *("loss", "mae", "mse", "val_loss", "val_mae", "val_mse", "weights"),
    ]
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-5, atol=1e-6)


class LowLevel(cornu.Model):
    """Only the optimizer comes from `compile`; metrics are attributes."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.tracker = metrics.Mean(name="loss")
        self.mae = metrics.MeanAbsoluteError(name="mae")
        self.loss_fn = losses.MeanSquaredError()

    def train_step(self, state, data):
        trainable, others, optimizer, counts = state
        x, y = data

        def loss_of(trainable, others):
            y_pred, others = self.stateless_call(trainable, others, x, training=True)
            return self.loss_fn(y, y_pred), (y_pred, others)

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (y_pred, others)), grads = gradient(trainable, others)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        split = len(self.tracker.variables)
        first = self.tracker.stateless_update_state(counts[:split], loss)
        second = self.mae.stateless_update_state(counts[split:], y, y_pred)
        logs = {
            "loss": self.tracker.stateless_result(first),
            "mae": self.mae.stateless_result(second),
        }
        return logs, (trainable, others, optimizer, first + second)

    @property
    def metrics(self):
        return [self.tracker, self.mae]


def test_metrics_as_attributes_and_no_loss_given():
    model = graph(LowLevel)
    model.compile("adam")
    assert len(model.metrics_variables) == 4
    assert len(model.variables) == len(model.weights) == 6
    history = model.fit(X, Y, batch_size=4, epochs=3, verbose=0).history
    assert history["loss"][2] < history["loss"][0] and len(history["mae"]) == 3
    # Counted afresh in each epoch.
    assert float(model.tracker.count) == 3
    # `predict` and `save` do without the metrics.
    assert model.predict(X, verbose=0).shape == (12, 1)
    with pytest.raises(ValueError, match="No loss to compute"):
        model.evaluate(X, Y, verbose=0)


class Gan(cornu.Model):
    """No `call` at all, and two optimizers' worth of nothing: one optimizer, one inner model."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def train_step(self, state, data):
        trainable, others, optimizer, counts = state

        def loss_of(trainable):
            y_pred, _ = self.inner.stateless_call(trainable, others, data)
            return (y_pred**2).mean()

        loss, grads = jax.value_and_grad(loss_of)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        return loss, (trainable, others, optimizer, counts)


def test_a_model_without_call_and_logs_that_are_one_number():
    inner = cornu.Sequential([cornu.Input((3,)), layers.Dense(1)])
    inner.seen = metrics.Mean(name="seen")
    model = Gan(inner)
    model.compile("sgd")
    # The trackers of a model within are not its own.
    assert [metric.name for metric in model.metrics] == ["loss"]
    history = model.fit(X, batch_size=12, epochs=2, verbose=0).history
    assert list(history) == ["loss"] and history["loss"][1] < history["loss"][0]


class WithoutTraining(cornu.Model):
    def compute_loss(self, x, y, y_pred, sample_weight):
        return ((y - y_pred) ** 2).sum()


class OtherNames(cornu.Model):
    def compute_loss(self, inputs, targets, outputs, weights, training=False):
        return ((targets - outputs) ** 2).sum() + 1.0 * training


@pytest.mark.parametrize("cls, more", [(WithoutTraining, 0.0), (OtherNames, 1.0)])
@pytest.mark.parametrize("eager", [False, True])
def test_own_loss(cls, more, eager):
    model = graph(cls)
    model.compile("sgd", metrics=["mae"], run_eagerly=eager)
    expected = float(((Y - model.predict(X, verbose=0)) ** 2).sum())
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(expected, rel=1e-5)
    normalized = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-3)
    expected = ((Y - normalized.sum(1, keepdims=True)) ** 2).sum()
    assert model.train_on_batch(X, Y)[0] == pytest.approx(expected + more, rel=1e-4)


def test_a_penalty_is_part_of_a_loss_without_state():
    inputs = cornu.Input((3,))
    model = cornu.Model(inputs, layers.Dense(1, kernel_regularizer="l2")(inputs))
    model.compile("sgd", "mse")
    kernel, bias = (v.value for v in model.trainable_variables)

    def loss_of(values):
        y_pred, others = model.stateless_call(values, [], X)
        counts = [v.value for v in model.metrics_variables]
        return model.stateless_compute_loss(values, others, counts, X, Y, y_pred)[0]

    gradient = jax.jit(jax.grad(loss_of))([kernel, bias])[0]
    expected = 2 * X.T @ (X @ np.asarray(kernel) - Y) / len(X) + 0.02 * np.asarray(kernel)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


class WrittenAsForTensorFlow(cornu.Model):
    def train_step(self, data):
        return {}

    test_step = predict_step = train_step


def test_a_step_without_a_state_is_refused_with_one_that_works():
    model = graph(WrittenAsForTensorFlow)
    model.compile("sgd", "mse")
    for work in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(TypeError, match=r"(?s)_step\(data\)`.*self, state, data\):.*return {"):
            work(X, Y)
    for work in (model.predict, model.predict_on_batch):
        with pytest.raises(TypeError, match=r"(?s)def predict_step\(self, state, data\).*others$"):
            work(X)
    # What the message for training shows does work.
    with pytest.raises(TypeError) as caught:
        model.fit(X, Y, verbose=0)
    text = str(caught.value)
    scope = {"jax": jax, "cornu": cornu}
    exec("class Shown(cornu.Model):\n" + text[text.index("    def train_step") :], scope)
    shown = graph(scope["Shown"])
    shown.compile("sgd", "mse")
    losses = shown.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def stepping(what):
    """A model whose step does something to what a step returns."""

    class Odd(cornu.Model):
        def train_step(self, state, data):
            return what(*super().train_step(state, data))

        def test_step(self, state, data):
            return what(*super().test_step(state, data))

    model = graph(Odd)
    model.compile("sgd", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize(
    "what, error, message",
    [
        (lambda logs, state: logs, TypeError, r"must return `\(logs, state\)`"),
        (lambda logs, state: (logs, state[:-1]), ValueError, r"the state as it came, \(trainable"),
        (lambda logs, state: (logs, (*state[:-1], [])), ValueError, r"of \[\d, \d, .*0\] values"),
        (lambda logs, state: ([1.0, 2.0], state), TypeError, "its logs as a dict"),
        (
            lambda logs, state: (logs, ([v[..., None] for v in state[0]], *state[1:])),
            ValueError,
            r"shape \(3, 1\) for the variable '.*gamma' of shape \(3,\)",
        ),
    ],
)
def test_what_a_step_must_return(what, error, message):
    model = stepping(what)
    before = model.get_weights()
    for work in (model.fit, model.evaluate, model.train_on_batch):
        if "gamma" not in message or work != model.evaluate:
            with pytest.raises(error, match=message):
                work(X, Y, verbose=0) if work != model.train_on_batch else work(X, Y)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_logs():
    model = stepping(lambda logs, state: ({"a": {"b": logs["loss"]}, "n": 2, "c": X[0]}, state))
    history = model.fit(X, Y, verbose=0).history
    assert sorted(history) == ["b", "c", "n"] and history["n"] == [2.0]
    np.testing.assert_array_equal(history["c"][0], X[0])
    assert stepping(lambda logs, state: (None, state)).fit(X, Y, verbose=0).history == {}


class AsInTensorFlow(cornu.Model):
    """Counts and assigns within the step, besides the state."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.tracker = metrics.Sum(name="seen")
        self.calls = cornu.Variable(0.0, trainable=False, name="calls")

    def train_step(self, state, data):
        logs, state = super().train_step(state, data)
        self.tracker.update_state(data[0].shape[0] * 1.0)
        self.calls.assign_add(1.0)
        return {**logs, "norm": (self.layers[-1].kernel.value ** 2).sum()}, state


@pytest.mark.parametrize("eager", [False, True])
def test_what_a_step_assigns_besides_its_state(eager):
    model = graph(AsInTensorFlow)
    model.compile("sgd", "mse", run_eagerly=eager)
    seen = []
    watch = cornu.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            (float(model.calls), float(model.tracker.result()), logs["norm"])
        )
    )
    kernel = model.layers[-1].kernel
    begin = float((kernel.numpy() ** 2).sum())
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[watch])
    assert [(calls, count) for calls, count, _ in seen] == [
        *((1, 4), (2, 8), (3, 12), (4, 4), (5, 8), (6, 12)),
    ]
    # A weight that is read there is the one of this step, and no constant.
    assert seen[0][2] == pytest.approx(begin) and len({norm for *_, norm in seen}) == 6


class Halved(cornu.Model):
    def predict_step(self, state, data):
        outputs, others = super().predict_step(state, data)
        return 0.5 * outputs, others


class HalvedAsBefore(cornu.Model):
    def predict_step(self, state, data):
        outputs, others = super().predict_step(state, data)
        return 0.5 * outputs, (state[0], others)


@pytest.mark.parametrize("cls", [Halved, HalvedAsBefore])
def test_own_prediction(cls):
    model = graph(cls)
    expected = 0.5 * np.asarray(model(X))
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X), expected, rtol=1e-6)


def test_a_metric_in_a_layer_counts_in_training_alone():
    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seen = metrics.Sum(name="seen")

        def call(self, inputs):
            self.seen.update_state(inputs[:, 0] * 0 + 1)
            return inputs

    inputs = cornu.Input((3,))
    model = cornu.Model(inputs, layers.Dense(1)(Counting()(inputs)))
    model.compile("sgd", "mse")
    assert len(model.variables) == 2
    assert model.fit(X, Y, batch_size=4, verbose=0).history["seen"] == [12.0]
    model.predict(X, verbose=0)
    trainable = [v.value for v in model.trainable_variables]
    jax.jit(lambda values: model.stateless_call(values, [], X))(trainable)
    assert float(model.layers[1].seen.result()) == 12.0


class TwoOptimizers(cornu.Model):
    """Assigns weights in the step, with optimizers and a network that are no part of it."""

    def __init__(self, first, second, outside):
        super().__init__()
        self.first, self.second = first, second
        self.outside = [outside.variables[0].value, lambda: outside]
        self.total = metrics.Mean(name="total")
        self.built = True

    def compile(self, first_optimizer, second_optimizer, **arguments):
        super().compile(**arguments)
        self.optimizers = [first_optimizer, second_optimizer]

    metrics = property(lambda self: [self.total])

    def train_step(self, state, data):
        x, y = data
        for inner, optimizer in zip((self.first, self.second), self.optimizers, strict=True):

            def loss_of(weights, inner=inner):
                y_pred, _ = inner.stateless_call(weights, [], x)
                return ((self.outside[1]()(y_pred) - y) ** 2).mean()

            weights = inner.trainable_variables
            loss, gradients = jax.value_and_grad(loss_of)([v.value for v in weights])
            optimizer.apply(gradients, weights)
            self.total.update_state(loss)
        return {"total": self.total.result()}, state


def test_two_optimizers_besides_the_state():
    results = []
    for eager in (False, True):
        cornu.utils.set_random_seed(0)
        outside = cornu.Sequential([cornu.Input((1,)), layers.Dense(1, trainable=False)])
        inner = [cornu.Sequential([cornu.Input((3,)), layers.Dense(1)]) for _ in range(2)]
        chosen = [cornu.optimizers.SGD(0.1, momentum=0.9), cornu.optimizers.Adam(0.1)]
        for optimizer, each in zip(chosen, inner, strict=True):
            optimizer.build(each.trainable_variables)
        model = TwoOptimizers(*inner, outside)
        model.compile(*chosen, run_eagerly=eager)
        history = model.fit(X, Y, batch_size=6, epochs=3, shuffle=False, verbose=0).history
        assert [int(each.iterations) for each in chosen] == [6, 6]
        results.append([*history["total"], *np.concatenate(model.get_weights(), None)])
    assert results[0][0] > results[0][2]
    np.testing.assert_allclose(*results, rtol=1e-4)
