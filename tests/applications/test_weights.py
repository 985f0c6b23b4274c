"""Files of weights: those of a path, and the published ones, here from a server on this machine."""

import hashlib
import json
import socket

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

import cornu
from cornu.applications import imagenet_utils, mobilenet, published

ARGUMENTS = {"input_shape": (32, 32, 3), "include_top": False, "alpha": 0.25}
pytestmark = pytest.mark.usefixtures("no_draws", "fresh_names")


@pytest.fixture
def theirs():
    """A small network of Keras', each weight with numbers of its own."""
    model = keras.applications.MobileNet(weights=None, **ARGUMENTS)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape).astype("float32") for w in model.weights])
    return model


def assert_equal_weights(ours, theirs):
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), np.asarray(b.value))


def as_published(model, path):
    """A file as those that were published: the weights of each layer under its name."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path.read_bytes()


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5", "published"])
def test_a_file_that_keras_wrote(theirs, tmp_path, ending):
    path = tmp_path / f"file{'.h5' if ending == 'published' else ending}"
    if ending == "published":
        as_published(theirs, path)
    elif ending == ".weights.h5":
        theirs.save_weights(path)
    else:
        theirs.save(path)
    assert_equal_weights(cornu.applications.MobileNet(weights=path, **ARGUMENTS), theirs)
    with pytest.raises(ValueError, match="conv"):
        cornu.applications.MobileNet(weights=path, **{**ARGUMENTS, "alpha": 0.5})


@pytest.mark.parametrize("name", ["ConvNeXtTiny", "EfficientNetB0"])
def test_networks_with_more_than_layers_of_numbers(name, tmp_path):
    """Nested models, statistics of normalization, numbered names."""
    arguments = {"input_shape": (32, 32, 3), "include_top": False}
    model = getattr(keras.applications, name)(weights=None, **arguments)
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(1, 9, w.shape).astype(w.dtype) for w in model.weights])
    as_published(model, tmp_path / "file.h5")
    ours = getattr(cornu.applications, name)(weights=tmp_path / "file.h5", **arguments)
    assert_equal_weights(ours, model)


@pytest.mark.parametrize(
    "name",
    ["ConvNeXtTiny", "MobileNetV3Small", pytest.param("InceptionResNetV2", marks=pytest.mark.slow)],
)
def test_model_files_both_ways(name, tmp_path):
    size = 75 if name.startswith("Inception") else 32
    arguments = {"weights": None, "input_shape": (size, size, 3), "include_top": False}
    for one, other in ((cornu, keras), (keras, cornu)):
        model = getattr(one.applications, name)(**arguments)
        model.save(tmp_path / "file.keras")
        loaded = other.saving.load_model(tmp_path / "file.keras")
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
        assert_equal_weights(loaded, model)


def test_published_weights_are_downloaded_once(theirs, server, cache, monkeypatch, tmp_path):
    arguments = {**ARGUMENTS, "input_shape": (128, 128, 3)}
    name = "mobilenet_2_5_128_tf_no_top.h5"
    content = as_published(theirs, tmp_path / "file.h5")
    server.url(f"mobilenet/{name}", content)
    monkeypatch.setattr(mobilenet, "ADDRESS", f"{server.address}/")
    for _ in range(2):
        assert_equal_weights(cornu.applications.MobileNet(**arguments), theirs)
    assert server.asked == [f"mobilenet/{name}"]
    assert (cache / "models" / name).read_bytes() == content


def test_a_wrong_hash_is_an_error(server, cache):
    file = published.Published(
        "a.h5", server.url("a.h5", b"weights"), hashlib.md5(b"x").hexdigest()
    )
    with pytest.raises(ValueError, match="weights=None"):
        published.find_weights(file)


def test_an_unreachable_server(cache, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        monkeypatch.setattr(mobilenet, "ADDRESS", address)
        with pytest.raises(ConnectionError) as caught:
            cornu.applications.MobileNet(**{**ARGUMENTS, "input_shape": (128, 128, 3)})
    message = str(caught.value)
    assert f"{address}mobilenet/mobilenet_2_5_128_tf_no_top.h5" in message
    assert str(cache / "models" / "mobilenet_2_5_128_tf_no_top.h5") in message
    assert "weights=None" in message


@pytest.fixture
def class_index(server, cache, monkeypatch):
    names = {str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}
    content = json.dumps(names).encode()
    address = server.url("imagenet_class_index.json", content)
    file = published.Published("index.json", address, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(imagenet_utils, "_CLASSES", file)
    imagenet_utils._class_index.cache_clear()
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", names)
    yield server
    imagenet_utils._class_index.cache_clear()


def test_predictions_are_named(class_index):
    numbers = np.random.default_rng(0).uniform(size=(3, 1000)).astype("float32")
    numbers[1, 5:9] = 2
    for top in (1, 5):
        ours = cornu.applications.resnet50.decode_predictions(numbers, top=top)
        assert ours == keras.applications.resnet50.decode_predictions(numbers, top=top)
    assert class_index.asked == ["imagenet_class_index.json"]
    with pytest.raises(ValueError, match="2D array of shape"):
        cornu.applications.vgg16.decode_predictions(numbers[:, :10])
    with pytest.raises(ValueError, match="at least 1"):
        cornu.applications.vgg16.decode_predictions(numbers, top=0)


QUICK = ("ConvNeXtTiny", "EfficientNetV2B0", "ResNet50V2", "VGG19")


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *(
            pytest.param(name, {}, marks=() if name in QUICK else pytest.mark.slow)
            for name in dir(keras.applications)
            if name[0].isupper()
        ),
        ("MobileNet", {"alpha": 0.75, "input_shape": (160, 160, 3)}),
        ("MobileNetV2", {"alpha": 1.3, "input_shape": (96, 96, 3)}),
        ("MobileNetV3Small", {"minimalistic": True}),
        ("MobileNetV3Large", {"alpha": 0.75}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*Weights for input shape")
def test_files_and_hashes_are_those_of_keras(name, arguments, include_top, monkeypatch):
    class Asked(Exception):
        pass

    def ours(file):
        raise Asked(file.name, file.address, file.hash)

    def theirs(fname=None, origin=None, cache_subdir=None, file_hash=None):
        raise Asked(fname, origin, file_hash)

    monkeypatch.setattr("cornu.applications.network.find_weights", ours)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", theirs)
    asked = []
    for library in (cornu, keras):
        with pytest.raises(Asked) as caught:
            getattr(library.applications, name)(include_top=include_top, **arguments)
        asked.append(caught.value.args)
    assert asked[0] == asked[1]
