"""The curves of a training run."""

import math

from cornu.visualize.figure import BLUE, VERMILION, new_figure, save_figure


def plot_history(history, path=None):
    """Draw loss and metrics by epoch, of training and validation, and mark the best epoch.

    The best epoch is that of the highest validation accuracy, or else of the largest area under the
    curve of precision over recall, or else of the lowest validation loss, or else of the lowest loss; it is
    the same in all panels.

    Args:
        history: the `History` that `fit` returned, or a dict from names to values by epoch.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    Raises ValueError if there is no finished epoch.

    >>> from cornu.visualize import plot_history
    >>> figure = plot_history({"loss": [0.9, 0.4], "val_loss": [0.8, 0.5]})
    >>> [axes.get_title() for axes in figure.axes]
    ['loss']
    """
    values = {name: list(column) for name, column in getattr(history, "history", history).items()}
    names = [name for name in values if not name.startswith("val_") and name != "learning_rate"]
    # The loss first, whatever the order in which values were kept.
    names.sort(key=lambda name: (name != "loss", name))
    if not names or not all(values[name] for name in names):
        raise ValueError(
            "There is nothing to draw: the history holds no finished epoch. "
            f"Received: history with the names {list(values)}."
        )
    best = _best_epoch(values)
    figure = new_figure(5 * len(names), 3.9)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_panel(axes, name, values, best)
    # Beside the curves a legend could cover them.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def _best_epoch(values: dict[str, list]) -> int:
    """The index of the best epoch."""
    for name, sign in (("val_accuracy", -1), ("val_pr_auc", -1), ("val_loss", 1), ("loss", 1)):
        if name in values:
            sortable = [math.inf if math.isnan(v) else sign * v for v in values[name]]
            return sortable.index(min(sortable))
    return len(next(iter(values.values()))) - 1


def _draw_panel(axes, name: str, values: dict[str, list], best: int) -> None:
    from matplotlib.ticker import MaxNLocator

    # Line styles and markers tell the curves apart where colours do not.
    styles = (
        (name, "training", {"color": BLUE, "linestyle": "--", "marker": "o"}),
        (f"val_{name}", "validation", {"color": VERMILION, "linestyle": "-", "marker": "s"}),
    )
    num_epochs = len(values[name])
    size = 4 if num_epochs <= 30 else 0
    for key, label, style in styles:
        if key in values:
            epochs = range(1, len(values[key]) + 1)
            axes.plot(
                epochs, values[key], label=label, markersize=size or (num_epochs == 1), **style
            )
    axes.axvline(
        best + 1, color="0.35", linestyle=":", linewidth=1.5, label=f"best epoch ({best + 1})"
    )
    axes.set_title(name, parse_math=False)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if num_epochs == 1:
        axes.set_xlim(0.5, 1.5)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
