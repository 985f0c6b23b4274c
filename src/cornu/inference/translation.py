"""What JAX has traced, as steps of native kernels."""

import collections
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from cornu.inference import known
from cornu.inference.program import INPUT, OUTPUT, Buffer, Operand, Plan, Step, planned
from cornu.inference.reduced import CLAMP, NOTHING, POOL, Rewriting, convolutions_of

# As in elementwise.h.
OPERATIONS = (
    "add subtract subtract_from multiply divide divide_by maximum minimum negative absolute square "
    "square_root reciprocal_root exponential sigmoid tanh swish"
).split()
SCALAR, CHANNELS, ALL = 1, 2, 3
MOST_AXES = 8

# Of two numbers: the operation where the chain is on the left, and where it is on the right.
BINARY = {
    "add": ("add", "add"),
    "sub": ("subtract", "subtract_from"),
    "mul": ("multiply", "multiply"),
    "div": ("divide", "divide_by"),
    "max": ("maximum", "maximum"),
    "min": ("minimum", "minimum"),
}
UNARY = {
    "neg": "negative",
    "abs": "absolute",
    "square": "square",
    "sqrt": "square_root",
    "rsqrt": "reciprocal_root",
    "exp": "exponential",
    "logistic": "sigmoid",
    "tanh": "tanh",
}
SAME = ("reshape", "squeeze", "expand_dims", "copy", "copy_p", "stop_gradient")
# Programs within programs.
CALLS = (
    "jit pjit closed_call core_call remat checkpoint custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr"
).split()

FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.uint8)


class Unsupported(Exception):
    """Says what a program of native kernels cannot do."""


class Link:
    """An operation of a chain: which, and its operand, if it has one."""

    def __init__(self, operation: str, scalar: float | None = None, numbers=None, kind: int = 0):
        self.operation = OPERATIONS.index(operation)
        self.kind = SCALAR if scalar is not None else kind
        self.scalar = 0.0 if scalar is None else scalar
        # A `Value`, or an array that is known.
        self.numbers = numbers

    def is_a(self, operation: str, kind: int) -> bool:
        """Whether it is that operation, with that kind of operand."""
        return self.operation == OPERATIONS.index(operation) and self.kind == kind

    def told(self) -> list[int]:
        """The numbers that the kernel is told."""
        return [self.operation, self.kind, _bits(self.scalar)]


class Value:
    """An array that depends on the input: where it lies, or a chain that has not been written yet.

    A chain begins with another value or with a convolution.
    """

    def __init__(self, shape, operand: Operand | None = None, source=None, links=(), dtype=FLOAT):
        self.shape, self.dtype = tuple(shape), dtype
        self.operand: Any = operand
        self.source, self.links = source, list(links)
        # How many operations read it.
        self.readers = 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Convolution:
    """One that has not been written yet: bounds may still become a part of it."""

    def __init__(self, window: list[int], image: Operand, kernel: Operand):
        self.window, self.image, self.kernel = window, image, kernel
        self.dtype = FLOAT


class Spread:
    """A value of fewer numbers in a larger shape; `axes` says where its own axes are."""

    def __init__(self, value: Value, shape, axes):
        self.value, self.shape, self.axes = value, tuple(shape), tuple(axes)

    @property
    def dtype(self):
        return self.value.dtype

    def is_vector(self) -> bool:
        """Whether it has one number for each channel."""
        own = [(a, n) for a, n in zip(self.axes, self.value.shape, strict=True) if n > 1]
        return len(own) == 1 and own[0] == (len(self.shape) - 1, self.shape[-1])


class Translation:
    """Makes the steps of a program.

    Args:
        closed: what was traced: the weights first, then the inputs.
        weights: their values.

    Raises Unsupported, with what it is that a program cannot do.
    """

    def __init__(self, closed, weights: Sequence[np.ndarray]):
        jaxpr = closed.jaxpr
        if jaxpr.effects:
            raise Unsupported("a side effect")
        self._steps: list[Step] = []
        self._constants: dict[Buffer, np.ndarray] = {}
        self._arrays: dict[int, tuple] = {}
        variables = jaxpr.invars[len(weights) :]
        self._inputs = [_spec(v.aval) for v in variables]
        if any(dtype not in (FLOAT, BYTE) for _, dtype in self._inputs):
            raise Unsupported("an input that holds neither float32 nor bytes")
        values: list = [*weights]
        for number, (shape, dtype) in enumerate(self._inputs):
            buffer = Buffer(math.prod(shape) * dtype.itemsize, INPUT, number)
            values.append(Value(shape, Operand(buffer), dtype=dtype))
        # Weights may be infinite, as XLA's may.
        with np.errstate(all="ignore"):
            results = self._run(jaxpr, closed.consts, values)
        self._outputs = [_spec(v.aval) for v in jaxpr.outvars]
        self._finish(results)

    def plan(self, rewritten: Rewriting | None = None) -> Plan:
        """The steps, laid out, or what a function makes of them and of the constants."""
        steps, constants = self._steps, self._constants
        if rewritten is not None:
            steps, constants = rewritten(steps, constants)
        return planned(steps, constants, self._inputs, self._outputs)

    def plan_with_images(self) -> Plan:
        """A plan whose further outputs are the images of all convolutions that may be of bytes.

        Each is `(examples, numbers)`.
        """
        found = convolutions_of(self._steps, self._constants, of_bytes=True)
        steps, outputs = [], list(self._outputs)
        examples = self._inputs[0][0][0]
        for number, step in enumerate(self._steps):
            if number in found:
                size = found[number].numbers_in
                to = Buffer(4 * size, OUTPUT, len(outputs))
                steps.append(Step("move", [size, 1, 1], [found[number].image], [Operand(to)]))
                outputs.append(((examples, size // examples), FLOAT))
            steps.append(step)
        return planned(steps, self._constants, self._inputs, outputs)

    # ---- walking

    def _run(self, jaxpr, consts, values) -> list:
        found = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        read_by = [v for e in jaxpr.eqns for v in e.invars] + [*jaxpr.outvars] * 2
        readers = collections.Counter(v for v in read_by if not isinstance(v, core.Literal))

        def read(variable):
            if isinstance(variable, core.Literal):
                return np.asarray(variable.val)
            return found[variable]

        def keep(variables, values):
            for variable, value in zip(variables, values, strict=True):
                if isinstance(value, Value):
                    value.readers = max(value.readers, readers[variable])
                elif value is None and readers[variable]:
                    raise Unsupported("an argmax")
                found[variable] = value

        keep(jaxpr.invars, values)
        for equation in jaxpr.eqns:
            keep(equation.outvars, self._do(equation, [read(v) for v in equation.invars]))
        return [read(v) for v in jaxpr.outvars]

    def _do(self, equation, operands) -> list:
        name, parameters = equation.primitive.name, equation.params
        if name in CALLS:
            inner = next(
                parameters[k] for k in ("call_jaxpr", "jaxpr", "fun_jaxpr") if k in parameters
            )
            jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
            if jaxpr.effects:
                raise Unsupported("a side effect")
            return self._run(jaxpr, consts, operands)
        if all(isinstance(o, np.ndarray) for o in operands):
            return known.computed(equation, operands)
        if name == "optimization_barrier":
            return operands
        results = [v.aval for v in equation.outvars]
        if (results[0].dtype != FLOAT and name not in SAME) or 0 in results[0].shape:
            raise Unsupported(f"{name} of {results[0].dtype} of shape {results[0].shape}")
        if name not in (*SAME, "convert_element_type") and any(o.dtype == BYTE for o in operands):
            raise Unsupported(f"{name} of bytes")
        method = getattr(self, f"_{name}", None)
        if name in BINARY:
            return [self._binary(equation, *operands)]
        if name in UNARY:
            return [self._chained(operands[0], Link(UNARY[name]))]
        if name in SAME:
            return [self._same(equation, operands[0])]
        if method is None:
            raise Unsupported(name)
        made = method(equation, *operands)
        return made if isinstance(made, list) else [made]

    # ---- where things lie

    def _constant(self, array: np.ndarray) -> Operand:
        kept = self._arrays.get(id(array))
        if kept is None:
            if array.dtype != FLOAT:
                raise Unsupported(f"weights of {array.dtype}")
            buffer = Buffer(array.nbytes)
            # Holding the array keeps its id its own.
            kept = self._arrays[id(array)] = Operand(buffer), array
            self._constants[buffer] = array
        return kept[0]

    def _new(self, shape, dtype=FLOAT) -> Value:
        buffer = Buffer(math.prod(shape) * np.dtype(dtype).itemsize)
        return Value(shape, Operand(buffer), dtype=np.dtype(dtype))

    def _place(self, value) -> Operand:
        """Where an array lies; it is written first, if it has not been."""
        if isinstance(value, np.ndarray):
            return self._constant(value)
        if isinstance(value, Spread):
            return self._place(self._written_out(value))
        if value.dtype != FLOAT:
            raise Unsupported(f"numbers of {value.dtype}")
        if value.operand is None:
            made = self._new(value.shape)
            self._emit_chain(value, made)
            value.operand = made.operand
        return value.operand

    def _emit(self, name: str, numbers, reads, writes) -> None:
        self._steps.append(Step(name, [int(n) for n in numbers], list(reads), list(writes)))

    def _emit_chain(self, value: Value, to: Value) -> None:
        source, links = value.source, value.links
        if isinstance(source, Convolution):
            count, bias, low, high = self._bounds(links)
            through = to if count == len(links) else self._new(value.shape)
            self._emit_convolution(source, through, bias, low, high)
            if count == len(links):
                return
            source, links = through, links[count:]
        wide = [link for link in links if link.kind == CHANNELS]
        channels = value.shape[-1] if wide else value.size
        told = [value.size // channels, channels, source.dtype == BYTE]
        for link in links:
            told += link.told()
        reads = [self._place(link.numbers) for link in links if link.kind in (CHANNELS, ALL)]
        first = source.operand if source.dtype == BYTE else self._place(source)
        self._emit("chain", told, [first, *reads], [to.operand])

    def _bounds(self, links: list) -> tuple:
        """How many links a convolution does itself: a bias that is known, a lower and an upper bound.

        A bound that is NaN is none: a chain makes all numbers NaN with it.
        """
        rest, bias, low, high = list(links), None, -math.inf, math.inf
        if rest and rest[0].is_a("add", CHANNELS) and isinstance(rest[0].numbers, np.ndarray):
            bias = rest.pop(0).numbers
        if rest and rest[0].is_a("maximum", SCALAR) and rest[0].scalar >= low:
            low = rest.pop(0).scalar
        if rest and rest[0].is_a("minimum", SCALAR) and rest[0].scalar >= low:
            high = rest.pop(0).scalar
        return len(links) - len(rest), bias, low, high

    def _emit_convolution(
        self, made: Convolution, to: Value, bias, low: float, high: float
    ) -> None:
        reads, after = [made.image, made.kernel], NOTHING
        if bias is not None or (low, high) != (-math.inf, math.inf):
            after = CLAMP
            bias = np.zeros(to.shape[-1], FLOAT) if bias is None else bias
            reads.append(self._constant(bias))
        told = [*made.window, after, _bits(low), _bits(high)]
        self._emit("prepared_convolution", told, reads, [to.operand])

    def _emit_move(self, size, reads: Operand, read_steps, writes: Operand, write_steps) -> None:
        """A copy, with as few axes as it can have."""
        axes: list[list[int]] = []
        for n, r, w in zip(size, read_steps, write_steps, strict=True):
            if n == 1:
                continue
            if axes and axes[-1][1] == n * r and axes[-1][2] == n * w:
                axes[-1] = [axes[-1][0] * n, r, w]
            else:
                axes.append([n, r, w])
        axes = axes or [[1, 1, 1]]
        if len(axes) > MOST_AXES:
            raise Unsupported(f"a copy of {len(axes)} axes")
        self._emit("move", [axis[k] for k in range(3) for axis in axes], [reads], [writes])

    def _written_out(self, spread: Spread) -> Value:
        made, steps = self._new(spread.shape), [0] * len(spread.shape)
        for axis, n, step in zip(
            spread.axes, spread.value.shape, _strides(spread.value.shape), strict=True
        ):
            steps[axis] = step if n > 1 else 0
        reads = self._place(spread.value)
        self._emit_move(spread.shape, reads, steps, made.operand, _strides(spread.shape))
        return made

    def _finish(self, results) -> None:
        """Have the results written where the outputs are."""
        taken: set[Buffer] = set()
        for number, ((shape, dtype), result) in enumerate(zip(self._outputs, results, strict=True)):
            if dtype != FLOAT:
                raise Unsupported(f"an output of {dtype}")
            buffer = Buffer(math.prod(shape) * 4, OUTPUT, number)
            place = self._place(result)
            free = place.buffer.region not in (INPUT, OUTPUT) and place.buffer not in taken
            if (
                free
                and place.buffer.nbytes == buffer.nbytes
                and place.buffer not in self._constants
            ):
                taken.add(place.buffer)
                place.buffer.region, place.buffer.number = OUTPUT, number
            else:
                self._emit_move([buffer.nbytes // 4], place, [1], Operand(buffer), [1])

    # ---- single numbers

    def _chained(self, x, link: Link) -> Value:
        """`x`, with another operation. A chain that nothing else reads goes on."""
        x = self._plain(x)
        if x.operand is None and x.readers < 2:
            return Value(x.shape, source=x.source, links=[*x.links, link])
        return Value(x.shape, source=x, links=[link])

    def _plain(self, x) -> Value:
        return self._written_out(x) if isinstance(x, Spread) else x

    def _binary(self, equation, a, b) -> Value:
        left, right = BINARY[equation.primitive.name]
        # An axis of one goes with any other.
        shape = equation.outvars[0].aval.shape
        a, b = (_as_large(v, shape) for v in (a, b))
        if a is b:
            if left != "multiply":
                raise Unsupported(f"{left} of twice the same")
            return self._chained(a, Link("square"))
        for x, curve in ((a, b), (b, a)):
            if left == "multiply" and isinstance(x, Value) and _is_sigmoid_of(curve, x):
                source, links = (x, []) if x.operand or x.readers > 2 else (x.source, x.links)
                return Value(x.shape, source=source, links=[*links, Link("swish")])
        if not isinstance(a, Value) and (isinstance(b, Value) or isinstance(a, np.ndarray)):
            a, b, left = b, a, right
        return self._chained(self._plain(a), self._link(left, b))

    def _link(self, operation: str, other) -> Link:
        """An operation with a number, a number for each channel, or an array that is as large."""
        if isinstance(other, np.ndarray):
            if other.dtype != FLOAT:
                raise Unsupported(f"numbers of {other.dtype}")
            if not any(s for s, n in zip(other.strides, other.shape, strict=True) if n > 1):
                return Link(operation, scalar=float(other[(0,) * other.ndim]))
            vector = _vector(other)
            if vector is not None:
                return Link(operation, numbers=self._kept(vector), kind=CHANNELS)
            return Link(operation, numbers=self._kept(other), kind=ALL)
        if isinstance(other, Spread) and other.is_vector():
            self._place(other.value)
            return Link(operation, numbers=other.value, kind=CHANNELS)
        other = self._plain(other)
        self._place(other)
        return Link(operation, numbers=other, kind=ALL)

    def _kept(self, array: np.ndarray) -> np.ndarray:
        self._constant(array)
        return array

    def _integer_pow(self, equation, x):
        if equation.params["y"] != 2:
            raise Unsupported("a power")
        return self._chained(x, Link("square"))

    def _cornu_relu(self, equation, x):
        return self._chained(x, Link("maximum", scalar=0.0))

    def _cornu_affine(self, equation, x, center, factor, offset):
        if not all(isinstance(v, np.ndarray) for v in (center, factor, offset)):
            raise Unsupported("a normalization by what depends on the input")
        # The center comes first: numbers far from zero would lose their digits in products.
        links = [
            Link(operation, numbers=self._kept(np.array(vector, FLOAT)), kind=CHANNELS)
            for operation, vector in (("subtract", center), ("multiply", factor), ("add", offset))
        ]
        first = self._chained(x, links[0])
        return Value(first.shape, source=first.source, links=[*first.links, *links[1:]])

    def _convert_element_type(self, equation, x):
        x = self._plain(x)
        return Value(x.shape, source=x) if x.dtype == BYTE else x

    # ---- other places for the same numbers

    def _same(self, equation, x):
        x = self._plain(x)
        shape = equation.outvars[0].aval.shape
        if shape == x.shape:
            return x
        if x.dtype == BYTE:
            return Value(shape, x.operand, dtype=BYTE)
        return Value(shape, self._place(x))

    def _broadcast_in_dim(self, equation, x, *sizes):
        shape, axes = equation.outvars[0].aval.shape, equation.params["broadcast_dimensions"]
        if math.prod(shape) == math.prod(x.shape):
            return self._same(equation, x)
        x = self._plain(x)
        self._place(x)
        return Spread(x, shape, axes)

    def _transpose(self, equation, x):
        order = equation.params["permutation"]
        moved = [axis for axis in order if x.shape[axis] > 1]
        shape = equation.outvars[0].aval.shape
        if moved == sorted(moved) and not isinstance(x, Spread):
            return Value(shape, self._place(x))
        steps = _strides(x.shape)
        made = self._new(shape)
        self._emit_move(
            shape, self._place(x), [steps[a] for a in order], made.operand, _strides(shape)
        )
        return made

    def _slice(self, equation, x):
        starts = equation.params["start_indices"]
        strides = equation.params["strides"] or (1,) * len(starts)
        steps, shape = _strides(x.shape), equation.outvars[0].aval.shape
        made = self._new(shape)
        buffer, offset = self._place(x)
        at = sum(n * step for n, step in zip(starts, steps, strict=True))
        self._emit_move(
            shape,
            Operand(buffer, offset + 4 * at),
            [step * stride for step, stride in zip(steps, strides, strict=True)],
            made.operand,
            _strides(shape),
        )
        return made

    def _concatenate(self, equation, *parts):
        axis, made = equation.params["dimension"], self._new(equation.outvars[0].aval.shape)
        steps, at = _strides(made.shape), 0
        for part in parts:
            place = self._place(part)
            to = Operand(made.operand.buffer, 4 * at * steps[axis])
            self._emit_move(part.shape, place, _strides(part.shape), to, steps)
            at += part.shape[axis]
        return made

    def _pad(self, equation, x, value):
        padding = equation.params["padding_config"]
        if not isinstance(value, np.ndarray) or any(
            low < 0 or high < 0 for low, high, _ in padding
        ):
            raise Unsupported("a padding that cuts off, or depends on the input")
        made = self._new(equation.outvars[0].aval.shape)
        steps = _strides(made.shape)
        self._emit("fill", [made.size, _bits(float(value))], [], [made.operand])
        at = sum(low * step for (low, _, _), step in zip(padding, steps, strict=True))
        self._emit_move(
            x.shape,
            self._place(x),
            _strides(x.shape),
            Operand(made.operand.buffer, 4 * at),
            [step * (inner + 1) for (_, _, inner), step in zip(padding, steps, strict=True)],
        )
        return made

    def _reduced(self, kernel: str, equation, x) -> Value:
        axes = sorted(equation.params["axes"])
        real = [a for a in axes if x.shape[a] > 1]
        if not real:
            return self._same(equation, x)
        inside = [a for a in range(real[0], real[-1] + 1) if x.shape[a] > 1]
        if inside != real:
            raise Unsupported("a sum over axes that are apart")
        numbers = [
            math.prod(x.shape[: real[0]]),
            math.prod(x.shape[a] for a in real),
            math.prod(x.shape[real[-1] + 1 :]),
        ]
        made = self._new(equation.outvars[0].aval.shape)
        self._emit(kernel, numbers, [self._place(x)], [made.operand])
        return made

    def _reduce_sum(self, equation, x):
        return self._reduced("sum", equation, x)

    def _reduce_max(self, equation, x):
        return self._reduced("largest", equation, x)

    # ---- kernels

    def _weights(self, *arrays) -> list[Operand]:
        for array in arrays:
            if not isinstance(array, np.ndarray):
                raise Unsupported("weights that depend on the input")
        return [self._constant(array) for array in arrays]

    def _windows(self, equation, shape, channels_out, pool=()) -> list[int]:
        geometry = equation.params["geometry"]
        if any(n < 0 for pair in geometry.padding for n in pair):
            raise Unsupported("a padding that cuts off")
        return list(geometry.attributes(shape[0], shape[-1], channels_out, pool)["window"])

    def _cornu_convolution(self, equation, image, kernel):
        window = self._windows(equation, image.shape, kernel.shape[-1])
        made = Convolution(window, self._place(image), *self._weights(kernel))
        return Value(equation.outvars[0].aval.shape, source=made)

    def _cornu_convolution_relu_pool(self, equation, image, kernel, bias):
        pool = equation.params["pool"]
        if math.prod(pool) == 1:
            made = self._cornu_convolution(equation, image, kernel)
            self._weights(bias)
            made.links = [
                Link("add", numbers=bias, kind=CHANNELS),
                Link("maximum", scalar=0.0),
            ]
            return [made, None][: len(equation.outvars)]
        shape = equation.outvars[0].aval.shape
        made, argmax = self._new(shape), self._new(shape, BYTE)
        window = self._windows(equation, image.shape, kernel.shape[-1], pool)
        reads = [self._place(image), *self._weights(kernel, bias)]
        told = [*window, POOL, _bits(0.0), _bits(0.0)]
        self._emit("prepared_convolution", told, reads, [made.operand, argmax.operand])
        return [made, None][: len(equation.outvars)]

    def _cornu_scaled_convolution(self, equation, image, kernel, center, factor, offset, *bias):
        weights = (kernel, center, factor, offset, *bias)
        self._weights_are_known(weights)
        center = center - bias[0] if bias else center
        kernel = np.ascontiguousarray(kernel * factor, FLOAT)
        offset = np.ascontiguousarray(offset - center * factor, FLOAT)
        if equation.params["pool"] is not None:
            return self._cornu_convolution_relu_pool(equation, image, kernel, offset)[:1]
        made = self._cornu_convolution(equation, image, kernel)
        made.links = [Link("add", numbers=self._kept(offset), kind=CHANNELS)]
        return made

    def _weights_are_known(self, weights) -> None:
        if not all(isinstance(w, np.ndarray) and w.dtype == FLOAT for w in weights):
            raise Unsupported("weights that depend on the input, or are no float32")

    def _cornu_max_pool(self, equation, x):
        made = self._new(equation.outvars[0].aval.shape)
        argmax = self._new(made.shape, BYTE)
        window = self._windows(equation, x.shape, x.shape[-1])
        self._emit("max_pool", window, [self._place(x)], [made.operand, argmax.operand])
        return [made, None]

    def _cornu_sum_pool(self, equation, x):
        made = self._new(equation.outvars[0].aval.shape)
        window = self._windows(equation, x.shape, x.shape[-1])
        self._emit("sum_pool", window, [self._place(x)], [made.operand])
        return made

    def _cornu_affine_relu_pool(self, equation, x, *vectors):
        made = self._new(equation.outvars[0].aval.shape)
        argmax = self._new(made.shape, BYTE)
        window = self._windows(equation, x.shape, x.shape[-1])
        reads = [self._place(x), *self._weights(*vectors)]
        self._emit("affine_relu_pool", window, reads, [made.operand, argmax.operand])
        return [made, None]

    def _by_rows(self, kernel: str, x, bias) -> Value:
        made, channels = self._new(x.shape), x.shape[-1]
        reads = [self._place(x), *self._weights(bias)]
        self._emit(kernel, [x.size // channels, channels], reads, [made.operand])
        return made

    def _cornu_biased_softmax(self, equation, x, bias):
        return self._by_rows("biased_softmax", x, bias)

    def _cornu_biased_tanh(self, equation, x, bias):
        return self._by_rows("biased_tanh", x, bias)

    def _cornu_softmax(self, equation, x):
        return self._by_rows("biased_softmax", x, np.zeros(x.shape[-1], FLOAT))


def _as_large(x, shape):
    if x.shape == shape:
        return x
    if isinstance(x, np.ndarray):
        return np.broadcast_to(x, shape)
    if isinstance(x, Spread):
        raise Unsupported("what is spread twice")
    # Either it has as many axes, or none at all.
    return Spread(x, shape, range(len(x.shape)))


def _is_sigmoid_of(value, x: Value) -> bool:
    return (
        isinstance(value, Value)
        and value.operand is None
        and value.source is x
        and [link.operation for link in value.links] == [OPERATIONS.index("sigmoid")]
    )


def _spec(aval) -> tuple:
    return tuple(aval.shape), np.dtype(aval.dtype)


def _bits(number: float) -> int:
    return struct.unpack("<I", struct.pack("<f", number))[0]


def _strides(shape) -> list[int]:
    """How many numbers lie between neighbours along each axis."""
    steps = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        steps[axis] = steps[axis + 1] * shape[axis + 1]
    return steps


def _vector(array: np.ndarray) -> np.ndarray | None:
    """The numbers of the channels, if an array has the same ones everywhere."""
    if any(s for s, n in zip(array.strides[:-1], array.shape[:-1], strict=True) if n > 1):
        return None
    return np.ascontiguousarray(array[(0,) * (array.ndim - 1)])
