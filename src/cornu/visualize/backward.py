"""The way back as figures: `plot_backpropagation`, and those of one number's or one weight's gradient."""

import numpy as np

from cornu.visualize.figure import (
    draw_grid,
    hatch_negative,
    new_figure,
    save_figure,
    shortened,
)
from cornu.visualize.palette import LINE, ORANGE, PURPLE, largest, signed

# Of each layer, how many channels are drawn; and of how many layers.
_MOST_CHANNELS = 8
_MOST_LAYERS = 12


def plot_backpropagation(done, columns=_MOST_CHANNELS, path=None):
    """Draw both directions: of each layer its feature maps, and below them the loss' gradients by these.

    Purple (and hatched) is negative, orange positive, white zero; each layer has a scale of its own, and
    so have its gradients. A larger number makes the loss larger where the gradient is orange, smaller where
    it is purple. The input is gray. The channels are those with the largest gradients.

    Args:
        done: what `cornu.explain.backpropagation` returned.
        columns: how many channels of each layer.
        path: a PNG, PDF or SVG file to write; None writes none.

    Returns:
        a matplotlib `Figure`.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((6, 6, 1)), cornu.layers.Conv2D(2, 3, name="conv")])
    >>> model.compile("sgd", "mse")
    >>> done = cornu.explain.backpropagation(model, np.ones((6, 6, 1)), np.zeros((4, 4, 2)))
    >>> figure = cornu.visualize.plot_backpropagation(done)
    >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    ['input', '← gradient', 'conv', '← gradient']
    """
    rows = []
    if done.input is not None:
        rows.append(("input", done.input, done.input_gradient))
    rows += [(name, done.maps[name], done.gradients[name]) for name in done.maps]
    left_out = max(len(rows) - _MOST_LAYERS, 0)
    if left_out:
        kept = np.linspace(0, len(rows) - 1, _MOST_LAYERS).round().astype(int)
        rows = [rows[n] for n in kept]
    columns = min(columns, max(_channels(maps) for _, maps, _ in rows))
    heights = [height for _, maps, _ in rows for height in (_height(maps),) * 2]
    figure = new_figure(max(1.2 * columns + 1.0, 4.5), sum(heights) + 0.5)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for number, (name, maps, gradients) in enumerate(rows):
        _draw_layer(figure, grid, 2 * number, columns, name, maps, gradients)
    more = f"  ({left_out} more layers)" if left_out else ""
    figure.suptitle(f"forward, and back from the loss of {done.loss:.4g}{more}", fontsize=11)
    if path is not None:
        save_figure(figure, path)
    return figure


def _channels(maps: np.ndarray) -> int:
    return maps.shape[-1] if maps.ndim == 3 else 1


def _height(maps: np.ndarray) -> float:
    if maps.ndim != 3:
        return 0.55
    return min(max(1.2 * maps.shape[0] / maps.shape[1], 0.6), 2.0)


def _draw_layer(figure, grid, row: int, columns: int, name: str, maps, gradients) -> None:
    """Two rows: the maps of a layer, and the gradients below them."""
    label = shortened(name, 16)
    if maps.ndim != 3:
        # A vector, or something with more axes, as one line of cells.
        for offset, (array, text) in enumerate(((maps, label), (gradients, "← gradient"))):
            axes = figure.add_subplot(grid[row + offset, :])
            _bare(axes)
            axes.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")
            if array is None:
                continue
            line = np.asarray(array, float).reshape(1, -1)[:, : 16 * columns]
            _draw_map(axes, line, line, aspect="auto")
        return
    sizes = np.abs(maps if gradients is None else gradients).sum((0, 1))
    order = np.argsort(-sizes, kind="stable")
    for column, channel in enumerate(sorted(order[:columns].tolist())):
        for offset, array in enumerate((maps, gradients)):
            axes = figure.add_subplot(grid[row + offset, column])
            _bare(axes)
            if array is not None:
                _draw_map(axes, array[..., channel], array, is_input=not row + offset)
            if not offset:
                axes.set_title(str(channel), fontsize=7, pad=2)
            if not column:
                text = "← gradient" if offset else label
                axes.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")


def _bare(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_map(axes, array, of_all, is_input: bool = False, **how) -> None:
    scale = largest(of_all)
    if is_input:
        low = min(float(np.nanmin(of_all)), 0.0)
        axes.imshow(array, cmap="gray", vmin=low, vmax=scale, **how)
        return
    axes.imshow(array, cmap=signed(), vmin=-scale, vmax=scale, **how)
    hatch_negative(axes, array, scale)


def plot_gradient(made, path=None):
    """Draw the chain of one number's gradient: for each link its largest terms, factor times gradient."""
    links = [link for link in made.links if link.parts]
    return _bars(
        [
            (
                f"{shortened(link.layer, 24)}, {link.where}: {link.result:.3g}",
                [
                    (f"{part.layer}: {text}", value)
                    for part in link.parts
                    for text, value in _terms(part)
                ],
            )
            for link in links
        ],
        f"d loss / d output of {made.layer}: {made.result:.4g}",
        path,
    )


def _terms(part) -> list[tuple[str, float]]:
    """The largest terms, with what they are made of."""
    products = part.products
    order = np.argsort(-np.abs(products), kind="stable")[:5]
    found = []
    for n in order:
        numbers = [part.factors[n], *([] if part.slopes is None else [part.slopes[n]])]
        text = " × ".join(f"{number:.3g}" for number in [*numbers, part.gradients[n]])
        found.append((text, float(products[n])))
    rest = len(products) - len(found)
    if rest > 0:
        found.append((f"{rest:,} more", float(products.sum() - sum(v for _, v in found))))
    return found


def _bars(groups: list, title: str, path):
    """Sums as horizontal bars, one panel for each."""
    heights = [max(len(terms), 1) * 0.24 + 0.45 for _, terms in groups]
    figure = new_figure(8, sum(heights) + 0.5)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights).ravel()
    for axes, (name, terms) in zip(panels, groups, strict=True):
        axes.set_title(name, fontsize=9, loc="left", parse_math=False)
        values = np.array([value for _, value in terms] or [0.0])
        bars = axes.barh(
            range(len(values)), values, color=[ORANGE if v >= 0 else PURPLE for v in values]
        )
        for bar, value in zip(bars, values, strict=True):
            bar.set_hatch("" if value >= 0 else "\\" * 4)
        axes.set_yticks(range(len(values)), [text for text, _ in terms] or ["nothing reads it"])
        axes.tick_params(labelsize=8)
        axes.invert_yaxis()
        axes.axvline(0, color=LINE, linewidth=0.8)
        end = 1.1 * largest(values)
        axes.set_xlim(-end, end)
    figure.suptitle(title, fontsize=11, parse_math=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def plot_weight_gradient(made, path=None):
    """Draw what a weight met, the gradients there, and the products, of the example that adds most."""
    part = made.parts[0]
    spatial = part.outputs.shape[1] == 3 and part.examples is not None
    if not spatial:
        title = f"d loss / d {made.name} of {made.layer}: {made.result:.4g}"
        return _bars([(p.says, _terms(p)) for p in made.parts], title, path)
    sums = np.bincount(part.examples, np.abs(part.products))
    own = part.examples == sums.argmax()
    places = part.outputs[own][:, :2]
    rows, columns = places.max(0) + 1
    slopes = 1.0 if part.slopes is None else part.slopes[own]
    grids = []
    for name, numbers in (
        ("what it met", part.factors[own]),
        ("× gradient there", part.gradients[own] * slopes),
        ("= products", part.products[own]),
    ):
        grid = np.full((rows, columns), np.nan)
        grid[tuple(places.T)] = numbers
        grids.append((name, grid))
    figure = new_figure(9, 2.85 * rows / columns + 0.75)
    for axes, (name, grid) in zip(figure.subplots(1, 3), grids, strict=True):
        scale = largest(grid)
        missing = np.isnan(grid)
        draw_grid(axes, np.nan_to_num(grid), scale, missing)
        hatch_negative(axes, np.nan_to_num(grid), scale)
        axes.set_title(name, fontsize=10)
    figure.suptitle(
        f"d loss / d {made.name} of {shortened(made.layer, 24)}: {made.result:.4g}; "
        f"example {int(sums.argmax())} adds {part.products[own].sum():.4g}",
        fontsize=11,
        parse_math=False,
    )
    if path is not None:
        save_figure(figure, path)
    return figure
