"""A window's patch, its kernel and their result: the figure of `cornu.explain.window`."""

import numpy as np

from cornu.visualize.figure import (
    draw_grid,
    hatch_negative,
    new_figure,
    save_figure,
    shortened,
    write_numbers,
)
from cornu.visualize.palette import largest

# With larger grids, numbers would be too small to read.
_MOST_SIDE_WITH_NUMBERS = 7
_MOST_GRIDS = 4


def plot_window(window, path=None):
    """Draw what a layer saw, its kernel and the products, and write below what was done with them.

    Padding is hatched. Purple is negative, orange is positive, white is zero; in gray, numbers are signed.

    Args:
        window: what `cornu.explain.window` returned.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((4, 4, 1)), cornu.layers.MaxPooling2D()])
    >>> figure = cornu.explain.window(model, np.eye(4)[..., None], 0, (1, 1)).plot()
    >>> figure.subfigs[0].axes[0].get_title()
    'patch'
    """
    grids = window.grids()
    shown = grids[:_MOST_GRIDS]
    titles = ["patch"] if window.kernel is None else ["patch", "× kernel", "= products"]
    rows, columns = shown[0][1].shape
    cell = min(0.62, 4.2 / max(rows, columns))
    width = max(len(titles) * (columns * cell + 0.7), 6.5)
    lines = _lines(window, len(grids) - len(shown), int(width * 13))
    height = len(shown) * (rows * cell + 0.45)
    figure = new_figure(width, height + 0.24 * len(lines) + 0.6)
    panels, text = figure.subfigures(2, 1, height_ratios=[height, 0.24 * len(lines) + 0.3])
    axes = panels.subplots(len(shown), len(titles), squeeze=False)
    for number, (name, patch, kernel, padding) in enumerate(shown):
        row = axes[number]
        drawn = [(patch, padding)]
        if kernel is not None:
            drawn += [(kernel, np.zeros_like(padding)), (patch * kernel, padding)]
        for panel, title, (grid, hatched) in zip(row, titles, drawn, strict=True):
            scale = largest(window.patch if title == "patch" else grid)
            _draw_grid(panel, grid, hatched, scale)
            panel.set_title("" if number else title, fontsize=10)
        row[0].set_ylabel(name, fontsize=9)
    for number, line in enumerate(lines):
        text.text(
            0.03,
            1 - (number + 0.7) / (len(lines) + 0.6),
            line,
            fontsize=9,
            family="monospace",
            va="center",
            parse_math=False,
        )
    at = ", ".join(map(str, window.position))
    where = f"position ({at}), channel {window.channel}" if at else f"number {window.channel}"
    figure.suptitle(f"{shortened(window.layer, 30)} ({window.kind}): {where}", fontsize=11)
    if path is not None:
        save_figure(figure, path)
    return figure


def _draw_grid(axes, grid: np.ndarray, hatched: np.ndarray, scale: float) -> None:
    draw_grid(axes, grid, scale, hatched)
    rows, columns = grid.shape
    if max(rows, columns) > _MOST_SIDE_WITH_NUMBERS and rows * columns > 30:
        # Without numbers, hatching shows the sign.
        hatch_negative(axes, grid, scale)
        return
    write_numbers(axes, grid, scale)


def _lines(window, left_out: int, width: int) -> list[str]:
    """The steps, each wrapped at the figure's edge."""
    from textwrap import wrap

    lines = [f"… and {left_out} more channels"] if left_out else []
    for step in window.terms.steps:
        text = f"{step.name} = {step.formula} = {step.value:.4g}"
        lines += wrap(text, width, subsequent_indent="    ") or [""]
    return [*lines, f"the model says {window.expected:.4g}"]
