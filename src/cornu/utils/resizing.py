"""Pictures of another size."""

import ctypes
import functools
from collections.abc import Callable

import numpy as np

from cornu.core.kernels import native

INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    aspect: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resize `(height, width, channels)` to `size`, in float32, without smoothing beforehand.

    Pixels are squares centred at half-integers: output pixel `i` samples the input at
    `(i + 0.5) * input_size / output_size - 0.5`. Where the kernels are in use, one computes it beside other
    threads and several times as fast as NumPy; the numbers are the same, to the bit.

    Args:
        image: the image.
        size: `(height, width)`.
        interpolation: one of `INTERPOLATIONS`.
        aspect: `"crop"` first crops the image to `size`'s proportions, `"pad"` first pads it
            to them with zeros, None distorts it.
        out: an array of float32, without gaps, that gets the result; default: a new one.

    Source: Keras: ops.image.resize.
    """
    image = _of_proportions(image, size, aspect)
    if image.dtype != np.uint8:
        # Of bytes, only the rows that are needed are converted.
        image = image.astype("float32", copy=False)
    if out is None:
        out = np.empty((*size, image.shape[2]), "float32")
    kernel = _kernel()
    if kernel is not None:
        _by_kernel(kernel, image, interpolation, out)
        return out
    for axis in (0, 1):
        if image.shape[axis] != size[axis]:
            image = _resized(image, axis, size[axis], interpolation)
    out[...] = image
    return out


def _of_proportions(image: np.ndarray, size: tuple[int, int], aspect: str | None) -> np.ndarray:
    height, width, _ = image.shape
    fitting_height = int(width * size[0] / size[1])
    fitting_width = int(height * size[1] / size[0])
    if aspect == "crop":
        new_height = max(min(height, fitting_height), 1)
        new_width = max(min(width, fitting_width), 1)
        top, left = (height - new_height) // 2, (width - new_width) // 2
        image = image[top : top + new_height, left : left + new_width]
    elif aspect == "pad":
        rows = max(0, fitting_height - height) // 2
        # Rows are filled up or columns are, never both, even if rounding would need one of each.
        columns = 0 if rows else max(0, fitting_width - width) // 2
        image = np.pad(image, ((rows, rows), (columns, columns), (0, 0)))
    return image


class _Taps(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("indices", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    ]


class _Picture(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("stride", "width", "channels", "new_height", "new_width")
        ),
        ("columns", _Taps),
        ("rows", _Taps),
    ]


@functools.cache
def _kernel():
    """The function of the kernels' library, or None; it is called without Python's lock."""
    found = native()
    function = getattr(ctypes.CDLL(found.library), "cornu_resize", None) if found.in_use else None
    if function is not None:
        pointer = ctypes.c_void_p
        function.argtypes = [ctypes.POINTER(_Picture), pointer, ctypes.c_bool, pointer]
        function.restype = ctypes.c_bool
    return function


def _by_kernel(kernel, image: np.ndarray, interpolation: str, out: np.ndarray) -> None:
    if not image[:1].flags.c_contiguous or image.strides[0] < 0:
        image = np.ascontiguousarray(image)
    # The arrays live as long as the pointers are used.
    columns, rows = (
        _taps(before, after, interpolation) if before != after else None
        for before, after in zip(image.shape[:2], out.shape[:2], strict=True)
    )
    taps = [
        _Taps() if both is None else _Taps(len(both[0]), both[0].ctypes.data, both[1].ctypes.data)
        for both in (columns, rows)
    ]
    stride = image.strides[0] // image.itemsize
    picture = _Picture(stride, *image.shape[1:], *out.shape[:2], *taps)
    if not kernel(picture, image.ctypes.data, image.dtype == np.uint8, out.ctypes.data):
        raise MemoryError("There is no memory for a row of a picture.")


def _resized(image: np.ndarray, axis: int, size: int, interpolation: str) -> np.ndarray:
    """The image with another size along one axis, in float32."""
    indices, weights = _taps(image.shape[axis], size, interpolation)
    height, width, channels = image.shape
    rows = image.reshape(height, width * channels)
    if axis == 1:
        # Number by number: NumPy is slow along an axis as short as that of the channels.
        indices = (indices[:, :, None] * channels + np.arange(channels)).reshape(len(indices), -1)
        weights = np.repeat(weights, channels, axis=1)
    weights = weights[:, :, None] if axis == 0 else weights[:, None]
    total = np.take(rows, indices[0], axis) * weights[0]
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        total += np.take(rows, index, axis) * weight
    return total.reshape((size, width, channels) if axis == 0 else (height, size, channels))


@functools.lru_cache(maxsize=1024)
def _taps(input_size: int, output_size: int, interpolation: str):
    """Which input pixels contribute to each output pixel, `(taps, output_size)`, and their weights.

    In 32 bits throughout, as JAX computes, so that rounding moves the sampling points alike.
    """
    position = np.arange(output_size, dtype="float32") + np.float32(0.5)
    if interpolation == "nearest":
        indices = np.floor(position * np.float32(input_size) / np.float32(output_size))
        return indices.astype(np.int64)[None], np.ones((1, output_size), "float32")
    radius, kernel = _KERNELS[interpolation]
    centre = position * np.float32(input_size / output_size) - np.float32(0.5)
    indices = np.floor(centre).astype(np.int64) + np.arange(1 - radius, radius + 1)[:, None]
    weights = kernel(np.abs(centre - indices.astype("float32"))).astype("float32")
    # Pixels outside have no weight; the others share it.
    weights[(indices < 0) | (indices >= input_size)] = 0
    weights /= weights.sum(axis=0)
    return indices.clip(0, input_size - 1), weights


def _triangle(x):
    return np.maximum(0, 1 - x)


def _cubic(x):
    """Keys' kernel with a = -0.5 (Keys 1981)."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(radius, x):
    return np.where(x <= radius, np.sinc(x) * np.sinc(x / radius), 0)


_KERNELS: dict[str, tuple[int, Callable]] = {
    "bilinear": (1, _triangle),
    "bicubic": (2, _cubic),
    "lanczos3": (3, functools.partial(_lanczos, 3)),
    "lanczos5": (5, functools.partial(_lanczos, 5)),
}
