"""PNG files of whole bytes, the pixels of which a kernel computes."""

import ctypes
import functools
import zlib

import numpy as np

from cornu.core.kernels import native

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# By the header's number for colours: the channels in a file, and how many of them each mode takes.
_CHANNELS = {0: (1, {"grayscale": 1, "rgb": 1}), 2: (3, {"rgb": 3}), 6: (4, {"rgb": 3, "rgba": 4})}
# Chunks that change no pixel, and of those the ones that may say how to turn the picture.
_PLAIN = {b"IHDR", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs", b"tIME", b"bKGD"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}


def decoded_png(
    data: bytes, color_mode: str, may_turn: bool, most_pixels: int
) -> np.ndarray | None:
    """The pixels of a PNG file's bytes, faster than by Pillow; None leaves it to Pillow.

    Left to Pillow are palettes, interlaced files, those of 1, 2, 4 or 16 bits, with a transparent colour or
    several frames, colours that would have to be converted, damaged files, and all where the kernels are
    not in use.

    Args:
        data: the bytes of the file.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`.
        may_turn: whether the picture is to be turned as its texts say; with texts it is left to Pillow.
        most_pixels: how many a file may claim to have.

    Source: W3C: Portable Network Graphics (PNG) Specification.
    """
    kernel = _kernel()
    if kernel is None or len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    bits, colours, *methods = data[24:29]
    channels, of_mode = _CHANNELS.get(colours, (0, {}))
    if bits != 8 or any(methods) or color_mode not in of_mode:
        return None
    if not 0 < width * height <= most_pixels:
        return None
    packed = _packed(data, _PLAIN if may_turn else _PLAIN | _TEXTS)
    # Each row begins with the number of its filter.
    size = height * (1 + width * channels)
    inflating = zlib.decompressobj()
    try:
        rows = b"" if packed is None else inflating.decompress(packed, size + 1)
    except zlib.error:
        return None
    pixels = np.empty((height, width, channels), np.uint8)
    if len(rows) != size or not inflating.eof:
        return None
    if not kernel(rows, height, width, channels, pixels.ctypes.data):
        return None
    if channels == 1 and color_mode == "rgb":
        return np.repeat(pixels, 3, axis=2)
    return pixels[:, :, : of_mode[color_mode]]


def _packed(data: bytes, harmless: set[bytes]) -> bytes | None:
    """What the chunks of pixels hold; None if there are others than harmless ones, or damaged ones."""
    found: list[bytes] = []
    start, before = len(SIGNATURE), b""
    while start < len(data) and before != b"IEND":
        length = int.from_bytes(data[start : start + 4], "big")
        name, end = data[start + 4 : start + 8], start + 8 + length
        if name == b"IDAT":
            if found and before != name:
                return None
            found.append(data[start + 8 : end])
        elif name in harmless:
            checksum = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(data[start + 4 : end]) != checksum:
                return None
        elif name != b"IEND":
            return None
        start, before = end + 4, name
    return found[0] if len(found) == 1 else b"".join(found)


@functools.cache
def _kernel():
    """The function of the kernels' library, or None; it is called without Python's lock."""
    found = native()
    function = (
        getattr(ctypes.CDLL(found.library), "cornu_rows_of_png", None) if found.in_use else None
    )
    if function is not None:
        number = ctypes.c_int64
        function.argtypes = [ctypes.c_char_p, number, number, number, ctypes.c_void_p]
        function.restype = ctypes.c_bool
    return function
