"""`Hashing` and `HashedCrossing`: categories, and combinations of them, as one of some bins."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import floatx
from cornu.core.symbolic import KerasTensor
from cornu.layers.preprocessing.encoding import (
    MODES,
    check_mode,
    encode,
    output_shape,
    plain_config,
    refuse_sparse,
)
from cornu.layers.preprocessing.host import HostLayer, is_text, on_host, to_device
from cornu.layers.preprocessing.lookup import pair_of
from cornu.ops.hashes import cross, cross_integers, hash_integers, hash_text


@registry.register("layer", module="keras.layers")
class Hashing(HostLayer):
    """Texts or integers as one of `num_bins` bins, by FarmHash64 of the text or the digits.

    Args:
        num_bins: how many bins there are, that of `mask_value` included.
        mask_value: an input that gets bin 0, and no other does.
        salt: one integer or two: SipHash with this salt instead of FarmHash64.
        output_mode: `"int"` for the bin; `"one_hot"`, `"multi_hot"` or `"count"` for vectors, as in
            `CategoryEncoding`.
        sparse: only False.

    Floats lose their fraction first. Integers are hashed in compiled programs, too; with text, a model
    calls the layer before its compiled step. The numbers are TensorFlow's.

    Source: Keras: Hashing layer; Weinberger et al. 2009, "Feature hashing for large scale multitask
    learning".

    >>> import cornu
    >>> cornu.layers.Hashing(num_bins=3)([["A"], ["B"], ["C"], ["D"], ["E"]]).tolist()
    [[1], [0], [1], [1], [2]]
    """

    def __init__(
        self, num_bins, mask_value=None, salt=None, output_mode="int", sparse=False, **kwargs
    ):
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else floatx()
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise ValueError(
                f"Layer '{self.name}': `num_bins` cannot be None or non-positive. "
                f"Received: num_bins={num_bins}"
            )
        self.output_mode = check_mode("Hashing", output_mode, MODES)
        if output_mode == "int" and self.dtype_policy.name not in ("int32", "int64"):
            raise ValueError(
                f"Layer '{self.name}': with output_mode='int', `dtype` should be 'int32' or 'int64'. "
                f"Received: dtype={kwargs['dtype']}"
            )
        refuse_sparse("Hashing", sparse)
        self.num_bins, self.mask_value, self.sparse = num_bins, mask_value, False
        self.salt = pair_of("Hashing", salt)

    def call(self, inputs):
        if self.output_mode == "one_hot" and inputs.ndim and inputs.shape[-1] == 1:
            inputs = inputs[..., 0]
        traced = isinstance(inputs, jax.core.Tracer)
        bins = self._bins(inputs, jnp if traced else np)
        outputs = encode(
            jnp if traced else np, bins, self.output_mode, self.num_bins, self._output_dtype()
        )
        return outputs if traced else to_device(outputs)

    def _bins(self, inputs, xp):
        count, mask = self.num_bins, None
        if self.mask_value is not None and count > 1:
            count, mask = count - 1, inputs == self.mask_value
        if is_text(inputs):
            bins = _hashed(inputs.reshape(-1).tolist(), count, self.salt).reshape(inputs.shape)
        elif inputs.dtype == bool:
            # TensorFlow writes them out.
            of = _hashed(["false", "true"], count, self.salt)
            bins = xp.asarray(of)[inputs.astype("int32")]
        else:
            if inputs.dtype.kind not in "iu":
                inputs = inputs.astype(np.int64 if xp is np else "int32")
            bins = xp.asarray(hash_integers(inputs, count, self.salt))
        return bins if mask is None else xp.where(mask, 0, bins + 1)

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        if self.output_mode == "int":
            return shape
        if self.output_mode == "one_hot" and shape[-1:] == (1,):
            shape = shape[:-1]
        if not shape:
            return (self.num_bins,)
        return output_shape(shape, self.output_mode, self.num_bins)

    def _output_dtype(self) -> str:
        return jax.dtypes.canonicalize_dtype(self.compute_dtype).name


def _hashed(texts: list, count: int, salt=None) -> np.ndarray:
    return (hash_text(texts, salt) % np.uint64(count)).astype(np.int64)


@registry.register("layer", module="keras.layers")
class HashedCrossing(HostLayer):
    """Combinations of categories as one of `num_bins` bins.

    Args:
        num_bins: how many bins there are.
        output_mode: `"int"` for the bin, or `"one_hot"` for a vector.
        sparse: only False.

    Inputs: a list of two or more arrays of text or integers, each of shape (), (batch,) or (batch, 1). The
    numbers are TensorFlow's: a hash of the features' hashes, where an integer is its own.

    Source: Keras: HashedCrossing layer.

    >>> import cornu
    >>> layer = cornu.layers.HashedCrossing(num_bins=5)
    >>> layer((["A", "B", "A"], [101, 101, 102])).tolist()
    [1, 4, 3]
    """

    def __init__(self, num_bins, output_mode="int", sparse=False, name=None, dtype=None, **kwargs):
        if output_mode == "int" and dtype is None:
            dtype = "int64"
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.output_mode = check_mode("HashedCrossing", output_mode, ("int", "one_hot"))
        refuse_sparse("HashedCrossing", sparse)
        self.num_bins, self.sparse = num_bins, False

    def _inputs_as_arrays(self, inputs):
        if not isinstance(inputs, list | tuple) or len(inputs) < 2:
            raise ValueError(
                f"Layer '{self.name}': `HashedCrossing` takes a list of at least two inputs. "
                f"Received: {type(inputs).__name__}: {inputs!r}"
            )
        return [on_host(value, self) for value in inputs]

    def _checked_shape(self, shapes) -> tuple:
        shape = tuple(shapes[0])
        if any(tuple(other) != shape for other in shapes):
            raise ValueError(
                f"Layer '{self.name}': the inputs should have equal shape. Received: {list(shapes)}"
            )
        if len(shape) > 2 or (len(shape) == 2 and shape[-1] != 1):
            raise ValueError(
                f"Layer '{self.name}': each input should have shape (), (batch,) or (batch, 1). "
                f"Received: {list(shapes)}"
            )
        return shape

    def call(self, inputs):
        self._checked_shape([x.shape for x in inputs])
        if any(not is_text(x) and x.dtype.kind not in "iu" for x in inputs):
            raise ValueError(
                f"Layer '{self.name}': the inputs should be integers or text. Received arrays of "
                f"{[str(x.dtype) for x in inputs]}."
            )
        if any(isinstance(x, jax.core.Tracer) for x in inputs):
            bins = cross_integers(inputs, self.num_bins)
            return encode(jnp, bins, self.output_mode, self.num_bins, self._output_dtype())
        hashes = [
            hash_text(x.reshape(-1).tolist()).reshape(x.shape) if is_text(x) else x for x in inputs
        ]
        bins = cross(hashes, self.num_bins)
        return to_device(encode(np, bins, self.output_mode, self.num_bins, self._output_dtype()))

    def compute_output_shape(self, input_shape):
        shape = self._checked_shape(input_shape)
        if self.output_mode == "int":
            return shape
        return output_shape(shape, "one_hot", self.num_bins) if shape else (self.num_bins,)

    def compute_output_spec(self, inputs, **kwargs):
        shape = self.compute_output_shape([x.shape for x in inputs])
        return KerasTensor(shape, dtype=self._output_dtype())

    def _output_dtype(self) -> str:
        return jax.dtypes.canonicalize_dtype(self.compute_dtype).name

    def get_config(self) -> dict:
        return plain_config(super().get_config(), self.dtype_policy)
