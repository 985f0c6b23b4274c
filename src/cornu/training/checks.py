"""Checks that find mistakes in the data before any computing."""

import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.symbolic import KerasTensor
from cornu.data.arrays import in_default_dtype, is_leaf
from cornu.data.samples import pack_x_y_sample_weight, unpack_x_y_sample_weight
from cornu.training.model_steps import compiled_step
from cornu.training.step import is_overridden


def symbol(array) -> KerasTensor | None:
    """A symbolic tensor for a batch, of any size of the batch."""
    return KerasTensor((None, *array.shape[1:]), dtype=array.dtype)


def describe_loss(loss) -> tuple[str, dict[str, Any]]:
    """The function of one of Cornu's own losses and its arguments; `("", {})` for any other."""
    name = _name_of(loss)
    return name, loss.get_config() if name else {}


def _name_of(loss) -> str:
    function: Any = getattr(loss, "fn", None)
    if any(
        not (getattr(of, "__module__", None) or "").startswith("cornu.losses.")
        for of in (type(loss), function)
    ):
        return ""
    return function.__name__


def is_plain(model) -> bool:
    """Whether the model computes its loss as compiled, with Cornu's own losses."""
    overridden = any(
        is_overridden(type(model), name)
        for name in ("train_step", "test_step", "compute_loss", "compute_loss_and_updates")
    )
    terms = model._compiled_loss.terms if model._compiled_loss is not None else []
    return not overridden and all(_name_of(term.loss) for term in terms)


# ---- values that are not finite


def check_finite(
    model, x, y, sample_weight, batch_size: int | None = None, where="", warns=False
) -> None:
    """Raise ValueError if the arrays hold NaN or infinity and a step on them would spoil the weights.

    The step is tried, as a loss or a layer of the user's may leave out what is not finite. With `warns`,
    it is a warning instead.
    """
    bad: dict[str, tuple] = {}
    for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        found = [_not_finite(leaf) for leaf in jax.tree.leaves(part, is_leaf=is_leaf)]
        for rows, what in filter(None, found):
            before = bad[name][0] if name in bad else False
            bad[name] = rows | before, what
    if not bad:
        return
    certain = [name for name in bad if name != "x" and is_plain(model)]
    rows = np.flatnonzero(sum(rows for rows, _ in bad.values()))
    if not certain and _survives(model, (x, y, sample_weight), rows, batch_size or len(rows)):
        return
    name = (certain or list(bad))[0]
    wrong, what = bad[name]
    hint = (
        ""
        if name == "x" or certain
        else " A step of training on them gives NaN, although the loss is your own: its derivative must "
        "not meet such numbers either, so replace them first, as in "
        "jnp.where(known, jnp.where(known, y_true, 0) - y_pred, 0) with known = jnp.isfinite(y_true)."
    )
    message = (
        f"`{name}` holds {what} in {int(wrong.sum())} of {len(wrong)} samples{where}, the first at "
        f"index {int(wrong.argmax())}. Training on it would turn every weight into NaN. Remove these "
        f"samples ({name}[np.isfinite({name})…]) or fill the gaps, for example with "
        f"np.nan_to_num.{hint}"
    )
    if not warns:
        raise ValueError(message)
    warnings.warn(message, stacklevel=5)


def _not_finite(array) -> tuple[np.ndarray, str] | None:
    """Which rows hold NaN or infinity, and which of the two."""
    if not is_float(array.dtype):
        return None
    wrong = np.zeros(array.shape[0], bool)
    kinds: set[str] = set()
    for start, block in _blocks(array):
        # One fast pass: a sum is not finite if anything in it is not (or if it overflows).
        with np.errstate(all="ignore"):
            if np.isfinite(float(block.sum())):
                continue
        block = np.asarray(block.toarray() if hasattr(block, "toarray") else block)
        rows = ~np.isfinite(block).reshape(len(block), -1).all(1)
        wrong[start : start + len(block)] = rows
        names = {"NaN (not a number)": np.isnan(block), "infinity": np.isinf(block)}
        kinds.update(name for name, found in names.items() if found.any())
    return (wrong, " and ".join(sorted(kinds))) if kinds else None


# Arrays that are in files, or are converted for the step, are checked in blocks of this size.
_BLOCK_BYTES = 16 * 1024**2


def _blocks(array) -> Iterator[tuple[int, Any]]:
    """An array as the step gets it, in parts, each with the index of its first row."""
    if isinstance(array, jax.Array) or hasattr(array, "toarray"):
        yield 0, array
        return
    rows = max(_BLOCK_BYTES * len(array) // max(array.nbytes, 1), 1)
    for start in range(0, len(array), rows):
        # A number that float32 does not hold is infinite in the step.
        with np.errstate(over="ignore"):
            yield start, in_default_dtype(array[start : start + rows])


def _survives(model, parts: tuple, rows: np.ndarray, size: int) -> bool:
    """Whether loss and weights are finite after a step on a batch of these rows; nothing changes."""
    function = compiled_step(model, "train")
    if function.survives:
        return True
    chosen = np.resize(rows[:: max(len(rows) // size, 1)], size)
    with np.errstate(over="ignore"):
        batch = jax.tree.map(lambda a: np.asarray(in_default_dtype(a[chosen])), parts)
    logs, weights = function.tried(pack_x_y_sample_weight(*batch))
    results = [logs.get("loss", 0.0), *weights]
    function.survives = all(np.isfinite(np.asarray(v)).all() for v in results)
    return function.survives


# ---- labels


def check_labels(loss, target, output) -> None:
    """Raise ValueError if the shape of the labels does not fit a cross-entropy loss."""
    name, _ = describe_loss(loss)
    if name in ("categorical_crossentropy", "categorical_focal_crossentropy"):
        integer_like = len(target.shape) == len(output.shape) - 1 or (
            target.shape[-1] == 1 and output.shape[-1] != 1
        )
        if integer_like:
            raise ValueError(
                "Arguments `target` and `output` must have the same shape: the loss "
                f"{name} needs one-hot labels of shape {output.shape}, but `y` has "
                f"shape {(None, *target.shape[1:])}, like integer labels. Use "
                "loss='sparse_categorical_crossentropy', or turn the labels into one-hot vectors: "
                f"y = utils.to_categorical(y, num_classes={output.shape[-1]})."
            )
    # Labels of the steps of a sequence have two axes, too.
    one_each = name == "sparse_categorical_crossentropy" and _agree(
        target.shape[1:], output.shape[1:-1]
    )
    if (
        name in ("categorical_crossentropy", "sparse_categorical_crossentropy")
        and len(output.shape) > 2 >= len(target.shape)
        and not one_each
    ):
        raise ValueError(
            f"The model gives an output of shape {(None, *output.shape[1:])}, a class at each position, "
            f"and `y` has shape {(None, *target.shape[1:])}, one class for each sample. Put a Flatten or a "
            "GlobalAveragePooling2D layer before the last Dense."
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


def _agree(given, wanted) -> bool:
    """Whether two shapes may be the same; None stands for any size."""
    return len(given) == len(wanted) and all(
        a == b or None in (a, b) for a, b in zip(given, wanted, strict=True)
    )


_ELEMENTWISE = frozenset(
    "mean_squared_error mean_absolute_error mean_absolute_percentage_error huber log_cosh hinge "
    "mean_squared_logarithmic_error squared_hinge poisson kl_divergence".split()
)


def warn_of_broadcasting(loss, target, output) -> None:
    """Warn if one of Cornu's losses compares targets and outputs of different shapes."""
    if _name_of(loss) not in _ELEMENTWISE:
        return
    wanted, given = output.shape, tuple(target.shape)
    shapes = [list(wanted), list(given)]
    shapes.sort(key=len)
    if len(shapes[1]) == len(shapes[0]) + 1 and shapes[1][-1] == 1:
        shapes[1].pop()
    # Sizes that are not known may be equal, that of the batch is.
    pairs = zip(*(shape[1:] for shape in shapes), strict=False)
    if len(shapes[0]) == len(shapes[1]) and all(a == b or None in (a, b) for a, b in pairs):
        return
    warnings.warn(
        f"The targets have the shape {('n', *given[1:])} and the outputs {('n', *wanted[1:])}, so the "
        f"loss {_name_of(loss)} compares each number of one with several of the other (it broadcasts). "
        "Give `y` the shape of the outputs, or the last layer as many units as there are targets.",
        stacklevel=6,
    )


def check_label_values(model, y, where: str = "`y`") -> None:
    """Raise ValueError if labels, found in `where`, are not classes of an output."""
    if y is None or model._output_specs is None or model._compiled_loss is None:
        return
    if not is_plain(model):
        return
    several = len(model._compiled_loss.names) > 1
    for loss, name, target, output in model._compiled_loss.pairs(y, model._output_specs):
        if target is None or hasattr(target, "toarray"):
            continue
        kind = _name_of(loss)
        target = np.asarray(target)
        of = f" for the output '{name}'" if several else ""
        if kind == "sparse_categorical_crossentropy":
            _, arguments = describe_loss(loss)
            axis, ignored = arguments.get("axis", -1), arguments.get("ignore_class")
            _check_classes(target, output.shape[axis], ignored, where, of)
        elif kind in ("binary_crossentropy", "binary_focal_crossentropy"):
            _check_yes_or_no(target, kind, where, of)


def _check_classes(y: np.ndarray, classes: int | None, ignored, where: str, of: str) -> None:
    values = y if ignored is None else y[y != ignored]
    # What is not finite is found by `check_finite`.
    if not values.size or not classes or (is_float(y.dtype) and not np.isfinite(values).all()):
        return
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "biu" or bool((values == np.floor(values)).all())
    if whole and low >= 0 and high < classes:
        return
    wrong = high if whole and high >= classes else low
    if not whole:
        wrong = values[values != np.floor(values)][0]
        cure = "Labels are integers; for regression use a loss such as 'mse'."
    elif low < 0 and ignored is None and high < classes and low == -1:
        cure = (
            "If -1 means that there is no label, use "
            "loss=losses.SparseCategoricalCrossentropy(ignore_class=-1). "
        )
        if high - low < classes:
            cure += "If it is a class, number the classes from 0: y + 1."
        else:
            cure += f"If it is a class, pass y + 1, and give the last layer {int(high) + 2} units."
    elif high - low < classes:
        cure = f"Number the classes from 0: y {'-' if low > 0 else '+'} {abs(int(low))}."
    elif (count := len(np.unique(values))) <= classes:
        cure = (
            f"These are only {count} different labels: number them from 0 with "
            "np.unique(y, return_inverse=True)[1]."
        )
    elif low < 0:
        cure = f"Number the classes from 0, and give the last layer {count} units."
    else:
        cure = f"Give the last layer {int(high) + 1} units, or number the classes from 0."
    raise ValueError(
        f"{where} holds the label {wrong}{of}, but the model has {classes} outputs, for the labels 0 to "
        f"{classes - 1}. {cure}"
    )


def _check_yes_or_no(y: np.ndarray, kind: str, where: str, of: str) -> None:
    """Integers are labels; floats may be targets by intention, such as pixels slightly outside 0 to 1."""
    if y.dtype.kind not in "iu" or not y.size or (y.min() >= 0 and y.max() <= 1):
        return
    values = np.unique(y)
    wrong = values[-1] if values[-1] > 1 else values[0]
    cure = (
        f"Choose the positive class: (y == {values[-1]}).astype(int)."
        if len(values) <= 2
        else "For one class of several use a last layer with as many units and softmax, and "
        "loss='sparse_categorical_crossentropy'."
    )
    raise ValueError(
        f"{where} holds the label {wrong}{of}, but the loss {kind} takes 0 (no) and 1 (yes). {cure}"
    )


class BatchCheck:
    """The checks above for the batches of a stream, each before its step."""

    def __init__(self, model, warns=False):
        self._model, self._warns = model, warns

    def __call__(self, batch, number: int) -> None:
        parts = batch if isinstance(batch, tuple) else (batch,)
        if len(parts) > 3:
            # For a `train_step` of the user's.
            parts = (parts,)
        x, y, sample_weight = unpack_x_y_sample_weight(parts)
        where = f" of batch {number}"
        check_label_values(self._model, y, f"`y`{where}")
        check_finite(self._model, x, y, sample_weight, where=where, warns=self._warns)
