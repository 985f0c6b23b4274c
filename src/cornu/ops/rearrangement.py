"""`rearrange`: axes moved, split and joined, in a notation of their names.

Source: Rogozhnikov 2022, "Einops".
"""

import math
import re

import jax.numpy as jnp

_TOKEN = re.compile(r"[A-Za-z_]\w*|\.\.\.|[()1]")


def rearrange(tensor, pattern: str, **axes_lengths: int):
    """The tensor with its axes as the right side of a pattern says.

    Args:
        tensor: an array.
        pattern: such as `"b (h h2) w c -> b h w (h2 c)"`: axes in parentheses are one axis of the array.
        axes_lengths: sizes of axes that the array does not tell.

    Raises ValueError if the pattern does not fit the array, or itself.
    """
    x = jnp.asarray(tensor)
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"A pattern has one `->`. Received: pattern={pattern!r}")
    left, right = (_axes(side, pattern) for side in sides)
    rest = x.ndim - sum(axis != ["..."] for axis in left)
    if rest < 0 or (rest and ["..."] not in left):
        raise ValueError(f"The pattern {pattern!r} does not fit an array of shape {x.shape}.")
    left, right = (_with_rest(side, rest) for side in (left, right))
    sizes: dict[str, int] = dict(axes_lengths)
    for axis, size in zip(left, x.shape, strict=True):
        _solve(axis, size, sizes, pattern, x.shape)
    names = [name for axis in left for name in axis]
    wanted = [name for axis in right for name in axis]
    if sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise ValueError(
            f"Both sides of a pattern must have the same axes, each once. Received: pattern={pattern!r}"
        )
    x = x.reshape([sizes[name] for name in names]).transpose([names.index(name) for name in wanted])
    return x.reshape([math.prod(sizes[name] for name in axis) for axis in right])


def _axes(side: str, pattern: str) -> list[list[str]]:
    """The names in each axis; an axis of size one has none."""
    if _TOKEN.sub("", side).strip():
        raise ValueError(f"The pattern {pattern!r} has something that is no axis.")
    axes: list[list[str]] = []
    inside = False
    for token in _TOKEN.findall(side):
        if token in "()":
            if inside == (token == "("):
                raise ValueError(f"The parentheses of the pattern {pattern!r} do not match.")
            inside = token == "("
            if inside:
                axes.append([])
        elif inside:
            axes[-1] += [] if token == "1" else [token]
        else:
            axes.append([] if token == "1" else [token])
    if inside:
        raise ValueError(f"The parentheses of the pattern {pattern!r} do not match.")
    return axes


def _with_rest(side: list[list[str]], count: int) -> list[list[str]]:
    rest = [f"...{i}" for i in range(count)]
    joined = [[n for name in axis for n in (rest if name == "..." else [name])] for axis in side]
    return [
        part
        for axis, names in zip(side, joined, strict=True)
        for part in ([[n] for n in names] if axis == ["..."] else [names])
    ]


def _solve(axis: list[str], size: int, sizes: dict[str, int], pattern: str, shape) -> None:
    """Find the one size that is not known of the axes that are joined in one."""
    unknown = [name for name in axis if name not in sizes]
    known = math.prod(sizes[name] for name in axis if name in sizes)
    if len(unknown) > 1:
        raise ValueError(
            f"The sizes of {' and '.join(unknown)} in the pattern {pattern!r} cannot be told from the "
            f"shape {shape}: give one of them, such as {unknown[0]}=2."
        )
    if unknown and known and size % known == 0:
        sizes[unknown[0]] = size // known
    elif unknown or known != size:
        raise ValueError(f"The pattern {pattern!r} does not fit an array of shape {shape}.")
