"""Indices as vectors: one-hot, multi-hot and counts."""

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, check_real
from cornu.core.symbolic import KerasTensor
from cornu.layers.preprocessing.data_layer import DataLayer

MODES = ("int", "one_hot", "multi_hot", "count")
_OLD_NAMES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


def check_mode(layer: str, mode, modes) -> str:
    """Today's name of an output mode."""
    mode = _OLD_NAMES.get(mode, mode) if isinstance(mode, str) else mode
    if mode not in modes:
        raise ValueError(
            f"{layer}: unknown value for argument `output_mode`. Expected one of {tuple(modes)}. "
            f"Received: output_mode={mode!r}"
        )
    return mode


def refuse_sparse(layer: str, sparse) -> None:
    """JAX has no sparse arrays that layers could take."""
    if sparse:
        raise ValueError(
            f"{layer}: `sparse=True` is not supported: outputs are dense arrays. Leave it out, or use "
            "output_mode='int' with an `Embedding` for large vocabularies."
        )


def plain_config(config: dict, policy) -> dict:
    """A configuration with the dtype by name, as Keras writes it for some layers."""
    return {**{k: v for k, v in config.items() if k != "trainable"}, "dtype": policy.name}


def output_shape(shape, mode: str, depth) -> tuple:
    """The shape of `encode`."""
    shape = tuple(shape)
    if mode == "int":
        return shape
    if mode == "one_hot" and not (len(shape) > 1 and shape[-1] == 1):
        return (*shape, depth)
    return (*shape[:-1], depth)


def encode(xp, indices, mode: str, depth: int, dtype, weights=None):
    """Indices as vectors of `depth` numbers; those that are negative or too large count for nothing.

    Args:
        xp: `numpy` or `jax.numpy`.
        indices: integers; the last axis is one example, but in `"int"` and `"one_hot"`.
        mode: `"int"`, `"one_hot"`, `"multi_hot"` or `"count"`.
        weights: what each index counts.
    """
    if mode == "int":
        return indices.astype(dtype)
    if indices.ndim == 0 and mode != "one_hot":
        indices = indices[None]
        weights = None if weights is None else weights[None]
    if mode == "one_hot" and indices.ndim > 1 and indices.shape[-1] == 1:
        indices = indices[..., 0]
    if mode == "one_hot":
        return (indices[..., None] == xp.arange(depth, dtype=indices.dtype)).astype(dtype)
    rows = indices.reshape(-1, indices.shape[-1])
    values = xp.ones(rows.shape, xp.float32)
    if weights is not None:
        values = weights.reshape(rows.shape).astype(xp.float32)
    counts = _added(xp, rows, values, depth).reshape(*indices.shape[:-1], depth)
    return (counts > 0 if mode == "multi_hot" else counts).astype(dtype)


def _added(xp, rows, values, depth: int):
    """The sum of the values of each index in a row."""
    inside = (rows >= 0) & (rows < depth)
    if xp is np:
        found = np.zeros((len(rows), depth), np.float32)
        row, column = np.nonzero(inside)
        np.add.at(found, (row, rows[row, column].astype(np.int64)), values[row, column])
        return found
    # A row's last place takes what is outside.
    counts = jnp.zeros((len(rows), depth + 1), jnp.float32)
    place = jnp.where(inside, rows, depth)
    return counts.at[jnp.arange(len(rows))[:, None], place].add(values)[:, :depth]


@registry.register("layer", module="keras.layers")
class CategoryEncoding(DataLayer):
    """Integers below `num_tokens` as vectors of that length.

    Args:
        num_tokens: how many categories there are.
        output_mode: `"multi_hot"`, ones where an example has the category; `"one_hot"`, a vector for
            each integer; or `"count"`, how often an example has the category.
        sparse: only False.

    Shapes: (…, integers) -> (…, num_tokens); in `"one_hot"` (…) -> (…, num_tokens), where a last axis of
    size one goes. Counts are float32 in mixed precision, too. `layer(inputs, count_weights)` counts each
    integer with a weight. An integer outside of the categories counts for nothing, as in Keras on JAX. Of
    inputs with three or more axes the last one is an example, as Keras' page says; its code takes the
    second.

    Source: Keras: CategoryEncoding layer.

    >>> import cornu, numpy as np
    >>> cornu.layers.CategoryEncoding(4, output_mode="count")(np.array([[0, 3, 3]])).tolist()
    [[1.0, 0.0, 0.0, 2.0]]
    """

    def __init__(self, num_tokens=None, output_mode="multi_hot", sparse=False, **kwargs):
        super().__init__(**kwargs)
        if num_tokens is None or num_tokens < 1:
            raise ValueError(
                f"Layer '{self.name}': `num_tokens` must be at least 1, the number of categories. (If it "
                f"is not known, `IntegerLookup` learns it.) Received: num_tokens={num_tokens}"
            )
        self.output_mode = check_mode("CategoryEncoding", output_mode, MODES[1:])
        refuse_sparse("CategoryEncoding", sparse)
        self.num_tokens, self.sparse = int(num_tokens), False
        # Large integers that arrive as floats must not lose digits.
        self.autocast = False

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "sparse"]

    def _to_tensors(self, args, kwargs):
        # A list of integers is one array.
        if args and isinstance(args[0], list | tuple):
            args = (np.asarray(args[0]), *args[1:])
        return super()._to_tensors(args, kwargs)

    def call(self, inputs, count_weights=None):
        inputs = as_array(inputs)
        check_real(inputs, "int32")
        if inputs.dtype.kind != "i":
            inputs = inputs.astype("int32")
        if count_weights is not None:
            if self.output_mode != "count":
                raise ValueError(
                    f"Layer '{self.name}': `count_weights` needs output_mode='count'. It was made with "
                    f"output_mode={self.output_mode!r}."
                )
            count_weights = as_array(count_weights).astype(self._output_dtype())
        return encode(
            jnp, inputs, self.output_mode, self.num_tokens, self._output_dtype(), count_weights
        )

    def _output_dtype(self) -> str:
        # Of 16 bits, few numbers above 256 are whole.
        return self.variable_dtype if self.output_mode == "count" else self.compute_dtype

    def compute_output_shape(self, input_shape, count_weights_shape=None):
        if not input_shape:
            return (self.num_tokens,)
        return output_shape(input_shape, self.output_mode, self.num_tokens)

    def compute_output_spec(self, inputs, count_weights=None, **kwargs):
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self._output_dtype())
