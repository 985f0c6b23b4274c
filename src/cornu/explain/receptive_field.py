"""What part of the input a number can depend on: `receptive_field`."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.layer import Layer
from cornu.core.symbolic import FunctionOperation
from cornu.core.variable import functional
from cornu.explain.observe import (
    INPUT,
    as_batch,
    call_of,
    input_number,
    input_of,
    inputs_of,
    shapes_of_calls,
)
from cornu.layers import activation as activation_layers
from cornu.layers import normalization as normalizations
from cornu.layers import regularization
from cornu.layers.batch_normalization import BatchNormalization
from cornu.layers.convolution import Windowed
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.dense import Dense
from cornu.layers.image_augmentation import RandomCrop, RandomImageLayer
from cornu.layers.merging import Concatenate, Merge
from cornu.layers.pooling import BaseGlobalPooling, BasePooling
from cornu.layers.preprocessing import Normalization, Rescaling
from cornu.layers.resampling import BaseCropping, BaseUpSampling, BaseZeroPadding
from cornu.layers.reshaping import Flatten, Reshape
from cornu.ops.convolution import _transposed_padding
from cornu.ops.windows import padding_amounts

# First and last index along each axis but the batch's; both belong to it.
Box = tuple[tuple[int, int], ...]


class Field(NamedTuple):
    """What the places of one layer's output see of the input.

    Attributes:
        layer, kind: the layer's name and class.
        size: how many places of the input, along each spatial axis, one place sees.
        stride: how far apart in the input neighbouring places look.
        offset: where in the input the first place begins to look; negative in the padding.
        whole: whether every place sees all of the input.
    """

    layer: str
    kind: str
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[int, ...]
    whole: bool


@dataclass
class Fields:
    """The receptive fields of all layers; `print` shows a table.

    Attributes:
        fields: one `Field` for each layer that has spatial axes, in the order of the calls.
        calls: the calls of all layers, with shapes in place of numbers; see `observe.shapes_of_calls`.
        model: the model.
    """

    fields: list[Field]
    calls: list
    model: Any

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
        """The part of the input that one place of a layer sees, as slices along the spatial axes.

        What it would see of padding is left out; of padding alone, the slices are empty.
        `x[0][fields.window("conv", (3, 4))]` cuts it out.

        Args:
            layer: the layer, its name, or its place in `model.layers`.
            position: the place in its output: `(row, column)`; nothing for a dense layer.
            call: which call of the layer, if it is used several times.

        Raises ValueError if there is no such layer or place.
        """
        found = call_of(self.calls, self.model, layer, call)
        spatial = _spatial_axes(found)
        position = (position,) if isinstance(position, int) else tuple(position)
        shape = found.outputs.shape[1:]
        places = [shape[a] for a in spatial]
        if len(position) != len(places) or not all(
            0 <= p < n for p, n in zip(position, places, strict=False)
        ):
            raise ValueError(
                f"The layer '{found.name}' gives {tuple(places) or 'no'} places. Received: "
                f"position={position}."
            )
        box = [(0, n - 1) for n in shape]
        for axis, place in zip(spatial, position, strict=True):
            box[axis] = (place, place)
        number = next(n for n, call in enumerate(self.calls) if call is found)
        seen = _trace(self.calls, number, tuple(box), clips=True)
        return tuple(slice(low, high + 1) for low, high in seen)

    def plot(self, x, layer, position=(), path=None, example=0):
        """Draw the window of one place on an image (or signal).

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
    """For each layer, how much of the input one place of its output sees, and where.

    Follows the windows of convolutions and pooling, also through branches and nested models. Of a layer of
    your own, gradients say what it sees; what the `call` of a subclassed model computes between its layers
    is taken to see everything. With several inputs, those of the first one's size count.

    Args:
        model: any built model whose input has spatial axes.
        x: an example, if the model does not know its input's shape.

    Returns:
        a `Fields`: `print` it, look a layer up by its name, ask for the `.window(layer, position)` of a
        place, or `.plot(x, layer, position)` it.

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
        spatial = _spatial_axes(call)
        if call.is_whole and spatial and isinstance(call.operation, Layer):
            fields.append(_field(found, number, spatial, memory))
    return Fields(fields, found, model)


def _field(found, number: int, spatial, memory: dict) -> Field:
    call = found[number]
    shape = call.outputs.shape[1:]

    def look(place: list[int]) -> Box:
        box = [(0, n - 1) for n in shape]
        for axis, p in zip(spatial, place, strict=True):
            box[axis] = (p, p)
        return _trace(found, number, tuple(box), memory=memory)

    first = look([0] * len(spatial))
    last = look([shape[a] - 1 for a in spatial])
    start, taker = input_of(found)
    sizes = _spatial(start.shape[1:], taker)
    whole = len(first) != len(spatial) or all(
        low <= 0 and high >= n - 1
        for ends in (first, last)
        for (low, high), n in zip(ends, sizes, strict=True)
    )
    # Between two places in the middle, with borders of no layer in the way.
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


def _spatial_axes(call) -> list[int]:
    """Which axes of an output, but for the batch's, are spatial."""
    ndim = getattr(call.outputs, "ndim", 0) - 1
    first = _is_channels_first(call.operation) and ndim > 1
    return list(range(1, ndim)) if first else list(range(ndim - 1))


def _is_channels_first(operation) -> bool:
    return getattr(operation, "data_format", "channels_last") == "channels_first"


class Places(NamedTuple):
    """Where in an input the places of an output look, along one axis.

    Attributes:
        centres: for each place the centre of what it sees, which may lie in the padding.
        before, after: the first and the last place of the input that none of them sees.
    """

    centres: np.ndarray
    before: float
    after: float


def places_in_input(found, number: int, which: int) -> list[Places] | None:
    """Where in an input the places of a call's output look.

    Where all of them see the same, such as everything, they are taken to be spread evenly over the input.

    Args:
        found: calls of a model; see `shapes_of_calls`.
        number: which call.
        which: which of the model's inputs.

    Returns:
        for each spatial axis a `Places`; None if the input has other axes.
    """
    call, (start, taker) = found[number], inputs_of(found)[which]
    sizes, spatial = _spatial(start.shape[1:], taker), _spatial_axes(call)
    if len(spatial) != len(sizes):
        return None
    shape = call.outputs.shape[1:]
    middle = [
        (size // 2, size // 2) if a in spatial else (0, size - 1) for a, size in enumerate(shape)
    ]
    memory: dict = {}
    axes = []
    for n, axis in enumerate(spatial):

        def ends(place, n=n, axis=axis) -> tuple[int, int]:
            box = (*middle[:axis], (int(place), int(place)), *middle[axis + 1 :])
            return _trace(found, number, box, which=which, memory=memory)[n]

        last = shape[axis] - 1
        few = np.unique(np.clip([0, last // 2, last // 2 + 1, last], 0, last))
        seen = np.array([ends(place) for place in few])
        centres = seen.mean(1)[0] + np.arange(last + 1) * (np.ptp(seen.mean(1)) / max(last, 1))
        if not np.array_equal(centres[few], seen.mean(1)):
            # Such as behind a transposed convolution, whose places look at the same in turns.
            centres = np.array([ends(place) for place in range(last + 1)]).mean(1)
        if centres[-1] > centres[0] and (np.diff(centres) >= 0).all():
            axes.append(Places(centres, seen[0, 0] - 1, seen[-1, 1] + 1))
        else:
            evenly = (np.arange(last + 1) + 0.5) * sizes[n] / (last + 1) - 0.5
            axes.append(Places(evenly, -np.inf, np.inf))
    return axes


def _trace(
    found, number: int, box: Box, clips=False, which: int | None = None, memory: dict | None = None
) -> Box:
    """The box of the input that a box of a call's output depends on, along spatial axes.

    Without padding, if it `clips`; else as if what the layers see went on beyond their borders. `which`:
    of this input, with a guess where something is computed without a layer. `memory` keeps compiled
    gradients.
    """
    memory = {} if memory is None else memory
    boxes: dict[int, Box] = {number: box}
    # Nothing, until something is found.
    start, first = input_of(found) if which is None else inputs_of(found)[which]
    size = _spatial(start.shape[1:], first)
    root: Box = ((0, -1),) * len(size)
    for here in range(number, -1, -1):
        if here not in boxes:
            continue
        call, own = found[here], boxes.pop(here)
        shapes = [s.shape[1:] for s in call.sources]
        for seen, maker, source in zip(
            _seen(call, own, shapes, memory), call.makers, call.sources, strict=True
        ):
            shape = source.shape[1:]
            if clips:
                seen = tuple(
                    (max(a, 0), min(b, n - 1)) for (a, b), n in zip(seen, shape, strict=True)
                )
                if any(low > high for low, high in seen):
                    # Padding, and nothing else.
                    continue
            own_input = which is None or maker != INPUT or input_number(found, source) == which
            if maker is None and which is not None:
                maker = _likely_maker(found, here, shape, start.shape[1:])
            if maker is None:
                # Computed by the model without a layer, from whatever it likes.
                root = _all(size)
            elif maker != INPUT:
                boxes[maker] = _union(boxes[maker], seen) if maker in boxes else seen
            elif own_input and _spatial(shape, call.operation) == size:
                seen = _spatial(seen, call.operation)
                root = seen if root[:1] == ((0, -1),) else _union(root, seen)
    return root


def _likely_maker(found, here: int, shape, input_shape) -> int | None:
    """Of an array that was computed without a layer: the last output that has its size, or the input.

    Most of what a `call` computes between its layers does the same at every place.
    """
    for number in range(here - 1, -1, -1):
        outputs = found[number].outputs
        if found[number].is_whole and getattr(outputs, "shape", ())[1:-1] == shape[:-1]:
            return number
    return INPUT if input_shape[:-1] == shape[:-1] else None


def _spatial(axes: tuple, operation) -> tuple:
    """Of something for each axis of what an operation is given, that for spatial ones."""
    return axes[1:] if _is_channels_first(operation) else axes[:-1]


def _union(a: Box, b: Box) -> Box:
    return tuple(
        (min(low, other_low), max(high, other_high))
        for (low, high), (other_low, other_high) in zip(a, b, strict=True)
    )


def _all(shape) -> Box:
    return tuple((0, n - 1) for n in shape)


def _seen(call, box: Box, shapes: list, memory: dict) -> list[Box]:
    """For each source of a call, what a box of its output depends on."""
    operation = call.operation
    if isinstance(operation, FunctionOperation) and operation.function_name in _ELEMENTWISE:
        return [_elementwise(box, shape) for shape in shapes]
    found = [back(operation, box, shape, n) for n, shape in enumerate(shapes)]
    known = [seen for seen in found if seen is not None]
    return known if len(known) == len(found) else _by_gradient(call, box, shapes, memory)


# Functions of `cornu.ops` and operators that do the same to every element.
_ELEMENTWISE = frozenset(
    "add subtract multiply divide true_divide negative abs absolute square sqrt exp log log1p "
    "maximum minimum power clip relu relu6 sigmoid tanh silu swish gelu elu selu leaky_relu "
    "softplus softsign hard_sigmoid hard_silu cast where".split()
)


def _by_gradient(call, box: Box, shapes: list, memory: dict) -> list[Box]:
    """Of a layer that is not known: the smallest boxes of inputs that have a gradient, for a few inputs.

    Everything, if there is none. Beyond the borders it is taken to go on at the same pace.
    """
    if id(call) not in memory:
        memory[id(call)] = _gradients(call)
    size = call.outputs.shape[1:]
    inside = [
        (min(max(a, 0), n - 1), min(max(b, 0), n - 1)) for (a, b), n in zip(box, size, strict=True)
    ]
    part = np.zeros((1, *size), bool)
    part[0][tuple(slice(low, high + 1) for low, high in inside)] = True
    used = memory[id(call)](part)
    if used is None:
        return [_all(shape) for shape in shapes]
    found = []
    for mask, shape in zip(used, shapes, strict=True):
        seen = _bounds(np.asarray(mask))
        if len(shape) == len(size) and box != tuple(inside) and seen != _all(shape):
            seen = tuple(
                (low + round((a - c) * n / m), high + round((b - d) * n / m))
                for (low, high), (a, b), (c, d), n, m in zip(
                    seen, box, inside, shape, size, strict=True
                )
            )
        found.append(seen)
    return found


def _gradients(call):
    """A function from which outputs are asked for to which inputs have a gradient; to None of integers."""
    leaves, structure = jax.tree.flatten(call.arguments)
    places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    is_function = isinstance(call.operation, FunctionOperation)
    variables = [] if is_function else call.operation.variables

    def run(arrays, part):
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        arguments = jax.tree.unflatten(structure, filled)
        # A layer's arguments come in their order; those of a function, by number or by name.
        named = {k: v for k, v in arguments.items() if is_function and not k.isdigit()}
        given = [v for k, v in arguments.items() if k not in named]
        if not is_function:
            named["training"] = False
        outputs = call.operation(*given, **named)
        return jnp.sum(jnp.where(part, jnp.sin(outputs), 0))

    @jax.jit
    def used(values, draws, part):
        def has_gradient(arrays):
            gradient = functional(lambda: jax.grad(run)(arrays, part), variables)(values)[0]
            return [g[0] != 0 for g in gradient]

        return [jnp.any(each, axis=0) for each in jax.lax.map(has_gradient, draws)]

    random = np.random.default_rng(0)
    # Of one sign, so that what a relu cuts in one draw it lets through in another.
    draws = [
        jnp.stack(
            [
                jnp.asarray(sign * np.abs(random.standard_normal(leaves[n].shape)), leaves[n].dtype)
                for sign in (1, -1) * _DRAWS
            ]
        )
        for n in places
    ]

    def answer(part):
        try:
            return used([v.value for v in variables], draws, part)
        except TypeError:
            # Of integers there are none.
            return None

    return answer


# Where a maximum is taken, or a relu cuts, one input does not show everything.
_DRAWS = 4


def _bounds(mask: np.ndarray) -> Box:
    if not mask.any():
        return _all(mask.shape)
    return tuple((int(places.min()), int(places.max())) for places in np.nonzero(mask))


def _elementwise(box: Box, shape) -> Box:
    """Of a function of elements: the same places; of anything else, everything."""
    if len(shape) == len(box):
        return tuple((0, 0) if n == 1 else b for b, n in zip(box, shape, strict=True))
    return _all(shape)


@functools.singledispatch
def back(layer, box: Box, shape, number: int) -> Box | None:
    """What a box of a layer's output depends on in its input of a shape (both without the batch).

    None if it is not known, and gradients must say.
    """
    return None


@back.register
def _(layer: RandomCrop, box, shape, number):
    return None


@back.register(Flatten)
@back.register(Reshape)
@back.register(BaseGlobalPooling)
def _everything(layer, box, shape, number):
    return _all(shape)


def _windowed(layer, box: Box, shape, window, strides, padding, dilation) -> Box:
    first = _is_channels_first(layer)
    spatial = range(1, len(shape)) if first else range(len(shape) - 1)
    amounts = padding_amounts([shape[a] for a in spatial], window, strides, padding, dilation)
    found = list(_all(shape))
    for axis, w, s, d, (before, _) in zip(spatial, window, strides, dilation, amounts, strict=True):
        low, high = box[axis]
        found[axis] = (low * s - before, high * s - before + (w - 1) * d)
    return tuple(found)


@back.register
def _(layer: Windowed, box, shape, number):
    dilation = layer.dilation_rate
    return _windowed(layer, box, shape, layer.kernel_size, layer.strides, layer.padding, dilation)


@back.register
def _(layer: BasePooling, box, shape, number):
    ones = (1,) * layer.rank
    return _windowed(layer, box, shape, layer.pool_size, layer.strides, layer.padding, ones)


@back.register
def _(layer: BaseConvTranspose, box, shape, number):
    first = _is_channels_first(layer)
    spatial = list(range(1, len(shape)) if first else range(len(shape) - 1))
    sizes = layer.compute_output_shape((None, *shape))[1:]
    found = list(_all(shape))
    for n, axis in enumerate(spatial):
        w, s, d = layer.kernel_size[n], layer.strides[n], layer.dilation_rate[n]
        before, _ = _transposed_padding(shape[axis], w, s, d, layer.padding, sizes[axis])
        low, high = box[axis]
        found[axis] = (-(-(low + before - (w - 1) * d) // s), (high + before) // s)
    return tuple(found)


@back.register
def _(layer: BaseZeroPadding, box, shape, number):
    return _shifted(layer, box, shape, layer.padding, -1)


@back.register
def _(layer: BaseCropping, box, shape, number):
    return _shifted(layer, box, shape, layer.cropping, 1)


def _shifted(layer, box, shape, amounts, sign: int) -> Box:
    first = _is_channels_first(layer)
    amounts = [amounts] if isinstance(amounts[0], int) else amounts
    found = list(_all(shape))
    for axis, (before, _) in enumerate(amounts, start=int(first)):
        low, high = box[axis]
        found[axis] = (low + sign * before, high + sign * before)
    return tuple(found)


@back.register
def _(layer: BaseUpSampling, box, shape, number):
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return None
    first = _is_channels_first(layer)
    factors = layer.size if isinstance(layer.size, tuple | list) else (layer.size,)
    found = list(_all(shape))
    for axis, factor in enumerate(factors, start=int(first)):
        found[axis] = (box[axis][0] // factor, box[axis][1] // factor)
    return tuple(found)


@back.register
def _(layer: Dense, box, shape, number):
    return (*box[:-1], (0, shape[-1] - 1))


@back.register
def _(layer: Merge, box, shape, number):
    return _elementwise(box, shape)


@back.register
def _(layer: Concatenate, box, shape, number):
    axis = layer.axis % (len(shape) + 1) - 1
    found = list(box)
    # Which part each input is, is not worth knowing for channels.
    found[axis] = (0, shape[axis] - 1)
    return tuple(found)


@back.register(activation_layers.Activation)
@back.register(activation_layers.Identity)
@back.register(activation_layers.ReLU)
@back.register(activation_layers.LeakyReLU)
@back.register(activation_layers.PReLU)
@back.register(activation_layers.ELU)
@back.register(regularization.Dropout)
@back.register(regularization.GaussianNoise)
@back.register(regularization.GaussianDropout)
@back.register(regularization.AlphaDropout)
@back.register(regularization.ActivityRegularization)
@back.register(RandomImageLayer)
@back.register(BatchNormalization)
@back.register(Normalization)
@back.register(Rescaling)
def _(layer, box, shape, number):
    return box


@back.register(normalizations.LayerNormalization)
@back.register(normalizations.RMSNormalization)
@back.register(normalizations.UnitNormalization)
@back.register(activation_layers.Softmax)
def _(layer, box, shape, number):
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    whole = {a % (len(shape) + 1) - 1 for a in axes}
    return tuple(
        (0, n - 1) if a in whole else b for a, (b, n) in enumerate(zip(box, shape, strict=True))
    )
