"""Penalties on weights that are added to the loss. Source: Keras: Layer weight regularizers."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import Configurable


class Regularizer(Configurable):
    """A penalty: called on an array, it returns a scalar."""

    def __call__(self, x):
        """The penalty for `x`: none, unless a subclass overrides it."""
        return 0.0


def _factor(value, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"Argument `{name}` must be a finite, non-negative number. Received: {name}={value!r}"
        )
    if not 0 <= value < float("inf"):
        raise ValueError(
            f"Argument `{name}` must be a finite, non-negative number. Received: {name}={value}"
        )
    return float(value)


@registry.register("regularizer", "L1L2", "l1_l2", module="keras.regularizers")
class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x^2)`.

    >>> import cornu, jax.numpy as jnp
    >>> float(cornu.regularizers.L1L2(l1=1.0, l2=0.5)(jnp.array([1.0, -2.0])))
    5.5
    """

    def __init__(self, l1=0.0, l2=0.0):
        self.l1 = _factor(0.0 if l1 is None else l1, "l1")
        self.l2 = _factor(0.0 if l2 is None else l2, "l2")

    def __call__(self, x):
        x = jnp.asarray(x)
        penalty = jnp.zeros((), x.dtype)
        if self.l1:
            penalty = penalty + self.l1 * jnp.sum(jnp.abs(x))
        if self.l2:
            penalty = penalty + self.l2 * jnp.sum(jnp.square(x))
        return penalty


@registry.register("regularizer", "L1", "l1", module="keras.regularizers")
class L1(Regularizer):
    """`l1 * sum(|x|)`: drives weights to zero."""

    def __init__(self, l1=0.01):
        self.l1 = _factor(0.01 if l1 is None else l1, "l1")

    def __call__(self, x):
        return self.l1 * jnp.sum(jnp.abs(jnp.asarray(x)))


@registry.register("regularizer", "L2", "l2", module="keras.regularizers")
class L2(Regularizer):
    """`l2 * sum(x^2)`: keeps weights small."""

    def __init__(self, l2=0.01):
        self.l2 = _factor(0.01 if l2 is None else l2, "l2")

    def __call__(self, x):
        return self.l2 * jnp.sum(jnp.square(jnp.asarray(x)))


@registry.register(
    "regularizer", "OrthogonalRegularizer", "orthogonal_regularizer", module="keras.regularizers"
)
class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean absolute cosine between different rows (or columns) of a matrix."""

    def __init__(self, factor=0.01, mode="rows"):
        self.factor = _factor(factor, "factor")
        if mode not in ("rows", "columns"):
            raise ValueError(
                'Invalid value for argument `mode`. Expected one of {"rows", "columns"}. '
                f"Received: mode={mode}"
            )
        self.mode = mode

    def __call__(self, x):
        x = jnp.asarray(x)
        if x.ndim != 2:
            raise ValueError(
                f"Inputs to OrthogonalRegularizer must have rank 2. Received: inputs.shape={x.shape}"
            )
        vectors = x if self.mode == "rows" else x.T
        norms = jnp.sqrt(jnp.maximum(jnp.sum(vectors**2, axis=1, keepdims=True), 1e-12))
        cosines = (vectors / norms) @ (vectors / norms).T
        count = vectors.shape[0]
        different = cosines * (1.0 - jnp.eye(count, dtype=x.dtype))
        return self.factor * 0.5 * jnp.sum(jnp.abs(different)) / max(count * (count - 1) / 2, 1)


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer


def get(identifier):
    """The regularizer that a name, configuration or callable means; None stays None."""
    return registry.get("regularizer", identifier)


def serialize(regularizer):
    """The configuration of a regularizer."""
    return registry.serialize(regularizer)


def deserialize(config, custom_objects=None):
    """The regularizer that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="regularizer")
