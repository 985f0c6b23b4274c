"""`Input`: where a graph of layers starts."""

import warnings

from cornu.core import registry
from cornu.core.dtype import floatx, standardize_dtype
from cornu.core.layer import Layer
from cornu.core.symbolic import KerasTensor, Node


@registry.register("layer", module="keras.layers")
class InputLayer(Layer):
    """The layer behind `Input`; it returns its input.

    Args:
        shape: sizes without the batch; None where any size goes.
        batch_size: size of the batch, None for any.
        dtype: dtype of the input, `floatx()` by default.
        sparse: whether data may be sparse matrices of SciPy or JAX; they are made dense batch by batch.
        ragged: must be False: arrays of JAX have rows of one length.
        batch_shape: sizes with the batch, instead of `shape` and `batch_size`.
        input_tensor: a symbolic tensor to start from instead.
        optional: whether None may be passed.

    Source: Keras: InputLayer.
    """

    def __init__(
        self,
        shape=None,
        batch_size=None,
        dtype=None,
        sparse=None,
        ragged=None,
        batch_shape=None,
        input_tensor=None,
        optional=False,
        name=None,
        **kwargs,
    ):
        if "input_shape" in kwargs:
            warnings.warn(
                "Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=2
            )
            shape = kwargs.pop("input_shape")
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        super().__init__(name=name, **kwargs)
        if batch_shape is not None:
            for other, value in (("shape", shape), ("batch_size", batch_size)):
                if value is not None:
                    raise ValueError(
                        f"You cannot pass both `{other}` and `batch_shape` at the same time."
                    )
        if ragged:
            raise ValueError(
                f"InputLayer '{self.name}': `ragged=True` is not supported: arrays of JAX have rows of one "
                "length. Fill shorter rows up, with `utils.pad_sequences` say, and let a `Masking` layer "
                "skip what was filled in."
            )
        if input_tensor is not None:
            _check_tensor(input_tensor, shape, batch_size, dtype, batch_shape, sparse)
            batch_shape, dtype = input_tensor.shape, input_tensor.dtype
        if batch_shape is None:
            if shape is None:
                raise ValueError("You must pass a `shape` argument.")
            if isinstance(shape, str):
                raise ValueError(
                    f"Argument `shape` must be a tuple of sizes. Received: shape={shape!r} (a string)."
                )
            if isinstance(shape, int):
                raise ValueError(
                    f"Argument `shape` must be a tuple of sizes. Received: shape={shape}. "
                    f"For vectors of {shape} numbers write shape=({shape},)."
                )
            batch_shape = (batch_size, *shape)
        self.batch_shape = tuple(batch_shape)
        self._dtype = standardize_dtype(dtype) if dtype is not None else floatx()
        self.optional = optional
        self.sparse = input_tensor.sparse if input_tensor is not None else bool(sparse)
        self.ragged, self.built = False, True
        if input_tensor is None:
            input_tensor = KerasTensor(
                self.batch_shape, self._dtype, sparse=self.sparse, name=self.name
            )
        Node(self, (), {}, input_tensor)

    def call(self, inputs=None):
        return inputs

    @property
    def dtype(self) -> str:
        return self._dtype

    def get_config(self) -> dict:
        config = {
            "batch_shape": self.batch_shape,
            "dtype": self._dtype,
            "sparse": self.sparse,
            "ragged": False,
            "name": self.name,
        }
        return {**config, "optional": True} if self.optional else config


def _check_tensor(tensor, shape, batch_size, dtype, batch_shape, sparse) -> None:
    """Refuse what says something else than the tensor that is given."""
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            f"Argument `input_tensor` must be a KerasTensor. Received invalid type: input_tensor={tensor} "
            f"(of type {type(tensor)})"
        )
    given = {
        "batch_size": (batch_size, tensor.shape[0] if tensor.shape else None),
        "shape": (shape if shape is None else tuple(shape), tensor.shape[1:]),
        "batch_shape": (batch_shape if batch_shape is None else tuple(batch_shape), tensor.shape),
        "dtype": (dtype if dtype is None else standardize_dtype(dtype), tensor.dtype),
        "sparse": (sparse, tensor.sparse),
    }
    for name, (value, own) in given.items():
        if value is not None and value != own:
            raise ValueError(
                f"When providing the `input_tensor` argument, you cannot provide an incompatible `{name}` "
                f"argument. Received: {name}={value}, and a tensor with {name}={own}."
            )


def Input(
    shape=None,
    batch_size=None,
    dtype=None,
    sparse=None,
    ragged=None,
    batch_shape=None,
    name=None,
    tensor=None,
    optional=False,
):
    """A symbolic tensor from which a model's graph starts.

    Args:
        shape: sizes without the batch, such as `(28, 28, 1)`; None where any size goes.
        batch_size: size of the batch, None for any.
        dtype: dtype of the input, `floatx()` by default.
        sparse: whether data may be sparse matrices of SciPy or JAX; they are made dense batch by batch.
        ragged: must be False: arrays of JAX have rows of one length.
        batch_shape: sizes with the batch, instead of `shape` and `batch_size`.
        name: name of the input, the key if data is given as a dict.
        tensor: a symbolic tensor to start from instead.
        optional: whether None may be passed.

    Source: Keras: Input.

    >>> import cornu
    >>> cornu.Input((28, 28, 1)).shape
    (None, 28, 28, 1)
    """
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        input_tensor=tensor,
        optional=optional,
        name=name,
    )
    return layer.output
