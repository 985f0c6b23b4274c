"""A window that slides over an input: the figure of every lesson, from the reader's own model and data."""

import base64
import io
from pathlib import Path

import numpy as np

from cornu.explain.observe import as_batch, call_of, calls, channel_axis
from cornu.explain.window import Window, explained
from cornu.saving.atomic import replacing
from cornu.visualize.figure import (
    draw_grid,
    hatch_negative,
    new_figure,
    save_figure,
    save_page,
    shortened,
    write_numbers,
)
from cornu.visualize.palette import ACCENT, largest

# In larger grids, numbers would be too small to read.
_MOST_SIDE_WITH_NUMBERS = 14
# More frames than this say nothing new.
_MOST_FRAMES = 150


def plot_sliding(
    model, x, layer, position=None, channel=0, seen_channel=0, path=None, frames_per_second=3
):
    """Draw how the window of a convolution or pooling slides over its input, and what it makes of it.

    The input with its padding (hatched), the window on it, the kernel, and the output, in which one
    position is marked; below, the arithmetic. A `.gif` or `.html` file shows position after position, the
    page with a button to stop and a slider; any other file shows one.

    Args:
        model: any built model.
        x: a batch, or one example; its first is used.
        layer: a layer with a window of one or two axes, its name, or its index in `model.layers`.
        position: the output position that is marked; default: the middle. An animation goes through all.
        channel: which channel of the output.
        seen_channel: which channel of the input is drawn, of those that the window sees.
        path: the file to write: PNG, SVG, PDF, GIF or HTML; None writes none.
        frames_per_second: of the animation.

    Returns:
        a matplotlib `Figure` of the last position that was drawn.

    Raises ValueError if there is no such layer or position, or the layer has no window.

    >>> import cornu, numpy as np
    >>> from cornu.visualize import plot_sliding
    >>> model = cornu.Sequential([cornu.Input((5, 5, 1)), cornu.layers.Conv2D(1, 3, padding="same")])
    >>> figure = plot_sliding(model, np.eye(5)[..., None], 0, (0, 0))
    >>> [axes.get_title() for axes in figure.subfigs[0].axes]
    ['input', 'kernel', 'output']
    """
    call = call_of(calls(model, as_batch(model, x, 0)), model, layer)
    figures = _Figures(call, channel, seen_channel)
    suffix = Path(path).suffix.lower() if path is not None else ""
    if suffix not in (".gif", ".html"):
        if position is None:
            position = tuple(n // 2 for n in figures.sizes)
        figure = figures.draw(explained(call, position, channel))
        if path is not None:
            save_figure(figure, path)
        return figure
    every = list(np.ndindex(*figures.sizes))
    step = -(-len(every) // _MOST_FRAMES)
    frames, figure = [], None
    for position in every[::step]:
        figure = figures.draw(explained(call, position, channel), after=position)
        frames.append(_pixels(figure))
    if suffix == ".gif":
        _save_gif(frames, path, frames_per_second)
    else:
        _save_page(frames, path, frames_per_second, f"{call.name}, channel {channel}")
    return figure


class _Figures:
    """What stays the same from position to position."""

    def __init__(self, call, channel: int, seen_channel: int):
        middle = (0,) * (call.outputs.ndim - 2)
        first = explained(call, middle, channel)
        if len(first.terms.origin) not in (1, 2) or len(first.terms.origin) != len(middle):
            raise ValueError(
                f"The layer '{call.name}' ({first.kind}) has no window that slides along one or two axes; "
                "a convolution or pooling layer has."
            )
        self.call, self.seen_channel, self.kind = call, seen_channel, first.kind
        output, image = (
            np.moveaxis(np.asarray(a, np.float64), channel_axis(call.operation, a.ndim), -1)[0]
            for a in (call.outputs, call.inputs)
        )
        self.sizes = output.shape[:-1]
        self.output = _plane(output[..., channel])
        if not 0 <= seen_channel < first.patch.shape[-1]:
            raise ValueError(
                f"A position of '{call.name}' sees {first.patch.shape[-1]} channels. Received: "
                f"seen_channel={seen_channel}"
            )
        # A grouped or depthwise layer sees some of the channels only.
        inside = first.terms.inside[..., seen_channel]
        self.image = _plane(image[..., first.terms.first_channel + seen_channel])
        last = explained(call, tuple(n - 1 for n in self.sizes), channel)
        rank = len(self.sizes)
        ends = [
            (min(0, a), max(n, b + (w - 1) * r + 1))
            for a, b, w, r, n in zip(
                first.terms.origin,
                last.terms.origin,
                inside.shape,
                first.terms.reach,
                image.shape[:-1],
                strict=True,
            )
        ]
        self.rows: tuple[int, int] = ends[0] if rank == 2 else (0, 1)
        self.columns: tuple[int, int] = ends[-1]

    def draw(self, window: Window, after: tuple | None = None):
        """The figure of one position; with `after`, results of later ones are not there yet."""
        high, wide = self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]
        kernel = None if window.kernel is None else _plane(window.kernel[..., self.seen_channel])
        grids = [(high, wide), *([kernel.shape] if kernel is not None else []), self.output.shape]
        cell = min(0.5, 7.0 / max(high, wide))
        widths = [columns * cell + 0.25 for _, columns in grids]
        height = max(rows for rows, _ in grids) * cell + 0.5
        steps = _equation(window, int(sum(widths) * 11))
        figure = new_figure(max(sum(widths) + 0.3, 4.5), height + 0.22 * len(steps) + 0.6)
        above, below = figure.subfigures(
            2, 1, height_ratios=[height + 0.3, 0.22 * len(steps) + 0.15]
        )
        panels = above.subplots(1, len(grids), width_ratios=widths, squeeze=False)[0]
        self._draw_input(panels[0], window)
        if kernel is not None:
            _draw(panels[1], kernel, "kernel")
        shown = self.output.copy()
        row, column = window.position if len(window.position) == 2 else (0, *window.position)
        if after is not None:
            flat = shown.reshape(-1)
            flat[row * shown.shape[1] + column + 1 :] = np.nan
        _draw(panels[-1], shown, "output", np.abs(self.output).max())
        _mark(panels[-1], row, column, 1, 1)
        for n, line in enumerate(steps):
            y = 1 - (n + 0.6) / (len(steps) + 0.3)
            below.text(0.02, y, line, fontsize=9, family="monospace", va="center", parse_math=False)
        figure.suptitle(
            f"{shortened(window.layer, 30)} ({window.kind}), channel {window.channel}", fontsize=10
        )
        return figure

    def _draw_input(self, axes, window: Window) -> None:
        top, left = self.rows[0], self.columns[0]
        padded = np.zeros((self.rows[1] - top, self.columns[1] - left))
        rows, columns = self.image.shape
        padded[-top : rows - top, -left : columns - left] = self.image
        outside = np.ones(padded.shape, bool)
        outside[-top : rows - top, -left : columns - left] = False
        _draw(axes, padded, "input", hatched=outside)
        inside = _plane(window.terms.inside[..., self.seen_channel])
        origin, reach = window.terms.origin, window.terms.reach
        if len(origin) == 1:
            origin, reach = (0, *origin), (1, *reach)
        if max(reach) > 1:
            # Cells with gaps between them.
            for r, c in np.ndindex(*inside.shape):
                y, x = origin[0] + r * reach[0] - top, origin[1] + c * reach[1] - left
                _mark(axes, y, x, 1, 1, 1.3)
        extent = [(n - 1) * step + 1 for n, step in zip(inside.shape, reach, strict=True)]
        _mark(axes, origin[0] - top, origin[1] - left, *extent)


def _plane(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 1 else array


def _draw(axes, grid: np.ndarray, title: str, scale=None, hatched=None) -> None:
    scale = largest(grid if scale is None else scale)
    draw_grid(axes, grid, scale, hatched)
    axes.set_title(title, fontsize=10)
    rows, columns = grid.shape
    if max(rows, columns) > _MOST_SIDE_WITH_NUMBERS:
        # Without numbers, hatching shows the sign.
        hatch_negative(axes, np.nan_to_num(grid), scale)
        return
    write_numbers(axes, grid, scale, 2, 7.5)


def _mark(axes, row: int, column: int, height: int, width: int, line: float = 2.6) -> None:
    from matplotlib.patches import Rectangle

    # White around it, so that it is seen on any colour.
    for edge, thickness in (("white", line + 2), (ACCENT, line)):
        axes.add_patch(
            Rectangle(
                *((column - 0.5, row - 0.5), width, height),
                fill=False,
                edgecolor=edge,
                linewidth=thickness,
                zorder=3,
                clip_on=False,
            )
        )


def _equation(window: Window, width: int) -> list[str]:
    from textwrap import wrap

    lines: list[str] = []
    for step in window.terms.steps:
        text = f"{step.name} = {step.formula} = {step.value:.4g}"
        lines += wrap(text, max(width, 40), subsequent_indent="    ")
    return lines


def _pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _same_size(frames: list) -> list:
    """On white, as large as the largest: equations are of one or two lines."""
    from PIL import Image

    size = max(f.width for f in frames), max(f.height for f in frames)
    padded = []
    for frame in frames:
        ground = Image.new("RGB", size, "white")
        ground.paste(frame, (0, 0))
        padded.append(ground)
    return padded


def _save_gif(frames: list, path, frames_per_second: float) -> None:
    frames = [f.quantize(64) for f in _same_size(frames)]
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=int(1000 / frames_per_second),
            loop=0,
        )


def _save_page(frames: list, path, frames_per_second: float, title: str) -> None:
    coded = []
    for frame in _same_size(frames):
        data = io.BytesIO()
        frame.quantize(64).save(data, format="PNG")
        coded.append(base64.b64encode(data.getvalue()).decode())
    sources = ",\n".join(f'"{data}"' for data in coded)
    body = f"""<p><button id="play">Stop</button>
<input id="position" type="range" min="0" max="{len(coded) - 1}" value="0" aria-label="position"></p>
<p><img id="frame" alt="the window on the input, the kernel and the output"></p>
<script>
const frames = [{sources}];
const position = document.getElementById("position"), play = document.getElementById("play");
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let timer = null;
function show() {{
  document.getElementById("frame").src = "data:image/png;base64," + frames[position.value];
}}
function toggle() {{
  if (timer) {{ clearInterval(timer); timer = null; }}
  else timer = setInterval(() => {{ position.value = (+position.value + 1) % frames.length; show(); }},
                           {int(1000 / frames_per_second)});
  play.textContent = timer ? "Stop" : "Play";
}}
play.onclick = toggle;
position.oninput = () => {{ if (timer) toggle(); show(); }};
show();
if (still) play.textContent = "Play"; else toggle();
</script>"""
    style = """img { max-width: 100%; }
input { width: min(30rem, 60%); vertical-align: middle; }
button { min-width: 5rem; padding: .4rem; }"""
    save_page(path, title, style, body)
