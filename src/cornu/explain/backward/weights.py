"""How the loss changes with one weight: `weight_gradient`."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.variable import functional
from cornu.explain.backward.parts import OfWeight, Part, agree, flattened_from, total
from cornu.explain.backward.run import Run, run, variable_of
from cornu.explain.backward.uses import before_activation, floats, grid
from cornu.explain.observe import call_of, predicted
from cornu.explain.terms.base import channels_last, show
from cornu.layers.convolution import BaseConv
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.dense import Dense
from cornu.layers.separable import BaseDepthwiseConv


@dataclass(repr=False)
class WeightGradient(OfWeight):
    """How the loss changes with one weight. `print` shows the sum.

    Attributes:
        layer, kind: the layer.
        weight, index: which of its weights, and which number of that.
        value: the number itself.
        parts: a `Part` for each call of the layer, and for each penalty.
        loss: the loss of the batch.
        expected: the model's own gradient.
    """

    value: float
    parts: list[Part]
    loss: float
    expected: float

    @property
    def result(self) -> float:
        """What the arithmetic gives."""
        return total(self.parts)

    def __repr__(self) -> str:
        return f"<WeightGradient of {self.name} of {self.layer}: {show(self.result)}>"

    def __str__(self) -> str:
        first = f"d loss / d {self.name} of {self.layer} ({self.kind}), which is {show(self.value)}"
        lines = [f"  {line}" for part in self.parts for line in part.lines()]
        return "\n".join(
            [first, *lines, f"  = {show(self.result)}", f"the model says {show(self.expected)}"]
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "weight": self.weight,
            "index": list(self.index),
            "value": self.value,
            "loss": self.loss,
            "parts": [part.to_dict() for part in self.parts],
            "result": self.result,
            "expected": self.expected,
        }

    def table(self):
        """The largest products, for `rich.print`."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"d loss / d {self.name} of {self.layer} = {show(self.result)}")
        for name in ("what it met", "factor × slope × gradient"):
            table.add_column(name, overflow="fold")
        for part in self.parts:
            first, *lines = part.lines()
            table.add_row(Text(first), Text("\n".join(line.strip() for line in lines)))
        return table

    def plot(self, path=None):
        """A figure: what the weight met, how the loss changes there, and their products.

        Args:
            path: a PNG, PDF or SVG file to write; None writes none.

        Returns:
            a matplotlib `Figure`.
        """
        from cornu.visualize.backward import plot_weight_gradient

        return plot_weight_gradient(self, path)


def weight_gradient(
    model, x, y, layer, index, *, weight="kernel", sample_weight=None
) -> WeightGradient:
    """How the loss changes with one weight, and why.

    A weight of a kernel meets a number of the input at each position of each example, and adds its product
    to a sum. So its gradient is the sum of these numbers, each times the slope of the activation and the
    loss' gradient there. A penalty of the weights adds its own.

    It is the gradient of evaluation, as that of `explain.gradients`.

    Args:
        model: a compiled model.
        x, y, sample_weight: a batch, or one example if the model's input shape is known.
        layer: a layer, its name, or its index in `model.layers`.
        index: which number of the weight: `(row, column, channel, filter)` for the kernel of a
            convolution.
        weight: which weight: `"kernel"`, `"bias"`, `"gamma"`, or another name in `layer.variables`.

    Returns:
        a `WeightGradient`: `print` it, `.table()` it, `.plot()` it, or read its `parts`.

    Raises ValueError if the model is not compiled, if there is no such layer, weight or number, or if it is
    not trained; ArithmeticError if the model's gradient differs from that of the arithmetic by more than
    rounding.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1, name="out")])
    >>> model.set_weights([np.array([[1.0], [2.0]]), np.zeros(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.array([[3.0, 1.0], [2.0, 2.0]]), np.array([[4.0], [4.0]])
    >>> print(cornu.explain.weight_gradient(model, x, y, "out", (0, 0)))
    d loss / d kernel[0, 0] of out (Dense), which is 1
      out (Dense): the number 0 of each input
        example 1, number 0: 2 × 2 = 4
        example 0, number 0: 3 × 1 = 3
      = 7
    the model says 7
    """
    done = run(model, x, y, sample_weight)
    return gradient_of(done, layer_of(done, layer), index, weight)


def gradient_of(done: Run, layer, index, weight: str) -> WeightGradient:
    """`weight_gradient` for a run that is done."""
    variable = variable_of(layer, weight)
    index = number_of(variable, layer, weight, index)
    if id(variable) not in done.by_weights:
        raise ValueError(
            f"The weight {weight!r} of '{layer.name}' is not trained: it is frozen, or counted."
        )
    parts = []
    for number, call in enumerate(done.found):
        if call.operation is layer:
            parts.append(_part(done, number, variable, weight, index))
    parts += _penalties(variable, index)
    made = WeightGradient(
        layer.name,
        type(layer).__name__,
        weight,
        index,
        float(np.asarray(variable.value, np.float64)[index]),
        parts,
        done.loss,
        float(np.asarray(jnp.asarray(done.by_weights[id(variable)], jnp.float32))[index]),
    )
    if not agree(parts, made.expected, layer.compute_dtype):
        raise ArithmeticError(
            f"The loss changes with {made.name} of '{made.layer}' ({made.kind}) by "
            f"{made.expected!r}, but what the weight meets explains {made.result!r}. Is it also used "
            "elsewhere, or does a subclass compute something else?"
        )
    return made


def layer_of(done: Run, layer):
    """The layer that is meant."""
    return call_of(done.found, done.model, layer).operation


def number_of(variable, layer, weight: str, index) -> tuple[int, ...]:
    """An index in a weight, without negative numbers.

    Raises ValueError if there is no such number.
    """
    index = (index,) if isinstance(index, int | np.integer) else tuple(index)
    shape = variable.shape
    good = len(index) == len(shape) and all(
        isinstance(i, int | np.integer) and -n <= i < n for i, n in zip(index, shape, strict=False)
    )
    if not good:
        raise ValueError(
            f"The weight {weight!r} of '{layer.name}' has the shape {tuple(shape)}. Received: index={index}"
        )
    return tuple(int(i) % n for i, n in zip(index, shape, strict=True))


def _part(done: Run, number: int, variable, weight: str, index: tuple) -> Part:
    """What a call of the layer adds."""
    call = done.found[number]
    layer = call.operation
    if number not in done.gradients:
        raise NotImplementedError(
            f"'{call.name}' ({type(layer).__name__}) does not give one array of floats of its own: its "
            "weights' gradients are not explained."
        )
    after = floats(done.gradients[number])
    places, factors, says, is_before = _met(call, variable, weight, index)
    if isinstance(layer, Dense) and weight == "kernel" and (maker := call.makers[0]) is not None:
        was = flattened_from(done.found, maker, index[0])
        says += f" (once {was})" if was else ""
    chosen = channels_last(layer, after)[tuple(places.T)]
    slopes = None
    before = before_activation(call, after) if is_before else None
    if before is not None:
        inner = channels_last(layer, before)[tuple(places.T)]
        name = getattr(layer.activation, "__name__", "its activation")
        if name == "softmax":
            chosen, says = inner, f"{says}; the gradients are those before its softmax"
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                slopes = np.where(chosen != 0, inner / chosen, 0.0)
            says = f"{says}, times the slope of its {name}"
    return Part(
        call.name, type(layer).__name__, says, places[:, 1:], factors, slopes, chosen, places[:, 0]
    )


def _met(call, variable, weight: str, index: tuple) -> tuple[np.ndarray, np.ndarray, str, bool]:
    """Where in a batch of outputs a weight is, and what it meets there."""
    layer = call.operation
    if not hasattr(call.inputs, "shape") or weight not in ("kernel", "bias"):
        return _met_by_derivative(call, variable, index)
    outputs = np.shape(channels_last(layer, call.outputs))
    x = channels_last(layer, call.inputs)
    known = isinstance(layer, BaseConv | BaseConvTranspose | BaseDepthwiseConv | Dense)
    if weight == "bias" and known:
        places = grid(*map(range, outputs[:-1]), index)
        return places, np.ones(len(places)), "once at each position", True
    if isinstance(layer, Dense):
        places = grid(*map(range, outputs[:-1]), index[1:])
        factors = x[(*places[:, :-1].T, index[0])]
        return places, factors, f"the number {index[0]} of each input", True
    if not known:
        return _met_by_derivative(call, variable, index)
    *taps, first, second = index
    geometry = layer.window(np.shape(call.inputs))
    pairs = [
        [
            (place, int(reads[tap]))
            for place, reads in ((p, axis(p)) for p in range(n))
            if 0 <= reads[tap] < size
        ]
        for axis, tap, n, size in zip(
            _reads(geometry), taps, geometry.output, geometry.size, strict=True
        )
    ]
    small = grid(range(len(x)), *([a for a, _ in axis] for axis in pairs))
    large = grid(range(len(x)), *([b for _, b in axis] for axis in pairs))
    if isinstance(layer, BaseConvTranspose):
        # Its window slides over the output.
        factors, places, channel = x[(*small.T, second)], large, first
    else:
        groups = getattr(layer, "groups", 1)
        source = first
        channel = second
        if isinstance(layer, BaseDepthwiseConv):
            channel = first * layer.depth_multiplier + second
        else:
            source = second // (layer.filters // groups) * layer.kernel.shape[-2] + first
        factors, places = x[(*large.T, source)], small
    channels = np.full((len(places), 1), channel)
    return np.concatenate([places, channels], axis=1), factors, "what its tap read", True


def _reads(geometry):
    """For each axis, which input positions an output position reads."""

    def of(axis):
        return lambda p: geometry.positions_read([p if a == axis else 0 for a in range(rank)])[axis]

    rank = len(geometry.size)
    return [of(axis) for axis in range(rank)]


def _met_by_derivative(call, variable, index):
    def outputs(value):
        def again():
            return predicted(call.operation, *call.arguments.values(), **call.masks)

        return jnp.asarray(functional(again, [variable])([value])[0], jnp.float32)

    value = variable.value
    _, tangent = jax.jvp(outputs, (value,), (jnp.zeros_like(value).at[index].set(1),))
    slopes = channels_last(call.operation, tangent)
    places = np.argwhere(slopes)
    return places, slopes[tuple(places.T)], "how each number of its output changes with it", False


def _penalties(variable, index) -> list[Part]:
    regularizer = getattr(variable, "regularizer", None)
    if regularizer is None:
        return []
    value = jnp.asarray(variable.value, jnp.float32)
    slope = float(jax.grad(lambda w: jnp.sum(regularizer(w)))(value)[index])
    name = getattr(regularizer, "name", type(regularizer).__name__)
    number = np.array([slope])
    return [Part(name, "penalty", "of the weights", np.array([index]), np.ones(1), None, number)]
