"""`GroupedQueryAttention`, which Keras' users know as `GroupQueryAttention`."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.attention.projected import ProjectedAttention


@registry.register("layer", "GroupQueryAttention", module="keras.layers")
class GroupedQueryAttention(ProjectedAttention):
    """Attention in several heads, groups of which share their keys and values.

    With as many heads for keys and values as for queries it is multi-head attention, with one it is
    multi-query attention.

    Args:
        head_dim: length of the queries, keys and values of a head.
        num_query_heads: number of heads for queries.
        num_key_value_heads: number of heads for keys and values; the other divided by it must be whole.
        dropout: fraction of the attention weights that are dropped in training.
        use_bias: whether the projections add a bias.
        sliding_window: how many positions a query sees to either side, its own included; None for all.
        flash_attention: whether to use cuDNN's fused kernel; None for where it can be used.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint,
            bias_constraint: of the projections.
        activity_regularizer: penalty on what the projections and the layer give.
        use_gate: whether what the heads give is multiplied by a sigmoid of a projection of the query.
        seed: an integer for dropping that can be repeated.

    Call arguments: as of `MultiHeadAttention`.

    Shapes: (batch, queries, n), (batch, values, n) -> (batch, queries, n). The weights are
    (batch, query heads, queries, values).

    Source: Keras: GroupQueryAttention layer; Ainslie et al. 2023, "GQA: training generalized
    multi-query transformer models from multi-head checkpoints".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.GroupQueryAttention(3, num_query_heads=4, num_key_value_heads=2)
    >>> x = jnp.ones((1, 5, 4))
    >>> layer(x, x).shape, layer.count_params()
    ((1, 5, 4), 172)
    """

    def __init__(
        self,
        head_dim,
        num_query_heads,
        num_key_value_heads,
        dropout=0.0,
        use_bias=True,
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
        super().__init__(
            **arguments_for(ProjectedAttention, locals()),
            projection_regularizer=activity_regularizer,
            **kwargs,
        )
        self._check_positive("head_dim", head_dim)
        self._check_positive("num_query_heads", num_query_heads)
        self._check_positive("num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise ValueError(
                f"Layer '{self.name}': `num_query_heads` must be divisible by `num_key_value_heads`. "
                f"Received: num_query_heads={num_query_heads}, "
                f"num_key_value_heads={num_key_value_heads}"
            )
        self.head_dim = head_dim
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads

    def build(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(value_shape, key_shape)
        if len(query_shape) != 3:
            raise ValueError(
                f"Layer '{self.name}': expected inputs of shape (batch, positions, features). "
                f"Received: query_shape={query_shape}"
            )
        queries = (self.num_query_heads, self.head_dim)
        shared = (self.num_key_value_heads, self.head_dim)
        # Under these names files have them.
        self._query_dense = self._projection("query", query_shape, queries)
        self._key_dense = self._projection("key", key_shape or value_shape, shared)
        if self.use_gate:
            self._gate_dense = self._projection("gate", query_shape, queries, activation="sigmoid")
        self._value_dense = self._projection("value", value_shape, shared)
        self._build_attention(4, (1,), self.head_dim)
        self._output_dense = self._projection(
            "attention_output", (*query_shape[:-1], *queries), query_shape[-1:], num_summed=2
        )

    def _project(self, query, key, value):
        times = self.num_query_heads // self.num_key_value_heads
        key, value = self._key_dense(key), self._value_dense(value)
        key, value = (jnp.repeat(each, times, axis=2) for each in (key, value))
        return self._query_dense(query), key, value

    def _combine(self, heads):
        return self._output_dense(heads)

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        if query_shape[-1] != value_shape[-1]:
            raise ValueError(
                f"Layer '{self.name}': the last dimension of `query_shape` and `value_shape` must be "
                f"equal. Received: query_shape={query_shape}, value_shape={value_shape}"
            )
        self._check_shapes(value_shape, key_shape)
        return query_shape
