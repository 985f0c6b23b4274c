import importlib.machinery
import sys
import types

import keras
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers
from cornu.core.dtype import set_image_data_format

RANDOM = np.random.RandomState(0)
ROWS = (RANDOM.randn(20, 5, 3) * 4 + 2).astype("float32")
IMAGES = RANDOM.uniform(0, 255, (2, 8, 6, 3)).astype("float32")
PIXELS = RANDOM.randint(0, 256, (2, 8, 6, 3)).astype("uint8")


@pytest.mark.parametrize(
    "arguments", [{"scale": 1 / 255}, {"scale": [1.0, 2.0, 3.0], "offset": [0.5, 0.0, -1.0]}]
)
def test_rescaling(arguments):
    compare_with_keras("Rescaling", arguments, IMAGES)
    ours, theirs = layers.Rescaling(**arguments), keras.layers.Rescaling(**arguments)
    mine = ours(PIXELS)
    np.testing.assert_array_equal(mine, theirs(PIXELS))
    assert mine.dtype == ours(layers.Input((8, 6, 3), dtype="uint8")).dtype == "float32"


def test_rescaling_by_arrays_round_trips():
    layer = layers.Rescaling(np.array([1.0, 2.0, 3.0], "float32"))
    twin = layers.deserialize(layers.serialize(layer))
    np.testing.assert_array_equal(layer(IMAGES), twin(IMAGES))


def test_rescaling_channels_first():
    set_image_data_format("channels_first")
    try:
        output = layers.Rescaling([1.0, 2.0])(np.ones((1, 2, 2, 2)))
    finally:
        set_image_data_format("channels_last")
    assert output[0, :, 0, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (2, -2), None])
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_adapts(axis, invert):
    ours = layers.Normalization(axis, invert=invert)
    theirs = keras.layers.Normalization(axis, invert=invert)
    ours.adapt(ROWS)
    theirs.adapt(ROWS)
    np.testing.assert_allclose(ours(ROWS), theirs(ROWS), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-5)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        assert mine.name == other.name and mine.shape == other.shape and mine.dtype == other.dtype


class Indexed:
    def __len__(self):
        return 4

    def __getitem__(self, i):
        if not 0 <= i < 4:
            raise KeyError(i)
        return ROWS[5 * i : 5 * i + 5], np.zeros(5)


@pytest.mark.parametrize(
    "data",
    [
        lambda: [ROWS[:3], ROWS[3:]],
        lambda: (ROWS[i : i + 7] for i in range(0, 20, 7)),
        lambda: Indexed(),
    ],
    ids=["list", "generator", "indexed"],
)
def test_normalization_adapts_to_batches(data):
    whole, parts = layers.Normalization(), layers.Normalization()
    whole.adapt(ROWS)
    parts.adapt(data())
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_adapting_again_forgets():
    layer = layers.Normalization()
    layer.adapt(ROWS * 100)
    layer.adapt(ROWS)
    np.testing.assert_allclose(np.mean(layer(ROWS), (0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(layer(ROWS), (0, 1)), 1, rtol=1e-5)


def test_adapted_values_are_read_live_by_compiled_code():
    """Nothing of the state may be baked into a trace as a constant."""
    import jax

    layer = layers.Normalization()
    layer.adapt(ROWS)
    run = jax.jit(lambda state, x: layer.stateless_call([], state, x)[0])
    before = run([v.value for v in layer.non_trainable_variables], ROWS)
    layer.adapt(ROWS + 100)
    after = run([v.value for v in layer.non_trainable_variables], ROWS)
    np.testing.assert_allclose(before, layer(ROWS + 100), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(after, layer(ROWS), rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": 2.0, "variance": 4.0},
        {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 9.0], "invert": True},
        {"axis": (1, 2), "mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 9.0]},
        {"axis": 1, "mean": np.arange(5.0), "variance": np.ones(5)},
        {"axis": None, "mean": 2.0, "variance": 4.0},
    ],
)
def test_normalization_with_given_values(arguments):
    compare_with_keras("Normalization", arguments, ROWS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mean": 1.0}, "both `mean` and `variance` must be set"),
        ({"mean": [1.0], "variance": 1.0}, "must have the same shape"),
        ({"mean": [[1.0]], "variance": [[1.0]]}, "rank of `mean` must be less than or equal"),
    ],
)
def test_bad_statistics(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.Normalization(**arguments)


def test_normalization_bad_data():
    with pytest.raises(ValueError, match="empty iterable"):
        layers.Normalization().adapt([])
    with pytest.raises(TypeError, match="Unsupported data type"):
        layers.Normalization().adapt(3)
    with pytest.raises(TypeError, match=r"`.shape`.*attribute. Got an element of type int"):
        layers.Normalization().adapt([1, 2])
    with pytest.raises(ValueError, match=r"range \[-ndim, ndim\)"):
        layers.Normalization(axis=3).adapt(ROWS)
    with pytest.raises(ValueError, match="must have a known shape"):
        layers.Normalization(axis=1)(layers.Input((None, 3)))
    with pytest.raises(ValueError, match="incompatible shape"):
        layers.Normalization().adapt([ROWS, ROWS[..., :2]])
    with pytest.raises(ValueError, match="cannot `adapt`"):
        layers.Normalization(mean=1.0, variance=1.0).adapt(ROWS)
    layer = layers.Normalization()
    layer.adapt(ROWS)
    with pytest.raises(ValueError, match="incompatible shape"):
        layer.adapt(ROWS[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"interpolation": "nearest"},
        {"interpolation": "bicubic", "antialias": True},
        {"interpolation": "lanczos3", "crop_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True, "fill_value": 9.0},
        {"data_format": "channels_first"},
    ],
)
@pytest.mark.parametrize("size", [(4, 5), (9, 3)])
def test_resizing(arguments, size):
    arguments = {"height": size[0], "width": size[1], **arguments}
    ours, theirs = layers.Resizing(**arguments), keras.layers.Resizing(**arguments)
    for images in (IMAGES, PIXELS):
        mine, other = ours(images), theirs(images)
        assert mine.dtype == other.dtype == images.dtype
        np.testing.assert_allclose(
            np.asarray(mine, "float32"), np.asarray(other, "float32"), rtol=1e-6, atol=1e-4
        )
        assert ours.compute_output_shape(images.shape) == theirs.compute_output_shape(images.shape)
    assert {**ours.get_config(), "name": ""} == {**theirs.get_config(), "name": ""}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", [(3, 2), (8, 6), (9, 2)])
def test_center_crop(size, data_format):
    arguments = {"height": size[0], "width": size[1], "data_format": data_format}
    ours, theirs = layers.CenterCrop(**arguments), keras.layers.CenterCrop(**arguments)
    images = np.moveaxis(IMAGES, -1, 1) if data_format == "channels_first" else IMAGES
    for x in (images, images[0], images.astype("uint8")):
        mine, other = ours(x), theirs(x)
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-4)
    assert {**ours.get_config(), "name": ""} == {**theirs.get_config(), "name": ""}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.Resizing(0, 3), "`height` must be a positive integer"),
        (lambda: layers.CenterCrop(3, 2.5), "`width` must be a positive integer"),
        (lambda: layers.Resizing(2, 3, interpolation="area"), "argument `interpolation`"),
        (lambda: layers.Resizing(2, 3, fill_mode="wrap"), "argument `fill_mode`"),
        (
            lambda: layers.Resizing(2, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
            "Only one of",
        ),
        (lambda: layers.Resizing(2, 3)(np.ones((4, 4))), "to be rank 3 or 4"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_script_that_imports_tensorflow_where_there_is_none(monkeypatch):
    module = types.ModuleType("tensorflow")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    x = layers.Rescaling(0.5)(np.ones((1, 2), "float32"))
    np.testing.assert_array_equal(x, [[0.5, 0.5]])
