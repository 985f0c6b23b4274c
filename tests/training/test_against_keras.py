"""The same script, run with Keras and with Cornu, gives the same numbers."""

import keras
import numpy as np
import pytest

import cornu

random = np.random.RandomState(0)
IMAGES = random.rand(70, 8, 8, 1).astype("float32")
LABELS = random.randint(0, 3, 70).astype("int32")
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
WEIGHTS = random.rand(70).astype("float32")


def sequential(k, **kwargs):
    layers = k.layers
    return k.Sequential(
        [
            k.Input((8, 8, 1)),
            # Adam makes noise of a gradient of nearly zero, such as that of a dead unit's bias.
            layers.Conv2D(4, 3, activation="relu", use_bias=False, **kwargs),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )


def run(k, make=sequential, x=IMAGES, y=ONE_HOT, seed=3, compile=None, **fit):
    k.utils.set_random_seed(seed)
    model = make(k)
    arguments = {"optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**{**arguments, **(compile or {})})
    history = model.fit(x, y, **{"epochs": 2, "batch_size": 16, "verbose": 0, **fit})
    return model, history.history


def check_same(*args, tolerance=2e-5, **kwargs):
    ours, mine = run(cornu, *args, **kwargs)
    theirs, other = run(keras, *args, **kwargs)
    assert list(mine) == list(other)
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=tolerance, atol=tolerance)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=10 * tolerance)
    return ours, theirs


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"validation_split": 0.2},
        {"shuffle": False, "sample_weight": WEIGHTS},
        {"class_weight": {0: 1.0, 1: 0.5, 2: 3.0}},
        {"validation_data": (IMAGES[:20], ONE_HOT[:20]), "validation_freq": 2, "epochs": 3},
        {"initial_epoch": 1, "epochs": 3, "batch_size": 70},
        {"steps_per_epoch": 2},
    ],
    ids=str,
)
def test_fit(fit):
    check_same(**fit)


@pytest.mark.parametrize(
    "compile",
    [
        {"optimizer": "sgd", "loss": "mse"},
        {"metrics": ["accuracy", "mae"], "weighted_metrics": ["categorical_crossentropy"]},
        {"steps_per_execution": 3},
        {"jit_compile": False},
    ],
    ids=str,
)
def test_compile(compile):
    check_same(compile=compile, sample_weight=WEIGHTS)


def test_sparse_labels():
    check_same(y=LABELS, compile={"loss": "sparse_categorical_crossentropy"})


def test_regularizers_and_frozen_layers():
    def make(k):
        model = sequential(k, kernel_regularizer="l2")
        model.layers[2].trainable = False
        return model

    ours, theirs = check_same(make)
    assert len(ours.trainable_weights) == len(theirs.trainable_weights) == 3
    np.testing.assert_allclose(ours.losses, [float(v) for v in theirs.losses], rtol=1e-5)


def two_outputs(k):
    layers = k.layers
    a, b = k.Input((8, 8, 1), name="a"), k.Input((5,), name="b")
    shared = layers.Dense(4, activation="relu", name="shared")
    x = layers.concatenate([shared(layers.Flatten()(a)[:, :5]), shared(b)])
    first = layers.Dense(3, activation="softmax", name="first")(x * 2.0 + 1.0)
    second = layers.Dense(1, name="second")(layers.Dropout(0.2)(x))
    return k.Model({"a": a, "b": b}, [first, second])


def test_several_inputs_and_outputs():
    x = {"a": IMAGES, "b": random.rand(70, 5).astype("float32")}
    y = [ONE_HOT, random.rand(70, 1).astype("float32")]
    compile = {
        "loss": {"first": "categorical_crossentropy", "second": "mse"},
        "loss_weights": {"first": 1.0, "second": 0.3},
        "metrics": {"first": ["accuracy"], "second": ["mae"]},
    }
    ours, theirs = check_same(two_outputs, x, y, compile=compile)
    for mine, other in zip(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    mine = ours.evaluate(x, y, verbose=0, return_dict=True)
    other = theirs.evaluate(x, y, verbose=0, return_dict=True)
    assert sorted(mine) == sorted(other)
    for name in mine:
        np.testing.assert_allclose(mine[name], other[name], rtol=1e-4)


def test_batches_by_hand():
    results = []
    for k in (cornu, keras):
        model, _ = run(k, epochs=1)
        model.reset_metrics()
        results.append(
            [
                *model.train_on_batch(IMAGES[:9], ONE_HOT[:9]),
                *model.test_on_batch(IMAGES[:9], ONE_HOT[:9]),
                *model.evaluate(IMAGES, ONE_HOT, batch_size=32, verbose=0),
                *model.predict_on_batch(IMAGES[:2]).ravel(),
            ]
        )
    np.testing.assert_allclose(*results, rtol=1e-4)


def subclassed(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.convolution = k.layers.Conv2D(4, 3, activation="relu")
            self.blocks = [k.layers.Flatten(), k.layers.Dense(3, activation="softmax")]

        def call(self, x, training=False):
            x = self.convolution(x)
            for block in self.blocks:
                x = block(x)
            return x

    return Net()


def test_subclass():
    # Keras makes the weights of a subclass with another order of seeds.
    model, history = run(cornu, subclassed, epochs=8)
    assert history["loss"][-1] < history["loss"][0]
    assert model.count_params() == 40 + 435
    assert model.predict(IMAGES[:3], verbose=0).shape == (3, 3)


def test_custom_train_step():
    import jax

    class Net(cornu.Sequential):
        def train_step(self, state, data):
            trainable, others, optimizer, metrics = state
            x, y = data

            def loss(trainable, others):
                y_pred, others = self.stateless_call(trainable, others, x, training=True)
                return cornu.losses.CategoricalCrossentropy()(y, y_pred), others

            (value, others), grads = jax.value_and_grad(loss, has_aux=True)(trainable, others)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
            return {"loss": value, "twice": 2 * value}, (trainable, others, optimizer, metrics)

    model = Net(
        [
            cornu.Input((8, 8, 1)),
            *(type(c).from_config(c.get_config()) for c in sequential(cornu).layers),
        ]
    )
    model.compile("adam", "mse")
    history = model.fit(IMAGES, ONE_HOT, epochs=9, batch_size=35, verbose=0).history
    np.testing.assert_allclose(history["twice"], 2 * np.array(history["loss"]), rtol=1e-6)
    assert history["loss"][-1] < history["loss"][0]


def test_eager_steps_equal_compiled_ones():
    _, compiled = run(cornu, epochs=1)
    _, eager = run(cornu, epochs=1, compile={"run_eagerly": True})
    np.testing.assert_allclose(eager["loss"], compiled["loss"], rtol=1e-5)


def test_the_number_of_traces_is_small():
    traces = []

    class Spy(cornu.layers.Layer):
        def call(self, x):
            traces.append(x.shape)
            return x

    model = cornu.Sequential(
        [cornu.Input((8, 8, 1)), Spy(), cornu.layers.Flatten(), cornu.layers.Dense(3)]
    )
    model.compile("sgd", "mse")
    model.fit(IMAGES, ONE_HOT, batch_size=16, epochs=2, verbose=0)
    before = len(traces)
    model.fit(IMAGES, ONE_HOT, batch_size=16, epochs=3, verbose=0)
    model.fit(IMAGES[:35], ONE_HOT[:35], batch_size=16, epochs=1, verbose=0)
    # Only the last batch of 3 is new; other numbers of rows in memory are another array to gather.
    assert len(traces) - before <= 2


def test_weights_are_live_in_callbacks():
    seen = []

    class Look(cornu.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((float(self.model.weights[0].value.sum()), logs["loss"]))

    run(cornu, epochs=1, callbacks=[Look()])
    assert len({weight for weight, _ in seen}) == len(seen) == 5
