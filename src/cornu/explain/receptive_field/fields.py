"""What each layer sees of the input: `receptive_field`, and what it returns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from cornu.core.layer import Layer
from cornu.core.notebook import as_text
from cornu.explain.observe import (
    as_batch,
    call_of,
    input_of,
    shapes_of_calls,
    spatial_axes,
    without_channels,
)
from cornu.explain.receptive_field.rules import Box, everything
from cornu.explain.receptive_field.trace import trace


class Field(NamedTuple):
    """What each output position of one layer sees of the input.

    Attributes:
        layer, kind: the layer's name and class.
        size: how many input positions one output position sees along each spatial axis.
        stride: how far apart in the input neighbouring output positions look.
        offset: the first input position that the first output position sees; negative in the padding.
        whole: whether every output position sees all of the input.
    """

    layer: str
    kind: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[int, ...]
    whole: bool


@dataclass(repr=False)
class Fields:
    """The receptive fields of all layers; `print` shows a table.

    Attributes:
        fields: one `Field` for each layer that has spatial axes, in the order of the calls.
        calls: the calls of all layers, with shapes in place of values; see `observe.shapes_of_calls`.
        model: the model.
    """

    fields: list[Field]
    calls: list
    model: Any

    def __repr__(self) -> str:
        return f"<Fields of {len(self.fields)} layers>"

    def _repr_html_(self) -> str:
        return as_text(str(self))

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("layer", "size", "stride", "offset")]
        rows += [
            (f.layer, "everything", "", "")
            if f.whole
            else (
                f.layer,
                *("x".join(map(str, n)) for n in (f.size, f.stride)),
                str(f.offset)[1:-1],
            )
            for f in self.fields
        ]
        widths = [max(len(row[n]) for row in rows) for n in range(4)]
        return "\n".join(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def __getitem__(self, layer: str) -> Field:
        for found in self.fields:
            if found.layer == layer:
                return found
        raise KeyError(f"{layer!r} is not among {[f.layer for f in self.fields]}.")

    def window(self, layer, position=(), call=0) -> tuple[slice, ...]:
        """The part of the input that one output position of a layer sees, as slices along the spatial axes.

        What it would see of padding is left out; of padding alone, the slices are empty.
        `x[0][fields.window("conv", (3, 4))]` cuts it out.

        Args:
            layer: the layer, its name, or its index in `model.layers`.
            position: the output position: `(row, column)`; nothing for a dense layer.
            call: which call of the layer, if it is used several times.

        Raises ValueError if there is no such layer or position.
        """
        found = call_of(self.calls, self.model, layer, call)
        spatial = _axes(found)
        position = (position,) if isinstance(position, int) else tuple(position)
        shape = found.outputs.shape[1:]
        sizes = tuple(shape[a] for a in spatial)
        if len(position) != len(sizes) or not all(
            0 <= p < n for p, n in zip(position, sizes, strict=False)
        ):
            raise ValueError(
                f"The layer '{found.name}' gives {sizes or 'no'} positions. Received: "
                f"position={position}."
            )
        number = next(n for n, call in enumerate(self.calls) if call is found)
        seen = trace(self.calls, number, _box_at(shape, spatial, position), clips=True)
        return tuple(slice(low, high + 1) for low, high in seen)

    def plot(self, x, layer, position=(), path=None, example=0):
        """Draw what one output position sees on an image (or signal).

        Args:
            x: what the model takes: a batch, or one example.
            layer, position: see `window`.
            path: a PNG, PDF or SVG file to write; None writes none.
            example: which of the batch.

        Returns:
            a matplotlib `Figure`.
        """
        from cornu.visualize.fields import plot_field

        name = call_of(self.calls, self.model, layer).name
        image = jax.tree.leaves(as_batch(self.model, x, example))[0][0]
        return plot_field(image, self.window(layer, position), f"{name} {position or ''}", path)


def receptive_field(model, x=None) -> Fields:
    """For each layer, how much of the input one output position sees, and where.

    Follows the windows of convolutions and pooling, also through branches and nested models. Of a layer of
    your own, gradients say what it sees; what the `call` of a subclassed model computes between its layers
    is taken to see everything. With several inputs, those of the first one's size count.

    Args:
        model: any built model whose input has spatial axes.
        x: an example, if the model does not know its input's shape.

    Returns:
        a `Fields`: `print` it, look a layer up by its name, ask for the `.window(layer, position)` of an
        output position, or `.plot(x, layer, position)` it.

    Source: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks".

    >>> import cornu
    >>> from cornu import layers
    >>> model = cornu.Sequential([cornu.Input((28, 28, 1)), layers.Conv2D(4, 3, name="first"),
    ...     layers.MaxPooling2D(name="pool"), layers.Conv2D(4, 3, padding="same", name="second")])
    >>> print(cornu.explain.receptive_field(model))
    layer   size   stride  offset
    first   3x3    1x1     0, 0
    pool    4x4    2x2     0, 0
    second  8x8    2x2     -2, -2
    >>> cornu.explain.receptive_field(model).window("second", (5, 0))
    (slice(8, 16, None), slice(0, 6, None))
    """
    found = shapes_of_calls(model, None if x is None else as_batch(model, x))
    fields: list[Field] = []
    memory: dict = {}
    for number, call in enumerate(found):
        spatial = _axes(call)
        if call.is_whole and spatial and isinstance(call.operation, Layer):
            fields.append(_field(found, number, spatial, memory))
    return Fields(fields, found, model)


def _field(found, number: int, spatial, memory: dict) -> Field:
    call = found[number]
    shape = call.outputs.shape[1:]

    def look(position: list[int]) -> Box:
        return trace(found, number, _box_at(shape, spatial, position), memory=memory)

    first = look([0] * len(spatial))
    last = look([shape[a] - 1 for a in spatial])
    start, taker = input_of(found)
    sizes = without_channels(start.shape[1:], taker)
    whole = len(first) != len(spatial) or all(
        low <= 0 and high >= n - 1
        for ends in (first, last)
        for (low, high), n in zip(ends, sizes, strict=True)
    )
    # Between two positions in the middle, with borders of no layer in the way.
    middle = [shape[a] // 2 for a in spatial]
    second = look([min(m + 1, shape[a] - 1) for m, a in zip(middle, spatial, strict=True)])
    center = look(middle)
    return Field(
        call.name,
        type(call.operation).__name__,
        tuple(high - low + 1 for low, high in center),
        tuple(b[0] - a[0] for a, b in zip(center, second, strict=False)),
        tuple(low for low, _ in first),
        whole,
    )


def _axes(call) -> list[int]:
    """Which axes of an output, but for the batch's, are spatial."""
    return spatial_axes(call.operation, getattr(call.outputs, "ndim", 0) - 1)


def _box_at(shape, spatial: list[int], position) -> Box:
    """One position, with all channels."""
    box = list(everything(shape))
    for axis, p in zip(spatial, position, strict=True):
        box[axis] = (p, p)
    return tuple(box)
