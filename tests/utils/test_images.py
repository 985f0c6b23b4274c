import io
import itertools
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cornu.core.dtype import floatx
from cornu.utils import resizing
from cornu.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    open_image,
    quickly_decoded,
    save_img,
)
from cornu.utils.png import _kernel
from cornu.utils.resizing import INTERPOLATIONS, resize


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (11, 17, 4)).astype("uint8")


@pytest.fixture(params=["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def path(request, tmp_path, picture):
    mode = request.param
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


def written(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file


def png(colour_type, numbers):
    """A PNG of 16 bits and one row, which Pillow cannot write."""

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", len(numbers), 1, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" + np.asarray(numbers, ">u2").tobytes())
    chunks = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))


SIXTEEN = np.array([[0, 1000, 10000], [128, 50000, 65535]], "uint16")
GRAYS = np.repeat((SIXTEEN / 257)[..., None], 3, 2)


@pytest.mark.parametrize(
    "file",
    [
        written(Image.fromarray(SIXTEEN), "png"),
        written(Image.fromarray(SIXTEEN), "tiff"),
        written(Image.frombytes("I;16B", (3, 2), SIXTEEN.astype(">u2").tobytes()), "tiff"),
        io.BytesIO(b"P5 3 2 65535\n" + SIXTEEN.astype(">u2").tobytes()),
    ],
    ids=["png", "tiff", "big-endian tiff", "pgm"],
)
def test_white_of_16_bits_is_255(file):
    np.testing.assert_array_equal(load_img(file), np.round(GRAYS))
    np.testing.assert_array_equal(np.asarray(load_img(file, "rgba"))[..., 3], 255)
    gray = img_to_array(load_img(file, "grayscale"))
    np.testing.assert_allclose(gray, GRAYS[..., :1], rtol=1e-6)


@pytest.mark.parametrize(
    ("colour_type", "numbers", "colours", "alpha"),
    [
        (2, [[1000, 50000, 65535], [128, 255, 65280]], [0, 1, 2], None),
        (6, [[1000, 50000, 65535, 0], [128, 255, 257, 32896]], [0, 1, 2], 3),
        (4, [[10000, 0], [50000, 32896]], [0, 0, 0], 1),
    ],
    ids=["RGB", "RGBA", "LA"],
)
def test_colours_of_16_bits(colour_type, numbers, colours, alpha):
    expected = np.array(numbers)[None] / 257
    image = np.asarray(load_img(png(colour_type, numbers), "rgba"))
    # Pillow gives the upper bytes.
    np.testing.assert_allclose(image[..., :3], expected[..., colours], atol=0.9999)
    np.testing.assert_array_equal(image[..., 3], 255 if alpha is None else expected[..., alpha])


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_32_bits_have_no_white(dtype):
    def load(numbers, *mode):
        return np.asarray(
            load_img(written(Image.fromarray(np.array([numbers], dtype)), "tiff"), *mode)
        )

    np.testing.assert_array_equal(load([0, 7, 255])[0], [[0] * 3, [7] * 3, [255] * 3])
    for numbers in ([-5, 3, 4], [0, 70000, 9]) if dtype == "int32" else ([0, 0.5, 1], [0, np.nan]):
        np.testing.assert_array_equal(load(numbers, "grayscale")[0], np.array(numbers, dtype))
        with pytest.raises(
            OSError, match=r'nothing defines which is white.*color_mode="grayscale"'
        ):
            load(numbers)


def test_transparent_palettes_and_grayscale():
    colours = np.array([[[255, 0, 0], [10, 200, 30], [0, 0, 255]]], "uint8")
    palette = Image.fromarray(colours).quantize(4)
    degrees = bytes([0, 128, 255])
    order = np.argsort(np.asarray(palette)[0])
    for transparency, alpha in ((degrees, [0, 128, 255]), (1, [255, 0, 255])):
        file = written(palette, "png", transparency=transparency)
        np.testing.assert_array_equal(load_img(file), colours)
        np.testing.assert_array_equal(np.asarray(load_img(file, "rgba"))[0, order, 3], alpha)
        np.testing.assert_array_equal(load_img(file, "grayscale"), [[76, 124, 29]])
    sixteen = written(Image.fromarray(SIXTEEN), "png", transparency=50000)
    np.testing.assert_array_equal(
        np.asarray(load_img(sixteen, "rgba"))[..., 3], np.where(SIXTEEN == 50000, 0, 255)
    )


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "CMYK"])
def test_other_ways_to_say_a_colour(mode):
    colours = np.full((2, 2, 3), [30, 200, 90], "uint8")
    file = written(Image.fromarray(colours).convert("RGB").convert(mode), "tiff")
    np.testing.assert_allclose(np.asarray(load_img(file), int), colours, atol=3)
    np.testing.assert_allclose(np.asarray(load_img(file, "grayscale"), int), 137, atol=3)


def test_of_several_frames_the_first_is_read(picture):
    frames = [Image.fromarray(picture[..., n]) for n in range(2)]
    file = written(frames[0], "gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_img(file, "grayscale"), picture[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_on_request(picture, orientation):
    image = Image.fromarray(picture[..., :3])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = written(image, "png", exif=exif)
    x = picture[..., :3]
    # By the standard: where the first row and the first column of the numbers belong.
    turned = [
        x,
        x[:, ::-1],
        x[::-1, ::-1],
        x[::-1],
        x.transpose(1, 0, 2),
        x.transpose(1, 0, 2)[:, ::-1],
        x.transpose(1, 0, 2)[::-1, ::-1],
        x.transpose(1, 0, 2)[::-1],
    ][orientation - 1]
    np.testing.assert_array_equal(load_img(file), x)
    np.testing.assert_array_equal(load_img(file, exif_orientation=True), turned)
    damaged = written(image, "png", exif=exif.tobytes()[:-9])
    np.testing.assert_array_equal(load_img(damaged, exif_orientation=True), x)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_array_to_img_refuses_values_that_no_pixel_has(channels):
    for wrong in (-1.0, 256.0, np.nan, np.inf):
        x = np.full((2, 2, channels), wrong)
        if not (channels == 1 and wrong == 256):
            with pytest.raises(ValueError, match="Expected values from 0 to 255"):
                array_to_img(x, scale=False)
        if not np.isfinite(wrong):
            with pytest.raises(ValueError, match="Expected finite values"):
                array_to_img(x)


def test_save_img_writes_large_gray_values_as_16_bits(tmp_path):
    path = tmp_path / "a.png"
    save_img(path, SIXTEEN[..., None], scale=False)
    np.testing.assert_array_equal(Image.open(path), SIXTEEN)
    with pytest.raises(ValueError, match="PNG holds values from 0 to 65535"):
        save_img(path, SIXTEEN[..., None] * 2.0, scale=False)


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
def test_resize_of_large_images_is_keras(interpolation, shape):
    x = np.random.default_rng(0).integers(0, 256, (*shape, 1)).astype("float32")
    theirs = keras.ops.image.resize(x, (224, 299), interpolation, data_format="channels_last")
    # The 32-bit rounding of a sampling point near 1,000 is 6e-5 of a pixel's 255.
    np.testing.assert_allclose(resize(x, (224, 299), interpolation), theirs, rtol=1e-6, atol=2e-2)


@pytest.mark.skipif(resizing._kernel() is None, reason="there are no kernels, or older ones")
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "lanczos3"])
def test_the_kernel_resizes_as_numpy_does(dtype, channels, interpolation, monkeypatch):
    """To the bit; into a part of another array, of which nothing else changes, and from parts of one."""
    x = np.random.default_rng(0).integers(0, 256, (19, 37, channels)).astype(dtype)
    if dtype == "float32":
        x[3, 5], x[7, 2] = np.nan, np.inf
    sizes = [(7, 5), (40, 64), (19, 5), (7, 37), (19, 37), (1, 1)]
    images = [x, x[2:-3], x[:, 4:-2], x[::-1], x.transpose(1, 0, 2), x[1:2, :1]]
    found = []
    for image, size, aspect in itertools.product(images, sizes, [None, "crop", "pad"]):
        whole = np.full((3, *size, channels), -1, "float32")
        resize(image, size, interpolation, aspect, whole[1])
        assert (whole[::2] == -1).all()
        found.append(whole[1])
    monkeypatch.setattr(resizing, "_kernel", lambda: None)
    with np.errstate(invalid="ignore"):
        for image, size, aspect in itertools.product(images, sizes, [None, "crop", "pad"]):
            expected = resize(image, size, interpolation, aspect)
            np.testing.assert_array_equal(expected, found.pop(0))


def test_a_few_bytes_that_claim_to_be_a_huge_image(tmp_path):
    """A decompression bomb: nine thousand pixels square, all of one colour."""
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 9000)).save(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(OSError, match=r"bomb\.png: its \d+ bytes claim to be 9000x9000 pixels"):
        load_img(path)


COLOURS = ("rgb", "grayscale", "rgba")


def same_as_by_pillow(data, color_mode):
    """Whether a quick decoder reads a file; if so, it has to give Pillow's pixels."""
    found = quickly_decoded(data, color_mode, True)
    if found is not None:
        expected = np.asarray(open_image(io.BytesIO(data), color_mode, None, True))
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    return found is not None


@pytest.mark.parametrize(("mode", "count"), [("RGB", 6), ("L", 12), ("CMYK", 0)])
def test_both_decoders_of_jpeg_give_the_same_pixels(mode, count, picture):
    pytest.importorskip("simplejpeg")
    image, decoded = Image.fromarray(picture[:, :, :3]).convert(mode).resize((50, 90)), 0
    for progressive, subsampling in itertools.product((False, True), (0, 1, 2)):
        file = io.BytesIO()
        image.save(file, "jpeg", progressive=progressive, subsampling=subsampling)
        data = file.getvalue()
        decoded += sum(same_as_by_pillow(data, color_mode) for color_mode in COLOURS)
        # What is damaged is Pillow's to explain.
        assert quickly_decoded(data[: len(data) // 2], "rgb", False) is None
    assert decoded == count


def as_png(image, **options):
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


def with_filters(data):
    """A PNG file whose rows have all filters in turn; the pixels are others for each."""
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    height = int.from_bytes(data[20:24], "big")
    rows = bytearray(zlib.decompress(data[start + 4 : start + 4 + length]))
    for row in range(height):
        rows[row * (len(rows) // height)] = row % 5
    chunk = b"IDAT" + zlib.compress(rows)
    rest = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[: start - 4] + rest + data[start + 8 + length :]


@pytest.mark.parametrize(
    ("mode", "colours"),
    [("RGB", ["rgb"]), ("L", ["rgb", "grayscale"]), ("RGBA", ["rgb", "rgba"])]
    + [(mode, []) for mode in ("P", "LA", "1", "I;16")],
)
def test_both_decoders_of_png_give_the_same_pixels(mode, colours, picture):
    if _kernel() is None:
        pytest.skip("the kernels are not in use")
    image = Image.fromarray(picture[:, :, :3]).resize((13, 21))
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    data = as_png(image)
    for each in (data, with_filters(data)):
        assert [c for c in COLOURS if same_as_by_pillow(each, c)] == colours


def test_what_is_unusual_in_png_is_left_to_pillow(picture):
    if _kernel() is None:
        pytest.skip("the kernels are not in use")
    image = Image.fromarray(picture[:, :, :3])
    about, exif = PngImagePlugin.PngInfo(), Image.Exif()
    about.add_text("Author", "nobody")
    exif[0x0112] = 6
    assert same_as_by_pillow(as_png(image, dpi=(72, 72), icc_profile=b"some profile"), "rgb")
    for options in (
        {"pnginfo": about},
        {"exif": exif},
        {"transparency": (1, 2, 3)},
        {"save_all": True, "append_images": [image.rotate(90)]},
    ):
        assert not same_as_by_pillow(as_png(image, **options), "rgb"), options
    assert quickly_decoded(as_png(image, pnginfo=about), "rgb", False) is not None
    # Whatever is damaged is Pillow's to explain, or has the same pixels as to Pillow.
    data = as_png(image.resize((5, 4)))
    assert not any(same_as_by_pillow(data[:length], "rgb") for length in range(len(data) - 16))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        same_as_by_pillow(bytes(damaged), "rgb")
