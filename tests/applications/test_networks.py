"""The networks are Keras': layers, names, configuration, weights and outputs."""

import inspect
import json
import pickle
import re

import jax
import keras
import numpy as np
import pytest

import cornu

OURS, THEIRS = cornu.applications, keras.applications
NAMES = [name for name in dir(THEIRS) if name[0].isupper()]
MODULES = [name for name in dir(THEIRS) if name[0].islower()]
# One of each family, and the smallest images that it takes.
FAMILIES = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "EfficientNetV2S": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Large": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}
IN_FULL = {"ConvNeXtTiny", "MobileNetV3Small", "ResNet50"}
# Their families have a smaller one, or their parts are another's.
BIG = {"EfficientNetV2S", "MobileNetV3Large"}
STRUCTURES = [
    pytest.param(name, marks=() if name in FAMILIES.keys() - BIG else pytest.mark.slow)
    for name in NAMES
]


def size_of(name):
    return FAMILIES.get(name, 96)


# What one of the libraries writes, and the other leaves out where it is the default.
LEFT_OUT = {"mask": None, "training": False, "compile_config": {}, "optional": False}
ELSEWHERE = ("module", "registered_name", "shared_object_id", "build_config")


def comparable(config):
    if isinstance(config, dict):
        return {
            key: value[0] if key == "axis" and isinstance(value, list) else comparable(value)
            for key, value in config.items()
            if key not in ELSEWHERE and not (key in LEFT_OUT and value == LEFT_OUT[key])
        }
    return [comparable(value) for value in config] if isinstance(config, list | tuple) else config


def config_of(model):
    return comparable(declared(json.loads(json.dumps(model.get_config()))))


def declared(config):
    """Without the input layers of Sequentials that nobody gave one: Keras writes them, Cornu does not."""
    if isinstance(config, list):
        return [declared(each) for each in config]
    if not isinstance(config, dict):
        return config
    config = {name: declared(value) for name, value in config.items()}
    if "build_input_shape" in config and config["layers"][0]["class_name"] == "InputLayer":
        config["layers"] = config["layers"][1:]
    return config


def assert_same_structure(ours, theirs):
    assert ours.name == theirs.name
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert [w.name for w in ours.weights] == [re.sub(r"_\d+$", "", w.name) for w in theirs.weights]
    assert [w.trainable for w in ours.weights] == [w.trainable for w in theirs.weights]
    assert ours.count_params() == theirs.count_params()
    assert config_of(ours) == config_of(theirs)


def both(network, /, **arguments):
    models = []
    for library in (cornu, keras):
        library.utils.set_random_seed(3)
        models.append(getattr(library.applications, network)(**arguments))
    return models


@pytest.mark.usefixtures("no_draws", "fresh_names")
@pytest.mark.parametrize("name", STRUCTURES)
def test_layers_weights_and_configuration(name):
    size = size_of(name)
    arguments = {"weights": None, "input_shape": (size, size, 3), "classes": 7}
    ours, theirs = both(name, **arguments)
    assert_same_structure(ours, theirs)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        # Each has the seed that it has in Keras.
        assert np.asarray(a.value).flat[0] == np.asarray(b.value).flat[0], a.path


@pytest.mark.usefixtures("no_draws", "fresh_names")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("MobileNet", {"alpha": 0.5, "depth_multiplier": 2, "dropout": 0.3}),
        ("MobileNet", {"input_shape": (64, 64, 3), "include_top": False, "pooling": "max"}),
        ("MobileNet", {"include_top": False}),
        ("MobileNetV2", {"alpha": 1.4, "classifier_activation": None}),
        ("MobileNetV2", {"alpha": 0.35, "include_top": False, "pooling": "avg"}),
        ("MobileNetV3Small", {"minimalistic": True, "include_preprocessing": False, "alpha": 1.3}),
        ("MobileNetV3Small", {"dropout_rate": 0, "name": "small", "input_shape": (33, 48, 3)}),
        ("VGG16", {"include_top": False, "input_shape": (32, 48, 1)}),
        ("ResNet50", {"include_top": False, "pooling": "max"}),
        ("EfficientNetV2B0", {"include_preprocessing": False, "include_top": False}),
        ("EfficientNetV2B0", {"include_top": False, "input_shape": (32, 32, 1), "pooling": "max"}),
        ("ConvNeXtTiny", {"include_top": False, "include_preprocessing": False, "name": "next"}),
        ("ConvNeXtTiny", {"include_top": False, "pooling": "avg"}),
    ],
    ids=str,
)
def test_arguments(name, arguments):
    assert_same_structure(*both(name, weights=None, **arguments))


@pytest.mark.usefixtures("no_draws", "fresh_names", "channels_first")
@pytest.mark.parametrize(
    "name", ["EfficientNetB0", "InceptionV3", "MobileNetV3Small", "ResNet50V2"]
)
def test_channels_first(name):
    size = size_of(name)
    assert_same_structure(*both(name, weights=None, input_shape=(3, size, size + 1), classes=2))


@pytest.mark.usefixtures("channels_first")
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "DenseNet121", "NASNetMobile"])
def test_networks_for_channels_last_only(name):
    with pytest.raises(ValueError, match="does not support the `channels_first`"):
        getattr(OURS, name)(weights=None)


def random_weights(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        shape = weight.shape
        if weight.name in ("gamma", "moving_variance", "variance"):
            yield random.uniform(0.5, 1.5, shape).astype("float32")
        else:
            scale = np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.1
            yield random.normal(0, scale, shape).astype(weight.dtype)


def outputs(model, images):
    """What the model predicts, by a program that XLA has spent little time on."""

    def run(trainable, others, x):
        return model.stateless_call(trainable, others, x, training=False)[0]

    values = [
        [v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)
    ]
    compiled = jax.jit(run).lower(*values, images).compile({"xla_backend_optimization_level": 0})
    return np.asarray(compiled(*values, images))


@pytest.mark.usefixtures("no_draws", "fresh_names")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in IN_FULL else pytest.mark.slow) for name in FAMILIES],
)
def test_outputs(name):
    size = size_of(name)
    arguments = {"weights": None, "input_shape": (size, size, 3), "classes": 7}
    ours, theirs = both(name, **arguments, classifier_activation=None)
    weights = list(random_weights(ours))
    ours.set_weights(weights)
    theirs.set_weights(weights)
    images = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype("float32")
    expected = outputs(theirs, images)
    scale = np.abs(expected).max()
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(outputs(ours, images) / scale, expected / scale, atol=1e-4)


@pytest.mark.usefixtures("no_draws", "fresh_names")
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_an_input_tensor(name):
    models = []
    for library in (cornu, keras):
        inputs = library.Input((70, 70, 1), name="image")
        tensor = library.layers.Conv2D(3, 2, strides=2, name="first")(inputs)
        make = getattr(library.applications, name)
        models.append(make(weights=None, include_top=False, input_tensor=tensor))
    assert_same_structure(*models)
    assert models[0].layers[0].name == "image"


def test_two_networks_of_one_input(no_draws):
    inputs = cornu.Input((32, 32, 3))
    models = [
        cornu.applications.MobileNet(
            weights=None, include_top=False, input_tensor=inputs, pooling="avg", alpha=alpha
        )
        for alpha in (0.25, 0.5)
    ]
    assert models[0].inputs[0] is models[1].inputs[0] is inputs
    assert [model.output_shape for model in models] == [(None, 256), (None, 512)]


WRONG = [
    ({"weights": "nowhere.h5"}, "no such file"),
    ({"weights": 5}, "The `weights` argument should be either"),
    ({"weights": "imagenet", "classes": 10}, "`classes` should be 1000"),
    ({"weights": "imagenet", "classifier_activation": "relu"}, "Only `None` and `softmax`"),
    ({"weights": "imagenet", "input_shape": (96, 100, 3)}, "`input_shape` should be"),
    ({"weights": "imagenet", "include_top": False, "input_shape": (96, 96, 1)}, "3 channels"),
    ({"pooling": "mean"}, "`pooling` must be None"),
    ({"input_shape": (96, 96)}, "tuple of three integers"),
    ({"input_shape": (20, 96, 3)}, "Input size must be at least"),
    ({"input_shape": (None, None, 3)}, "static `input_shape`"),
    ({"input_tensor": np.zeros((1, 96, 96, 3))}, "must be a symbolic tensor"),
    ({"input_tensor": cornu.Input((96, 96, 3)), "input_shape": (90, 96, 3)}, "be left out"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("name", ["ResNet50", "InceptionV3", "EfficientNetB0", "ConvNeXtTiny"])
def test_wrong_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(OURS, name)(**{"weights": None, **arguments})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("MobileNet", {"alpha": 0.6}, "alpha can be one of"),
        ("MobileNet", {"depth_multiplier": 2}, "depth multiplier must be 1"),
        ("MobileNetV2", {"alpha": 0.6}, "alpha must be one of"),
        ("MobileNetV3Small", {"alpha": 0.5}, "alpha can be one of"),
        ("MobileNetV3Large", {"alpha": 0.75, "minimalistic": True}, "alpha can be one of"),
        (
            "NASNetLarge",
            {"weights": None, "input_shape": (None, None, 3), "include_top": False},
            "known size",
        ),
        ("MobileNetV3Small", {"weights": None, "input_shape": (20, 20, 3)}, "at least 32x32"),
        ("MobileNetV3Small", {"weights": None, "input_shape": (32, 32)}, "three integers"),
    ],
)
def test_wrong_arguments_of_one_family(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(OURS, name)(**arguments)


def test_unusual_channels_are_warned_of(no_draws):
    with pytest.warns(UserWarning, match="usually expects 1 or 3"):
        OURS.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 5))


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name):
    def shown(function):
        return [
            (p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()
        ]

    ours, theirs = getattr(OURS, name), getattr(THEIRS, name)
    assert shown(ours) == shown(theirs)
    assert pickle.loads(pickle.dumps(ours)) is ours


@pytest.mark.parametrize("module", MODULES)
def test_modules_have_the_names_of_keras(module):
    names = {n for n in dir(getattr(THEIRS, module)) if not n.startswith("_")}
    assert names == set(getattr(OURS, module).__all__)
