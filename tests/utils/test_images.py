import io
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from cornu.core.dtype import floatx
from cornu.utils.images import (
    INTERPOLATIONS,
    array_to_img,
    img_to_array,
    load_img,
    resize,
    save_img,
)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (11, 17, 4)).astype("uint8")


@pytest.fixture(params=["RGB", "RGBA", "L", "LA", "P", "I;16", "1", "CMYK"])
def path(request, tmp_path, picture):
    mode = request.param
    if mode == "I;16":
        image = Image.fromarray(picture[:, :, 0].astype("uint16") * 200)
    else:
        image = Image.fromarray(picture).convert("RGB" if mode == "P" else mode)
        image = image.quantize(16) if mode == "P" else image
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    return path


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_load_img_is_keras(path, color_mode):
    ours, theirs = load_img(path, color_mode), keras.utils.load_img(path, color_mode)
    assert ours.mode == theirs.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    "kind", [str, lambda p: str(p).encode(), lambda p: io.BytesIO(p.read_bytes())]
)
def test_load_img_takes_several_kinds_of_path(tmp_path, picture, kind):
    save_img(tmp_path / "a.png", picture[:, :, :3], scale=False)
    np.testing.assert_array_equal(np.asarray(load_img(kind(tmp_path / "a.png"))), picture[:, :, :3])


@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"]
)
@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("size", [(5, 5), (20, 9), (11, 17), (7, 40)], ids=str)
def test_load_img_resizes_like_keras(tmp_path, picture, interpolation, keep_aspect_ratio, size):
    save_img(tmp_path / "a.png", picture)
    ours, theirs = (
        np.asarray(load(tmp_path / "a.png", "rgba", size, interpolation, keep_aspect_ratio))
        for load in (load_img, keras.utils.load_img)
    )
    assert ours.shape == (*size, 4)
    np.testing.assert_array_equal(ours, theirs)


def test_load_img_refuses(tmp_path, picture):
    path = tmp_path / "a.png"
    save_img(path, picture)
    with pytest.raises(ValueError, match="color_mode must be"):
        load_img(path, "hsv")
    with pytest.raises(ValueError, match="Invalid interpolation method cubical"):
        load_img(path, target_size=(3, 3), interpolation="cubical")
    with pytest.raises(TypeError, match="path-like"):
        load_img(3)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        load_img(tmp_path / "none.png")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"text", lambda data: b""]
)
@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp"])
def test_load_img_names_a_damaged_file(tmp_path, picture, damage, ending):
    path = tmp_path / f"broken.{ending}"
    save_img(path, picture[:, :, :3])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=rf"Cannot read the image .*broken\.{ending}"):
        load_img(path)


@pytest.mark.parametrize("data_format", [None, "channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", [None, "uint8"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_img_to_array_is_keras(picture, data_format, dtype, mode):
    image = Image.fromarray(picture).convert(mode)
    ours, theirs = (
        convert(image, data_format, dtype) for convert in (img_to_array, keras.utils.img_to_array)
    )
    assert ours.dtype == theirs.dtype == (dtype or floatx())
    np.testing.assert_array_equal(ours, theirs)


def test_img_to_array_refuses():
    with pytest.raises(ValueError, match=r"Unsupported image shape: \(3,\)"):
        img_to_array(np.zeros(3))


@pytest.mark.parametrize(
    ("channels", "scale", "values"),
    [
        *itertools.product([1, 3, 4], [True, False], ["bytes", "normal", "constant", "zero"]),
        (1, False, "large"),  # Only grayscale may exceed 255.
    ],
)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_array_to_img_is_keras(picture, channels, scale, data_format, values):
    x = picture[:, :, :channels].astype("float64")
    x = {"bytes": x, "normal": x / 100, "constant": x * 0 + 3, "zero": x * 0, "large": x * 50}[
        values
    ]
    before = x.copy()
    x = x.transpose(2, 0, 1) if data_format == "channels_first" else x
    ours, theirs = (
        convert(x, data_format, scale) for convert in (array_to_img, keras.utils.array_to_img)
    )
    assert ours.mode == theirs.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    np.testing.assert_array_equal(x.transpose(1, 2, 0) if x.shape[0] == channels else x, before)


@pytest.mark.parametrize(
    ("shape", "message"), [((4, 4), "rank 3"), ((4, 4, 2), "Unsupported channel number: 2")]
)
def test_array_to_img_refuses(shape, message):
    with pytest.raises(ValueError, match=message):
        array_to_img(np.zeros(shape))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.bmp", "a.gif", "a.webp"])
@pytest.mark.parametrize("kind", [str, Path])
def test_save_img_is_keras(tmp_path, picture, name, kind):
    for folder, save in (("ours", save_img), ("theirs", keras.utils.save_img)):
        (tmp_path / folder).mkdir()
        save(kind(tmp_path / folder / name), picture[:, :, :3])
    assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_save_img_passes_pillows_arguments_on(picture):
    sizes = []
    for quality in (10, 90):
        file = io.BytesIO()
        save_img(file, picture[:, :, :3], file_format="jpg", quality=quality)
        sizes.append(len(file.getvalue()))
    assert sizes[0] < sizes[1]


def test_save_img_as_jpeg_drops_transparency_with_a_warning(tmp_path, picture):
    with pytest.warns(UserWarning, match="does not support RGBA"):
        save_img(tmp_path / "a.jpg", picture)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(5, 6), (64, 40), (13, 17), (30, 30), (1, 1)], ids=str)
@pytest.mark.parametrize("aspect", [None, "crop", "pad"])
def test_resize_is_keras(interpolation, size, aspect):
    x = np.random.default_rng(0).integers(0, 256, (13, 37, 3)).astype("uint8")
    theirs = keras.ops.image.resize(
        x.astype("float32"),
        size,
        interpolation,
        crop_to_aspect_ratio=aspect == "crop",
        pad_to_aspect_ratio=aspect == "pad",
        data_format="channels_last",
    )
    ours = resize(x, size, interpolation, aspect)
    assert ours.dtype == np.float32
    # Of 255: the kernel of 32-bit sampling points, which XLA rounds in its own order.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=5e-4)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [(480, 641), (1000, 1333)], ids=str)
def test_resize_of_large_pictures_is_keras(interpolation, shape):
    x = np.random.default_rng(0).integers(0, 256, (*shape, 1)).astype("float32")
    theirs = keras.ops.image.resize(x, (224, 299), interpolation, data_format="channels_last")
    # The 32-bit rounding of a sampling point near 1,000 is 6e-5 of a pixel's 255.
    np.testing.assert_allclose(resize(x, (224, 299), interpolation), theirs, rtol=1e-6, atol=2e-2)


def test_a_few_bytes_that_claim_to_be_a_huge_picture(tmp_path):
    """A decompression bomb: nine thousand pixels square, all of one colour."""
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(OSError, match=r"bomb\.png: its \d+ bytes claim to be 9000x9000 pixels"):
        load_img(path)
