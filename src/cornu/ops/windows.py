"""The geometry of windows that slide: which input positions each output position reads."""

import contextlib
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cornu.core.arguments import described

# First and last position along each spatial axis; both belong to it.
Ranges = Sequence[tuple[int, int]]


class Geometry(NamedTuple):
    """Windows that slide over an input.

    Attributes, with one entry for each spatial axis:
        size: of the input; None where it is not known.
        window, strides, dilation: of the kernel.
        padding: zeros before and after; what is negative is cut off.
        groups: a number, of the groups that the channels are split into.

    >>> geometry = sliding((28, 28), (5, 5), (1, 1), "same")
    >>> geometry.output, geometry.padding[0]
    ((28, 28), (2, 2))
    >>> geometry.ranges_read([(0, 3), (9, 9)])
    [(-2, 5), (7, 11)]
    """

    size: tuple
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def extent(self) -> tuple[int, ...]:
        """How many input positions a window spans, gaps included."""
        return tuple((w - 1) * d + 1 for w, d in zip(self.window, self.dilation, strict=True))

    @property
    def output(self) -> tuple:
        """How many output positions there are: `(size + padding - extent) // stride + 1`."""
        return tuple(
            None if n is None else (n + before + after - extent) // s + 1
            for n, extent, s, (before, after) in zip(
                self.size, self.extent, self.strides, self.padding, strict=True
            )
        )

    def positions_read(self, position) -> list[np.ndarray]:
        """The input positions that an output position reads, one for each kernel tap.

        Those below zero, or not below the size, are padding.
        """
        return [
            p * s - before + d * np.arange(w)
            for p, w, s, d, (before, _) in zip(
                position, self.window, self.strides, self.dilation, self.padding, strict=True
            )
        ]

    def readers(self, position) -> list[list[tuple[int, int]]]:
        """The output positions that read an input position, each with the kernel tap that meets it."""
        found = []
        for p, n, w, s, d, (before, _) in zip(
            position,
            self.output,
            self.window,
            self.strides,
            self.dilation,
            self.padding,
            strict=True,
        ):
            taps = [(*divmod(p + before - k * d, s), k) for k in reversed(range(w))]
            found.append([(i, k) for i, rest, k in taps if not rest and 0 <= i < n])
        return found

    def ranges_read(self, outputs: Ranges) -> list[tuple[int, int]]:
        """The range of input positions that a range of output positions reads, padding included."""
        return [
            (first * s - before, last * s - before + extent - 1)
            for (first, last), extent, s, (before, _) in zip(
                outputs, self.extent, self.strides, self.padding, strict=True
            )
        ]

    def ranges_of_readers(self, inputs: Ranges) -> list[tuple[int, int]]:
        """The range of output positions that read any of a range of input positions."""
        return [
            (-(-(first + before - extent + 1) // s), (last + before) // s)
            for (first, last), extent, s, (before, _) in zip(
                inputs, self.extent, self.strides, self.padding, strict=True
            )
        ]

    def check(self, what: str, shape) -> None:
        """Raise ValueError if a window is larger than the input and its padding."""
        if any(n is not None and n < 1 for n in self.output):
            # As pictures were for Keras 1 with Theano.
            first = len(shape) == 4 and self.size == tuple(shape[1:3]) and shape[1] in (1, 3)
            raise ValueError(
                f"Computed output size would be zero or negative: {what} slides a window of "
                f"{self.window} over {self.size} (input shape {tuple(shape)}). Use a smaller "
                "window, larger input, fewer pooling layers before it, or padding='same'."
                + " If the channels come first, give data_format='channels_first'."
                * first
            )

    def attributes(self, batch: int, channels_in: int, channels_out: int, pool=()) -> dict:
        """The numbers of `Window` in kernels.h, in its order: always three spatial axes."""

        def three(values, filling):
            return [filling] * (3 - len(values)) + list(values)

        before = [b for b, _ in self.padding]
        parts = [[batch], three(self.size, 1), three(self.output, 1), three(self.window, 1)]
        parts += [three(self.strides, 1), three(self.dilation, 1), three(before, 0)]
        parts += [[channels_in, channels_out, self.groups], three(pool, 1)]
        return {"window": np.array([n for part in parts for n in part], np.int64)}


def sliding(size, window, strides, padding: str, dilation=None, groups: int = 1) -> Geometry:
    """The windows of a convolution or pooling.

    Args:
        size, window, strides, dilation: one number for each spatial axis; a size may be None.
        padding: `"valid"`: none; `"same"`: as much as gives `size / stride` outputs, rounded up, the odd
            one behind; `"causal"`: all of it in front, so that no output reads a later input.
        groups: number of groups that the channels are split into.

    >>> sliding((28,), (5,), (1,), "valid").output, sliding((28,), (3,), (2,), "same").output
    ((24,), (14,))
    """
    dilation = dilation or (1,) * len(size)
    amounts = []
    for n, w, s, d in zip(size, window, strides, dilation, strict=True):
        reach = (w - 1) * d
        if padding == "valid":
            amounts.append((0, 0))
        elif padding == "causal":
            amounts.append((reach, 0))
        else:
            # Of an unknown size, as if the stride divided it.
            n = s if n is None else n
            total = max((-(-n // s) - 1) * s + reach + 1 - n, 0)
            amounts.append((total // 2, total - total // 2))
    return Geometry(
        tuple(size), tuple(window), tuple(strides), tuple(amounts), tuple(dilation), groups
    )


def transposed(size, window, strides, padding: str, output_padding=None, dilation=None) -> Geometry:
    """The windows of the convolution whose transpose makes an input of `size` larger.

    They are windows of the result: its size is `.size`, and that of the input is `.output`.

    Args:
        size, window, strides, dilation: one number for each spatial axis; a size may be None.
        padding: `"valid"` or `"same"`.
        output_padding: how much larger the result is than the smallest possible, for each axis; None:
            `"same"` gives `size * stride`, and `"valid"` at least that.

    >>> transposed((8,), (3,), (2,), "same").size
    (16,)
    """
    sizes, amounts = [], []
    dilation = dilation or (1,) * len(size)
    output_padding = output_padding or (None,) * len(size)
    for n, w, s, d, extra in zip(size, window, strides, dilation, output_padding, strict=True):
        extent = (w - 1) * d + 1
        # What a single input position gives; each further one adds a stride.
        if extra is None:
            single = max(extent, s) if padding == "valid" else s
        else:
            single = extra + (extent if padding == "valid" else extent - 2 * (extent // 2))
        sizes.append(None if n is None else (n - 1) * s + single)
        cut = extent - single
        before = 0 if padding == "valid" else max(cut // 2, 0)
        amounts.append((before, cut - before))
    return Geometry(tuple(sizes), tuple(window), tuple(strides), tuple(amounts), tuple(dilation))


def as_tuple(value, rank: int, name: str, allow_zero: bool = False) -> tuple[int, ...]:
    """One integer for each axis, from an integer or a tuple.

    Raises ValueError, naming the argument, for anything else.

    >>> as_tuple(3, 2, "kernel_size")
    (3, 3)
    """
    smallest = 0 if allow_zero else 1
    each = value if isinstance(value, Iterable) else (value,) * rank
    values: tuple[int, ...] = ()
    with contextlib.suppress(TypeError):
        values = tuple(operator.index(v) for v in each)
    good = len(values) == rank and all(v >= smallest for v in values)
    if not good or isinstance(value, bool):
        kind = "non-negative" if allow_zero else "positive"
        wanted = f"must be a tuple of {rank} {kind} integers, or one of them for all axes"
        if rank == 1:
            wanted = f"should be a {kind} integer"
        raise ValueError(f"The `{name}` argument {wanted}. Received: {described(name, value)}")
    return values
