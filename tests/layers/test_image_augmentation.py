import keras
import numpy as np
import pytest

import cornu
from cornu import layers

IMAGES = np.random.RandomState(0).uniform(0, 255, (4, 8, 6, 3)).astype("float32")

CASES = [
    ("RandomBrightness", {"factor": 0.3}),
    ("RandomBrightness", {"factor": (-0.1, 0.5), "value_range": (20.0, 200.0)}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomContrast", {"factor": (0.5, 0.1)}),
    ("RandomContrast", {"factor": [0.5, 0.7], "value_range": [20.0, 200.0]}),
    ("RandomCrop", {"height": 3, "width": 2}),
    ("RandomCrop", {"height": 8, "width": 2}),
    ("RandomFlip", {}),
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomFlip", {"mode": "vertical"}),
    ("RandomRotation", {"factor": 0.2}),
    ("RandomRotation", {"factor": (0.1, 0.3), "fill_mode": "wrap", "interpolation": "nearest"}),
    ("RandomTranslation", {"height_factor": 0.3, "width_factor": (-0.2, 0.1)}),
    ("RandomTranslation", {"height_factor": 0.3, "width_factor": 0.2, "fill_mode": "nearest"}),
    ("RandomZoom", {"height_factor": 0.4}),
    (
        "RandomZoom",
        {
            "height_factor": (-0.4, -0.2),
            "width_factor": 0.3,
            "fill_mode": "constant",
            "fill_value": 7.0,
        },
    ),
]

every_case = pytest.mark.parametrize("name, arguments", CASES)


@every_case
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_same_pixels_as_keras(name, arguments, data_format):
    """Equal seeds draw equal numbers, in the same order."""
    arguments = {**arguments, "seed": 5, "name": "augment", "data_format": data_format}
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    images = np.moveaxis(IMAGES, -1, 1) if data_format == "channels_first" else IMAGES
    for x in (images, images[0]):
        mine, other = ours(x, training=True), theirs(x, training=True)
        if name in ("RandomBrightness", "RandomCrop", "RandomFlip"):
            np.testing.assert_array_equal(mine, other)
        # Positions between pixels are rounded, and neighbours differ by up to 255.
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=2e-3)
    assert ours.get_config() == theirs.get_config()
    np.testing.assert_array_equal(ours.generator.state.numpy(), np.asarray(theirs.generator.state))


@every_case
def test_inference_changes_nothing(name, arguments):
    layer = getattr(layers, name)(**arguments)
    output = layer(IMAGES, training=False)
    if name == "RandomCrop":
        expected = keras.layers.Resizing(**arguments, crop_to_aspect_ratio=True)(IMAGES)
        np.testing.assert_allclose(output, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(output, IMAGES)
    assert layer(IMAGES.astype("uint8"), training=False).dtype == "float32"


@every_case
def test_trains_by_default_and_each_time_anew(name, arguments):
    if arguments.get("height") == IMAGES.shape[1]:
        return
    layer = getattr(layers, name)(**arguments, seed=3)
    draws = {np.asarray(layer(IMAGES)).tobytes() for _ in range(6)}
    assert len(draws) > 1


def test_pixels_of_eight_bits_do_not_wrap_around():
    layer = layers.RandomBrightness((-1.0, -1.0))
    assert np.array_equal(layer(IMAGES.astype("uint8")), np.zeros(IMAGES.shape))


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("AutoContrast", {}),
        ("MixUp", {"seed": 5}),
        ("RandomBrightness", {"factor": 0.9, "seed": 5}),
        ("RandomColorDegeneration", {"factor": 0.6, "seed": 5}),
        ("RandomColorJitter", {"brightness_factor": 0.5, "contrast_factor": 0.5, "seed": 5}),
        ("RandomErasing", {"seed": 5}),
        ("RandomRotation", {"factor": 0.2, "seed": 5}),
        ("RandomSharpness", {"factor": 0.7, "seed": 5}),
        ("Solarization", {"seed": 5}),
    ],
)
def test_images_of_integers_are_changed_as_floats(name, arguments):
    images = IMAGES.astype("uint8")
    whole = getattr(layers, name)(dtype="uint8", **arguments)(images)
    exact = getattr(layers, name)(**arguments)(images)
    assert whole.dtype == "uint8"
    assert np.abs(whole - np.asarray(exact)).max() <= 1
    assert (np.asarray(exact) != images).any()


def test_flip_mirrors_half_of_the_images():
    x = np.repeat(IMAGES[:1], 400, 0)
    output = np.asarray(layers.RandomFlip("horizontal", seed=0)(x))
    mirrored = (output == x[:, :, ::-1]).all((1, 2, 3))
    kept = (output == x).all((1, 2, 3))
    assert (mirrored | kept).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_crop_is_a_window():
    layer = layers.RandomCrop(7, 4, seed=0)
    columns = np.arange(6.0).reshape(1, 1, 6, 1).repeat(8, 1)
    starts = {float(layer(columns)[0, 0, 0, 0]) for _ in range(40)}
    assert starts == {0.0, 1.0, 2.0}
    # As in Keras, where there is room in one direction only, it is the middle.
    assert layers.RandomCrop(8, 4)(columns)[0, 0, 0, 0] == 1.0


def test_unseeded_layers_draw_the_seeds_that_keras_draws():
    def crops(module):
        module.utils.set_random_seed(3)
        first, second = module.layers.RandomCrop(3, 3), module.layers.RandomCrop(3, 3)
        return [np.asarray(layer(IMAGES, training=True)) for layer in (first, second)]

    np.testing.assert_array_equal(crops(cornu), crops(keras))


class Labelled(layers.RandomFlip):
    """Flips the chosen images, and marks them in the labels."""

    def get_random_transformation(self, data, training=True, seed=None):
        drawn = super().get_random_transformation(data, training, seed)
        return {"flips": np.array([True, False])[:, None, None, None], "drawn": drawn["flips"]}

    def transform_images(self, images, transformation, training=True):
        return super().transform_images(images + 1, transformation, training)

    def transform_labels(self, labels, transformation, training=True):
        return labels + 10 * transformation["flips"][:, 0, 0, 0]


def test_the_methods_of_image_layers_may_be_overridden():
    x = IMAGES[:2] + 1
    right = np.stack([x[0, :, ::-1], x[1]])
    layer = Labelled("horizontal")
    np.testing.assert_array_equal(layer(IMAGES[:2]), right)
    outputs = layer({"images": IMAGES[:2], "labels": np.array([1, 2])})
    np.testing.assert_array_equal(outputs["images"], right)
    assert outputs["labels"].tolist() == [11, 2]
    with pytest.raises(ValueError, match="or a dict with 'images' and perhaps 'labels'"):
        layer({"image": IMAGES[:2]})


def test_too_small_an_image_is_enlarged():
    output = layers.RandomCrop(12, 3)(IMAGES)
    expected = keras.layers.Resizing(12, 3, crop_to_aspect_ratio=True)(IMAGES)
    np.testing.assert_allclose(output, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.RandomFlip("diagonal"), "Unknown `mode` 'diagonal'"),
        (lambda: layers.RandomRotation(1.5), r"`factor` argument should be a number"),
        (lambda: layers.RandomRotation("x"), r"`factor` argument should be a number"),
        (lambda: layers.RandomRotation((0.1, 0.2, 0.3)), r"`factor` argument should be a number"),
        (lambda: layers.RandomRotation(0.1, fill_mode="mirror"), "Unknown `fill_mode` 'mirror'"),
        (lambda: layers.RandomZoom(0.1, interpolation="cubic"), "Unknown `interpolation` 'cubic'"),
        (lambda: layers.RandomZoom(-1.0), r"in the range \(-1.0, 1.0\]"),
        (lambda: layers.RandomZoom((-1.0, 0.5)), r"in the range \(-1.0, 1.0\]"),
        (lambda: layers.RandomTranslation(0.1, 2.0), "`width_factor` argument should be a number"),
        (lambda: layers.RandomContrast(-0.1), r"in the range \[0.0, 1.0\]"),
        (lambda: layers.RandomContrast(0.1, value_range=3), "`value_range` argument should be"),
        (lambda: layers.RandomBrightness(0.1, value_range=(1,)), "`value_range` argument should"),
        (lambda: layers.RandomCrop(0, 3), "`height` must be a positive integer"),
        (lambda: layers.RandomFlip()(np.ones((4, 4))), "to be rank 3 or 4"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
