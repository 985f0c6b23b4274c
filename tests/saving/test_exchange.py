"""Files that Cornu writes are read by Keras, and the other way round: every layer, every optimizer.

`python benchmarks/files.py` writes what is measured here into docs/files.md.
"""

import json
import sys
from pathlib import Path

import jax
import keras
import numpy as np
import pytest

import cornu
from rounding import assert_sums_agree

sys.path.insert(0, str(Path(__file__).parent.parent / "layers"))
from test_contract import CASES, IN_TENSORFLOW, example, own_layers, shapes_of, spread

# What Keras does not have cannot be exchanged with it; nor can a layer that, in Keras, returns its very
# input, which a graph takes for a circle.
EVERY = sorted(
    name
    for name in set(CASES) & set(own_layers()) - {"Equalization"}
    if hasattr(keras.layers, name) and name not in IN_TENSORFLOW
)
BOTH = pytest.mark.parametrize(
    "writer, reader", [(cornu, keras), (keras, cornu)], ids=["to", "from"]
)
EACH = pytest.mark.parametrize(
    "writer, reader",
    [(cornu, cornu), (cornu, keras), (keras, cornu)],
    ids=["own", "to", "from"],
)
# Functions of the user's are registered with each library by the user.
OBJECTS = {"contract>double": lambda x: 2 * x, "double": lambda x: 2 * x}


def made(k, name):
    """A model of one layer, in this library."""
    case = CASES[name]
    arguments = dict(case.arguments)
    for held in {"layer", "cell"} & set(arguments):
        inner, *values = arguments[held]
        arguments[held] = getattr(k.layers, inner)(*values)
    if "Pooling" in name and not name.startswith(("Adaptive", "Global")):
        arguments["pool_size"] = 2
    if name == "RandomCrop":
        # Smaller ones are not cropped by Keras in inference.
        arguments.update(height=8, width=8)
    if name == "Lambda":
        arguments["output_shape"] = case.shape
    layer = getattr(k.layers, name)(**arguments)
    inputs = [k.Input(shape, dtype=case.dtype) for shape in shapes_of(name)]
    outputs = layer(*spread(name, inputs if isinstance(case.shape, list) else inputs[0]))
    return k.Model(inputs if len(inputs) > 1 else inputs[0], outputs)


def exchanged(name, writer, reader, folder):
    """Predictions after a file was written there and read here, and before.

    Also how many terms they are sums of at most, and what the terms' absolute values come to.
    """
    model, x = made(writer, name), example(name)
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.02, 0.3, w.shape).astype(w.dtype) for w in model.weights])
    if name == "Normalization" and writer is keras:
        model.layers[1].finalize_state()
    path = folder / f"{name}.keras"
    model.save(path)
    arguments = {"safe_mode": False} if name == "Lambda" and reader is keras else {}
    again = reader.saving.load_model(path, custom_objects=OBJECTS, **arguments)
    assert [w.path.split("/")[-1] for w in again.weights] == [
        w.path.split("/")[-1] for w in model.weights
    ]
    expected, found = (np.asarray(m.predict(x, verbose=0)) for m in (model, again))
    assert found.shape == expected.shape and found.dtype == expected.dtype
    # The weights are positive.
    size = np.abs(model.predict(jax.tree.map(np.abs, x), verbose=0)).max(initial=1)
    return found, expected, max(leaf[0].size for leaf in jax.tree.leaves(x)), size


@pytest.mark.filterwarnings("ignore::UserWarning:keras")
# Keras' MixUp.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
@BOTH
@pytest.mark.parametrize("name", EVERY)
def test_layers(name, writer, reader, tmp_path):
    assert_sums_agree(*exchanged(name, writer, reader, tmp_path))


def images(k):
    return [k.Input((8, 8, 1)), k.layers.Conv2D(4, 3, activation="relu"), k.layers.MaxPooling2D()]


def sequential(k):
    L = k.layers
    stack = [*images(k), L.BatchNormalization(), L.Flatten(), L.Dense(3, activation="softmax")]
    return k.Sequential(stack)


def graph(k):
    """Two inputs, two outputs, a shared layer, and a model within the model, within another."""
    L = k.layers
    shared = L.Conv2D(3, 3, name="shared")
    inner = k.Sequential([k.Input((6, 6, 3)), L.SeparableConv2D(2, 3), L.PReLU()], name="inner")
    middle_input = k.Input((6, 6, 3))
    middle = k.Model(middle_input, L.LeakyReLU()(inner(middle_input)), name="middle")
    a, b = k.Input((8, 8, 1), name="a"), k.Input((8, 8, 1), name="b")
    x, y = middle(shared(a)), middle(shared(b))
    z = L.Flatten()(L.Add()([x, y]))
    return k.Model(
        {"a": a, "b": b}, [L.Dense(3, activation="softmax")(z), L.Dense(3, activation="softmax")(z)]
    )


X = np.random.default_rng(0).standard_normal((160, 8, 8, 1)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 160).astype("int32")
OPTIMIZERS = ["sgd", "adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "adamw", "lion"]
OPTIMIZERS += ["ftrl", "adafactor"]


def data(model):
    if len(model.inputs) == 1:
        return X, Y
    return {"a": X, "b": X[::-1]}, [Y, Y]


def losses(model):
    x, y = data(model)
    history = model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    return model, history.history["loss"][0]


def named(value):
    return getattr(value, "__name__", value)


# Each optimizer is written for Keras and read from it; a file of one's own has both.
TRAINED = [(graph, "adam"), *((sequential, name) for name in OPTIMIZERS)]
GOES_ON = [(*ways, *how) for how in TRAINED for ways in ((cornu, keras), (keras, cornu))]
GOES_ON += [(cornu, cornu, *TRAINED[0])]
GOES_ON += [pytest.param(cornu, cornu, *how, marks=pytest.mark.slow) for how in TRAINED[1:]]


@pytest.mark.filterwarnings("ignore::UserWarning:keras")
@pytest.mark.parametrize("writer, reader, make, optimizer", GOES_ON, ids=named)
def test_training_goes_on(writer, reader, make, optimizer, tmp_path):
    """Twenty steps after the exchange, with the optimizer's state, the losses are still the same."""
    writer.utils.set_random_seed(0)
    model = make(writer)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    x, y = data(model)
    model.fit(x, y, batch_size=20, verbose=0)
    model.save(tmp_path / "m.keras")
    again = reader.saving.load_model(tmp_path / "m.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert int(again.optimizer.iterations) == len(X) // 20
    for mine, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
    expected, found = (np.asarray(jax_leaves(m.predict(x, verbose=0))) for m in (model, again))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert again.evaluate(x, y, verbose=0) == pytest.approx(
        model.evaluate(x, y, verbose=0), rel=1e-5
    )
    (_, mine), (_, other) = losses(again), losses(model)
    assert mine == pytest.approx(other, rel=1e-5)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def jax_leaves(value):
    return value if isinstance(value, list) else [value]


@EACH
@pytest.mark.parametrize("make", [sequential, graph])
def test_weights_alone(make, writer, reader, tmp_path):
    model, other = make(writer), make(reader)
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    for mine, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@BOTH
@pytest.mark.parametrize("make", [sequential, graph])
def test_configurations(make, writer, reader):
    text = make(writer).to_json()
    again = reader.models.model_from_json(text)
    described = [entry["config"]["name"] for entry in json.loads(text)["config"]["layers"]]
    assert [layer.name for layer in again.layers] == described[make is sequential :]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [sequential, graph])
def test_whole_h5_models_of_keras(make, tmp_path):
    model = make(keras)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = data(model)
    model.fit(x, y, batch_size=20, verbose=0)
    model.save(tmp_path / "m.h5")
    again = cornu.saving.load_model(tmp_path / "m.h5")
    for mine, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
    (_, mine), (_, other) = losses(again), losses(model)
    assert mine == pytest.approx(other, rel=1e-5)


def calls(k):
    """A graph of operations, of Python's operators, and of indices."""
    o = k.ops
    x, y = k.Input((4,)), k.Input((4,))
    z = o.relu(x + y) * 2.0 - 1.0 / (o.abs(y) + 1.5)
    z = o.concatenate([o.reshape(z, (-1, 2, 2)), o.expand_dims(x, 1)[:, :, 1:3]], axis=1)
    z = o.where(z > 0.5, z, o.square(z)) ** 2.0
    w = o.mean(z[:, 1], axis=-1, keepdims=True) + o.sum(z, axis=(1, 2))[:, None]
    return k.Model(
        [x, y],
        [o.clip(w, -5.0, 5.0), o.softmax(x, axis=-1), o.cast(o.argmax(y, axis=-1), "float32")],
    )


UNARY = "abs ceil cos exp floor log1p negative sigmoid sign sin softplus sqrt square tanh relu6 silu gelu"
UNARY += (
    " elu selu leaky_relu softsign log_sigmoid hard_sigmoid erf rsqrt isfinite logical_not round"
)
REDUCING = (
    "all amax any argmax cumsum logsumexp max mean min prod std sum var flip sort log_softmax"
)
BINARY = (
    "add arctan2 divide equal greater logaddexp maximum minimum multiply not_equal power subtract"
)


def one_operation(k, name):
    o, x, y = k.ops, k.Input((4,)), k.Input((4,))
    function = getattr(o, name)
    if name in BINARY.split():
        return k.Model([x, y], o.cast(function(x, y), "float32"))
    argument = {"axis": -1} if name in REDUCING.split() else {}
    return k.Model([x, y], o.cast(function(x, **argument), "float32") + y[:, :1])


@BOTH
@pytest.mark.parametrize("name", ["graph", *UNARY.split(), *REDUCING.split(), *BINARY.split()])
def test_operations(name, writer, reader, tmp_path):
    model = calls(writer) if name == "graph" else one_operation(writer, name)
    model.save(tmp_path / "m.keras")
    again = reader.saving.load_model(tmp_path / "m.keras")
    random = np.random.default_rng(0)
    x = [random.uniform(0.1, 2, (5, 4)).astype("float32") for _ in range(2)]
    expected, found = (m.predict(x, verbose=0) for m in (model, again))
    for a, b in zip(jax_leaves(expected), jax_leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert again.to_json().count("inbound_nodes") == model.to_json().count("inbound_nodes")
