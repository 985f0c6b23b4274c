"""Losses for probabilities: cross-entropies and their relatives.

The softmax loss is `CategoricalCrossentropy(from_logits=True)`, the sigmoid cross-entropy
`BinaryCrossentropy(from_logits=True)`.
"""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import as_array, epsilon, in_single
from cornu.losses.base import LossFunctionWrapper, loss_class, prepare
from cornu.ops import cross_entropy
from cornu.ops.cross_entropy import check_axis, check_one_hot, clip_probabilities, smooth_labels


def _register(*names):
    return registry.register("loss", *names, module="keras.losses")


def _check_same_shape(y_true, y_pred, name: str) -> None:
    """Yes-or-no labels are one for each output: those of another shape would be broadcast to nonsense."""
    if y_true.shape == y_pred.shape:
        return
    outputs = y_pred.shape[-1] if y_pred.ndim else 1
    hint = ""
    if outputs > 1 and (y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1):
        hint = (
            f" It takes a 0 or a 1 for each of the {outputs} outputs. If the labels are integers that "
            "name one class of several, use a last layer with softmax and the loss "
            "'sparse_categorical_crossentropy'."
        )
    elif outputs == 1 and y_true.ndim == y_pred.ndim:
        hint = (
            " For one-hot labels use a last layer with as many units, softmax and the loss "
            "'categorical_crossentropy', or pass y.argmax(-1) of two classes."
        )
    raise ValueError(
        f"{name}: arguments `target` and `output` must have the same shape. Received: "
        f"target.shape={y_true.shape}, output.shape={y_pred.shape}.{hint}"
    )


@_register("categorical_crossentropy")
def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """`-sum(y_true * log(y_pred))` for one-hot labels; from logits, the softmax loss.

    Args:
        y_true: one-hot labels, `(…, classes)`.
        y_pred: probabilities, or with `from_logits` logits, of the same shape.
        from_logits: whether a softmax has still to be applied.
        label_smoothing: share of the label that is spread over all classes.
        axis: the axis of the classes.

    >>> import cornu, jax.numpy as jnp
    >>> p = jnp.array([[0.5, 0.25, 0.25]])
    >>> cornu.losses.categorical_crossentropy(jnp.array([[0, 1, 0]]), p).round(3).tolist()
    [1.3860000371932983]
    """
    return cross_entropy.categorical(y_true, y_pred, from_logits, label_smoothing, axis)


@_register("sparse_categorical_crossentropy")
def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """`-log(y_pred[y_true])` for integer labels.

    Args:
        y_true: labels, `(…)` or `(…, 1)`.
        y_pred: probabilities, or with `from_logits` logits, `(…, classes)`.
        ignore_class: a label whose positions do not count.
        axis: the axis of the classes.
    """
    return cross_entropy.sparse_categorical(y_true, y_pred, from_logits, ignore_class, axis)


@_register("binary_crossentropy", "bce", "BCE")
def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """`-mean(y_true * log(y_pred) + (1 - y_true) * log(1 - y_pred))`; from logits, the sigmoid
    cross-entropy.
    """
    y_true, y_pred = prepare(y_true, y_pred)
    _check_same_shape(y_true, y_pred, "binary_crossentropy")
    if label_smoothing:
        y_true = smooth_labels(y_true, label_smoothing, 2)
    return jnp.mean(cross_entropy.binary(y_true, y_pred, from_logits), axis=axis)


@_register("binary_focal_crossentropy")
def binary_focal_crossentropy(
    y_true,
    y_pred,
    apply_class_balancing=False,
    alpha=0.25,
    gamma=2.0,
    from_logits=False,
    label_smoothing=0.0,
    axis=-1,
):
    """Binary cross-entropy times `(1 - p)^gamma`, where `p` is the probability of the truth.

    What is known already counts less. Source: Lin et al. 2018, "Focal loss".
    """
    y_true, y_pred = prepare(y_true, y_pred)
    _check_same_shape(y_true, y_pred, "binary_focal_crossentropy")
    if label_smoothing:
        y_true = smooth_labels(y_true, label_smoothing, 2)
    if from_logits:
        y_pred = jax.nn.sigmoid(y_pred)
    truth = y_true * y_pred + (1 - y_true) * (1 - y_pred)
    losses = jnp.power(1.0 - truth, gamma) * cross_entropy.binary(y_true, y_pred)
    if apply_class_balancing:
        losses = losses * (y_true * alpha + (1 - y_true) * (1 - alpha))
    return jnp.mean(losses, axis=axis)


@_register("categorical_focal_crossentropy")
def categorical_focal_crossentropy(
    y_true, y_pred, alpha=0.25, gamma=2.0, from_logits=False, label_smoothing=0.0, axis=-1
):
    """Categorical cross-entropy times `alpha * (1 - p)^gamma` (Lin et al. 2018)."""
    check_axis(axis)
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    check_one_hot(y_true, y_pred, "categorical_focal_crossentropy")
    if label_smoothing:
        y_true = smooth_labels(y_true, label_smoothing, y_true.shape[-1])
    if from_logits:
        y_pred = jax.nn.softmax(y_pred, axis=axis)
    y_pred = clip_probabilities(y_pred / jnp.sum(y_pred, axis=axis, keepdims=True))
    weights = alpha * jnp.power(1.0 - y_pred, gamma)
    return jnp.sum(weights * -y_true * jnp.log(y_pred), axis=axis)


@_register("categorical_generalized_cross_entropy")
def categorical_generalized_cross_entropy(y_true, y_pred, q):
    """`(1 - p^q) / q`, between cross-entropy (`q` to 0) and mean absolute error (`q` = 1).

    For noisy integer labels. Source: Zhang and Sabuncu 2018.
    """
    y_pred = in_single(y_pred)
    labels = jax.nn.one_hot(
        as_array(y_true).astype(jnp.int32), y_pred.shape[-1], dtype=y_pred.dtype
    )
    return (1 - jnp.power(jnp.sum(y_pred * labels, axis=-1), q)) / q


@_register("kl_divergence", "kld", "KLD")
def kl_divergence(y_true, y_pred):
    """`sum(y_true * log(y_true / y_pred))`, the Kullback-Leibler divergence."""
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    y_true, y_pred = jnp.clip(y_true, epsilon(), 1), jnp.clip(y_pred, epsilon(), 1)
    return jnp.sum(y_true * jnp.log(y_true / y_pred), axis=-1)


@_register("poisson")
def poisson(y_true, y_pred):
    """`mean(y_pred - y_true * log(y_pred))`."""
    y_true, y_pred = prepare(y_true, y_pred)
    return jnp.mean(y_pred - y_true * jnp.log(y_pred + epsilon()), axis=-1)


KLDivergence = loss_class("KLDivergence", kl_divergence)
Poisson = loss_class("Poisson", poisson)


@_register("BinaryCrossentropy")
class BinaryCrossentropy(LossFunctionWrapper):
    """Cross-entropy of yes-or-no labels; with `from_logits`, the sigmoid cross-entropy."""

    def __init__(
        self,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction="sum_over_batch_size",
        name="binary_crossentropy",
        dtype=None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@_register("BinaryFocalCrossentropy")
class BinaryFocalCrossentropy(LossFunctionWrapper):
    """Binary cross-entropy in which what is known already counts less (Lin et al. 2018)."""

    def __init__(
        self,
        apply_class_balancing=False,
        alpha=0.25,
        gamma=2.0,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction="sum_over_batch_size",
        name="binary_focal_crossentropy",
        dtype=None,
    ):
        self.apply_class_balancing, self.alpha, self.gamma = apply_class_balancing, alpha, gamma
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        super().__init__(
            binary_focal_crossentropy,
            reduction,
            name,
            dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@_register("CategoricalCrossentropy")
class CategoricalCrossentropy(LossFunctionWrapper):
    """Cross-entropy of one-hot labels; with `from_logits`, the softmax loss."""

    def __init__(
        self,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction="sum_over_batch_size",
        name="categorical_crossentropy",
        dtype=None,
    ):
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@_register("CategoricalFocalCrossentropy")
class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """Categorical cross-entropy in which what is known already counts less (Lin et al. 2018)."""

    def __init__(
        self,
        alpha=0.25,
        gamma=2.0,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction="sum_over_batch_size",
        name="categorical_focal_crossentropy",
        dtype=None,
    ):
        self.alpha, self.gamma = alpha, gamma
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        super().__init__(
            categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


@_register("SparseCategoricalCrossentropy")
class SparseCategoricalCrossentropy(LossFunctionWrapper):
    """Cross-entropy of integer labels; `ignore_class` is a label that does not count."""

    def __init__(
        self,
        from_logits=False,
        ignore_class=None,
        reduction="sum_over_batch_size",
        axis=-1,
        name="sparse_categorical_crossentropy",
        dtype=None,
    ):
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )

    def call(self, y_true, y_pred):
        return self.fn(y_true, y_pred, **self._keywords)


@_register("CategoricalGeneralizedCrossEntropy")
class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """`(1 - p^q) / q` for noisy integer labels, `0 < q < 1` (Zhang and Sabuncu 2018)."""

    def __init__(
        self,
        q=0.5,
        reduction="sum_over_batch_size",
        name="categorical_generalized_cross_entropy",
        dtype=None,
    ):
        if not 0 < q < 1:
            raise ValueError(f"q must be in the interval (0, 1). Received: q={q}")
        self.q = q
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)

    def call(self, y_true, y_pred):
        return self.fn(y_true, y_pred, **self._keywords)
