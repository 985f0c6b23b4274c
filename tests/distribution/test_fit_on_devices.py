"""Training, evaluation and prediction on several devices: the numbers of one."""

import contextlib
import itertools

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import distribution, layers

COUNT = min(len(jax.devices("cpu")), 2)
pytestmark = pytest.mark.skipif(COUNT < 2, reason="there is one device")
DEVICES = [f"cpu:{n}" for n in range(COUNT)]
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((23, 8, 8, 2), np.float32), RANDOM.integers(0, 4, 23)


def model_of(library=cornu):
    library.utils.set_random_seed(1)
    inputs = library.Input((8, 8, 2))
    x = library.layers.Conv2D(8, 3, name="conv", activation="relu")(inputs)
    x = library.layers.BatchNormalization()(x)
    x = library.layers.Flatten()(library.layers.Dropout(0.3)(x))
    x = library.layers.Dense(4, "softmax", name="head")(x)
    model = library.Model(inputs, x, name="net")
    metrics = [library.metrics.SparseTopKCategoricalAccuracy(2), "accuracy"]
    model.compile(library.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=metrics)
    return model


def model_parallel():
    mesh = distribution.DeviceMesh((1, COUNT), ["batch", "model"], DEVICES)
    layouts = distribution.LayoutMap(mesh)
    layouts[".*conv/kernel"] = (None, None, None, ("model",))
    layouts["head/kernel"] = (None, "model")
    layouts["net/conv/output"] = ("batch", None, None, "model")
    return distribution.ModelParallel(layout_map=layouts)


WAYS = {
    "data": lambda: distribution.DataParallel(devices=DEVICES),
    "sharded": lambda: distribution.FullyShardedDataParallel(devices=DEVICES, min_size=16),
    "model": model_parallel,
}


def numbers(model, stream=False):
    """All that training, evaluating and predicting give; each last batch cannot be halved."""
    data = (cornu.data.Dataset.from_tensor_slices((X, Y)).batch(8),) if stream else (X, Y, 8)
    found = model.fit(*data, epochs=2, verbose=0, shuffle=False, validation_data=(X[:11], Y[:11]))
    return [
        *found.history.values(),
        model.predict(X[:11], 8, verbose=0),
        model.train_on_batch(X[:7], Y[:7]),
        model(X[:3]),
        *model.get_weights(),
    ]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def expected():
    return numbers(model_of())


GRID = [(way, *how) for way in WAYS for how in itertools.product((False, True), (False, True))]
FAST = [("data", False, False), ("sharded", True, True), ("model", False, True)]


@pytest.mark.parametrize(
    ("way", "stream", "made_before"),
    [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow) for c in GRID],
)
def test_the_numbers_of_one_device(way, stream, made_before, expected, tmp_path):
    spread = WAYS[way]()
    with contextlib.nullcontext() if made_before else spread.scope():
        model = model_of()
    with spread.scope():
        found = numbers(model, stream)
    assert_equal(found, expected)

    def places():
        found = [*model.weights, *model.optimizer.variables]
        assert all(v.value.sharding.device_set == set(jax.devices()[:COUNT]) for v in found)
        return {v.path.split("/", 1)[1]: v.value.sharding for v in found}

    axes = {"data": (None, None), "sharded": ("batch", None), "model": (None, "model")}[way]
    layout = distribution.TensorLayout(axes, spread.device_mesh).backend_layout
    before = places()
    for name in ("kernel", "head_kernel_momentum"):
        assert before[name].is_equivalent_to(layout, 2)
    # A file knows of no devices.
    model.save(tmp_path / "model.keras")
    alone = cornu.saving.load_model(tmp_path / "model.keras")
    assert len(alone.weights[0].value.sharding.device_set) == 1
    model.load_weights(tmp_path / "model.keras")
    assert places() == before
    # A model with an optimizer's state, all of it on one device, goes on where it is told to.
    with spread.scope():
        assert_equal(
            [alone.train_on_batch(X[:7], Y[:7]), *alone.get_weights()],
            [model.train_on_batch(X[:7], Y[:7]), *model.get_weights()],
        )
    model = alone
    for name, found in places().items():
        assert found.is_equivalent_to(before[name], len(found.spec)), name


def example(kind):
    """A network, its inputs and labels; two of the kinds have masks."""
    if kind == "pictures":
        inputs, x = cornu.Input((8, 8, 2)), X[:8]
        hidden = layers.Conv2D(8, 3, name="conv", activation="relu")(inputs)
        hidden = layers.Flatten()(layers.BatchNormalization()(hidden))
    else:
        inputs, x = (
            cornu.Input((7,), dtype="int32"),
            np.random.default_rng(1).integers(1, 20, (8, 7)),
        )
        x[:, 4:] *= np.arange(8)[:, None] % 3 > np.arange(3)
        hidden = layers.Embedding(20, 8, mask_zero=True)(inputs)
        if kind == "attention":
            hidden = layers.MultiHeadAttention(2, 4)(hidden, hidden)
            hidden = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
        else:
            hidden = layers.Bidirectional(layers.LSTM(8))(hidden)
    outputs = layers.Dense(4, "softmax", name="head", dtype="float32")(layers.Dropout(0.3)(hidden))
    return cornu.Model(inputs, outputs, name="net"), x, np.eye(4, dtype="float32")[Y[:8]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:These keys of the LayoutMap")
@pytest.mark.parametrize("kind", ["pictures", "sequences", "attention"])
@pytest.mark.parametrize(
    "policy, close", [("float32", 1e-5), ("mixed_bfloat16", 1e-2), ("mixed_float16", 2e-3)]
)
def test_one_step_in_each_dtype(kind, policy, close):
    """In 16 bits the loss is as close, and each device rounds its part of the gradients."""

    def step():
        cornu.utils.clear_session()
        cornu.utils.set_random_seed(1)
        cornu.config.set_dtype_policy(policy)
        try:
            model, x, y = example(kind)
        finally:
            cornu.config.set_dtype_policy("float32")
        metrics = [cornu.metrics.TopKCategoricalAccuracy(2), cornu.metrics.AUC()]
        optimizer = cornu.optimizers.SGD(1.0)
        if policy == "mixed_float16":
            # With the default scale, gradients of attention overflow, and the step is left out.
            optimizer = cornu.optimizers.LossScaleOptimizer(optimizer, 128.0)
        model.compile(
            optimizer,
            "categorical_crossentropy",
            metrics=metrics,
            weighted_metrics=[cornu.metrics.AUC(name="weighted")],
        )
        before = model.get_weights()
        rates = dict(enumerate((0.5, 1.0, 2.0, 3.0)))
        weights = np.linspace(0, 2, 8, dtype="float32")
        logs = model.train_on_batch(x, y, weights, rates, return_dict=True)
        after = model.get_weights()
        return logs, np.concatenate([(b - a).ravel() for a, b in zip(after, before, strict=True)])

    logs, change = step()
    for way in WAYS.values():
        with way().scope():
            found, other = step()
        for name, value in logs.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
        assert np.linalg.norm(other - change) < close * np.linalg.norm(change)


@pytest.mark.slow
def test_step_by_step():
    """Without compiling, by a step of the user's, and changed from one distribution to another."""

    class Own(cornu.Model):
        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            return {**logs, "rows": np.float32(1) * data[0].shape[0]}, state

    losses = []
    for ways in ([None] * 5, [None, "data", "sharded", "model", None]):
        for eagerly in (False, True):
            model = model_of()
            model = model if eagerly else Own(model.inputs, model.outputs, name="net")
            model.compile(
                cornu.optimizers.Adam(0.01), "sparse_categorical_crossentropy", run_eagerly=eagerly
            )
            for way in ways:
                with WAYS[way]().scope() if way else contextlib.nullcontext():
                    history = model.fit(X[:16], Y[:16], 8, verbose=0, shuffle=False).history
                losses.append(history["loss"][0])
                assert eagerly or history["rows"] == [8]
    for part in range(1, 4):
        np.testing.assert_allclose(losses[5 * part : 5 * part + 5], losses[:5], rtol=1e-4)


def test_beside_keras():
    """The same losses and the same weights' layouts as Keras, on the same devices."""
    try:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=DEVICES))
        theirs = model_of(keras)
        with WAYS["data"]().scope():
            ours = model_of()
            ours.set_weights(theirs.get_weights())
            layers_without = [layer for layer in ours.layers if isinstance(layer, layers.Dropout)]
            for layer in layers_without:
                layer.rate = 0.0
            for layer in theirs.layers:
                if isinstance(layer, keras.layers.Dropout):
                    layer.rate = 0.0
            found = [
                model.fit(X[:16], Y[:16], batch_size=8, epochs=2, shuffle=False, verbose=0)
                for model in (ours, theirs)
            ]
        for name, values in found[1].history.items():
            np.testing.assert_allclose(found[0].history[name], values, rtol=1e-4, err_msg=name)
        for mine, other in zip(ours.weights, theirs.weights, strict=True):
            assert mine.value.sharding.is_equivalent_to(other.value.sharding, mine.ndim)
    finally:
        keras.distribution.set_distribution(None)
