"""What figures have in common: colours, and how they are saved."""

import html
from pathlib import Path

import numpy as np

from cornu.saving.atomic import replacing
from cornu.visualize.palette import INK, is_dark, signed


def new_figure(width: float, height: float):
    """An empty figure, in inches, that needs no screen."""
    # Without pyplot nothing is kept alive behind the user's back, and no window opens.
    from cornu.visualize.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained", dpi=120)


def save_figure(figure, path) -> None:
    """Write a figure as PNG, PDF or SVG, by the file's ending; the file appears when it is whole."""
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower() or "png")


def shortened(name: str, length: int) -> str:
    """A name in at most `length` characters: what is left out is taken from its middle.

    >>> from cornu.visualize.figure import shortened
    >>> shortened("computer_keyboard", 9)
    'compu…ard'
    """
    name = " ".join(name.split())
    return name if len(name) <= length else f"{name[: length - 4]}…{name[-3:]}"


def draw_grid(axes, grid, scale: float, hatched=None) -> None:
    """Draw values as coloured cells: purple is negative, orange positive; `hatched` cells are padding."""
    rows, columns = grid.shape
    scale = max(scale, 1e-30)
    axes.imshow(np.nan_to_num(grid), cmap=signed(), vmin=-scale, vmax=scale)
    axes.set_xticks(np.arange(columns + 1) - 0.5, [])
    axes.set_yticks(np.arange(rows + 1) - 0.5, [])
    axes.tick_params(length=0)
    axes.grid(color="0.6", linewidth=0.5)
    for r, c in zip(*np.nonzero(np.zeros(grid.shape) if hatched is None else hatched), strict=True):
        fill_cell(axes, r, c, fill=False, hatch="////", edgecolor="0.6")


def write_numbers(axes, grid, scale: float, digits: int = 3, size: float = 8) -> None:
    """Write each cell's value in it; what is missing (NaN) has no number."""
    for (r, c), value in np.ndenumerate(grid):
        if not np.isnan(value):
            text = f"{value + 0.0:.{digits}g}"
            colour = "white" if is_dark(value, scale) else INK
            axes.text(
                *(c, r, text),
                ha="center",
                va="center",
                fontsize=size if len(text) < 6 else 0.8 * size,
                color=colour,
            )


def hatch_negative(axes, grid, scale: float, extent=None) -> None:
    """Hatch the cells of negative values, light on dark and dark on light, for grayscale prints.

    The other way than padding is hatched. `extent` is where the grid is drawn, as `imshow` takes it.
    """
    from matplotlib.collections import PolyCollection

    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    height, width = grid.shape
    left, right, bottom, top = extent or (-0.5, width - 0.5, height - 0.5, -0.5)
    size = np.array([(right - left) / width, (bottom - top) / height])
    for low, high, colour in ((0.08, 0.5, "0.35"), (0.5, np.inf, "0.9")):
        rows, columns = np.nonzero((-grid > low * scale) & (-grid <= high * scale))
        centres = np.stack([columns, rows], -1)[:, None]
        axes.add_collection(
            PolyCollection(
                list((centres + corners + 0.5) * size + (left, top)),
                facecolor="none",
                edgecolor=colour,
                hatch="\\" * 6,
                linewidth=0,
                zorder=2.5,
            ),
            autolim=False,
        )


def fill_cell(axes, row: float, column: float, **style) -> None:
    """Fill one cell of a grid."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, linewidth=0, **style))


def write_lines(axes, x: float, y: float, step: float, texts, size: float) -> None:
    """Write centred lines below each other, the first in black and the others in gray."""
    for number, text in enumerate(texts):
        axes.text(
            x,
            y - step * number,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color="0.3" if number else "black",
            parse_math=False,
        )


def save_page(path, title: str, style: str, body: str) -> None:
    """Write a page that needs nothing else."""
    page = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
body {{ margin: 1rem; background: white; color: black; font-family: system-ui, sans-serif; }}
{style}
</style>
<h1>{html.escape(title)}</h1>
{body}
</html>
"""
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
