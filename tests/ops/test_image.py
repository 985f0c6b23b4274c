"""Functions of images beside those of Keras."""

import functools

import jax
import keras
import numpy as np
import pytest

import cornu
from cornu import ops

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.uniform(0, 1, (3, 9, 8, 3)).astype("float32")
TRANSFORMS = np.array(
    [
        [0.9, 0.2, 1.0, -0.1, 1.1, 0.5, 0, 0],
        [1, 0, -2.5, 0, 1, 3.0, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 0],
    ],
    "float32",
)
CORNERS = np.array([[0, 0], [7, 0], [0, 8], [7, 8]], "float32")
POINTS = CORNERS + RANDOM.uniform(-1, 1, (3, 4, 2)).astype("float32")

CALLS = {
    "rgb_to_grayscale": {},
    "rgb_to_hsv": {},
    "hsv_to_rgb": {},
    "gaussian_blur": {"kernel_size": (3, 5), "sigma": (0.7, 1.4)},
    "sobel_edges": {},
    "crop_images": {"top_cropping": 1, "right_cropping": 2, "target_height": 5, "target_width": 4},
    "pad_images": {
        "bottom_padding": 1,
        "right_padding": 2,
        "target_height": 12,
        "target_width": 11,
    },
    "extract_patches": {"size": (3, 2), "strides": 1, "padding": "same"},
    "affine_transform": {"transform": TRANSFORMS},
    "perspective_transform": {"start_points": np.stack([CORNERS] * 3), "end_points": POINTS},
}
for _mode in ("nearest", "wrap", "mirror", "reflect"):
    CALLS[f"affine_transform {_mode}"] = {"transform": TRANSFORMS, "fill_mode": _mode}
for _name in ("affine_transform", "perspective_transform"):
    CALLS[f"{_name} 7"] = {**CALLS[_name], "interpolation": "nearest", "fill_value": 7}
for _keep in ({}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5}):
    CALLS[f"resize {list(_keep)}"] = {"size": (4, 7), "antialias": True, **_keep}


def same(mine, other, tolerance=2e-6):
    assert mine.shape == other.shape and mine.dtype == other.dtype
    mine, other = np.asarray(mine, "float32"), np.asarray(other, "float32")
    np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("call", CALLS)
def test_values_of_keras(call):
    name = call.split()[0]
    ours, theirs = getattr(ops.image, name), getattr(keras.ops.image, name)
    first = np.moveaxis(IMAGES, -1, 1)
    for data_format, images in (("channels_last", IMAGES), ("channels_first", first)):
        arguments = {**CALLS[call], "data_format": data_format}
        mine, other = (jax.jit(functools.partial(f, **arguments)) for f in (ours, theirs))
        expected, half = other(images), images.astype("float16")
        same(ours(images, **arguments), expected)
        same(mine(images), expected)
        same(mine(half), other(half), 4e-3)
        symbolic = ours(cornu.Input(images.shape[1:], batch_size=3), **arguments)
        assert symbolic.shape == expected.shape and symbolic.dtype == "float32"
        if name == "sobel_edges":
            # In Keras, batches only.
            same(ours(images[0], **arguments), expected[0])
            continue
        per_image = {k: v[0] for k, v in arguments.items() if isinstance(v, np.ndarray)}
        same(ours(images[0], **{**arguments, **per_image}), expected[0])


@pytest.mark.parametrize("name", "resize affine_transform crop_images rgb_to_grayscale".split())
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_integers_stay_integers(name, dtype):
    images = (IMAGES * 255).astype(dtype)
    arguments = next(a for n, a in CALLS.items() if n.split()[0] == name)
    ours, theirs = getattr(ops.image, name), getattr(keras.ops.image, name)
    mine, other = (np.asarray(f(images, **arguments)) for f in (ours, theirs))
    assert mine.dtype == other.dtype == dtype
    # What lies halfway between two integers may be rounded to either.
    off = np.abs(mine.astype(int) - other.astype(int))
    assert off.max() <= 1 and off.mean() < 0.01


def test_filters_of_integers_are_those_of_floats():
    images = (IMAGES * 255).astype("uint8")
    floats = images.astype("float32")
    np.testing.assert_array_equal(ops.image.sobel_edges(images), ops.image.sobel_edges(floats))
    np.testing.assert_array_equal(
        ops.image.gaussian_blur(images), np.round(ops.image.gaussian_blur(floats))
    )
    assert ops.image.gaussian_blur(images).dtype == "uint8"


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "wrap", "mirror", "reflect"])
def test_map_coordinates(order, fill_mode):
    places = RANDOM.uniform(-12, 20, (3, 6, 5)).astype("float32")
    volume = IMAGES[0]
    for values in (volume, (volume * 100).astype("int32")):
        arguments = (values, places, order, fill_mode, 3)
        same(ops.image.map_coordinates(*arguments), keras.ops.image.map_coordinates(*arguments))


def test_projections_divide():
    """As the page of Keras says; its code for JAX does something else."""
    transform = ops.image.sampling.homography(CORNERS, POINTS)
    np.testing.assert_allclose(
        ops.image.affine_transform(IMAGES, transform),
        ops.image.perspective_transform(IMAGES, np.stack([CORNERS] * 3), POINTS),
        rtol=1e-5,
    )


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3"])
def test_scale_and_translate(method):
    arguments = ((3, 5, 12, 3), [0.5, 1.5], [0.3, -0.2], (1, 2), method)
    same(
        ops.image.scale_and_translate(IMAGES, *arguments),
        keras.ops.image.scale_and_translate(
            IMAGES, arguments[0], np.array(arguments[1]), np.array(arguments[2]), (1, 2), method
        ),
    )


def test_volumes():
    volumes = RANDOM.uniform(0, 1, (2, 6, 5, 4, 3)).astype("float32")
    for size, strides, padding in ((2, None, "valid"), ((3, 2, 1), 2, "same")):
        arguments = (volumes, size, strides, 1, padding)
        expected = keras.ops.image.extract_patches_3d(*arguments)
        same(ops.image.extract_patches_3d(*arguments), expected)
        same(ops.image.extract_patches_3d(volumes[0], *arguments[1:]), expected[0])
    first = np.moveaxis(volumes, -1, 1)
    arguments = {"size": (2, 2, 2), "data_format": "channels_first"}
    same(
        ops.image.extract_patches(first, **arguments),
        keras.ops.image.extract_patches_3d(first, **arguments),
    )


def test_ssim():
    images = RANDOM.uniform(0, 1, (2, 16, 14, 3)).astype("float32")
    other = np.clip(images + RANDOM.normal(0, 0.1, images.shape), 0, 1).astype("float32")
    for arguments in ({}, {"filter_size": 7, "filter_sigma": 2.0, "max_val": 2.0, "k1": 0.1}):
        expected = jax.jit(functools.partial(keras.ops.image.ssim, **arguments))(images, other)
        same(ops.image.ssim(images, other, **arguments), expected, 1e-5)
    same(ops.image.ssim(images[0], other[0]), keras.ops.image.ssim(images[0], other[0]), 1e-5)
    with pytest.raises(ValueError, match="smaller than the window"):
        ops.image.ssim(IMAGES, IMAGES)


def test_elastic_transform_moves_to_the_right_as_keras_does():
    """A picture that is the same in each row shows the moves to the right alone."""
    stripes = np.broadcast_to(IMAGES[:, :1], IMAGES.shape).copy()
    for interpolation in ("bilinear", "nearest"):
        arguments = {"alpha": 3.0, "sigma": 1.3, "seed": 5, "interpolation": interpolation}
        expected = keras.ops.image.elastic_transform(stripes, **arguments)
        np.testing.assert_allclose(
            ops.image.elastic_transform(stripes, **arguments), expected, rtol=1e-5, atol=2e-5
        )
    # Moves down are of the same size, and others.
    down, right = ops.image.sampling.displacements(
        np.array([0, 5], "uint32"), (4, 64, 64), np.float32(2), np.float32(3)
    )
    assert abs(np.corrcoef(np.ravel(down), np.ravel(right))[0, 1]) < 0.2
    assert 0.8 < np.std(down) / np.std(right) < 1.25


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda i: i.rgb_to_grayscale(IMAGES[..., :2]), "expected 3 .RGB. or 1"),
        (lambda i: i.rgb_to_hsv(IMAGES.astype("uint8")), "expected float dtype"),
        (lambda i: i.rgb_to_hsv(IMAGES[0, 0]), "expected rank 3"),
        (lambda i: i.resize(IMAGES, (0, 3)), "positive height"),
        (lambda i: i.resize(IMAGES, (2, 3), interpolation="area"), "`interpolation`"),
        (
            lambda i: i.crop_images(IMAGES, 1, 1, target_height=5, target_width=20),
            "right_cropping must be >= 0",
        ),
        (lambda i: i.crop_images(IMAGES, 1), "exactly two of top_cropping"),
        (
            lambda i: i.pad_images(IMAGES, 1, 1, target_height=5, target_width=20),
            "bottom_padding must be >= 0",
        ),
        (lambda i: i.pad_images(IMAGES, -1, 1, 1, 1), "must be >= 0"),
        (lambda i: i.affine_transform(IMAGES, np.eye(3)), "Invalid transform rank"),
        (lambda i: i.affine_transform(IMAGES, TRANSFORMS, fill_mode="x"), "`fill_mode`"),
        (lambda i: i.perspective_transform(IMAGES, CORNERS, POINTS), "must have the same shape"),
        (lambda i: i.map_coordinates(IMAGES, [[1.0]], 1), "First dim of `coordinates`"),
        (lambda i: i.map_coordinates([1.0], [[1.0]], 2), "`order`"),
        (lambda i: i.extract_patches(IMAGES, "3"), "`size`"),
        (lambda i: i.extract_patches(IMAGES[0], (1, 2, 3)), "need an array of rank 4"),
        (lambda i: i.ssim(IMAGES, IMAGES[:2]), "one shape"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(ops.image)
