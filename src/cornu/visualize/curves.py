"""The curves of a training run."""

import math

from cornu.visualize.figure import new_figure, save_figure
from cornu.visualize.palette import ACCENT, INK


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
    epochs = {name: _epochs_of(history, name, len(values[name])) for name in values}
    best = _best_epoch(values, epochs)
    figure = new_figure(5 * len(names), 3.9)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_panel(axes, name, values, epochs, best)
    # Beside the curves a legend could cover them.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def _epochs_of(history, name: str, count: int) -> list[int]:
    """The epoch of each value, counted from 1."""
    epochs = history.epochs_of(name) if hasattr(history, "epochs_of") else range(count)
    return [epoch + 1 for epoch in epochs]


def _best_epoch(values: dict[str, list], epochs: dict[str, list[int]]) -> int:
    """The best epoch, counted from 1."""
    for name, sign in (("val_accuracy", -1), ("val_pr_auc", -1), ("val_loss", 1), ("loss", 1)):
        if values.get(name):
            sortable = [math.inf if math.isnan(v) else sign * v for v in values[name]]
            return epochs[name][sortable.index(min(sortable))]
    return next(iter(epochs.values()))[-1]


def _draw_panel(axes, name: str, values: dict, epochs: dict, best: int) -> None:
    from matplotlib.ticker import MaxNLocator

    # Line styles and markers tell the curves apart where colours do not.
    styles = (
        (name, "training", {"linestyle": "-", "marker": "o"}),
        (
            f"val_{name}",
            "validation",
            {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
        ),
    )
    num_epochs = len(values[name])
    size = 4 if num_epochs <= 30 else 0
    for key, label, style in styles:
        if key in values:
            axes.plot(epochs[key], values[key], label=label, color=INK, markersize=size, **style)
    axes.axvline(best, color=ACCENT, linestyle=":", linewidth=1.5, label=f"best epoch ({best})")
    axes.set_title(name, parse_math=False)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if num_epochs == 1:
        axes.set_xlim(best - 0.5, best + 0.5)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
