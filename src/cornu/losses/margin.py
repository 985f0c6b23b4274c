"""Losses with a margin: hinges and the circle loss."""

import jax
import jax.numpy as jnp

from cornu.core import masking, registry
from cornu.core.dtype import as_array, in_single
from cornu.losses.base import LossFunctionWrapper, loss_class, prepare


def _register(*names):
    return registry.register("loss", *names, module="keras.losses")


def _signs(y_true):
    """Labels 0 and 1 as -1 and 1; other labels as they are."""
    binary = jnp.all((y_true == 0) | (y_true == 1))
    return jnp.where(binary, 2.0 * y_true - 1.0, y_true)


@_register("hinge")
def hinge(y_true, y_pred):
    """`mean(max(1 - y_true * y_pred, 0))` for labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    return jnp.mean(jnp.maximum(1.0 - _signs(y_true) * y_pred, 0.0), axis=-1)


@_register("squared_hinge")
def squared_hinge(y_true, y_pred):
    """`mean(max(1 - y_true * y_pred, 0)^2)` for labels -1 and 1 (or 0 and 1)."""
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    return jnp.mean(jnp.square(jnp.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), axis=-1)


@_register("categorical_hinge")
def categorical_hinge(y_true, y_pred):
    """`max(1 - y_pred of the truth + largest other y_pred, 0)` for one-hot labels."""
    y_true, y_pred = prepare(y_true, y_pred, align=False)
    truth = jnp.sum(y_true * y_pred, axis=-1)
    other = jnp.max((1.0 - y_true) * y_pred, axis=-1)
    return jnp.maximum(other - truth + 1.0, 0.0)


@_register("circle")
def circle(
    y_true,
    y_pred,
    ref_labels=None,
    ref_embeddings=None,
    remove_diagonal=True,
    gamma=80,
    margin=0.4,
):
    """The circle loss of embeddings: equal labels near each other, others apart.

    Args:
        y_true: integer labels, `(batch,)`.
        y_pred: embeddings of length one, `(batch, size)`.
        ref_labels, ref_embeddings: what to compare with; the batch itself by default.
        remove_diagonal: whether a sample is not compared with itself.
        gamma: scale.
        margin: how much nearer equal labels should be.

    Source: Sun et al. 2020, "Circle loss".
    """
    y_pred = in_single(y_pred)
    labels = as_array(y_true).astype(jnp.int32).reshape(-1)
    others = y_pred if ref_embeddings is None else in_single(ref_embeddings)
    other_labels = labels if ref_labels is None else as_array(ref_labels, "int32").reshape(-1)
    distances = jnp.maximum(1 - y_pred @ others.T, 0.0)
    equal = labels[:, None] == other_labels[None, :]
    different = ~equal
    if remove_diagonal:
        equal = equal & ~jnp.eye(equal.shape[0], equal.shape[1], dtype=bool)
    pull = jnp.where(equal, jnp.maximum(margin + distances, 0.0), 0.0)
    push = jnp.where(different, jnp.maximum(1 + margin - distances, 0.0), 0.0)
    near = jax.nn.logsumexp(
        jnp.where(equal, -gamma * pull * (margin - distances), -jnp.inf), axis=1
    )
    far = jax.nn.logsumexp(
        jnp.where(different, gamma * push * (1 - margin - distances), -jnp.inf), axis=1
    )
    losses = jax.nn.softplus(near + far)
    masking.set_mask(losses, losses > 0)
    return losses


Hinge = loss_class("Hinge", hinge)
SquaredHinge = loss_class("SquaredHinge", squared_hinge)
CategoricalHinge = loss_class("CategoricalHinge", categorical_hinge)


@_register("Circle")
class Circle(LossFunctionWrapper):
    """The circle loss of embeddings of length one (Sun et al. 2020)."""

    def __init__(
        self,
        gamma=80.0,
        margin=0.4,
        remove_diagonal=True,
        reduction="sum_over_batch_size",
        name="circle",
        dtype=None,
    ):
        super().__init__(
            circle,
            reduction,
            name,
            dtype,
            gamma=gamma,
            margin=margin,
            remove_diagonal=remove_diagonal,
        )
        self.gamma, self.margin, self.remove_diagonal = gamma, margin, remove_diagonal

    def call(self, y_true, y_pred):
        return self.fn(y_true, y_pred, **self._keywords)
