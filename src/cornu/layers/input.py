"""`Input`: where a graph of layers starts."""

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
        batch_shape: sizes with the batch, instead of `shape` and `batch_size`.
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
        shape = kwargs.pop("input_shape", shape)
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        super().__init__(name=name, **kwargs)
        if shape is not None and batch_shape is not None:
            raise ValueError("You cannot pass both `shape` and `batch_shape` at the same time.")
        if sparse or ragged:
            raise ValueError(
                f"InputLayer '{self.name}': sparse and ragged inputs are not supported. Pass dense "
                "arrays; scipy.sparse matrices given to `fit` are made dense batch by batch."
            )
        if input_tensor is not None:
            batch_shape, dtype = input_tensor.shape, dtype or input_tensor.dtype
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
        self.built = True
        if input_tensor is None:
            input_tensor = KerasTensor(self.batch_shape, self._dtype, name=self.name)
        Node(self, (), {}, input_tensor)

    def call(self, inputs):
        return inputs

    @property
    def dtype(self) -> str:
        return self._dtype

    def get_config(self) -> dict:
        config = {
            "batch_shape": self.batch_shape,
            "dtype": self._dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
        }
        return {**config, "optional": True} if self.optional else config


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
