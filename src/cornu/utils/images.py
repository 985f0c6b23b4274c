"""Image files as Pillow images and as arrays."""

import contextlib
import functools
import io
import os
import warnings
import zlib
from pathlib import Path

import numpy as np

from cornu.core.dtype import floatx, standardize_data_format
from cornu.core.optional import required
from cornu.utils.png import SIGNATURE, decoded_png

_PILLOW_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def load_img(
    path,
    color_mode="rgb",
    target_size=None,
    interpolation="nearest",
    keep_aspect_ratio=False,
    exif_orientation=False,
):
    """Read an image as a Pillow image.

    Of 16 bits, 65535 is white and becomes 255; grayscale keeps the fractions (Pillow's mode F). Nothing
    defines which 32-bit value is white: grayscale stays as it is, and colours are made only of
    integers from 0 to 255. Of several frames, the first is read.

    Args:
        path: a file's path, or an `io.BytesIO` with its content.
        color_mode: `"rgb"`, `"rgba"` or `"grayscale"`.
        target_size: `(height, width)` to resize to; None keeps the size.
        interpolation: Pillow's method of resizing: `"nearest"`, `"bilinear"`, `"bicubic"`,
            `"hamming"`, `"box"` or `"lanczos"`.
        keep_aspect_ratio: whether to cut off what exceeds `target_size`'s proportions, equally on
            both sides, instead of distorting the image.
        exif_orientation: whether to turn the image upright, as the camera noted (EXIF); Keras does
            not.

    Raises:
        OSError: if there is no such file, or it is not a readable image.

    Source: Keras: load_img.

    >>> import cornu, io
    >>> buffer = io.BytesIO()
    >>> cornu.utils.save_img(buffer, [[[0], [255]]], file_format="png")
    >>> cornu.utils.load_img(buffer, target_size=(4, 6)).size
    (6, 4)
    """
    from PIL import Image

    image = open_image(path, color_mode, exif_orientation=exif_orientation)
    if target_size is None:
        return image
    height, width = target_size
    if image.size == (width, height):
        return image
    if interpolation not in _PILLOW_INTERPOLATIONS:
        raise ValueError(
            f"Invalid interpolation method {interpolation} specified. Supported methods are "
            f"{', '.join(_PILLOW_INTERPOLATIONS)}"
        )
    box = None
    if keep_aspect_ratio:
        cropped_width = min(image.width, image.height * width // height)
        cropped_height = min(image.height, image.width * height // width)
        left = (image.width - cropped_width) // 2
        top = (image.height - cropped_height) // 2
        box = (left, top, left + cropped_width, top + cropped_height)
    return image.resize((width, height), Image.Resampling[interpolation.upper()], box=box)


# Pillow's mode of each colour mode.
_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}


def open_image(
    source, color_mode: str, formats: tuple[str, ...] | None = None, exif_orientation: bool = False
):
    """Decode an image completely, in the requested colours; `formats` limits Pillow's file formats."""
    if color_mode not in _MODES:
        raise ValueError(
            f'color_mode must be "grayscale", "rgb", or "rgba". Received: color_mode={color_mode!r}'
        )
    name, data = name_and_data(source)
    return image_of(data, name, color_mode, formats, exif_orientation)


def image_of(
    data: bytes, name: str, color_mode: str, formats: tuple[str, ...] | None, exif_orientation: bool
):
    """Decode the bytes of a file as `open_image` does; errors have its name."""
    from PIL import ImageOps

    with _named(name, formats):
        image = _opened(io.BytesIO(data), len(data), formats)
        image.load()
        white = _white_of(image)
        if exif_orientation:
            # EXIF data that cannot be read are ignored; the image itself is whole.
            with contextlib.suppress(Exception):
                image = ImageOps.exif_transpose(image)
        return _in_colours(image, color_mode, white)


def name_and_data(source) -> tuple[str, bytes]:
    """What errors call a file, and its bytes."""
    if isinstance(source, io.BytesIO):
        return "from memory", source.getvalue()
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(f"path should be path-like or io.BytesIO, not {type(source)}")
    name = os.fsdecode(source)
    return name, _bytes_of(name)


def _bytes_of(path: str) -> bytes:
    """A file's bytes: `Path.read_bytes` takes three times as long for a small one."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        parts = []
        while part := os.read(file, _READ_AT_ONCE):
            parts.append(part)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(file)
    return parts[0] if len(parts) == 1 else b"".join(parts)


_READ_AT_ONCE = 2**18


def quickly_decoded(data: bytes, color_mode: str, exif_orientation: bool) -> np.ndarray | None:
    """The pixels of a file's bytes, `(height, width, channels)`; None leaves it to Pillow.

    They are Pillow's, which takes several times as long to copy small images about, and has words for what
    is damaged.
    """
    if data.startswith(_JPEG):
        return _decoded_jpeg(data, color_mode, exif_orientation)
    if data.startswith(SIGNATURE):
        return decoded_png(data, color_mode, exif_orientation, _MANY_PIXELS)
    return None


def _decoded_jpeg(data: bytes, color_mode: str, exif_orientation: bool) -> np.ndarray | None:
    """The pixels of a JPEG file, decoded by simplejpeg, whose decoder is Pillow's, into their array.

    Left to Pillow are other colours, damaged files, those with EXIF data that may turn them, and all where
    simplejpeg is not installed.
    """
    simplejpeg = _simplejpeg()
    if simplejpeg is None or color_mode == "rgba":
        return None
    if exif_orientation and any(mark in data for mark in _MAY_TURN):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if width * height > _MANY_PIXELS or colours not in _JPEG_COLOURS[color_mode]:
            return None
        pixels = np.empty((height, width, 1 if color_mode == "grayscale" else 3), np.uint8)
        return simplejpeg.decode_jpeg(data, _JPEG_COLOURS[color_mode][0], buffer=pixels)
    except ValueError:
        return None


# What simplejpeg makes of a file, and of which other colours it makes that as Pillow does.
_JPEG_COLOURS = {"grayscale": ("Gray",), "rgb": ("RGB", "YCbCr", "Gray")}


# Of EXIF data, and of XMP.
_MAY_TURN = (b"Exif\0\0", b"tiff:Orientation")


def decodes_jpeg_quickly() -> bool:
    """Whether simplejpeg is installed."""
    return _simplejpeg() is not None


@functools.cache
def _simplejpeg():
    try:
        return required("simplejpeg", "A quicker decoder of JPEG")
    except ImportError:
        return None


def check_image(path: str, formats: tuple[str, ...]) -> None:
    """Raise OSError if a file is not an image, or ends too early, without decoding what looks whole."""
    if not _looks_whole(path):
        _check_image(path, formats)


def _looks_whole(path: str) -> bool:
    """Whether a file begins and ends as a whole JPEG or PNG file does; Pillow finds it out much slower."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            file.seek(max(0, os.fstat(file.fileno()).st_size - 12))
            end = file.read(12)
    except OSError:
        return False
    if head.startswith(SIGNATURE):
        # Of the first chunk, with its checksum; none comes between it and the pixels.
        is_whole = head[12:16] == b"IHDR" and head[37:41] == b"IDAT" and _ENDS["PNG"] in end
        is_whole = is_whole and zlib.crc32(head[12:29]) == int.from_bytes(head[29:33], "big")
        width, height = (int.from_bytes(head[start : start + 4], "big") for start in (16, 20))
    elif head.startswith(_JPEG) and (simplejpeg := _simplejpeg()) is not None:
        is_whole = _ENDS["JPEG"] in end
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(head)
        except ValueError:
            return False
    else:
        return False
    return is_whole and 0 < width * height <= _MANY_PIXELS


# Most files have in so many bytes what comes before the pixels.
_HEAD = 2**12
_JPEG = b"\xff\xd8"


def _check_image(path: str, formats: tuple[str, ...]) -> None:
    with _named(path, formats), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        image = _opened(file, size, formats)
        file.seek(0)
        head = file.read(8)
        file.seek(max(0, size - 12))
        if image.format == "WEBP":
            is_whole = int.from_bytes(head[4:], "little") + 8 <= size
        else:
            is_whole = _ENDS.get(image.format or "", b"none") in file.read()
        if not is_whole:
            file.seek(0)
            # Some cameras append something; the decoder finds out whether pixels are missing.
            _opened(file, size, formats).load()


def thumbnail_of(
    file: io.BytesIO, name: str, size: int, formats: tuple[str, ...]
) -> tuple[np.ndarray, tuple[int, int]]:
    """A small gray square of an image, upright, uint8, and the image's width and height.

    All of the file is decoded, though of a large JPEG no more detail than that takes.
    """
    from PIL import Image, ImageOps

    with _named(name, formats):
        image = _opened(file, file.getbuffer().nbytes, formats)
        width, height = image.size
        image.draft("L", (4 * size, 4 * size))
        image.load()
        gray = _in_colours(image, "grayscale", _white_of(image))
        if gray.mode != "L":
            gray = Image.fromarray(np.asarray(gray).clip(0, 255).astype("uint8"))
        small = gray.resize((size, size), Image.Resampling.BOX)
        with contextlib.suppress(Exception):
            orientation = image.getexif().get(_ORIENTATION, 1)
            small.getexif()[_ORIENTATION] = orientation
            small = ImageOps.exif_transpose(small)
            if orientation >= 5:
                width, height = height, width
        return np.asarray(small), (width, height)


# Of the fields of EXIF.
_ORIENTATION = 0x0112


# What the last bytes of a whole file contain.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}


@contextlib.contextmanager
def _named(name: str, formats: tuple[str, ...] | None):
    """Turn whatever Pillow raises into an OSError that names the file: it fails in a dozen ways."""
    from PIL import Image

    try:
        yield
    except Image.UnidentifiedImageError as error:
        known = f" ({', '.join(formats)})" if formats else ""
        raise OSError(f"Cannot read the image {name}: no known image format{known}.") from error
    except Exception as error:
        raise OSError(f"Cannot read the image {name}: {error}.") from error


def _opened(file, num_bytes: int, formats: tuple[str, ...] | None):
    from PIL import Image

    if not num_bytes:
        raise ValueError("no known image format, as the file is empty")
    image = Image.open(file, formats=formats)
    _check_size(image, num_bytes)
    return image


def _white_of(image) -> int | None:
    """The value of white in 16-bit grayscale; None for everything else."""
    if image.mode.startswith("I;16"):
        # A TIFF may have 12 bits.
        return 2 ** getattr(image, "tag_v2", {}).get(258, (16,))[0] - 1
    # Pillow reads 16-bit PGM so, and before version 11 PNG.
    return 65535 if image.mode == "I" and image.format in ("PNG", "PPM") else None


def _in_colours(image, color_mode: str, white: int | None):
    from PIL import Image

    mode = _MODES[color_mode]
    if white is not None:
        values = np.asarray(image, "float32")
        transparent = values == image.info.get("transparency")
        values = values * np.float32(255 / white)
        if color_mode == "grayscale":
            return Image.fromarray(values)
        image = Image.fromarray(np.round(values).astype("uint8")).convert(mode)
        if color_mode == "rgba" and transparent.any():
            image.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype("uint8")))
        return image
    if image.mode in ("I", "F"):
        if color_mode == "grayscale":
            return image
        values = np.asarray(image)
        with np.errstate(invalid="ignore"):
            image = Image.fromarray(values.astype("uint8"))
        if not np.array_equal(np.asarray(image), values):
            raise ValueError(
                f"it holds 32-bit values from {values.min():g} to {values.max():g}, and nothing "
                'defines which is white. Read it with color_mode="grayscale", which leaves them as they '
                "are, or save it with 8 or 16 bits"
            )
    elif step := _STEPS.get(image.mode):
        # Pillow has no direct way; and it warns of a palette with degrees of transparency.
        image = image.convert(step)
    return image if image.mode == mode else image.convert(mode)


_STEPS = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "LAB": "RGB"}


# An image of more pixels than this must have a byte for so many of them: photographs have far more.
_MANY_PIXELS, _PIXELS_A_BYTE = 25_000_000, 200


def _check_size(image, num_bytes: int) -> None:
    """Raise ValueError if a few bytes would unpack to an image that fills the memory."""
    width, height = image.size
    if width * height > max(_MANY_PIXELS, _PIXELS_A_BYTE * num_bytes):
        raise ValueError(f"its {num_bytes} bytes claim to be {width}x{height} pixels")


def img_to_array(img, data_format=None, dtype=None) -> np.ndarray:
    """A Pillow image as an array of three axes: height, width, channels (or channels first).

    Args:
        img: the image; an array of two or three axes is taken too.
        data_format: `"channels_last"` or `"channels_first"`.
        dtype: the array's type, `floatx()` unless given. Values are not scaled.

    Source: Keras: img_to_array.

    >>> import cornu, numpy as np
    >>> cornu.utils.img_to_array(np.zeros((4, 6))).shape
    (4, 6, 1)
    """
    data_format = standardize_data_format(data_format)
    x = np.asarray(img, dtype=dtype or floatx())
    if x.ndim == 2:
        x = x[:, :, None]
    if x.ndim != 3:
        raise ValueError(f"Unsupported image shape: {x.shape}")
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def array_to_img(x, data_format=None, scale=True, dtype=None):
    """An array of three axes as a Pillow image.

    Args:
        x: `(height, width, channels)`, or channels first, with 1, 3 or 4 channels.
        data_format: `"channels_last"` or `"channels_first"`.
        scale: whether to stretch the values so that the least is 0 and the greatest 255. Without
            it, values must lie between 0 and 255 (grayscale may exceed 255).
        dtype: the type to compute in, `floatx()` unless given.

    Raises ValueError for another number of axes or channels, and for values that are not finite or, not
    scaled, lie outside: Keras lets 256 become 0.

    Source: Keras: array_to_img.

    >>> import cornu, numpy as np
    >>> cornu.utils.array_to_img(np.ones((4, 6, 3))).size
    (6, 4)
    """
    from PIL import Image

    data_format = standardize_data_format(data_format)
    x = np.asarray(x, dtype=dtype or floatx())
    if x.ndim != 3:
        raise ValueError(
            f"Expected image array to have rank 3 (single image). Got array with shape: {x.shape}"
        )
    if data_format == "channels_first":
        x = x.transpose(1, 2, 0)
    if x.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"Unsupported channel number: {x.shape[2]}. Expected 1, 3 or 4 channels in an array of "
            f"shape {x.shape} (data_format={data_format!r})."
        )
    low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
    most = 2**31 if x.shape[2] == 1 else 256
    if not (np.isfinite([low, high]).all() if scale else (low > -1 or high >= 256) and high < most):
        raise ValueError(
            f"Expected {'finite values' if scale else 'values from 0 to 255'}. Received an array with "
            f"values from {low:g} to {high:g}."
            + (
                ""
                if scale
                else " Multiply values from 0 to 1 by 255; scale=True stretches any others."
            )
        )
    if scale:
        x = x - x.min()
        greatest = x.max()
        x = x / (greatest if greatest != 0 else 1) * 255
    if x.shape[2] == 1:
        x = x[:, :, 0]
        return Image.fromarray(x.astype("int32" if x.max() > 255 else "uint8"))
    return Image.fromarray(x.astype("uint8"))


def save_img(path, x, data_format=None, file_format=None, scale=True, **kwargs) -> None:
    """Write an array as an image.

    Args:
        path: a path or an open binary file.
        x: the array, as for `array_to_img`.
        data_format: `"channels_last"` or `"channels_first"`.
        file_format: such as `"png"`; None chooses by the path's ending.
        scale: as for `array_to_img`. Without it, grayscale above 255 needs PNG (16 bits) or TIFF.
        **kwargs: passed on to Pillow's `Image.save`.

    JPEG has no transparency: of four channels the last one is dropped, with a warning.

    Source: Keras: save_img.

    >>> import cornu, io, numpy as np
    >>> cornu.utils.save_img(io.BytesIO(), np.zeros((4, 6, 3)), file_format="png")
    """
    if file_format is None and isinstance(path, (str, Path)):
        file_format = Path(path).suffix[1:]
    if file_format is not None:
        file_format = file_format.lower().replace("jpg", "jpeg")
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        warnings.warn("The JPEG format does not support RGBA images, converting to RGB.")
        image = image.convert("RGB")
    if image.mode == "I" and file_format == "png":
        image = _sixteen_bits(image)
    image.save(path, format=file_format or None, **kwargs)


def _sixteen_bits(image):
    """Integers above 255 as PNG can hold them."""
    from PIL import Image

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"PNG holds values from 0 to 65535. Received {values.min()} to {values.max()}. Save it as "
            "TIFF, or with scale=True."
        )
    return Image.fromarray(values.astype("uint16"))
