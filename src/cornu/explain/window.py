"""How one number was made: `window`."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core.layer import Layer
from cornu.core.notebook import as_rendered
from cornu.explain.observe import as_batch, call_of, calls, channel_last, native
from cornu.explain.terms import Terms, show, terms_of

# How many channels a figure or a table shows.
MOST_CHANNELS = 4


@dataclasses.dataclass(repr=False)
class Window:
    """One number of a feature map as arithmetic. `print` shows it as an equation.

    Attributes:
        layer, kind: the layer's name and class.
        position, channel: which number of its output.
        terms: what the layer saw and did: values, weights, steps; see `Terms`.
        result: what the arithmetic gives.
        expected: what the model itself has computed.
    """

    layer: str
    kind: str
    position: tuple[int, ...]
    channel: int
    terms: Terms
    expected: float

    @property
    def result(self) -> float:
        """What the arithmetic gives."""
        return self.terms.steps[-1].value

    @property
    def patch(self) -> np.ndarray:
        """What the layer saw, zeros where it saw padding."""
        return self.terms.values

    @property
    def padding(self) -> np.ndarray:
        """True where the layer saw padding."""
        return ~self.terms.inside

    @property
    def kernel(self) -> np.ndarray | None:
        """What the patch was multiplied with; None if nothing was."""
        return self.terms.weights

    @property
    def products(self) -> np.ndarray:
        """Patch times kernel."""
        return self.terms.products

    def __repr__(self) -> str:
        return f"<Window of {self.layer}, {self._where}: {show(self.result)}>"

    def _repr_html_(self) -> str:
        return as_rendered(self.table())

    @property
    def _where(self) -> str:
        at = ", ".join(map(str, self.position))
        return f"at ({at}), channel {self.channel}" if at else f"number {self.channel}"

    def __str__(self) -> str:
        where = self._where
        lines = [f"{self.layer} ({self.kind}): output {where}"]
        if self.padding.any():
            lines.append(f"  {int(self.padding.sum())} of {self.patch.size} numbers are padding")
        width = max(len(step.name) for step in self.terms.steps)
        lines += [
            f"  {step.name:<{width}} = {step.formula} = {show(step.value)}"
            if step.formula != show(step.value)
            else f"  {step.name:<{width}} = {step.formula}"
            for step in self.terms.steps
        ]
        return "\n".join([*lines, f"  the model says {show(self.expected)}"])

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "position": list(self.position),
            "channel": self.channel,
            "axes": list(self.terms.axes),
            "patch": self.patch.tolist(),
            "padding": self.padding.tolist(),
            "kernel": None if self.kernel is None else self.kernel.tolist(),
            "products": self.products.tolist(),
            "origin": list(self.terms.origin),
            "reach": list(self.terms.reach),
            "steps": [step._asdict() for step in self.terms.steps],
            "result": self.result,
            "expected": self.expected,
        }

    def grids(self) -> list[tuple[str, np.ndarray, np.ndarray | None, np.ndarray]]:
        """What to draw, channel by channel: `(name, patch, kernel, padding)`, each of two axes."""
        patches, paddings = (_grids(a, self.terms.axes) for a in (self.patch, self.padding))
        kernels: list = [(None, None)] * len(patches)
        if self.kernel is not None:
            kernels = _grids(self.kernel, self.terms.axes)
        return [
            (name, patch, kernel, padding)
            for (name, patch), (_, kernel), (_, padding) in zip(
                patches, kernels, paddings, strict=True
            )
        ]

    def table(self):
        """The patch, the kernel and the products side by side, for `rich.print`."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        grids = self.grids()
        titles = ["patch"] if self.kernel is None else ["patch", "× kernel", "= products"]
        table = Table(show_lines=True)
        for title in ["", *titles]:
            table.add_column(title, no_wrap=True)
        for name, patch, kernel, padding in grids[:MOST_CHANNELS]:
            cells = [_columns(patch, padding)]
            if kernel is not None:
                cells += [_columns(kernel), _columns(patch * kernel, padding)]
            table.add_row(Text(name), *map(Text, cells))
        if len(grids) > MOST_CHANNELS:
            table.add_row(f"… {len(grids) - MOST_CHANNELS} more", *[""] * len(titles))
        first, *steps = str(self).splitlines()
        return Group(Text(first, style="bold"), table, Text("\n".join(steps)))

    def plot(self, path=None):
        """A figure of the patch, the kernel, the products and their sum.

        Args:
            path: a PNG, PDF or SVG file to write; None writes none.

        Returns:
            a matplotlib `Figure`.
        """
        from cornu.visualize.windows import plot_window

        return plot_window(self, path)


def _grids(array, axes) -> list[tuple[str, Any]]:
    """An array of any shape as named arrays of two axes."""
    if axes[-1:] == ("channel",) and array.ndim >= 2:
        spatial = array.ndim - 1
        names = [f"channel {c}" if array.shape[-1] > 1 else "" for c in range(array.shape[-1])]
        planes = [array[..., c] for c in range(array.shape[-1])]
        if spatial == 1:
            return [("", array)] if array.shape[-1] > 1 else [("", array.T)]
        if spatial == 2:
            return list(zip(names, planes, strict=True))
        return [
            (f"{name} depth {d}".strip(), plane[d])
            for name, plane in zip(names, planes, strict=True)
            for d in range(plane.shape[0])
        ]
    flat = array.reshape(-1)
    width = min(len(flat), 10) or 1
    rows = -(-len(flat) // width)
    padded = np.zeros(rows * width, flat.dtype)
    padded[: len(flat)] = flat
    return [("", padded.reshape(rows, width))]


def _columns(grid: np.ndarray, padding: np.ndarray | None = None, most: int = 7) -> str:
    """Numbers in columns; padding in brackets."""
    cells = [
        [
            f"({show(v)})" if padding is not None and padding[r, c] else show(v)
            for c, v in enumerate(row[:most])
        ]
        + (["…"] if len(row) > most else [])
        for r, row in enumerate(grid[:most])
    ]
    width = max((len(cell) for row in cells for cell in row), default=0)
    lines = [" ".join(f"{cell:>{width}}" for cell in row) for row in cells]
    return "\n".join([*lines, "…"] if len(grid) > most else lines)


def window(model, x, layer, position=(), channel=0, *, example=0, call=0) -> Window:
    """How a model has made one number: what the layer saw, the kernel, the products, and their sum.

    Works for every kind of convolution (of signals, images and volumes; strided, dilated, grouped,
    depthwise, separable, transposed), of pooling, normalization and merging, for dense layers,
    activations, and all layers that add up weighted inputs (reshaping, padding, resizing). The
    arithmetic is done anew in float64, and compared with what the model has computed.

    Args:
        model: any built model.
        x: a batch, or one example if the model's input shape is known; a list or dict of them if the
            model has several inputs.
        layer: a layer, its name, or its index in `model.layers`.
        position: output position: `(row, column)` of a feature map, a number for a signal,
            nothing for a dense layer.
        channel: which feature map, or which unit of a dense layer.
        example: which of the batch.
        call: which call of the layer, if it is used several times.

    Returns:
        a `Window`: `print` it, `.table()` it, `.plot()` it, or read its values.

    Raises ValueError if there is no such layer, position or channel, NotImplementedError for a layer whose
    arithmetic is not known, and ArithmeticError if the model's number differs from that of the arithmetic
    by more than rounding, as it may if a subclass does something else.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((3, 3, 1)), cornu.layers.Conv2D(1, 2, name="conv")])
    >>> model.set_weights([np.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1, 1), np.array([0.5])])
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> print(cornu.explain.window(model, x, "conv", (1, 0)))
    conv (Conv2D): output at (1, 0), channel 0
      sum of products = 3 × 1 + 4 × 2 + 6 × 3 + 7 × 4 = 57
      bias            = 57 + 0.5 = 57.5
      the model says 57.5
    """
    found = calls(model, as_batch(model, x, example))
    return explained(call_of(found, model, layer, call), position, channel)


def explained(call, position=(), channel=0) -> Window:
    """The window of one number of a call that was observed; see `window`."""
    layer = call.operation
    if not isinstance(layer, Layer) or not hasattr(call.outputs, "shape"):
        raise NotImplementedError(
            f"'{call.name}' ({type(layer).__name__}) is not a layer with one output."
        )
    index = place_in(call, position, channel)
    own = (0, *native(layer, call.outputs.ndim, index))
    expected = float(np.asarray(jnp.asarray(call.outputs, jnp.float32))[own])
    try:
        terms = terms_of(layer, call.inputs, index)
    except NotImplementedError:
        raise NotImplementedError(
            f"The arithmetic of layer '{call.name}' ({type(layer).__name__}) is not known, and its output "
            "is not a sum of weighted inputs. Ask for a layer before or after it."
        ) from None
    made = Window(call.name, type(layer).__name__, index[:-1], index[-1], terms, expected)
    _check(made, layer)
    return made


def place_in(call, position, channel) -> tuple[int, ...]:
    """The index of a number in an example of a call's output, the channel last.

    Raises ValueError if there is none.
    """
    shape = channel_last(call.operation, call.outputs.ndim, call.outputs.shape[1:])
    position = (position,) if isinstance(position, int | np.integer) else tuple(position)
    index = (*position, channel) if shape else position
    good = len(index) == len(shape) and all(
        isinstance(i, int | np.integer) and -n <= i < n for i, n in zip(index, shape, strict=False)
    )
    if not good:
        raise ValueError(
            f"The layer '{call.name}' gives {shape[:-1] or 'no'} positions with "
            f"{shape[-1] if shape else 1} channels each. Received: position={position}, channel={channel}."
        )
    return tuple(int(i) % n for i, n in zip(index, shape, strict=True))


def _check(made: Window, layer) -> None:
    """Raise ArithmeticError if the two results differ by more than rounding explains."""
    terms = made.terms
    steps = [abs(step.value) for step in terms.steps if math.isfinite(step.value)]
    size = max([float(np.abs(terms.products).sum()), *steps]) if terms.values.size else 1.0
    epsilon = float(jnp.finfo(layer.compute_dtype).eps)
    # Sums in another order; and a normalization divides what is left after a difference.
    tolerance = 8 * epsilon * (size + abs(made.result) * (1 + math.sqrt(terms.values.size))) + 1e-30
    same = made.result == made.expected or (math.isnan(made.result) and math.isnan(made.expected))
    if not same and not abs(made.result - made.expected) <= tolerance:
        raise ArithmeticError(
            f"The layer '{made.layer}' ({made.kind}) has computed {made.expected!r}, but the arithmetic "
            f"of its kind gives {made.result!r}. Does a subclass compute something else?"
        )
