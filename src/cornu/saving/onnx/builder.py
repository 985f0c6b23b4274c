"""What converters write with: nodes, constants and shapes of an ONNX graph."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# The batch sizes that a prediction is traced for.
PROBES = (6, 10)


class Unsupported(ValueError):
    """An operation that ONNX lacks, or this module does not convert."""


class Value(NamedTuple):
    """A result: its name, its sizes for both probes; a `small` one is still to be expanded to them."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    dtype: Any
    small: bool = False


class Builder:
    """Collects nodes and constants."""

    def __init__(self):
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self.nodes: list = []
        self.constants: list = []
        self.arrays: dict[str, np.ndarray] = {}
        self._count = 0
        self.batch: str | None = None

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes) -> str:
        """Add a node; returns the name of its first result."""
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(self._helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def constant(self, value) -> str:
        """Add an array."""
        name = self.name()
        self.arrays[name] = np.asarray(value)
        self.constants.append(self._numpy.from_array(self.arrays[name], name))
        return name

    def integers(self, numbers) -> str:
        return self.constant(np.array(list(numbers), np.int64))

    def shape(self, sizes) -> str:
        """A shape, of which sizes may depend on the number of examples."""
        if all(a == b for a, b in sizes):
            return self.integers(a for a, _ in sizes)
        parts = []
        for a, b in sizes:
            if a == b:
                parts.append(self.integers([a]))
                continue
            times = factor(a, b)
            count = self.batch or ""
            parts.append(count if times == 1 else self.node("Mul", count, self.integers([times])))
        return self.node("Concat", *parts, axis=0)

    def text(self, value: Value) -> str:
        """The name of a value of its full shape."""
        if not value.small:
            return value.name
        return self.node("Expand", value.name, self.shape(value.sizes))

    def reshaped(self, name: str, sizes) -> str:
        """A reshape; at most one size may depend on the number of examples."""
        moving = [i for i, (a, b) in enumerate(sizes) if a != b]
        if len(moving) > 1:
            return self.node("Reshape", name, self.shape(sizes))
        shape = self.integers(-1 if i in moving else a for i, (a, _) in enumerate(sizes))
        return self.node("Reshape", name, shape)


def factor(a: int, b: int) -> int:
    """How many times the number of examples a size is."""
    times, rest = divmod(a, PROBES[0])
    if rest or times * PROBES[1] != b:
        raise Unsupported("a size that is no multiple of the number of examples")
    return times


def onnx_type(dtype) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


# From names of primitives to `(builder, equation, values)` -> names of results, or constants.
CONVERTERS: dict[str, Callable] = {}


def converts(*names: str) -> Callable:
    def decorate(function):
        CONVERTERS.update(dict.fromkeys(names, function))
        return function

    return decorate
