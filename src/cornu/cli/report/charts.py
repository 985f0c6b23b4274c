"""Drawings for the report, as SVG that takes its colours from the page."""

import math
from html import escape

import numpy as np

from cornu.visualize.figure import shortened

# A curve of more points looks the same.
_MOST_POINTS = 400
# With more classes, numbers, and then cells, are too small.
MOST_WITH_NUMBERS, MOST_CLASSES = 20, 60


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about so many."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Axes:
    """A rectangle with axes: from values to places on the drawing."""

    def __init__(self, x_limits, y_limits, width=460, height=260):
        self.x_limits, self.y_limits = x_limits, y_limits
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = 46, width - 10, 12, height - 38

    def x(self, value: float) -> float:
        low, high = self.x_limits
        return round(self.left + (value - low) / (high - low) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        low, high = self.y_limits
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)

    def drawing(self, inside: str, kind: str, title: str, x_name: str) -> str:
        lines = []
        for value in ticks(*self.y_limits):
            y = self.y(value)
            lines.append(
                f'<path class="grid" d="M{self.left} {y}H{self.right}"/>'
                f'<text x="{self.left - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
            )
        for value in ticks(*self.x_limits):
            # There is no half epoch.
            if x_name != "epoch" or value == int(value):
                x = self.x(value)
                lines.append(
                    f'<path class="grid" d="M{x} {self.bottom}v5"/>'
                    f'<text x="{x}" y="{self.bottom + 18}" text-anchor="middle">{value:g}</text>'
                )
        middle = (self.left + self.right) / 2
        lines.append(
            f'<text x="{middle}" y="{self.height - 4}" text-anchor="middle">{escape(x_name)}</text>'
        )
        return (
            f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(title)}">'
            f"{''.join(lines)}{inside}</svg>"
        )


def curves(training: list[float], validation: list[float], best: int, name: str) -> str:
    """A number of each epoch, of training and of validation, and a line at the best epoch (from 1)."""
    finite = [value for value in (*training, *validation) if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    margin = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    epochs = len(training)
    ends = (1, epochs) if epochs > 1 else (0.5, 1.5)
    axes = _Axes(ends, (low - margin, high + margin))
    parts = [f'<path class="best" d="M{axes.x(best)} {axes.top}V{axes.bottom}"/>']
    for kind, values in (("training", training), ("validation", validation)):
        step = -(-epochs // _MOST_POINTS)
        chosen = sorted({*range(0, epochs, step), epochs - 1})
        path, pen = [], "M"
        for i in chosen:
            if math.isfinite(values[i]):
                path.append(f"{pen}{axes.x(i + 1)} {axes.y(values[i])}")
            pen = "L" if math.isfinite(values[i]) else "M"
        parts.append(f'<path class="line {kind}" d="{"".join(path)}"/>')
        if epochs <= 40:
            parts.extend(
                f'<circle class="{kind}" cx="{axes.x(i + 1)}" cy="{axes.y(values[i])}" r="2.6"/>'
                for i in chosen
                if math.isfinite(values[i])
            )
    title = f"{name} by epoch; best epoch {best}"
    return axes.drawing("".join(parts), "curves", title, "epoch")


def reliability(bins: list[tuple[int, float, float]], title: str) -> str:
    """How often answers of each confidence are right; on the diagonal, as often as they say.

    Args:
        bins: for each, how many images it has, their mean confidence, and the share that is right.
        title: what it shows.
    """
    axes = _Axes((0.0, 1.0), (0.0, 1.0), 320, 300)
    parts = [
        f'<path class="best" d="M{axes.x(0)} {axes.y(0)}L{axes.x(1)} {axes.y(1)}"/>',
    ]
    most = max((count for count, _, _ in bins), default=1)
    places = [(axes.x(confidence), axes.y(right)) for _, confidence, right in bins]
    line = "L".join(f"{x} {y}" for x, y in places)
    parts.append(f'<path class="line validation" d="M{line}"/>' if places else "")
    for (count, confidence, right), (x, y) in zip(bins, places, strict=True):
        radius = round(2.5 + 6 * math.sqrt(count / most), 1)
        parts.append(
            f'<circle class="validation" cx="{x}" cy="{y}" r="{radius}"><title>{count:,} images of '
            f"{100 * confidence:.1f} %: {100 * right:.1f} % right</title></circle>"
        )
    return axes.drawing("".join(parts), "reliability", title, "confidence")


def matrix(counts: np.ndarray, names: list[str], cell_id) -> str:
    """Which class (a row) is taken for which (a column); a cell leads to its pictures.

    Args:
        counts: images by class and predicted class.
        names: of the classes.
        cell_id: from row and column to the id of the place with its pictures, or None.
    """
    count = len(names)
    with_numbers = count <= MOST_WITH_NUMBERS
    cell = 34 if with_numbers else max(9, round(560 / count))
    short = [shortened(name, 18) for name in names]
    longest = max(map(len, short))
    left = 24 + 6.6 * longest
    upright = 7 * longest + 8 > cell
    top = 22 + (6.6 * longest if upright else 16)
    width, height = left + cell * count + 4, top + cell * count + 4
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    parts = [
        f'<text class="axis" x="{left + cell * count / 2}" y="12" text-anchor="middle">taken for</text>',
        f'<text class="axis" transform="translate(12 {top + cell * count / 2}) rotate(-90)" '
        'text-anchor="middle">is</text>',
    ]
    size = f' font-size="{min(12, cell - 1)}"'
    for i, name in enumerate(short):
        y, x = top + cell * (i + 0.5), left + cell * (i + 0.5)
        parts.append(
            f'<text{size} x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        where = f'x="{x:.1f}" y="{top - 6:.1f}" text-anchor="middle"'
        if upright:
            where = f'transform="translate({x + 4:.1f} {top - 6:.1f}) rotate(-90)"'
        parts.append(f"<text{size} {where}>{escape(name)}</text>")
    parts.append(
        f'<rect class="frame" x="{left}" y="{top}" width="{cell * count}" height="{cell * count}"/>'
    )
    for row, column in zip(*map(list, counts.nonzero()), strict=True):
        number, share = int(counts[row, column]), float(shares[row, column])
        kind = "right" if row == column else "wrong"
        # The square root makes a few mistakes among many images visible.
        depth = round(max(0.12, math.sqrt(share)), 2)
        x, y = left + cell * int(column), top + cell * int(row)
        what = f"{names[row]} taken for {names[column]}: {number:,}, {100 * share:.1f} %"
        drawn = (
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{depth}"><title>{escape(what)}</title></rect>'
        )
        if with_numbers:
            # Four digits and more must fit, too.
            points = min(13, round(1.7 * (cell - 4) / max(len(str(number)), 2.4), 1))
            ink = ' class="deep"' if depth > 0.6 else ""
            drawn += (
                f'<text{ink} x="{x + cell / 2 - 0.5:.1f}" y="{y + cell / 2 + 4:.1f}" '
                f'text-anchor="middle" font-size="{points}">{number}</text>'
            )
        target = cell_id(int(row), int(column))
        parts.append(f'<a href="#{target}">{drawn}</a>' if target else drawn)
    least = round(min(width, left + max(cell * 0.6, 8) * count))
    return (
        f'<svg class="matrix" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="confusion matrix" style="max-width:{width:.0f}px;min-width:{least}px">'
        f"{''.join(parts)}</svg>"
    )
