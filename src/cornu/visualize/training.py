"""Learning rates and histograms: figures of how training goes."""

import numpy as np

from cornu.visualize.figure import new_figure, save_figure, shortened
from cornu.visualize.palette import ACCENT, INK, LINE


def plot_learning_rates(found, path=None):
    """Draw the loss against rising learning rates, and the rate that is suggested.

    Args:
        found: what `cornu.explain.learning_rate_range` returned.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.
    """
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    axes.semilogx(found.rates, found.losses, color=INK)
    axes.axvline(
        found.suggestion,
        color=ACCENT,
        linestyle="--",
        label=f"suggestion: {found.suggestion:.2g}",
    )
    finite = found.losses[np.isfinite(found.losses)]
    if finite.size:
        low, high = float(finite.min()), float(finite[: max(len(finite) // 2, 1)].max())
        axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.5 * (high - low) + 1e-9)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (smoothed)")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def plot_histograms(arrays, path=None):
    """Draw the distribution of each of several arrays: weights, or gradients.

    Args:
        arrays: a dict from names to arrays, such as `cornu.explain.gradients` returns; or a model, for its
            trainable weights.
        path: a PNG, PDF or SVG file to write; None writes none.

    The height of a bar is how many of the numbers lie there.

    Returns:
        a matplotlib `Figure`. NaN and infinity are counted above the bars.

    Raises ValueError if there is nothing to draw.

    >>> import numpy as np
    >>> from cornu.visualize import plot_histograms
    >>> figure = plot_histograms({"kernel": np.arange(5.0)})
    >>> figure.axes[0].get_title()
    'kernel'
    """
    if hasattr(arrays, "trainable_weights"):
        arrays = {w.path: np.asarray(w) for w in arrays.trainable_weights}
    if not arrays:
        raise ValueError("There is nothing to draw: no arrays were given.")
    columns = min(4, len(arrays))
    rows = -(-len(arrays) // columns)
    figure = new_figure(max(2.7 * columns, 3.5), 2.1 * rows + 0.2)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(arrays) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(panels, arrays.items(), strict=False):
        values = np.asarray(values, float).ravel()
        good = values[np.isfinite(values)]
        axes.hist(good, bins=min(50, max(len(good), 1)), color=LINE)
        # A path is the layer's, and the weight's own name: neither needs the model's.
        title = shortened("/".join(name.split("/")[-2:]), 30)
        if len(good) < len(values):
            title += f"\n{len(values) - len(good)} not finite"
        axes.set_title(title, fontsize=8, parse_math=False)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
        axes.locator_params(axis="y", nbins=4, integer=True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.supxlabel("value", fontsize=8)
    figure.supylabel("how many", fontsize=8)
    if path is not None:
        save_figure(figure, path)
    return figure
