"""The confusion matrix: which class is taken for which."""

import numpy as np

from cornu.visualize.figure import new_figure, save_figure, shortened

# With more classes, numbers would be too small to read.
_MOST_CLASSES_WITH_NUMBERS = 20


def plot_confusion_matrix(y_true, y_pred, class_names, path=None):
    """Draw how often images of each class (a row) were taken for each class (a column).

    Colours show shares of a row, so that rare classes can be compared with frequent ones; numbers,
    up to 20 classes, count images.

    Args:
        y_true: integers of shape (n,): the classes.
        y_pred: integers of shape (n,): the predicted classes.
        class_names: a name for each class.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if there are no images, or the two are of different lengths or hold numbers
    that are no class.

    >>> from cornu.visualize import plot_confusion_matrix
    >>> figure = plot_confusion_matrix([0, 1, 1], [0, 1, 0], ["cat", "dog"])
    >>> sorted(text.get_text() for text in figure.axes[0].texts)
    ['1', '1', '1']
    """
    counts = _count(np.asarray(y_true), np.asarray(y_pred), len(class_names))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    num_classes = len(class_names)
    with_numbers = num_classes <= _MOST_CLASSES_WITH_NUMBERS
    digits = len(str(counts.max()))
    cell = max(0.45, 0.12 * digits + 0.1) if with_numbers else max(0.15, 12 / num_classes / 2)
    side = max(cell * num_classes, 3.0)
    figure = new_figure(side + 2.4, side + 1.6)
    axes = figure.add_subplot()
    # The square root makes a few mistakes among many images visible.
    drawn = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    scale = figure.colorbar(drawn, ax=axes, label="share of the true class", shrink=0.8)
    percentages = [0, 1, 5, 20, 50, 100]
    scale.set_ticks(
        [float(np.sqrt(p / 100)) for p in percentages], labels=[f"{p} %" for p in percentages]
    )
    names = [shortened(str(name), 20) for name in class_names]
    size = 10 if with_numbers else max(5, 72 * side / num_classes * 0.7)
    upright = max(map(len, names)) * 0.1 > cell
    axes.set_xticks(
        range(num_classes),
        names,
        fontsize=min(size, 10),
        rotation=90 if upright else 0,
        parse_math=False,
    )
    axes.set_yticks(range(num_classes), names, fontsize=min(size, 10), parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{np.trace(counts):,} of {counts.sum():,} right")
    if with_numbers:
        for row, column in zip(*counts.nonzero(), strict=True):
            color = "white" if shares[row, column] > 0.35 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color)
    if path is not None:
        save_figure(figure, path)
    return figure


def _count(y_true, y_pred, num_classes: int):
    if y_true.shape != y_pred.shape or y_true.ndim != 1 or not y_true.size:
        raise ValueError(
            "`y_true` and `y_pred` must be two lists of class indices of the same length, not "
            f"empty. Received: shapes {y_true.shape} and {y_pred.shape}."
        )
    for name, labels in (("y_true", y_true), ("y_pred", y_pred)):
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(
                f"`{name}` must hold integers from 0 to {num_classes - 1}, for the {num_classes} "
                f"`class_names`. Received: {name} of dtype {labels.dtype} with values from "
                f"{labels.min()} to {labels.max()}."
            )
    return np.bincount(
        y_true.astype(int) * num_classes + y_pred.astype(int), minlength=num_classes**2
    ).reshape(num_classes, num_classes)
