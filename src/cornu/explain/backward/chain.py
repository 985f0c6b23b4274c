"""How the loss changes with one number of a feature map: `gradient`."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.notebook import as_text
from cornu.explain.backward.loss_slopes import slopes_of
from cornu.explain.backward.parts import Part, agree, flattened_from, place, total
from cornu.explain.backward.run import Run, run
from cornu.explain.backward.uses import before_activation, floats, uses_of
from cornu.explain.observe import INPUT, Call, call_of, channel_last, native
from cornu.explain.terms.base import channels_last, show
from cornu.explain.window import place_in


@dataclass
class Link:
    """The gradient of one number, as the sum over all that read it.

    Attributes:
        layer, kind: the layer that made the number.
        position, channel: where it is in that layer's output.
        parts: a `Part` for each reader.
        expected: the model's own gradient.
        was: of a number of a flattened vector, where it was in the maps; else empty.
    """

    layer: str
    kind: str
    position: tuple[int, ...]
    channel: int
    parts: list[Part]
    expected: float
    was: str = ""

    @property
    def result(self) -> float:
        """The sum of all products."""
        return total(self.parts)

    @property
    def where(self) -> str:
        """The place, in words."""
        return place(self.position, self.channel)

    def lines(self) -> list[str]:
        """What `print` shows."""
        kind = f" ({self.kind})" if self.kind else ""
        was = f" (once {self.was})" if self.was else ""
        lines = [f"{self.layer}{kind}, {self.where}{was}: {show(self.result)}"]
        return lines + [f"  {line}" for part in self.parts for line in part.lines()]


@dataclass(repr=False)
class Gradient:
    """How the loss changes with one number of a feature map. `print` shows the chain.

    Attributes:
        links: from the number to the loss. Each is the gradient of one number, as the sum over all that
            read it; the next one is about what adds most to it.
        loss: the loss of the batch.
        ends: why the chain ends before the loss; empty if it does not.
    """

    links: list[Link]
    loss: float
    ends: str = ""

    @property
    def layer(self) -> str:
        """The layer that made the number."""
        return self.links[0].layer

    @property
    def result(self) -> float:
        """What the arithmetic gives."""
        return self.links[0].result

    @property
    def expected(self) -> float:
        """The model's own gradient."""
        return self.links[0].expected

    def __repr__(self) -> str:
        return f"<Gradient of {self.layer}, {self.links[0].where}: {show(self.result)}>"

    def _repr_html_(self) -> str:
        return as_text(str(self))

    def __str__(self) -> str:
        first, *others = self.links
        lines = ["d loss / d output of", *first.lines()]
        for link in others:
            lines += ["of which the largest part comes through", *link.lines()]
        if self.ends:
            lines.append(f"and there it ends: {self.ends}")
        return "\n".join([*lines, f"the model says {show(self.expected)}"])

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for JSON."""
        return {
            "loss": self.loss,
            "result": self.result,
            "expected": self.expected,
            "ends": self.ends,
            "links": [
                {
                    "layer": link.layer,
                    "kind": link.kind,
                    "position": list(link.position),
                    "channel": link.channel,
                    "was": link.was,
                    "result": link.result,
                    "expected": link.expected,
                    "parts": [part.to_dict() for part in link.parts],
                }
                for link in self.links
            ],
        }

    def table(self):
        """The chain as a table, for `rich.print`."""
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        for name in ("number", "read by: factor × slope × gradient", "gradient"):
            table.add_column(name, overflow="fold")
        for link in self.links:
            lines = [line for part in link.parts for line in part.lines()]
            kind = f" ({link.kind})" if link.kind else ""
            was = f"\nonce {link.was}" if link.was else ""
            number = f"{link.layer}{kind}\n{link.where}{was}"
            table.add_row(Text(number), Text("\n".join(lines)), show(link.result))
        return table

    def plot(self, path=None):
        """A figure of the gradient maps of the number's layer and of those that it goes through.

        Args:
            path: a PNG, PDF or SVG file to write; None writes none.

        Returns:
            a matplotlib `Figure`.
        """
        from cornu.visualize.backward import plot_gradient

        return plot_gradient(self, path)


def gradient(
    model, x, y, layer, position=(), channel=0, *, sample_weight=None, example=0, call=0
) -> Gradient:
    """How the loss changes with one number of a feature map, and why.

    The chain rule, written out: a number is read by others, each of which changes with it by a factor (a
    weight of a kernel; 1 if it is the largest of a window; the slope of an activation), and the loss
    changes with each of those. The gradient is the sum of the products. The chain goes on with what adds
    most, up to the loss.

    It is the gradient of evaluation: nothing is dropped, and batch normalization takes its moving
    statistics. Each sum is in float64, and compared with the model's own gradient.

    Args:
        model: a compiled model.
        x, y, sample_weight: a batch, or one example if the model's input shape is known. The loss is
            that of the whole batch.
        layer: a layer, its name, or its index in `model.layers`; None for the model's first input.
        position: place in its output: `(row, column)` of a feature map, a number for a signal, nothing
            for a dense layer.
        channel: which feature map, or which unit.
        example: which of the batch.
        call: which call of the layer, if it is used several times.

    Returns:
        a `Gradient`: `print` it, `.table()` it, `.plot()` it, or read its `links`.

    Raises ValueError if the model is not compiled, or there is no such layer, position or channel;
    NotImplementedError where the number is also used outside of layers; ArithmeticError if the model's
    gradient differs from that of the arithmetic by more than rounding.

    Source: Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors".

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(1, name="out")])
    >>> model.set_weights([np.array([[1.0], [2.0], [3.0]]), np.zeros(1)])
    >>> model.compile("sgd", "mse")
    >>> made = cornu.explain.gradient(model, np.ones((1, 3)), np.array([[5.0]]), None, (), 1)
    >>> print(made)
    d loss / d output of
    input, number 1: 4
      out (Dense): 1 unit read it
        number 0: 2 × 2 = 4
    of which the largest part comes through
    out (Dense), number 0: 2
      mse (loss): 2 × (6 - 5)
        number 0: 1 × 2 = 2
    the model says 4
    """
    done = run(model, x, y, sample_weight)
    count = len(jax.tree.leaves(done.inputs)[0])
    if not -count <= example < count:
        raise ValueError(f"There is no example {example} in a batch of {count}.")
    chain = Chain(done, example % count)
    if layer is None:
        return chain.follow(INPUT, position, channel)
    own = call_of(done.found, model, layer, call)
    number = next(n for n, each in enumerate(done.found) if each is own)
    return chain.follow(number, position, channel)


class Chain:
    """The gradients of one example of a run, number by number."""

    def __init__(self, done: Run, example: int):
        self.run, self.example = done, example
        self._single: dict[int, Call] = {}
        self._before: dict[int, np.ndarray | None] = {}

    def follow(self, number: int, position, channel) -> Gradient:
        """The chain from a number in the output of a call; `INPUT` for the model's first input."""
        number = self.run.maker_of(number)
        index = place_in(self._call(number), position, channel)
        links: list[Link] = []
        ends = ""
        following: tuple | None = (number, index)
        while following is not None:
            try:
                link, following = self._link(*following)
            except (ArithmeticError, NotImplementedError) as error:
                if not links:
                    raise
                # What comes before it is explained all the same.
                ends, following = str(error), None
            else:
                links.append(link)
        return Gradient(links, self.run.loss, ends)

    def _call(self, number: int):
        return (
            _Input(jax.tree.leaves(self.run.inputs)[0])
            if number == INPUT
            else self.run.found[number]
        )

    def _link(self, number: int, index: tuple) -> tuple[Link, tuple | None]:
        """The gradient of a number, and what adds most to it: a call's number and an index."""
        call = self._call(number)
        expected = self._expected(number, index)
        parts: list[Part] = []
        places: list[int | None] = []
        for reader, source in self.run.readers(number):
            own = native(call.operation, call.outputs.ndim, index)
            part = self._part(reader, source, own)
            parts.append(part)
            places.append(reader)
        parts += self._activity(call, index)
        places += [None] * (len(parts) - len(places))
        if number != INPUT:
            for output in self.run.is_output(number):
                own = native(call.operation, call.outputs.ndim, index)
                rest = expected - total(parts)
                found = slopes_of(self.run, output, self.example, own, rest)
                parts += [_of_loss(slope, index) for slope in found]
                places += [None] * len(found)
        kind = "" if number == INPUT else type(call.operation).__name__
        was = flattened_from(self.run.found, number, index[0]) if len(index) == 1 else ""
        link = Link(call.name, kind, index[:-1], index[-1], parts, expected, was)
        self._check(link, call)
        largest = [
            (abs(part.products).max(), n) for n, part in enumerate(parts) if len(part.products)
        ]
        if not largest:
            return link, None
        size, chosen = max(largest, key=lambda pair: pair[0])
        if places[chosen] is None or not size:
            return link, None
        part = parts[chosen]
        return link, (places[chosen], tuple(map(int, part.outputs[abs(part.products).argmax()])))

    def _expected(self, number: int, index: tuple) -> float:
        if number == INPUT:
            gradient = self.run.by_inputs[0]
            if gradient is None:
                raise ValueError(
                    f"Model {self.run.model.name} takes integers, which have no gradient. Ask for a layer."
                )
        else:
            gradient = self._gradient_of(number)
        call = self._call(number)
        own = native(call.operation, gradient.ndim, index)
        return float(jnp.asarray(gradient, jnp.float32)[(self.example, *own)])

    def _gradient_of(self, number: int):
        """The derivative by the output of a call."""
        found = self.run.gradients.get(number)
        call = self.run.found[number]
        count = len(jax.tree.leaves(self.run.inputs)[0])
        if found is None or len(found) != count:
            raise NotImplementedError(
                f"'{call.name}' ({type(call.operation).__name__}) does not give one array of floats "
                "with an entry for each example. Ask for a layer before or after it."
            )
        return found

    def _part(self, reader: int, source: int, own: tuple) -> Part:
        """What a reader adds to the gradient of one of the numbers that it was given."""
        call = self._alone(reader)
        index = channel_last(call.operation, call.sources[source].ndim, own)
        uses = uses_of(call, source, index)
        gradient = floats(self._gradient_of(reader))
        after = gradient[self.example][None]
        before = self._before_activation(reader, after) if uses.before else None
        places = tuple(uses.outputs.T)
        chosen = channels_last(call.operation, after)[0][places]
        slopes = None
        if before is not None:
            inner = channels_last(call.operation, before)[0][places]
            name = getattr(call.operation.activation, "__name__", "")
            if name == "softmax":
                chosen = inner
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    slopes = np.where(chosen != 0, inner / chosen, 0.0)
        says = uses.says
        if before is not None:
            name = getattr(call.operation.activation, "__name__", "its activation")
            says += f"; its {name} comes after that"
            if slopes is None:
                says += ", and the gradients are those before it"
        return Part(
            call.name,
            type(call.operation).__name__,
            says,
            uses.outputs,
            uses.factors,
            slopes,
            chosen,
        )

    def _alone(self, number: int) -> Call:
        """A call with this example alone."""
        if number not in self._single:
            whole, count = self.run.found[number], len(jax.tree.leaves(self.run.inputs)[0])
            kept = slice(self.example, self.example + 1)
            made: dict[int, Any] = {}

            def one(leaf):
                if not hasattr(leaf, "shape") or not leaf.ndim or len(leaf) != count:
                    return leaf
                return made.setdefault(id(leaf), leaf[kept])

            self._single[number] = whole._replace(
                sources=[one(s) for s in whole.sources],
                arguments=jax.tree.map(one, whole.arguments),
                outputs=jax.tree.map(one, whole.outputs),
                masks=jax.tree.map(one, whole.masks),
            )
        return self._single[number]

    def _before_activation(self, number: int, after: np.ndarray) -> np.ndarray | None:
        if number not in self._before:
            self._before[number] = before_activation(self._alone(number), after)
        return self._before[number]

    def _activity(self, call, index) -> list[Part]:
        """The penalty that a layer has on its own output."""
        regularizer = getattr(call.operation, "activity_regularizer", None)
        if regularizer is None:
            return []
        outputs = jnp.asarray(call.outputs, jnp.float32)
        slopes = jax.grad(lambda a: jnp.sum(regularizer(a)) / len(outputs))(outputs)
        own = native(call.operation, outputs.ndim, index)
        value = float(slopes[(self.example, *own)])
        name = getattr(regularizer, "name", type(regularizer).__name__)
        part = Part(
            name,
            "penalty",
            "of the layer's output",
            np.array([index]),
            np.ones(1),
            None,
            np.array([value]),
        )
        return [part]

    def _check(self, link: Link, call) -> None:
        if not agree(link.parts, link.expected, getattr(call.operation, "compute_dtype", "")):
            raise ArithmeticError(
                f"The loss changes with the output of '{link.layer}' ({link.kind}), {link.where}, by "
                f"{link.expected!r}, but what reads it explains {link.result!r}. Is it also used "
                "outside of layers, or does a subclass compute something else?"
            )


class _Input:
    """The model's input as what a call has made."""

    name, operation = "input", None

    def __init__(self, outputs):
        self.outputs = outputs


def _of_loss(slope, index) -> Part:
    says = slope.formula or "its derivative"
    ones = np.ones(1)
    return Part(slope.loss, "loss", says, np.array([index]), ones, None, np.array([slope.value]))
