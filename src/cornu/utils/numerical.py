"""Labels as vectors, and vectors of length one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.old_arguments import takes_old_arguments
from cornu.ops import lengths


@takes_old_arguments(nb_classes="num_classes")
def to_categorical(x, num_classes: int | None = None):
    """One-hot vectors from class indices: row `i` has a 1 at column `x[i]` and 0 elsewhere.

    Args:
        x: integers from 0 to `num_classes - 1`, of any shape; a last axis of length 1 is dropped.
        num_classes: the length of the vectors; None means the largest label plus one.

    Returns:
        An array of shape `x.shape + (num_classes,)`: NumPy float64, or float32 on the device if
        `x` is a JAX array.

    Raises:
        ValueError: if a label is negative, too large for `num_classes`, or not an integer.

    Source: Keras: to_categorical.

    >>> import cornu
    >>> cornu.utils.to_categorical([0, 2], num_classes=3)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    if isinstance(x, jax.core.Tracer):
        # Inside a compiled function the labels are not known yet and cannot be checked.
        if num_classes is None:
            raise ValueError(
                "`to_categorical` inside a compiled function needs `num_classes`: the largest "
                "label is not known there."
            )
        labels: Any = x
    else:
        labels = _checked_labels(x, num_classes)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None:
        num_classes = int(labels.max()) + 1
    if isinstance(x, jax.Array):
        return jax.nn.one_hot(labels, num_classes)
    return (labels[..., None] == np.arange(num_classes)).astype("float64")


def _checked_labels(x, num_classes) -> np.ndarray:
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"`to_categorical` expects integer labels. Received labels of type {values.dtype}. "
            "For names, first number them: `_, labels = np.unique(names, return_inverse=True)`."
        )
    labels = values.astype("int64")
    if (labels != values).any():
        raise ValueError(
            "`to_categorical` expects integer labels. Received: "
            f"{values[labels != values].flat[0]}. If these are already probabilities or one-hot "
            "vectors, they need no conversion."
        )
    if labels.size == 0:
        if num_classes is None:
            raise ValueError("`to_categorical` received no labels: give it `num_classes`.")
    elif labels.min() < 0 or (num_classes is not None and labels.max() >= num_classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        last = "" if num_classes is None else f" to num_classes - 1 = {num_classes - 1}"
        raise ValueError(
            f"`to_categorical` expects labels from 0{last}. Received a label {wrong}. Labels that "
            "start elsewhere can be renumbered: `_, x = np.unique(x, return_inverse=True)`."
        )
    return labels


def normalize(x, axis: int | None = -1, order=2):
    """Divide vectors by their norm: `x / ||x||`, where a zero vector stays zero.

    Args:
        x: a NumPy array, or anything that can become a JAX array.
        axis: the axis of the vectors; None takes the whole of `x` as one.
        order: which norm; 2 is the Euclidean length, 1 the sum of absolute values.

    Returns:
        An array of `x`'s shape: NumPy if `x` is, otherwise JAX's.

    Source: Keras: normalize, except that `axis=0` means the first axis (Keras takes the last).

    >>> import cornu, numpy as np
    >>> cornu.utils.normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    if isinstance(x, np.ndarray):
        norm = np.linalg.norm(x, order, axis, keepdims=True)
        return x / np.where(norm == 0, norm.dtype.type(1), norm)
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(jnp.float32)
    norm = lengths.norm(x, order, axis)
    return x / jnp.where(norm == 0, 1, norm)
