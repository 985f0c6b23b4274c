"""Layers that compute on the host, in NumPy, where text and integers of 64 bits live."""

from typing import Any

import jax
import numpy as np

from cornu.core.dtype import as_array, floatx
from cornu.core.symbolic import KerasTensor
from cornu.core.variable import Variable
from cornu.layers.preprocessing.data_layer import DataLayer


class HostLayer(DataLayer):
    """A layer whose `call` gets arrays of NumPy, and in a compiled program those of JAX.

    Text never becomes an array of JAX. A model runs such layers before its compiled step, where they depend
    on its inputs alone; see `models.host_part`.
    """

    _takes_text = True

    @property
    def needs_host(self) -> bool:
        """Whether no compiled program can do what this layer does, whatever its inputs are."""
        return False

    def _to_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (self._inputs_as_arrays(args[0]), *args[1:]), kwargs
        return args, {
            n: self._inputs_as_arrays(v) if n == "inputs" else v for n, v in kwargs.items()
        }

    def _inputs_as_arrays(self, inputs):
        return on_host(inputs, self)

    def _refuse_tracing(self, inputs) -> None:
        if isinstance(inputs, jax.core.Tracer) and self.needs_host:
            raise TypeError(
                f"Layer '{self.name}' ({type(self).__name__}) cannot run within a compiled program as it "
                "was made. Apply it to the data before: `dataset.map(layer)`, or `layer(x)`."
            )

    def compute_output_spec(self, inputs, **kwargs):
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self._output_dtype())

    def _output_dtype(self) -> str:
        return floatx()


def integers_dtype() -> str:
    """The dtype of indices that JAX keeps: `int32`, or `int64` where 64 bits are enabled."""
    return jax.dtypes.canonicalize_dtype(np.int64).name


def on_host(value, layer):
    """What a layer was given as an array of NumPy; traced and symbolic arrays are left as they are.

    Text is in arrays of objects, each a `str`: one long text does not make all of them long.
    """
    if isinstance(value, KerasTensor | jax.core.Tracer) or value is None:
        return value
    if isinstance(value, Variable):
        value = value.value
    if hasattr(value, "to_list") and hasattr(value, "row_splits"):
        value = value.to_list()
    try:
        array = np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) takes arrays, whose rows have one length. "
            "Received: lists of several lengths. Fill up the shorter ones, with the mask token for text."
        ) from None
    return (
        as_text(array, getattr(layer, "encoding", "utf-8")) if array.dtype.kind in "OSUT" else array
    )


def as_text(array: np.ndarray, encoding: str = "utf-8") -> np.ndarray:
    """An array of text, of bytes or of Python's strings, as an array of `str` objects."""
    if array.dtype.kind != "O":
        array = array.astype(object)
    flat: list[Any] = array.reshape(-1).tolist()
    if any(type(text) is not str for text in flat):
        flat = [t.decode(encoding) if isinstance(t, bytes) else t for t in flat]
        wrong = next((t for t in flat if not isinstance(t, str)), None)
        if wrong is not None or None in flat:
            raise TypeError(
                f"Text is expected, but one of its entries is {wrong!r} (of type {type(wrong).__name__}). "
                "Put a text in its place: frame.fillna('') does so for missing ones."
            )
        result = np.empty(len(flat), object)
        result[:] = flat
        return result.reshape(array.shape)
    return array


def is_text(array) -> bool:
    """Whether an array holds text."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "OSUT"


def batches_of(data, steps: int | None):
    """What `adapt` was given, batch by batch; None if it is an array, or a list of values.

    Of batches that are tuples the first entry is used.
    """
    if isinstance(data, list | tuple | np.ndarray | jax.Array) or hasattr(data, "iloc"):
        return None
    if not hasattr(data, "__iter__"):
        return None
    return _taken(data, steps)


def _taken(data, steps):
    for number, batch in enumerate(data):
        if steps is not None and number >= steps:
            return
        yield batch


def to_device(array: np.ndarray):
    """The result of a layer on the host: an array of JAX, but text, and integers that it cannot keep."""
    if array.dtype.kind in "OSU":
        return array.astype(str) if array.size else array.astype("U1")
    try:
        return as_array(array)
    except ValueError:
        return array
