"""Mistakes in the data that are better found before any computing."""

import jax
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.symbolic import KerasTensor
from cornu.data.adapters import is_leaf


def symbol(array) -> KerasTensor | None:
    """A symbolic tensor for a batch, of any size of the batch."""
    return KerasTensor((None, *array.shape[1:]), dtype=array.dtype)


def check_finite(x, y) -> None:
    """Raise ValueError if the arrays hold NaN: every weight would be NaN after one step."""
    for name, part in (("x", x), ("y", y)):
        for array in jax.tree.leaves(part, is_leaf=is_leaf):
            if not is_float(array.dtype):
                continue
            # One fast pass: a sum is NaN if anything in it is (or if infinities meet).
            with np.errstate(all="ignore"):
                suspicious = np.isnan(float(array.sum()))
            if not suspicious:
                continue
            array = np.asarray(array.toarray() if hasattr(array, "toarray") else array)
            if np.isnan(array).any():
                rows = np.isnan(array.reshape(len(array), -1)).any(1)
                raise ValueError(
                    f"`{name}` holds NaN (not a number) in {int(rows.sum())} of {len(array)} "
                    f"samples, the first at index {int(rows.argmax())}. Training on it would turn "
                    f"every weight into NaN. Remove these samples ({name}[~np.isnan({name})…]) or "
                    "fill the gaps, for example with np.nan_to_num."
                )


def check_labels(loss, target, output) -> None:
    """Raise ValueError if the shape of the labels does not fit a cross-entropy loss."""
    name = getattr(loss, "name", None)
    if name == "categorical_crossentropy":
        integer_like = len(target.shape) == len(output.shape) - 1 or (
            target.shape[-1] == 1 and output.shape[-1] != 1
        )
        if integer_like:
            raise ValueError(
                "Arguments `target` and `output` must have the same shape: the loss "
                f"categorical_crossentropy needs one-hot labels of shape {output.shape}, but `y` has "
                f"shape {(None, *target.shape[1:])}, like integer labels. Use "
                "loss='sparse_categorical_crossentropy', or turn the labels into one-hot vectors: "
                f"y = utils.to_categorical(y, num_classes={output.shape[-1]})."
            )
    if (
        name == "sparse_categorical_crossentropy"
        and len(target.shape) == len(output.shape)
        and target.shape[-1] == output.shape[-1] != 1
    ):
        raise ValueError(
            "The loss sparse_categorical_crossentropy needs integer labels of shape "
            f"{(None, *output.shape[1:-1])}, but `y` has shape {(None, *target.shape[1:])}, like "
            "one-hot vectors. Use loss='categorical_crossentropy', or pass y.argmax(-1)."
        )


def check_label_range(model, y) -> None:
    """Raise ValueError if integer labels name classes that the model has no output for."""
    leaves = jax.tree.leaves(y, is_leaf=is_leaf)
    if model._graph is None or len(leaves) != 1 or len(model.outputs) != 1:
        return
    losses = model._compiled_loss.losses if model._compiled_loss is not None else []
    name = getattr(losses[0], "name", None) if losses else None
    if name != "sparse_categorical_crossentropy" or hasattr(leaves[0], "toarray"):
        return
    y = np.asarray(leaves[0])
    classes = model.outputs[0].shape[-1]
    ignored = getattr(losses[0], "ignore_class", None)
    values = y if ignored is None else y[y != ignored]
    if values.size and classes and (values.max() >= classes or values.min() < 0):
        wrong = values.max() if values.max() >= classes else values.min()
        raise ValueError(
            f"`y` holds the label {wrong}, but the model has {classes} outputs, for the labels 0 to "
            f"{classes - 1}. Give the last layer {int(values.max()) + 1} units, or number the "
            "classes from 0."
        )
