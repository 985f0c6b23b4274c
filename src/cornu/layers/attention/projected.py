"""What attention with several heads has in common: projections, masks, the attention itself."""

import string

import jax.numpy as jnp
import numpy as np

from cornu.core import masking, registry
from cornu.core.arguments import described
from cornu.core.layer import Layer
from cornu.core.policies import DTypePolicyMap
from cornu.layers import weight_arguments
from cornu.layers.activation import Softmax
from cornu.layers.dense import EinsumDense
from cornu.layers.regularization import Dropout
from cornu.ops.attention import dot_product_attention, is_flash_attention_enabled


class ProjectedAttention(Layer):
    """Queries, keys and values for each head are linear in the inputs, and so is the output in the heads.

    Args:
        dropout: fraction of the attention weights that are dropped in training.
        use_bias: whether the projections add a bias.
        sliding_window: how many positions a query sees to either side, its own included; None for all.
        flash_attention: whether to use cuDNN's fused kernel; None for where it can be used.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
            activity_regularizer, kernel_constraint, bias_constraint: of the projections.
        use_gate: whether what the heads give is multiplied by a sigmoid of a projection of the query.
        seed: an integer for dropping that can be repeated.

    Call arguments:
        query: (batch, queries, features).
        value: (batch, values, features).
        key: as the value, which it is by default.
        query_mask, value_mask, key_mask: True where a position counts; default: the inputs' own masks.
        attention_mask: True where a query may see a value, (batch, queries, values), or with the heads
            as its second axis.
        return_attention_scores: whether to return `(output, weights)`.
        training: whether to drop.
        use_causal_mask: whether a query sees only values at its own and earlier positions.
    """

    _gate_dense: EinsumDense

    def __init__(
        self,
        dropout,
        use_bias,
        sliding_window,
        flash_attention,
        kernel_initializer,
        bias_initializer,
        kernel_regularizer,
        bias_regularizer,
        projection_regularizer,
        kernel_constraint,
        bias_constraint,
        use_gate,
        seed,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.dropout = dropout
        self.use_bias = use_bias
        if sliding_window is not None:
            self._check_positive("sliding_window", sliding_window)
        self.sliding_window = sliding_window
        self._flash_attention = (
            is_flash_attention_enabled() if flash_attention is None else flash_attention
        )
        if self._flash_attention and dropout > 0:
            raise ValueError(
                "Dropout is not supported when flash attention is enabled. Set `dropout` of layer "
                f"'{self.name}' to 0.0 to use flash attention. Received: dropout={dropout}"
            )
        self._projection_regularizer = registry.get("regularizer", projection_regularizer)
        weight_arguments.keep(self, locals(), "kernel", "bias")
        self.use_gate = use_gate
        self.seed = seed

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "flash_attention"]

    def get_config(self) -> dict:
        config = super().get_config()
        config["activity_regularizer"] = registry.serialize(self._projection_regularizer)
        inner = [layer for layer in self._sublayers() if layer.quantization_mode is not None]
        if inner and not isinstance(self.dtype_policy, DTypePolicyMap):
            # Who makes the projections anew passes the policy on to them.
            policies = {layer.path: layer._policy for layer in inner}
            config["dtype"] = registry.serialize(DTypePolicyMap(self.dtype_policy, policies))
        return config

    def _check_positive(self, name: str, value) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value <= 0:
            raise ValueError(
                f"Layer '{self.name}': received an invalid value for argument `{name}`, expected a "
                f"positive integer. Received: {described(name, value)}"
            )

    def _check_shapes(self, value_shape, key_shape) -> None:
        if key_shape is not None and tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ValueError(
                f"Layer '{self.name}': all dimensions of `value` and `key`, except the last one, must "
                f"be equal. Received: value_shape={value_shape} and key_shape={key_shape}"
            )

    def _projection(self, name, input_shape, sizes, num_summed=1, activation=None) -> EinsumDense:
        """A built layer that replaces the last axes of its input by axes of these sizes."""
        summed, made = string.ascii_lowercase[:num_summed], string.ascii_lowercase[num_summed:]
        made = made[: len(sizes)]
        layer = EinsumDense(
            f"...{summed},{summed}{made}->...{made}",
            output_shape=tuple(sizes),
            bias_axes=made if self.use_bias else None,
            activation=activation,
            activity_regularizer=self._projection_regularizer,
            **{
                argument: _another(kept) if argument.endswith("initializer") else kept
                for argument, kept in weight_arguments.kept(self, "kernel", "bias").items()
            },
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build(input_shape)
        return layer

    def _build_attention(self, rank: int, axes: tuple, size: int) -> None:
        """Prepare for projected inputs of a rank, attention over axes, and queries of a size."""
        query = string.ascii_lowercase[:rank]
        others = iter(string.ascii_lowercase[rank:])
        source = "".join(next(others) if i in axes else c for i, c in enumerate(query))
        batch = "".join(c for i, c in enumerate(query[:-1]) if i not in axes)
        scores = batch + "".join(side[i] for side in (query, source) for i in axes)
        self._dot_product_equation = f"{source},{query}->{scores}"
        self._combine_equation = f"{scores},{source}->{query}"
        self._num_axes = len(axes)
        self._scale = size**-0.5
        self._softmax = Softmax(axis=tuple(range(-len(axes), 0)), dtype=self.dtype_policy)
        self._dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy, seed=self.seed)

    def _project(self, query, key, value) -> tuple:
        """Queries, keys and values with an axis of heads before that of features."""
        raise NotImplementedError

    def _combine(self, heads):
        """The output, from what the heads give."""
        raise NotImplementedError

    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
    ):
        key = value if key is None else key
        mask = self._attention_mask(
            query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask
        )
        # The projections know of no masks, and would warn.
        with masking.unmasked(query, key, value):
            gate = self._gate_dense(query) if self.use_gate else None
            query, key, value = self._project(query, key, value)
        # A subclass need not know of the weights where nobody asks for them.
        asked = {"return_attention_scores": True} if return_attention_scores else {}
        heads, weights = self._compute_attention(query, key, value, mask, training, **asked)
        output = self._combine(heads if gate is None else heads * gate)
        if query_mask is not None:
            masking.set_mask(output, query_mask)
        return (output, weights) if return_attention_scores else output

    def _compute_attention(
        self,
        query,
        key,
        value,
        attention_mask=None,
        training=None,
        return_attention_scores=False,
    ):
        """What the heads give for projected inputs, and the attention weights if they are asked for.

        A subclass may override it.
        """
        if self._flash_attention and return_attention_scores:
            raise ValueError(
                "Returning attention scores is not supported when flash attention is enabled. Make layer "
                f"'{self.name}' with `flash_attention=None` to access them."
            )
        if attention_mask is not None:
            attention_mask = self._with_rank(attention_mask, query.ndim - 1 + self._num_axes)
        if query.ndim == 4 and self.dropout == 0 and not return_attention_scores:
            heads = dot_product_attention(
                query,
                key,
                value,
                mask=attention_mask,
                scale=self._scale,
                flash_attention=self._flash_attention,
            )
            return heads, None
        products = jnp.einsum(self._dot_product_equation, key, query * self._scale)
        weights = self._softmax(products, mask=attention_mask)
        # Who gets the weights wants no mask with axes of its own on them.
        masking.set_mask(weights, None)
        kept = self._dropout_layer(weights, training=training) if self.dropout > 0 else weights
        return jnp.einsum(self._combine_equation, kept, value), weights

    def _attention_mask(
        self, query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask
    ):
        """Which query sees which value, by all masks together; None if there are none."""
        masks = []
        if query_mask is not None:
            masks.append(jnp.asarray(query_mask, bool)[..., :, None])
        masks += [
            jnp.asarray(mask, bool)[..., None, :]
            for mask in (value_mask, key_mask)
            if mask is not None
        ]
        if use_causal_mask or self.sliding_window is not None:
            steps = jnp.arange(query.shape[1])[:, None] - jnp.arange(value.shape[1])[None]
            if use_causal_mask:
                masks.append((steps >= 0)[None])
            if self.sliding_window is not None:
                masks.append((jnp.abs(steps) < self.sliding_window)[None])
        if attention_mask is not None:
            masks.append(jnp.asarray(attention_mask).astype(bool))
        if not masks:
            return None
        rank = max(mask.ndim for mask in masks)
        together = self._with_rank(masks[0], rank)
        for mask in masks[1:]:
            together = together & self._with_rank(mask, rank)
        return together

    def _with_rank(self, mask, rank: int):
        """A mask with more axes, between those of the batch and those of queries and values."""
        while mask.ndim < rank:
            mask = jnp.expand_dims(mask, max(-2 * self._num_axes - 1, -mask.ndim - 1))
        return mask


def _another(initializer):
    """The same initializer with a seed of its own, unless the seed was given."""
    if not hasattr(initializer, "get_config"):
        return initializer
    return type(initializer).from_config(initializer.get_config())
