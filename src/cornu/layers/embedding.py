"""Sequences of integers and their padding: `Embedding` and `Masking`."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core import masking, registry
from cornu.core.dtype import standardize_dtype
from cornu.core.layer import Layer
from cornu.core.symbolic import KerasTensor
from cornu.layers import weight_arguments
from cornu.layers.quantized import Quantizable
from cornu.quantizers import unpack_int4
from cornu.quantizers.functions import dequantize


@registry.register("layer", module="keras.layers")
class Embedding(Quantizable):
    """A table of vectors, one for each integer; the input selects rows.

    Args:
        input_dim: number of rows: the largest integer plus one.
        output_dim: length of a vector.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint: names or callables.
        mask_zero: whether 0 means padding, which later layers then skip.
        weights: array to start the table with.
        lora_rank, lora_alpha: low-rank adaptation from the start, in which only two matrices of this
            rank are trained beside the table: see `enable_lora`. (Keras leaves the alpha out here.)
        quantization_config: how `quantize` quantizes: see `quantizers`.

    Shapes: (batch, …) -> (batch, …, output_dim). An integer outside of the table gives NaN.

    Source: Keras: Embedding layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Embedding(10, 4)(jnp.array([[1, 2, 0]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        input_dim,
        output_dim,
        embeddings_initializer="uniform",
        embeddings_regularizer=None,
        embeddings_constraint=None,
        mask_zero=False,
        weights=None,
        lora_rank=None,
        lora_alpha=None,
        quantization_config=None,
        activity_regularizer=None,
        **kwargs,
    ):
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` is deprecated. Just remove it.", stacklevel=2)
        super().__init__(
            activity_regularizer=activity_regularizer,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            **kwargs,
        )
        for name, size in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size <= 0:
                raise ValueError(
                    f"Layer '{self.name}': `{name}` must be a positive integer. "
                    f"Received: {name}={size!r} (of type {type(size).__name__})."
                )
        self.input_dim, self.output_dim = int(input_dim), int(output_dim)
        weight_arguments.keep(self, locals(), "embeddings")
        self.mask_zero = self.supports_masking = mask_zero
        self.quantization_config = registry.get("quantizer", quantization_config)
        # Integers that arrive as floats must not lose digits in a half-precision dtype.
        self.autocast = False
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n != "weights"]

    def build(self, input_shape=None):
        self._add_main((self.input_dim, self.output_dim))
        if self.lora_rank:
            self._add_adaptation()

    @property
    def embeddings(self):
        """The table: a variable or, with low-rank adaptation, the sum that the layer computes with."""
        return self._effective()

    @embeddings.setter
    def embeddings(self, variable):
        self._main_variable = variable

    def call(self, inputs):
        inputs = _as_indices(inputs)
        return jnp.take(self._effective_value(), inputs, axis=0).astype(self.compute_dtype)

    _main = "embeddings"
    embeddings_scale: Any
    embeddings_zero: Any
    _can_be_quantized = True
    _transposed = True

    def _contracted_axes(self) -> tuple[int, ...]:
        # A row has few numbers, so that one scale for each is more exact than one for each column.
        return (1,)

    def _scale_as_kept(self, scale):
        return jnp.squeeze(scale, 1)

    def _scale_of_weight(self, scale):
        return scale[:, None]

    def _as_matrix(self, weight):
        return weight.T

    def _from_matrix(self, matrix):
        return matrix.T

    def _int8_call(self, inputs, training=None):
        inputs = _as_indices(inputs)
        rows = jnp.take(self._main_variable.value, inputs, axis=0).astype(self.compute_dtype)
        scale = jnp.take(self.embeddings_scale.value, inputs, axis=0)
        return self._adapted((rows / scale[..., None]).astype(self.compute_dtype), inputs)

    def _int4_call(self, inputs, training=None):
        inputs = _as_indices(inputs)
        packed = jnp.take(self._main_variable.value, inputs, axis=0)
        rows = unpack_int4(packed, self.output_dim, axis=-1).astype(self.compute_dtype)
        scale = jnp.take(self.embeddings_scale.value, inputs, axis=0)
        if self._block_size is None:
            rows = rows / scale[..., None]
        else:
            zero = jnp.take(self.embeddings_zero.value, inputs, axis=0)
            rows = dequantize(rows, scale, zero, self.g_idx.value, group_axis=-1)
        return self._adapted(rows.astype(self.compute_dtype), inputs)

    def _adapted(self, rows, inputs):
        if not self.lora_enabled:
            return rows
        more = jnp.take(self._lora_a.value, inputs, axis=0) @ self._lora_b.value
        return (rows + self._lora_scale * more).astype(self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs):
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)


def _as_indices(inputs):
    return inputs if inputs.dtype in (jnp.int32, jnp.int64) else inputs.astype("int32")


@registry.register("layer", module="keras.layers")
class ReversibleEmbedding(Embedding):
    """An `Embedding` that also goes the other way, from vectors to a score for each integer.

    Args:
        tie_weights: whether both ways use the same table, transposed for the way back.
        reverse_dtype: the dtype of the way back; default: the compute dtype.
        logit_soft_cap: a number that scores stay below: `cap * tanh(score / cap)`.

    Shapes: (batch, …) -> (batch, …, output_dim); with `reverse=True` (batch, …, output_dim) ->
    (batch, …, input_dim).

    Source: Keras: ReversibleEmbedding layer; Press and Wolf 2016, "Using the output embedding to improve
    language models".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.ReversibleEmbedding(10, 4)
    >>> layer(layer(jnp.array([[1, 2, 0]])), reverse=True).shape
    (1, 3, 10)
    """

    def __init__(
        self,
        input_dim,
        output_dim,
        tie_weights=True,
        embeddings_initializer="uniform",
        embeddings_regularizer=None,
        embeddings_constraint=None,
        mask_zero=False,
        reverse_dtype=None,
        logit_soft_cap=None,
        **kwargs,
    ):
        self.tie_weights = tie_weights
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            **kwargs,
        )
        self.reverse_dtype, self.logit_soft_cap = reverse_dtype, logit_soft_cap
        self.supports_masking = True

    def build(self, input_shape=None):
        if self.quantization_mode is not None:
            raise self._cannot_quantize()
        super().build(input_shape)
        if not self.tie_weights:
            shape = (self.output_dim, self.input_dim)
            # Keras regularizes only the table.
            self.reverse_embeddings = weight_arguments.add(
                self,
                "embeddings",
                shape,
                name="reverse_embeddings",
                regularizer=None,
                constraint=None,
            )

    def call(self, inputs, reverse=False):
        if not reverse:
            outputs = super().call(inputs)
            if self.mask_zero:
                masking.set_mask(outputs, inputs != 0)
            return outputs
        dtype = standardize_dtype(self.reverse_dtype or self.compute_dtype)
        table = self.embeddings.value.T if self.tie_weights else self.reverse_embeddings.value
        scores = jnp.matmul(inputs.astype(dtype), table.astype(dtype))
        cap = self.logit_soft_cap
        return scores if cap is None else jnp.tanh(scores / cap) * cap

    def compute_mask(self, inputs, mask=None):
        # `call` puts it on the output: scores have none.
        return None

    def compute_output_shape(self, input_shape, reverse=False):
        if reverse:
            return (*input_shape[:-1], self.input_dim)
        return super().compute_output_shape(input_shape)

    def compute_output_spec(self, inputs, reverse=False):
        return self._infer((inputs,), {"reverse": reverse})


@registry.register("layer", module="keras.layers")
class Masking(Layer):
    """Marks the time steps in which all features equal `mask_value`, so that later layers skip them.

    Args:
        mask_value: what padding is made of.

    Shapes: (batch, steps, features) -> the same; masked steps become zero.

    Source: Keras: Masking layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Masking(mask_value=9.0)(jnp.array([[[1.0, 2.0], [9.0, 9.0]]])).tolist()
    [[[1.0, 2.0], [0.0, 0.0]]]
    """

    def __init__(self, mask_value=0.0, **kwargs):
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.supports_masking = True

    def call(self, inputs):
        kept = self.compute_mask(inputs)[..., None]
        return jnp.where(kept, inputs, jnp.zeros((), inputs.dtype))

    def compute_mask(self, inputs, mask=None):
        return jnp.any(inputs != self.mask_value, axis=-1)
