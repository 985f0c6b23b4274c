"""`MultiHeadAttention`."""

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.attention.projected import ProjectedAttention


@registry.register("layer", module="keras.layers")
class MultiHeadAttention(ProjectedAttention):
    """Attention in several heads, each with queries, keys and values of its own.

    For each head, `softmax(Q @ K^T / sqrt(key_dim)) @ V` with `Q`, `K` and `V` linear in `query`, `key`
    and `value`; the output is linear in what all heads give.

    Args:
        num_heads: number of heads.
        key_dim: length of the queries and keys of a head.
        value_dim: length of its values; None for `key_dim`.
        dropout: fraction of the attention weights that are dropped in training.
        use_bias: whether the projections add a bias.
        output_shape: sizes of the output behind the positions; None for the length of the query.
        attention_axes: axes of the query that positions lie along; None for all but the first and last.
        sliding_window: how many positions a query sees to either side, its own included; None for all.
        flash_attention: whether to use cuDNN's fused kernel; None for where it can be used.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: of the projections.
        use_gate: whether what the heads give is multiplied by a sigmoid of a projection of the query.
        seed: an integer for dropping that can be repeated.

    Call arguments:
        query, value, key: (batch, positions, features); the key is the value by default.
        query_mask, value_mask, key_mask: True where a position counts; default: the inputs' own masks.
        attention_mask: True where a query may see a value, (batch, queries, values), or with the heads
            as its second axis.
        return_attention_scores: whether to return `(output, weights)`.
        training: whether to drop.
        use_causal_mask: whether a query sees only values at its own and earlier positions.

    Shapes: (batch, queries, n), (batch, values, m) -> (batch, queries, n). The weights are
    (batch, heads, queries, values).

    Source: Keras: MultiHeadAttention layer; Vaswani et al. 2017, "Attention is all you need".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.MultiHeadAttention(num_heads=2, key_dim=3)
    >>> x = jnp.ones((1, 5, 4))
    >>> output, weights = layer(x, x, return_attention_scores=True)
    >>> output.shape, weights.shape, layer.count_params()
    ((1, 5, 4), (1, 2, 5, 5), 118)
    """

    def __init__(
        self,
        num_heads,
        key_dim,
        value_dim=None,
        dropout=0.0,
        use_bias=True,
        output_shape=None,
        attention_axes=None,
        sliding_window=None,
        flash_attention=None,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        use_gate=False,
        seed=None,
        **kwargs,
    ):
        # The penalty is on what the projections give, and so once on the output.
        given = {**locals(), "projection_regularizer": activity_regularizer}
        del given["activity_regularizer"]
        super().__init__(**arguments_for(ProjectedAttention, given), **kwargs)
        self._check_positive("num_heads", num_heads)
        self._check_positive("key_dim", key_dim)
        if value_dim is not None:
            self._check_positive("value_dim", value_dim)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.value_dim = value_dim or key_dim
        if output_shape is not None:
            single = isinstance(output_shape, int)
            if not single and not isinstance(output_shape, list | tuple):
                raise ValueError(
                    f"Invalid `output_shape` of layer '{self.name}': {output_shape}. When specified, it "
                    "should be of type tuple, list, or int."
                )
            output_shape = (output_shape,) if single else tuple(output_shape)
        # Not as `output_shape`, which models take for that of a layer's output.
        self._output_shape = output_shape
        if isinstance(attention_axes, int):
            attention_axes = (attention_axes,)
        elif attention_axes is not None and not isinstance(attention_axes, list | tuple):
            raise ValueError(
                f"Layer '{self.name}': `attention_axes` must be an int, list, or tuple. Received: "
                f"attention_axes={attention_axes}"
            )
        self.attention_axes = attention_axes

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "output_shape"]

    def get_config(self) -> dict:
        return {**super().get_config(), "output_shape": self._output_shape}

    def build(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(value_shape, key_shape)
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim)
        # Under these names files have them.
        self.query_dense = self._projection("query", query_shape, keys)
        self.key_dense = self._projection("key", key_shape or value_shape, keys)
        if self.use_gate:
            self._gate_dense = self._projection("gate", query_shape, values, activation="sigmoid")
        self.value_dense = self._projection("value", value_shape, values)
        rank = len(query_shape)
        axes = self.attention_axes or range(1, rank - 1)
        self._build_attention(rank + 1, tuple(axis % rank for axis in axes), self.key_dim)
        self.output_dense = self._projection(
            "attention_output",
            (*query_shape[:-1], *values),
            self._output_shape or query_shape[-1:],
            num_summed=2,
        )

    def _project(self, query, key, value):
        return self.query_dense(query), self.key_dense(key), self.value_dense(value)

    def _combine(self, heads):
        return self.output_dense(heads)

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(value_shape, key_shape)
        return (*query_shape[:-1], *(self._output_shape or query_shape[-1:]))
