"""`class_weight`: the weight of a sample by the class of its label."""

import jax
import numpy as np

from cornu.core.dtype import floatx
from cornu.data.arrays import dense


def class_weights_of(y, class_weight: dict):
    """The weight of each sample, looked up by its label (an integer, or one-hot)."""
    if not isinstance(class_weight, dict):
        raise ValueError(
            "`class_weight` must be a dict from a class to the weight of its samples, such as "
            f"{{0: 1.0, 1: 5.0}}. Received: class_weight={class_weight!r}"
        )
    y = np.asarray(dense(y))
    if y.ndim > 1:
        y = y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
    labels = np.rint(y).astype(int)
    weights = np.ones(labels.shape, floatx())
    for label, weight in class_weight.items():
        if not np.isfinite(weight):
            raise ValueError(f"`class_weight` of the class {label} must be a number: {weight!r}.")
        weights[labels == int(label)] = weight
    return weights


def weigh_classes(y, sample_weight, class_weight):
    if y is None:
        raise ValueError("`class_weight` needs labels, but no `y` was passed.")
    if len(jax.tree.leaves(y)) > 1:
        raise ValueError(
            "`class_weight` is only supported for models with a single output. Pass "
            "`sample_weight`, one array for each output, instead."
        )
    weights = class_weights_of(jax.tree.leaves(y)[0], class_weight)
    if sample_weight is not None:
        given = jax.tree.leaves(sample_weight)[0]
        weights = weights * np.asarray(given).reshape(weights.shape)
    return weights
