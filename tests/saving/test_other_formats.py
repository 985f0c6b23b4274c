"""Safetensors, matching by name, and `.h5` files as Keras 2 wrote them."""

import json

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import cornu
from cornu import layers

X = np.random.default_rng(0).standard_normal((5, 8, 8, 1)).astype("float32")


def made(classes=3, dtype=None):
    return cornu.Sequential(
        [
            cornu.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="first", dtype=dtype),
            layers.BatchNormalization(name="norm", dtype=dtype),
            layers.Flatten(name="flat"),
            layers.Dense(classes, name=f"top_{classes}", dtype=dtype),
        ]
    )


def filled(model, seed=0):
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(0.1, 1, w.shape) for w in model.weights])
    return model


def same(mine, other):
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_safetensors(tmp_path, dtype):
    model = filled(made(dtype=dtype))
    path = tmp_path / "m.safetensors"
    model.save_weights(path)
    other = made(dtype=dtype)
    other.load_weights(path)
    same(other.weights, model.weights)
    if dtype != "bfloat16":
        stored = load_file(path)
        assert sorted(stored)[:2] == [
            "layers/batch_normalization/beta",
            "layers/batch_normalization/gamma",
        ]
        same([stored["layers/conv2d/kernel"]], [model.layers[0].kernel])
    with pytest.raises(
        cornu.saving.FileFormatError, match=r"layers/dense/kernel.*\(144, 5\).*\(144, 3\)"
    ):
        made(5, dtype).load_weights(path)
    part = filled(made(5, dtype), 1)
    part.load_weights(path, skip_mismatch=True)
    same(part.layers[0].weights, model.layers[0].weights)
    assert part.layers[-1].weights[0].shape == (144, 5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_in_hdf5(tmp_path, dtype):
    model = filled(made(dtype=dtype))
    model.save_weights(tmp_path / "m.weights.h5")
    other = made(dtype=dtype)
    other.load_weights(tmp_path / "m.weights.h5")
    same(other.weights, model.weights)
    assert other.weights[0].numpy().dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))


def test_by_name(tmp_path):
    """For transfer learning: layers of the same name are loaded, whatever surrounds them."""
    model = filled(made())
    for name in ("m.weights.h5", "m.keras"):
        (model.save if name == "m.keras" else model.save_weights)(tmp_path / name)
        other = cornu.Sequential(
            [
                cornu.Input((8, 8, 1)),
                layers.Conv2D(4, 3, padding="same", name="new"),
                layers.ZeroPadding2D(name="pad"),
                layers.Conv2D(1, 1, name="one"),
                layers.Conv2D(4, 3, name="first"),
                layers.BatchNormalization(name="norm"),
                layers.Flatten(name="flat"),
                layers.Dense(5, name="top_5"),
            ]
        )
        filled(other, 1)
        before = other.get_layer("new").get_weights(), other.get_layer("top_5").get_weights()
        other.load_weights(tmp_path / name, by_name=True)
        same(other.get_layer("first").weights, model.get_layer("first").weights)
        same(other.get_layer("norm").weights, model.get_layer("norm").weights)
        after = other.get_layer("new").get_weights(), other.get_layer("top_5").get_weights()
        same([*after[0], *after[1]], [*before[0], *before[1]])
    other.get_layer("one").name = "norm"
    with pytest.raises(cornu.saving.FileFormatError, match="'norm'"):
        other.load_weights(tmp_path / name, by_name=True)


def compiled(optimizer, **kwargs):
    model = cornu.Sequential([cornu.Input((4,)), layers.Dense(3)])
    model.compile(optimizer, "mse", **kwargs)
    return model


def trained(optimizer):
    model = compiled(optimizer)
    model.fit(X[:, 0, :4, 0], np.zeros((5, 3)), batch_size=2, verbose=0)
    return model


def test_the_optimizer_goes_with_the_weights(tmp_path):
    path = tmp_path / "m.weights.h5"
    schedule = cornu.optimizers.schedules.CosineDecay(0.1, 10)
    for optimizer in ("sgd", lambda: cornu.optimizers.SGD(schedule, momentum=0.5)):
        make = optimizer if callable(optimizer) else lambda: "sgd"
        model, other = trained(make()), compiled(make())
        model.save_weights(path)
        other.load_weights(path)
        assert int(other.optimizer.iterations) == 3
        same(other.optimizer.variables, model.optimizer.variables)
    # Another optimizer, or none: the weights come all the same.
    other = compiled("adam")
    with pytest.warns(UserWarning, match=r"state of the optimizer.*begins anew"):
        other.load_weights(path)
    assert int(other.optimizer.iterations) == 0
    same(other.weights, model.weights)
    other = cornu.Sequential([cornu.Input((4,)), layers.Dense(3)])
    other.load_weights(path)
    same(other.weights, model.weights)
    # An optimizer that has done nothing has nothing to lose.
    compiled("adam").save_weights(path)
    trained("adam").load_weights(path)
    compiled("sgd").load_weights(path)


def test_a_learning_rate_from_a_file_is_a_warning(tmp_path):
    trained(cornu.optimizers.Adam(0.5)).save_weights(tmp_path / "m.weights.h5")
    other = compiled(cornu.optimizers.Adam(0.25))
    with pytest.warns(UserWarning, match=r"learning rate is 0\.5 now.*not 0\.25"):
        other.load_weights(tmp_path / "m.weights.h5")
    assert float(other.optimizer.learning_rate) == 0.5


def exchanged(k):
    """A model with a model in it, trained; for `k` Keras or Cornu."""
    x = k.Input((4,))
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(3), k.layers.BatchNormalization()])
    model = k.Model(x, {"o": k.layers.Add(name="o")([k.layers.Dense(3)(x), inner(x)])})
    metrics = {"o": [k.metrics.MeanSquaredError(name="m")]}
    model.compile(k.optimizers.SGD(0.1, momentum=0.5), {"o": "mean_squared_error"}, metrics=metrics)
    model.fit(X[:, 0, :4, 0], {"o": np.zeros((5, 3))}, verbose=0)
    return model


@pytest.mark.parametrize("writer, reader", [(cornu, cornu), (cornu, keras), (keras, cornu)])
def test_whole_models_in_h5(writer, reader, tmp_path):
    model = exchanged(writer)
    model.save(tmp_path / "m.h5")
    loaded = reader.models.load_model(tmp_path / "m.h5")
    x, y = X[:, 0, :4, 0], {"o": np.zeros((5, 3))}
    outputs = [m.predict(x, verbose=0)["o"] for m in (loaded, model)]
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    values = [m.evaluate(x, y, verbose=0, return_dict=True) for m in (loaded, model)]
    # Keras calls the metric of a dict's output in two ways.
    np.testing.assert_allclose(*(list(v.values()) for v in values), rtol=1e-5)
    if reader is cornu:
        # Keras loses the state of the optimizer here.
        same(loaded.optimizer.variables, model.optimizer.variables)


def test_what_cannot_be_described_is_no_reason_to_lose_a_model(tmp_path):
    import optax

    model, other = trained(optax.adam(0.1)), compiled(optax.adam(0.1))
    for name in ("m.keras", "m.h5"):
        with pytest.warns(UserWarning, match="without how it was compiled.*Optax"):
            model.save(tmp_path / name)
        loaded = cornu.models.load_model(tmp_path / name)
        same(loaded.weights, model.weights)
        assert not loaded.compiled
    model.save(tmp_path / "m.keras", include_optimizer=False)
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    same(other.optimizer.variables, model.optimizer.variables)


class Scaled(cornu.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(2, dtype="bfloat16")
        self.scale = self.add_weight(shape=(2,), initializer="uniform")

    def call(self, x):
        return self.dense(x) * self.scale


def test_own_models_in_h5(tmp_path):
    model, scope = Scaled(), {"Scaled": Scaled}
    model.compile("adam", "mse")
    model.fit(X[:, 0, :4, 0], np.zeros((5, 2)), verbose=0)
    for name, given in (("m.h5", {}), ("m.hdf5", {"include_optimizer": False})):
        model.save(tmp_path / name, **given)
        loaded = cornu.models.load_model(tmp_path / name, scope)
        same(loaded.weights, model.weights)
        assert loaded.compiled != bool(given)
    model.save(tmp_path / "m.keras", include_optimizer=False)
    loaded = cornu.models.load_model(tmp_path / "m.keras", scope)
    assert not loaded.compiled


def test_many_names_in_h5(tmp_path):
    """An attribute of an HDF5 file holds so many bytes."""
    names = [f"{i}_".ljust(3000, "x") for i in range(45)]
    model = cornu.Sequential([cornu.Input((1,)), *(layers.Dense(1, name=n) for n in names)])
    model.save(tmp_path / "m.h5")
    same(cornu.models.load_model(tmp_path / "m.h5").weights, model.weights)


def test_folders(tmp_path):
    model, path = trained("adam"), tmp_path / "folder"
    for _ in range(2):
        model.save(path, zipped=False)
        assert sorted(p.name for p in path.iterdir()) == [
            "config.json",
            "metadata.json",
            *(["mine.txt"] if (path / "mine.txt").exists() else []),
            "model.weights.h5",
        ]
        (path / "mine.txt").write_text("stays")
        model.set_weights([w + 1 for w in model.get_weights()])
    model.save(path, zipped=False)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    for loaded in (cornu.models.load_model(path), keras.models.load_model(path)):
        same(loaded.get_weights(), model.get_weights())
        same(loaded.optimizer.variables, model.optimizer.variables)
    other = compiled("adam")
    other.load_weights(path)
    same(other.optimizer.variables, model.optimizer.variables)
    (path / "model.weights.h5").unlink()
    with pytest.raises(cornu.saving.FileFormatError, match=r"folder.*no model\.weights\.h5"):
        cornu.models.load_model(path)
    with pytest.raises(FileExistsError):
        model.save(path, overwrite=False, zipped=False)


@pytest.mark.parametrize(
    "name, given, match",
    [
        ("m.keras", {"zipped": False}, "should not end in"),
        ("m.h5", {"zipped": True}, "extension"),
        ("m.keras", {"save_format": "h5"}, "`save_format` argument is deprecated"),
        ("m", {"save_format": "tf"}, "deprecated"),
    ],
)
def test_arguments_that_contradict_each_other(name, given, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        compiled("sgd").save(tmp_path / name, **given)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="signatures"):
        compiled("sgd").save(tmp_path / "m.keras", signatures=None)


def as_keras_2(path, model, config):
    """An `.h5` file in the layout of Keras 2.15, for a model's weights."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        group = file if config is None else file.create_group("model_weights")
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            own = group.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            names = [f"{layer.name}/{w.name}:0" for w in weights]
            own.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                own[name] = weight.numpy()


CONVOLUTION = {
    "name": "first",
    "trainable": True,
    "dtype": "float32",
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "relu",
    "use_bias": True,
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
    "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}},
    "bias_regularizer": None,
    "activity_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
}
NORMALIZATION = {
    "name": "norm",
    "trainable": True,
    "dtype": {"class_name": "Policy", "config": {"name": "float32"}},
    "axis": [3],
    "momentum": 0.99,
    "epsilon": 0.001,
    "center": True,
    "scale": True,
}
DENSE = {"name": "top_3", "trainable": True, "dtype": "float32", "units": 3, "activation": "linear"}
STACK = [
    ("Conv2D", CONVOLUTION),
    ("BatchNormalization", NORMALIZATION),
    (
        "Flatten",
        {"name": "flat", "trainable": True, "dtype": "float32", "data_format": "channels_last"},
    ),
    ("Dense", DENSE),
]


def keras_2_sequential():
    first = {**CONVOLUTION, "batch_input_shape": [None, 8, 8, 1]}
    stack = [("Conv2D", first), *STACK[1:]]
    entries = [{"class_name": name, "config": config} for name, config in stack]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": entries}}


def keras_2_graph():
    start = {
        "batch_input_shape": [None, 8, 8, 1],
        "dtype": "float32",
        "sparse": False,
        "ragged": False,
    }
    entries, before = [], "in"
    for name, config in [("InputLayer", {**start, "name": "in"}), *STACK]:
        nodes = [] if name == "InputLayer" else [[[before, 0, 0, {}]]]
        entries.append(
            {"class_name": name, "config": config, "name": config["name"], "inbound_nodes": nodes}
        )
        before = config["name"]
    config = {"name": "m", "trainable": True, "layers": entries}
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["top_3", 0, 0]]}
    return {"class_name": "Functional", "config": {**config, **ends}}


@pytest.mark.parametrize(
    "config",
    [
        keras_2_sequential(),
        {"class_name": "Sequential", "config": keras_2_sequential()["config"]["layers"]},
        keras_2_graph(),
    ],
    ids=["sequential", "sequential without a name", "graph"],
)
def test_whole_models_of_keras_2(tmp_path, config):
    model = filled(made())
    as_keras_2(tmp_path / "m.h5", model, config)
    again = cornu.saving.load_model(tmp_path / "m.h5")
    same(again.weights, model.weights)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert again.layers[-4].kernel_regularizer.l2 == pytest.approx(0.01)
    # What `to_json` and `get_config` of Keras 2 gave. A graph was named "Model" at first.
    names = {"Functional": "Model"}
    of_an_age = {**config, "class_name": names.get(config["class_name"], config["class_name"])}
    for text in (config, {**of_an_age, "keras_version": "2.2.4"}):
        again = cornu.models.model_from_json(json.dumps(text))
        is_same(again, model)
    if "input_layers" in config["config"]:
        is_same(cornu.Model.from_config(config["config"]), model)


def is_same(again, model):
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(X), model(X))
    assert again.layers[-4].kernel_regularizer.l2 == pytest.approx(0.01)


def test_damaged_graphs_of_keras_2():
    config = keras_2_graph()
    config["config"]["layers"][1]["inbound_nodes"] = [[["top_3", 0, 0, {}]]]
    with pytest.raises(ValueError, match="contains a cycle"):
        cornu.models.model_from_json(json.dumps(config))
    config["config"]["layers"][1]["inbound_nodes"] = [[["gone", 0, 0, {}]]]
    with pytest.raises(ValueError, match="'gone'"):
        cornu.models.model_from_json(json.dumps(config))


def test_weights_of_keras_2(tmp_path):
    model = filled(made())
    as_keras_2(tmp_path / "w.h5", model, None)
    other = made()
    other.load_weights(tmp_path / "w.h5")
    same(other.weights, model.weights)
    other = filled(made(5), 1)
    before = other.layers[-1].get_weights()
    other.load_weights(tmp_path / "w.h5", by_name=True)
    same(other.layers[0].weights, model.layers[0].weights)
    same(other.layers[-1].weights, before)
    with pytest.raises(cornu.saving.FileFormatError, match=r"top_5.*\(144, 5\).*\(144, 3\)"):
        other.load_weights(tmp_path / "w.h5")
    with pytest.raises(cornu.saving.FileFormatError, match="holds weights, but no model"):
        cornu.saving.load_model(tmp_path / "w.h5")
