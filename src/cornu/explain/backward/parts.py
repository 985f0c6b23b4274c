"""A sum of products in a gradient, and how it is printed."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cornu.core.notebook import as_rendered
from cornu.explain.observe import before_flattening
from cornu.explain.terms.base import show

# How many of a sum's terms are printed.
_MOST_TERMS = 5


class Part(NamedTuple):
    """What one reader of a number adds to its gradient.

    Attributes:
        layer, kind: the reader, a layer or a loss.
        says: how it uses the number.
        outputs: `(n, axes)`, the indices of the reader's output that the number is in; the channel is last.
        factors: how each changes with the number, before the reader's activation.
        slopes: how each changes with what its activation was given; None without an activation, or where
            each depends on several.
        gradients: how the loss changes with each: with `slopes`, after the activation, else before it.
        examples: which example of the batch each belongs to; None if all are of one.
    """

    layer: str
    kind: str
    says: str
    outputs: np.ndarray
    factors: np.ndarray
    slopes: np.ndarray | None
    gradients: np.ndarray
    examples: np.ndarray | None = None

    @property
    def products(self) -> np.ndarray:
        """Factor times slope times gradient."""
        products = self.factors * self.gradients
        return products if self.slopes is None else products * self.slopes

    def lines(self) -> list[str]:
        """What `print` shows: the largest terms."""
        order = np.argsort(-np.abs(self.products), kind="stable")
        lines = [f"{self.layer} ({self.kind}): {self.says}"]
        lines += [f"  {self._term(n)}" for n in order[:_MOST_TERMS]]
        rest = order[_MOST_TERMS:]
        if len(rest):
            lines.append(f"  {len(rest):,} more: {show(self.products[rest].sum())}")
        return lines

    def _term(self, n: int) -> str:
        *position, channel = map(int, self.outputs[n])
        where = place(position, channel)
        if self.examples is not None:
            where = f"example {self.examples[n]}, {where}"
        factors = [self.factors[n], *([] if self.slopes is None else [self.slopes[n]])]
        text = " × ".join(map(show, [*factors, self.gradients[n]]))
        return f"{where}: {text} = {show(self.products[n])}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for JSON."""
        found = {**self._asdict(), "products": self.products}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found.items()}


@dataclass(repr=False)
class OfWeight:
    """What is said of one number of a weight.

    Attributes:
        layer, kind: the layer.
        weight, index: which of its weights, and which number of that.
    """

    layer: str
    kind: str
    weight: str
    index: tuple[int, ...]

    @property
    def name(self) -> str:
        """The weight and the index, as in `kernel[0, 1]`."""
        return f"{self.weight}[{', '.join(map(str, self.index))}]"

    def _repr_html_(self) -> str:
        return as_rendered(self.table())

    def table(self):
        """What notebooks show, for `rich.print`."""
        raise NotImplementedError


def place(position, channel) -> str:
    """A place in a layer's output, in words."""
    at = ", ".join(map(str, position))
    return f"({at}), channel {channel}" if at else f"number {channel}"


def flattened_from(found, number, channel: int) -> str:
    """Where a number of a vector was before it was flattened, in words; empty if it was not."""
    was = before_flattening(found, number, channel)
    if was is None:
        return ""
    name, (*position, own) = was
    return f"{place(position, own)} of {name}"


def total(parts: list[Part]) -> float:
    """The sum of all products."""
    return float(sum(part.products.sum() for part in parts))


def agree(parts: list[Part], expected: float, dtype: str) -> bool:
    """Whether the sum is the model's own gradient, but for what rounding explains."""
    size = float(sum(np.abs(part.products).sum() for part in parts))
    count = sum(len(part.products) for part in parts)
    epsilon = float(jnp.finfo(dtype if "float" in dtype else "float32").eps)
    tolerance = 32 * epsilon * (size + abs(expected) * (1 + math.sqrt(count))) + 1e-30
    found = total(parts)
    return abs(found - expected) <= tolerance or (math.isnan(found) and math.isnan(expected))
