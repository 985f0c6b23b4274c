"""`Attention` and `AdditiveAttention`: attention without projections, in one head."""

import jax
import jax.numpy as jnp

from cornu import random
from cornu.core import registry
from cornu.core.layer import Layer
from cornu.core.random import SeedGenerator


@registry.register("layer", module="keras.layers")
class Attention(Layer):
    """For each query, a mean of the values, weighted by the products of the query with their keys.

    `weights = softmax(query @ key^T)`, `output = weights @ value`.

    Args:
        use_scale: whether the products are multiplied by a trained number.
        score_mode: `"dot"`, or `"concat"` for `w * sum(tanh(query + key))` with a trained number `w`
            in place of the product.
        dropout: fraction of the weights that are dropped in training.
        seed: an integer for dropping that can be repeated.

    Call arguments:
        inputs: `[query, value]` or `[query, value, key]`; without a key, the value is the key.
        mask: `[query_mask, value_mask]`, True where a position counts; either may be None. Outputs of
            queries that do not count are zero.
        return_attention_scores: whether to return `(output, weights)`.
        training: whether to drop.
        use_causal_mask: whether a query sees only values at its own and earlier positions.

    Shapes: (batch, queries, n), (batch, values, m), (batch, values, n) -> (batch, queries, m). The
    weights are (batch, queries, values).

    Source: Keras: Attention layer; Luong et al. 2015, "Effective approaches to attention-based neural
    machine translation".

    >>> import cornu, jax.numpy as jnp
    >>> query, value = jnp.zeros((1, 1, 2)), jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> cornu.layers.Attention()([query, value]).tolist()
    [[[2.0, 3.0]]]
    """

    _calculates = True

    def __init__(self, use_scale=False, score_mode="dot", dropout=0.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.use_scale = use_scale
        self.score_mode = score_mode
        self.dropout = dropout
        self.seed = seed
        if dropout > 0:
            self.seed_generator = SeedGenerator(seed)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                "Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. "
                f"Received: score_mode={score_mode}"
            )

    def build(self, input_shape):
        self._check(input_shape)
        self.scale = None
        if self.use_scale:
            self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight(
                name="concat_score_weight", shape=(), initializer="ones"
            )

    def _calculate_scores(self, query, key):
        if self.score_mode == "dot":
            scores = query @ jnp.swapaxes(key, -2, -1)
            return scores if self.scale is None else scores * self.scale.value
        pairs = query[..., :, None, :] + key[..., None, :, :]
        if self.scale is not None:
            pairs = self.scale.value * pairs
        return self.concat_score_weight.value * jnp.sum(jnp.tanh(pairs), axis=-1)

    def call(
        self,
        inputs,
        mask=None,
        training=False,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        self._check(inputs, mask)
        query, value = inputs[:2]
        scores = self._calculate_scores(query, inputs[-1])
        visible = None
        if mask and mask[1] is not None:
            visible = jnp.asarray(mask[1], bool)[..., None, :]
        if use_causal_mask:
            causal = jnp.tri(scores.shape[-2], scores.shape[-1], dtype=bool)
            causal = causal.reshape((1,) * (scores.ndim - 2) + causal.shape)
            visible = causal if visible is None else visible & causal
        if visible is not None:
            # Finite, so that a query that sees nothing gives no NaN.
            hidden = scores - (65504.0 if scores.dtype == jnp.float16 else 1e9)
            scores = jnp.where(visible, scores, hidden)
        weights = jax.nn.softmax(scores, axis=-1)
        if training and self.dropout > 0:
            weights = random.dropout(weights, self.dropout, seed=self.seed_generator)
        output = weights @ value
        if mask and mask[0] is not None:
            counts = jnp.asarray(mask[0], bool)[..., None]
            output = jnp.where(counts, output, jnp.zeros((), output.dtype))
        return (output, weights) if return_attention_scores else output

    def compute_mask(self, inputs, mask=None):
        self._check(inputs, mask)
        return None if mask is None or mask[0] is None else jnp.asarray(mask[0])

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], input_shape[1][-1])

    def _check(self, inputs, mask=None) -> None:
        name = f"{type(self).__name__} layer '{self.name}'"
        if not isinstance(inputs, list):
            raise ValueError(
                f"{name} must be called on a list of inputs, namely [query, value] or [query, value, "
                f"key]. Received: inputs={inputs}."
            )
        if mask is not None and not isinstance(mask, list):
            raise ValueError(
                f"The mask of {name} must be a list, namely [query_mask, value_mask]. Received: "
                f"mask={mask}."
            )
        for what, given in (("inputs", inputs), ("mask", mask)):
            if given is not None and not 2 <= len(given) <= 3:
                raise ValueError(
                    f"{name} accepts {what} of length 2 or 3, for query, value and perhaps key. "
                    f"Received length: {len(given)}."
                )


@registry.register("layer", module="keras.layers")
class AdditiveAttention(Attention):
    """For each query, a mean of the values, weighted by a sum of `tanh(query + key)`.

    `weights = softmax(sum(scale * tanh(query + key)))`, `output = weights @ value`.

    Args:
        use_scale: whether `scale`, one number for each feature, is trained; else it is 1.
        dropout: fraction of the weights that are dropped in training.

    Call arguments, shapes: as of `Attention`.

    Source: Keras: AdditiveAttention layer; Bahdanau et al. 2015, "Neural machine translation by
    jointly learning to align and translate".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.AdditiveAttention()
    >>> layer([jnp.ones((1, 3, 2)), jnp.ones((1, 4, 2))]).shape, layer.scale.shape
    ((1, 3, 2), (2,))
    """

    def __init__(self, use_scale=True, dropout=0.0, **kwargs):
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "score_mode"]

    def build(self, input_shape):
        self._check(input_shape)
        self.scale = None
        if self.use_scale:
            size = input_shape[0][-1]
            if size is None:
                raise ValueError(
                    f"Layer '{self.name}': the last dimension of the query must be known, for `scale` "
                    f"has as many numbers. Received: query_shape={input_shape[0]}"
                )
            self.scale = self.add_weight(name="scale", shape=(size,))

    def _calculate_scores(self, query, key):
        agreement = jnp.tanh(query[..., :, None, :] + key[..., None, :, :])
        if self.scale is not None:
            scale = self.scale.value
            agreement = scale.reshape((1,) * (agreement.ndim - 1) + scale.shape) * agreement
        return jnp.sum(agreement, axis=-1)
