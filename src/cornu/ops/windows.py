"""The arithmetic of windows that slide: output sizes and padding, for convolution and pooling."""

import contextlib
import operator
from collections.abc import Iterable, Sequence

from cornu.core.arguments import described


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
        raise ValueError(
            f"The `{name}` argument must be a tuple of {rank} {kind} integers, or one of them for "
            f"all axes. Received: {described(name, value)}"
        )
    return values


def output_size(size: int | None, window: int, stride: int, padding: str, dilation: int = 1):
    """How many times a window fits along an axis; None if the size is unknown.

    `valid`: `(size - (window - 1) * dilation - 1) // stride + 1`; `same` and `causal`: the size
    divided by the stride, rounded up.

    >>> output_size(28, 5, 1, "valid"), output_size(28, 3, 2, "same")
    (24, 14)
    """
    if size is None:
        return None
    if padding == "valid":
        return (size - (window - 1) * dilation - 1) // stride + 1
    return -(-size // stride)


def output_sizes(sizes: Sequence, window, strides, padding: str, dilation=None) -> tuple:
    """`output_size` for each spatial axis."""
    dilation = dilation or (1,) * len(sizes)
    return tuple(
        output_size(n, w, s, padding, d)
        for n, w, s, d in zip(sizes, window, strides, dilation, strict=True)
    )


def padding_amounts(sizes, window, strides, padding: str, dilation=None) -> list[tuple[int, int]]:
    """Zeros before and after each spatial axis.

    `same` puts the odd one behind, `causal` puts all before.
    """
    dilation = dilation or (1,) * len(sizes)
    amounts = []
    for n, w, s, d in zip(sizes, window, strides, dilation, strict=True):
        reach = (w - 1) * d
        if padding == "valid":
            amounts.append((0, 0))
        elif padding == "causal":
            amounts.append((reach, 0))
        else:
            total = max((-(-n // s) - 1) * s + reach + 1 - n, 0)
            amounts.append((total // 2, total - total // 2))
    return amounts


def transposed_size(
    size: int | None, window: int, stride: int, padding: str, output_padding, dilation=1
):
    """The size that a transposed convolution gives; None if the size is unknown."""
    if size is None:
        return None
    reach = (window - 1) * dilation + 1
    if output_padding is None:
        return size * stride + (max(reach - stride, 0) if padding == "valid" else 0)
    if padding == "valid":
        return (size - 1) * stride + reach + output_padding
    return (size - 1) * stride + reach - 2 * (reach // 2) + output_padding


def check_fits(what: str, shape, spatial, window, sizes) -> None:
    """Raise ValueError if a window is larger than what it slides over."""
    if any(n is not None and n < 1 for n in sizes):
        raise ValueError(
            f"Computed output size would be negative or zero: {what} slides a window of "
            f"{tuple(window)} over {tuple(spatial)} (input shape {tuple(shape)}). Use a smaller "
            "window, larger input, fewer pooling layers before it, or padding='same'."
        )
