"""Arrays in JSON and in bytes, as the protocols write them.

JSON has no NaN and no infinity. They are written as the strings that Protocol Buffers has in its JSON:
"NaN", "Infinity", "-Infinity". Read are these, and the bare words that Python and TensorFlow Serving write.
"""

import json
import math
import reprlib
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from cornu.serving.servable import Spec

# Of protocol v2.
DATATYPES = {
    "bool": "BOOL",
    **{f"{u}int{n}": f"{u.upper()}INT{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
_KINDS = {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}


def dtype_of(name: str) -> np.dtype:
    """NumPy's dtype of a name, bfloat16 among them; strings are objects."""
    if name == "string":
        return np.dtype(object)
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def read_json(text: bytes) -> Any:
    """What JSON says. Raises ValueError for what is none, or nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ValueError("The body is not JSON: it is no UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"The body is not JSON: {error}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # One of the two values would be lost, and nobody told.
        raise ValueError("an object has a name twice")
    return found


def array_of(value: Any, spec: Spec, what: str) -> np.ndarray:
    """Nested lists as an array of an input's dtype. Raises ValueError for what does not fit."""
    if spec.dtype == "string":
        return _strings(value, what)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{what}: the lists have different lengths.") from None
    if spec.dtype == "uint64" and array.dtype == np.float64:
        array = _large(value, array)
    if array.dtype.kind in "OUS" and _is_number(spec):
        array = _with_words(value, what)
    if array.size == 0:
        return array.astype(dtype_of(spec.dtype))
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what}: expected {_KINDS[_kind(spec.dtype)]}. Received: {short(value)}")
    return cast(array, spec, what)


def cast(array: np.ndarray, spec: Spec, what: str) -> np.ndarray:
    """An array in an input's dtype, if every value keeps its meaning; floats are rounded.

    Raises ValueError if fractions would be lost, or a value does not fit.
    """
    wanted, kind = dtype_of(spec.dtype), _kind(spec.dtype)
    if array.dtype == wanted:
        return array
    given = "f" if array.dtype == ml_dtypes.bfloat16 else array.dtype.kind
    if "biuf".index(given) > "biuf".index(kind) and (given, kind) != ("u", "i"):
        raise ValueError(
            f"{what}: expected {_KINDS[kind]} ({spec.dtype}). Received: {_KINDS[given]}."
        )
    if kind in "iu" and given in "iu" and array.size:
        limits = np.iinfo(wanted)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"{what}: expected {spec.dtype}, from {limits.min} to {limits.max}. Received: values from "
                f"{low} to {high}."
            )
    with np.errstate(over="ignore"):
        found = array.astype(wanted)
    if kind == "f":
        lost = np.isinf(found) & np.isfinite(array)
        if lost.any():
            raise ValueError(
                f"{what}: {array[lost].flat[0]!s} is too large for {spec.dtype}, which is what the model "
                "takes."
            )
    return found


def plain(array: np.ndarray) -> Any:
    """An array as nested lists that strict JSON can hold."""
    if array.dtype == object or array.dtype.kind in "SU":
        return array.astype(str).tolist()
    if array.dtype == ml_dtypes.bfloat16:
        array = array.astype("float32")
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    return _worded(array.tolist())


def _worded(value):
    if isinstance(value, list):
        return [_worded(each) for each in value]
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _with_words(value, what: str) -> np.ndarray:
    """Numbers, among them the words for those that JSON lacks, or integers of more than 64 bits."""

    def number(each):
        if isinstance(each, list):
            return [number(inner) for inner in each]
        if isinstance(each, str):
            if each not in ("NaN", "Infinity", "-Infinity"):
                raise ValueError(f"{what}: expected numbers. Received: {short(each)}")
            return float(each)
        if isinstance(each, dict) or each is None:
            raise ValueError(f"{what}: expected numbers. Received: {short(each)}")
        return each

    try:
        return np.asarray(number(value), np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        if str(error).startswith(what):
            raise
        raise ValueError(
            f"{what}: expected numbers in lists of one length. Received: {short(value)}"
        ) from None


def _large(value, array: np.ndarray) -> np.ndarray:
    """Whole numbers that no signed type holds: beside smaller ones, NumPy would make floats of them."""
    exact = np.asarray(value, object)
    return exact.astype(np.uint64) if all(type(n) is int and n >= 0 for n in exact.flat) else array


def _strings(value, what: str) -> np.ndarray:
    array = np.array(value, dtype=object)
    # Of more than 32 axes, NumPy has no flat iterator.
    if array.ndim > 32 or not all(isinstance(each, str) for each in array.flat):
        raise ValueError(f"{what}: expected strings. Received: {short(value)}")
    return array


def from_bytes(data: memoryview, datatype: str, shape: list[int], what: str) -> np.ndarray:
    """An array from little-endian bytes; of BYTES, each string has its length (uint32) before it."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return _strings_from(data, count, what).reshape(shape)
    dtype = dtype_of(DTYPES[datatype])
    if len(data) != count * dtype.itemsize:
        raise ValueError(
            f"{what}: expected {count * dtype.itemsize} bytes for {datatype} of shape {shape}. Received: "
            f"{len(data)}."
        )
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _strings_from(data: memoryview, count: int, what: str) -> np.ndarray:
    found: list[str] = []
    at = 0
    while at < len(data) and len(found) < count:
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(str(data[at + 4 : at + 4 + size], "utf-8"))
        at += 4 + size
    if at != len(data) or len(found) != count:
        raise ValueError(f"{what}: expected {count} strings, each after its length in 4 bytes.")
    return np.array(found, object)


def to_bytes(array: np.ndarray) -> bytes:
    """An array's little-endian bytes."""
    if array.dtype == object or array.dtype.kind in "SU":
        texts = [str(each).encode() for each in array.flat]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def check_shape(shape: Sequence[int], spec: Spec, what: str) -> None:
    """Raise ValueError if examples have another shape than the model takes."""
    given = shape[1:]
    fits = shape and len(given) == len(spec.shape)
    if not fits or any(n not in (None, m) for n, m in zip(spec.shape, given, strict=True)):
        expected = ", ".join("any" if n is None else str(n) for n in ("any", *spec.shape))
        raise ValueError(
            f"{what}: expected the shape ({expected}), with the number of examples first. Received: "
            f"{short(list(shape))}."
        )


def _kind(dtype: str) -> str:
    return "f" if dtype == "bfloat16" else dtype_of(dtype).kind


def _is_number(spec: Spec) -> bool:
    return _kind(spec.dtype) in "iuf"


def short(value) -> str:
    """A value for a message, however large or nested it is."""
    return reprlib.repr(value)
