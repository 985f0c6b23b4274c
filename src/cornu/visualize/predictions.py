"""Images with what a model takes them for."""

import numpy as np

from cornu.visualize.figure import new_figure, save_figure, shortened
from cornu.visualize.palette import INK, LINE

_COLUMNS = 6


def plot_predictions(images, y_true, probabilities, class_names, path=None):
    """Draw images in a grid, each with its predicted class and that class's probability.

    A wrong prediction has a cross, a thick frame, and the true class below it.

    Args:
        images: shape (n, rows, columns) or (n, rows, columns, channels), one or three channels;
            of any range: the least value is drawn black (0 if none is negative), the greatest white.
        y_true: integers of shape (n,): the classes.
        probabilities: shape (n, classes): what the model predicted.
        class_names: a name for each class.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if there are no images, or the lengths do not fit.

    >>> import numpy as np
    >>> from cornu.visualize import plot_predictions
    >>> figure = plot_predictions(np.eye(4)[None], [1], [[0.75, 0.25]], ["cat", "dog"])
    >>> figure.axes[0].get_title()
    '✗ cat (75 %)\\nis dog'
    """
    images, y_true, probabilities = (np.asarray(a) for a in (images, y_true, probabilities))
    _check(images, y_true, probabilities, class_names)
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(max(1.7 * columns, 3), 2.15 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    low, high = min(float(images.min()), 0.0), float(images.max())
    # Even where all pixels are the same, the division must mean something.
    shown = (images - low) / (high - low or 1.0)
    predicted = probabilities.argmax(-1)
    for axes, image, true, guess, row in zip(
        grid, shown, y_true, predicted, probabilities, strict=False
    ):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        _label(axes, true == guess, class_names[true], class_names[guess], row[guess])
    if path is not None:
        save_figure(figure, path)
    return figure


def _label(axes, is_right: bool, true_name, guessed_name, probability) -> None:
    guess = f"{shortened(str(guessed_name), 12)} ({100 * probability:.0f} %)"
    text = guess if is_right else f"✗ {guess}\nis {shortened(str(true_name), 15)}"
    axes.set_title(text, fontsize=8.5, color=INK, parse_math=False)
    for spine in axes.spines.values():
        spine.set(color=LINE if is_right else INK, linewidth=0.8 if is_right else 3)


def _check(images, y_true, probabilities, class_names) -> None:
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            "`images` must have shape (n, rows, columns), or (n, rows, columns, channels) with one "
            f"or three channels. Received: images.shape={images.shape}"
        )
    expected = (len(images), len(class_names))
    if not len(images) or y_true.shape != expected[:1] or probabilities.shape != expected:
        raise ValueError(
            "`images`, `y_true` and `probabilities` must be of the same length, at least 1, and "
            "`probabilities` must have a column for each of `class_names`. Received: "
            f"{len(images)} images, y_true of shape {y_true.shape}, probabilities of shape "
            f"{probabilities.shape}, {len(class_names)} class names."
        )
