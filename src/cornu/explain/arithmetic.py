"""How a summary's shapes and counts come about: `arithmetic`."""

import functools
import math
from dataclasses import dataclass

import jax
import numpy as np

from cornu.core.notebook import as_rendered
from cornu.explain.observe import as_batch, example_inputs, shapes_of_calls, without_channels
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.convolution import BaseConv, Windowed
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.dense import Dense, EinsumDense
from cornu.layers.embedding import Embedding
from cornu.layers.pooling import BasePooling
from cornu.layers.recurrent.conv_lstm import ConvLSTMCell
from cornu.layers.recurrent.rnn import CellRNN
from cornu.layers.reshaping import Flatten
from cornu.layers.separable import BaseDepthwiseConv, BaseSeparableConv
from cornu.layers.spatial import split_shape


@dataclass
class Row:
    """One layer's sizes and counts, and their formulas.

    Attributes:
        layer, kind: name and class.
        output_shape: shape of one example's output.
        sizes: the formula of the output's size, once for each different one.
        parameters: the formula of the number of weights; empty if there are none.
        num_parameters: that number.
        multiply_adds: multiplications of a weight with a number, for one example.
        num_bytes: memory of one example's output.
    """

    layer: str
    kind: str
    output_shape: tuple
    sizes: list[str]
    parameters: str
    num_parameters: int
    multiply_adds: int
    num_bytes: int


@dataclass(repr=False)
class Arithmetic:
    """All layers of a model; `print` shows a table.

    Attributes:
        rows: a `Row` for each call of a layer. The weights of a layer that is called again count once.
    """

    rows: list[Row]

    @property
    def num_parameters(self) -> int:
        """The number of all weights."""
        return sum(row.num_parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one example."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def num_bytes(self) -> int:
        """Memory of all outputs of one example."""
        return sum(row.num_bytes for row in self.rows)

    def __repr__(self) -> str:
        return (
            f"<Arithmetic of {len(self.rows)} layers: {self.num_parameters:,} parameters, "
            f"{self.multiply_adds:,} multiply-adds>"
        )

    def _repr_html_(self) -> str:
        return as_rendered(self.table())

    def table(self):
        """The table, for `rich.print`."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        table.add_column("Layer (type), output", overflow="fold")
        table.add_column("Size, parameters", overflow="fold")
        table.add_column("Multiply-adds, memory", justify="right", no_wrap=True)
        for row in self.rows:
            formulas = [*row.sizes, *([row.parameters] if row.parameters else [])]
            costs = [
                f"{row.multiply_adds:,}" + _share(row.multiply_adds, self.multiply_adds),
                _memory(row.num_bytes) + _share(row.num_bytes, self.num_bytes),
            ]
            table.add_row(
                Text(f"{row.layer} ({row.kind})\n{'x'.join(map(str, row.output_shape))}"),
                Text("\n".join(map(_in_one, formulas))),
                "\n".join(costs if row.multiply_adds else costs[1:]),
            )
        total = (
            f"For one example: {self.num_parameters:,} parameters, {self.multiply_adds:,} multiply-adds, "
            f"{_memory(self.num_bytes)} of outputs."
        )
        return Group(table, Text(total))

    def __str__(self) -> str:
        # Most programs never print a table.
        from rich.console import Console

        console = Console(width=108, force_terminal=False, color_system=None)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get().rstrip()


def _in_one(formula: str) -> str:
    """A formula, wrapped before its result or not at all."""
    return formula.replace(" ", "\N{NO-BREAK SPACE}").replace("\N{NO-BREAK SPACE}=", " =")


def _share(part: int, whole: int) -> str:
    return f" {100 * part / whole:5.1f} %" if whole else ""


def _memory(num_bytes: int) -> str:
    for unit in ("B", "KB", "MB"):
        if num_bytes < 1024:
            return f"{num_bytes:.4g} {unit}"
        num_bytes = num_bytes / 1024  # type: ignore[assignment]
    return f"{num_bytes:.4g} GB"


def arithmetic(model, x=None) -> Arithmetic:
    """For each layer, the formulas of its output's size and of its parameters, with the numbers put in.

    Multiply-adds are those of a weight with a number (of convolutions and products of matrices, one by
    normalization for each number); what else is done to each number, such as an activation, does not count.

    Args:
        model: any built model.
        x: an example, if the model does not know its input's shape.

    Returns:
        an `Arithmetic`: `print` it, or take its `rows`. `model.summary(explain=True)` prints it, too.

    >>> import cornu
    >>> from cornu import layers
    >>> model = cornu.Sequential([cornu.Input((28, 28, 32)), layers.Conv2D(64, 5)])
    >>> row = cornu.explain.arithmetic(model).rows[0]
    >>> row.sizes, row.parameters
    (['(28 - 5 + 2*0)/1 + 1 = 24'], '(5*5*32 + 1)*64 = 51,264')
    """
    rows, counted = [], set()
    example = example_inputs(model) if x is None else as_batch(model, x)
    batch = len(jax.tree.leaves(example)[0])
    for call in shapes_of_calls(model, example):
        layer = call.operation
        if not call.is_whole or not hasattr(layer, "weights"):
            continue
        outputs = jax.tree.leaves(call.outputs)
        weights = [] if id(layer) in counted else layer.weights
        counted.add(id(layer))
        inputs = [tuple(s.shape[1:]) for s in call.sources]
        first = inputs[0] if inputs else ()
        text, multiply_adds = describe(layer, first, tuple(outputs[0].shape[1:]))
        number = sum(math.prod(w.shape) for w in weights)
        # A layer may be called on more than the batch: on all steps of a `TimeDistributed`, say.
        times = max(outputs[0].shape[0] // batch, 1)
        rows.append(
            Row(
                call.name,
                type(layer).__name__,
                tuple(outputs[0].shape[1:]),
                list(dict.fromkeys(sizes_of(layer, inputs))),
                f"{text} = {number:,}" if weights and text else f"{number:,}" if weights else "",
                number,
                times * multiply_adds,
                times * sum(math.prod(o.shape[1:]) * np.dtype(o.dtype).itemsize for o in outputs),
            )
        )
    return Arithmetic(rows)


def _window(layer) -> str:
    return "*".join(map(str, layer.kernel_size))


def _positions(layer, shape: tuple) -> int:
    return math.prod(without_channels(shape, layer))


def _plus_bias(layer) -> str:
    return " + 1" if layer.use_bias else ""


@functools.singledispatch
def describe(layer, shape: tuple, output: tuple) -> tuple[str, int]:
    """The formula of a layer's parameters, and the multiply-adds of one example."""
    return _sizes_of_weights(layer), 0


def _sizes_of_weights(layer) -> str:
    return " + ".join("*".join(map(str, w.shape)) or "1" for w in layer.weights)


@describe.register
def _(layer: CellRNN, shape, output):
    cell, positions = layer.cell, 1
    if isinstance(cell, ConvLSTMCell):
        spatial, _ = split_shape(cell._state_shape, cell.data_format)
        positions = math.prod(spatial)
    # In each step, the input meets one kernel and the output before meets the other.
    macs = shape[0] * positions * (cell.kernel.size + cell.recurrent_kernel.size)
    return _sizes_of_weights(layer), macs


@describe.register
def _(layer: BaseConv, shape, output):
    channels = layer.kernel.shape[-2]
    text = f"({_window(layer)}*{channels}{_plus_bias(layer)})*{layer.filters}"
    if not layer.use_bias:
        text = text.replace("(", "").replace(")", "")
    macs = _positions(layer, output) * math.prod(layer.kernel_size) * channels * layer.filters
    return text, macs


@describe.register
def _(layer: BaseConvTranspose, shape, output):
    channels = layer.kernel.shape[-1]
    text = f"({_window(layer)}*{channels}{_plus_bias(layer)})*{layer.filters}"
    # Each input position meets each kernel tap.
    return text, _positions(layer, shape) * math.prod(layer.kernel_size) * channels * layer.filters


@describe.register
def _(layer: BaseDepthwiseConv, shape, output):
    channels, multiplier = layer.kernel.shape[-2:]
    text = f"({_window(layer)}{_plus_bias(layer)})*{channels}*{multiplier}"
    return text, _positions(layer, output) * math.prod(layer.kernel_size) * channels * multiplier


@describe.register
def _(layer: BaseSeparableConv, shape, output):
    channels, multiplier = layer.depthwise_kernel.shape[-2:]
    text = f"{_window(layer)}*{channels}*{multiplier} + "
    text += f"({channels}*{multiplier}{_plus_bias(layer)})*{layer.filters}"
    each = (
        math.prod(layer.kernel_size) * channels * multiplier + channels * multiplier * layer.filters
    )
    return text, _positions(layer, output) * each


@describe.register
def _(layer: Dense, shape, output):
    features = layer.kernel.shape[0]
    rows = f"({features} + 1)" if layer.use_bias else str(features)
    return f"{rows}*{layer.units}", math.prod(output) * features


@describe.register
def _(layer: EinsumDense, shape, output):
    text = "*".join(map(str, layer.kernel.shape))
    if layer.bias is not None:
        text += " + " + "*".join(map(str, layer.bias.shape))
    # What is not in the output is summed over.
    inputs, letters = layer.equation.split("->")[0].split(",")[:2]
    summed = set(letters) & set(inputs) - set(layer.equation.split("->")[1])
    sizes = dict(zip(letters, layer.kernel.shape, strict=True))
    return text, math.prod(output) * math.prod(sizes[letter] for letter in summed)


@describe.register
def _(layer: BatchNormalization, shape, output):
    channels = layer.moving_mean.shape[0]
    kinds = 2 + bool(layer.scale) + bool(layer.center)
    return f"{kinds}*{channels}", math.prod(output)


@describe.register
def _(layer: Embedding, shape, output):
    return "*".join(map(str, layer.embeddings.shape)), 0


# ---- sizes


@functools.singledispatch
def sizes_of(layer, inputs: list) -> list[str]:
    """The formula of each size of a layer's output."""
    return []


@sizes_of.register(Windowed)
@sizes_of.register(BasePooling)
def _(layer, inputs):
    geometry = layer.window((None, *inputs[0]))
    texts = []
    for n, shown, s, extent, (before, after), size in zip(
        geometry.size,
        _extents(geometry),
        geometry.strides,
        geometry.extent,
        geometry.padding,
        geometry.output,
        strict=True,
    ):
        zeros = f"2*{before}" if before == after else f"{before} + {after}"
        quotient = f"({n} - {shown} + {zeros})/{s}"
        if (n - extent + before + after) % s:
            quotient = f"floor({quotient})"
        texts.append(f"{quotient} + 1 = {size}")
    return texts


@sizes_of.register
def _(layer: BaseConvTranspose, inputs):
    geometry = layer.window((None, *inputs[0]))
    texts = []
    for n, shown, s, extent, size in zip(
        geometry.output,
        _extents(geometry),
        geometry.strides,
        geometry.extent,
        geometry.size,
        strict=True,
    ):
        rest = size - ((n - 1) * s + extent)
        added = f" {'-' if rest < 0 else '+'} {abs(rest)}" if rest else ""
        texts.append(f"({n} - 1)*{s} + {shown}{added} = {size}")
    return texts


def _extents(geometry) -> list[str]:
    """How many positions a window spans, as a formula."""
    return [
        str(w) if d == 1 else f"(({w} - 1)*{d} + 1)"
        for w, d in zip(geometry.window, geometry.dilation, strict=True)
    ]


@sizes_of.register
def _(layer: Flatten, inputs):
    return (
        [f"{'*'.join(map(str, inputs[0]))} = {math.prod(inputs[0]):,}"]
        if len(inputs[0]) > 1
        else []
    )
