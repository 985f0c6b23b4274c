"""The networks whose weights come with the package."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cornu
from cornu.applications import LeNet5, SmallResNet

BOTH = pytest.mark.parametrize(
    ("make", "shape"),
    [(SmallResNet, (32, 32, 3)), (SmallResNet, (64, 64, 3)), (LeNet5, (28, 28, 1))],
)


def data_folder() -> Path:
    folder = os.environ.get("CORNU_DATA_DIR")
    if not folder:
        pytest.skip(
            "needs real images: set CORNU_DATA_DIR to a folder with mnist.npz and cifar10-jpeg.tar.gz"
        )
    return Path(folder)


@pytest.fixture(scope="module")
def photos():
    """The first thirty test images of each class of CIFAR-10."""
    path = data_folder() / "cifar10-jpeg.tar.gz"
    if not path.is_file():
        pytest.skip(f"needs the images of CIFAR-10: there is no {path}")
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and parts[0] == "test" and int(Path(parts[2]).stem) < 30:
                image = Image.open(io.BytesIO(archive.extractfile(member).read()))
                found.setdefault(parts[1], []).append(np.asarray(image))
            elif parts[0] == "train":
                break
    labels = np.repeat(np.arange(10), [len(found[name]) for name in sorted(found)])
    return np.concatenate([found[name] for name in sorted(found)]).astype("float32"), labels


@pytest.mark.parametrize("size", [32, 64])
def test_photos(photos, size):
    x, y = photos
    assert len(x) == 300
    x = np.asarray(cornu.layers.Resizing(size, size)(x))
    answers = SmallResNet(input_shape=(size, size, 3)).predict(x, verbose=0).argmax(1)
    assert np.mean(answers == y) > 0.84


def test_digits():
    if not (data_folder() / "mnist.npz").is_file():
        pytest.skip("needs mnist.npz in CORNU_DATA_DIR")
    _, (x, y) = cornu.datasets.mnist.load_data()
    assert np.mean(LeNet5().predict(x[:1000, ..., None], verbose=0).argmax(1) == y[:1000]) > 0.98


@BOTH
def test_parts_have_the_same_weights(make, shape, tmp_path):
    whole = make(input_shape=shape)
    x = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    maps = make(include_top=False, input_shape=shape)
    features = make(include_top=False, input_shape=shape, pooling="avg")
    np.testing.assert_allclose(features(x), np.mean(maps(x), (1, 2)), rtol=1e-5, atol=1e-5)
    names = {variable.path: variable.numpy() for variable in whole.weights}
    for variable in features.weights:
        np.testing.assert_array_equal(variable.numpy(), names[variable.path])
    logits = make(input_shape=shape, classifier_activation=None)(x)
    np.testing.assert_allclose(cornu.ops.softmax(logits), whole(x), rtol=1e-4, atol=1e-6)
    # On a tensor of a graph, whose own weights stay.
    inputs = cornu.Input(shape)
    before = cornu.layers.Conv2D(shape[2], 1, kernel_initializer="ones", name="stem_conv_before")(
        inputs
    )
    continued = make(input_tensor=before)
    channels = np.repeat(x.sum(-1, keepdims=True), shape[2], -1)
    np.testing.assert_allclose(continued(x), whole(channels), rtol=1e-4, atol=1e-5)
    whole.save(tmp_path / "model.keras")
    loaded = cornu.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), whole(x))


@pytest.mark.usefixtures("channels_first")
@BOTH
def test_channels_first(make, shape):
    x = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    rows, columns, channels = shape
    first = make(input_shape=(channels, rows, columns))(x.transpose(0, 3, 1, 2))
    cornu.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(first, make(input_shape=shape)(x), rtol=1e-4, atol=1e-5)


@BOTH
def test_what_does_not_fit_is_refused(make, shape):
    for name, value, message in (
        ("weights", "imagenet", "or the path of a file; there is no such file"),
        ("classifier_activation", "relu", "Only `None` and `softmax`"),
        ("classes", 7, "are for 10 classes"),
        ("weights", "elsewhere.h5", "no such file"),
        ("input_shape", (8, 8, shape[2]), "must be at least"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**{name: value})
    with (
        pytest.warns(UserWarning, match="2 input channels"),
        pytest.raises(ValueError, match="do not fit images of this shape"),
    ):
        make(input_shape=(*shape[:2], 2), include_top=False)
    assert make(weights=None, classes=7).output_shape == (None, 7)
