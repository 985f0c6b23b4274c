"""Each convolution and its two gradients: the native kernels beside XLA's and oneDNN's.

    python benchmarks/kernels.py [--rounds 3]

Each library runs in processes of its own, in turns; a number is the median over the rounds of the median
of several calls, as GFLOP/s of the direct method (so Winograd's can be above what the processor does).
oneDNN is measured through PyTorch, with channels last. Then both in bfloat16. Writes two sections of
docs/benchmarks.md.
"""

import argparse
import importlib.util
from statistics import median

import jax
import numpy as np
from common import in_a_process, in_turns, is_child, report, seconds

import cornu
from cornu.core.kernels import Geometry
from cornu.ops import convolution as ours
from cornu.ops.windows import output_sizes, padding_amounts

# Name: batch, side, channels in and out, window, stride, padding, groups.
LAYERS = {
    "lecture, first": (128, 28, 1, 32, 3, 1, "valid", 1),
    "lecture, second": (128, 13, 32, 64, 3, 1, "valid", 1),
    "colour, first": (128, 32, 3, 32, 3, 1, "same", 1),
    "colour, second": (128, 16, 32, 64, 3, 1, "same", 1),
    "colour, third": (128, 8, 64, 64, 3, 1, "same", 1),
    "convolutions, second": (128, 28, 64, 32, 3, 1, "same", 1),
    "sgd tutorial, second": (128, 12, 32, 64, 5, 1, "valid", 1),
    "inception, 5x5": (128, 14, 8, 16, 5, 1, "same", 1),
    "strides of two": (64, 32, 32, 64, 3, 2, "same", 1),
    "1x1": (64, 14, 64, 128, 1, 1, "valid", 1),
    "ResNet, 56x56": (8, 56, 64, 64, 3, 1, "same", 1),
    "ResNet, 7x7": (8, 7, 512, 512, 3, 1, "same", 1),
    "depthwise": (64, 32, 64, 64, 3, 1, "same", 64),
}
DIRECTIONS = ("forward", "input gradient", "weight gradient")


def of_jax(forms, operands, geometry) -> list:
    """A function for each direction that waits for its result."""

    def ready(form, *arrays):
        compiled = jax.jit(lambda *a: form(*a, geometry=geometry))
        return lambda: compiled(*arrays).block_until_ready()

    image, kernel, gradient = map(jax.device_put, operands)
    pairs = ((image, kernel), (gradient, kernel), (image, gradient))
    return [ready(form, *pair) for form, pair in zip(forms, pairs, strict=True)]


def of_torch(operands, geometry, dtype: str) -> list:
    import torch

    image, kernel, gradient = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, (-1, -2), order))).to(
            getattr(torch, dtype)
        )
        for a, order in zip(operands, ((1, -1), (0, 1), (1, -1)), strict=True)
    )
    image, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (image, gradient))
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    (top, bottom), (left, right) = geometry.padding
    if top != bottom or left != right:
        image = torch.nn.functional.pad(image, (left, right, top, bottom))
        image = image.contiguous(memory_format=torch.channels_last)
        top = left = 0
    how = {"stride": geometry.strides, "padding": (top, left), "groups": geometry.groups}

    def backward(of_image: bool):
        return torch.ops.aten.convolution_backward(
            gradient,
            image,
            kernel,
            None,
            geometry.strides,
            (top, left),
            (1, 1),
            False,
            (0, 0),
            geometry.groups,
            (of_image, not of_image, False),
        )

    return [
        lambda: torch.nn.functional.conv2d(image, kernel, **how),
        lambda: backward(True),
        lambda: backward(False),
    ]


def measure(who: str, dtype: str) -> dict:
    return {name: speeds(who, dtype, layer) for name, layer in LAYERS.items()}


def speeds(who: str, dtype: str, layer) -> list[float]:
    """GFLOP/s in each direction, with one library, in this process."""
    batch, side, channels_in, channels_out, window, stride, padding, groups = layer
    size, windows, strides = (side,) * 2, (window,) * 2, (stride,) * 2
    amounts = tuple(padding_amounts(size, windows, strides, padding))
    geometry = Geometry(size, windows, strides, amounts, (1, 1), groups)
    outputs = output_sizes(size, windows, strides, padding)
    random = np.random.default_rng(0)
    operands = [
        random.standard_normal(shape).astype("float32")
        for shape in (
            (batch, *size, channels_in),
            (*windows, channels_in // groups, channels_out),
            (batch, *outputs, channels_out),
        )
    ]
    native = [p.bind for p in (ours.convolution, ours.input_gradient, ours.weight_gradient)]
    plain = [ours._convolution, ours._input_gradient, ours._weight_gradient]
    if who == "oneDNN":
        runs = of_torch(operands, geometry, dtype)
    else:
        arrays = [jax.numpy.asarray(o, dtype) for o in operands]
        runs = of_jax(native if who == "Cornu" else plain, arrays, geometry)
    flops = 2 * batch * np.prod(outputs) * window**2 * channels_in / groups * channels_out
    times = [median([seconds(run) for _ in range(12)][2:]) for run in runs]
    return [float(flops) / t / 1e9 for t in times]


def peak() -> float:
    """GFLOP/s of a large product of matrices in NumPy."""
    a = np.ones((2048, 2048), "float32")
    return 2 * 2048**3 / min(seconds(lambda: a @ a) for _ in range(5)) / 1e9


def rows_of(libraries, dtype: str, rounds: int) -> tuple[list, list]:
    """The titles and rows of a table."""
    found: dict = {who: [] for who in libraries}
    for turn in range(rounds):
        for who in in_turns(libraries, turn):
            found[who].append(in_a_process(__file__, who, dtype))
    rows = []
    for name, (batch, side, channels_in, channels_out, window, *_) in LAYERS.items():
        cells = [
            f"{median(result[name][n] for result in found[who]):.0f}"
            for n in range(3)
            for who in libraries
        ]
        shape = f"{batch} of {side}x{side}x{channels_in} to {channels_out}, {window}x{window}"
        rows.append([f"{name}: {shape}", *cells])
    titles = [f"{direction}: {who}" for direction in DIRECTIONS for who in libraries]
    return ["layer", *titles], rows


def main(arguments) -> None:
    libraries = ["Cornu", "XLA", "oneDNN"]
    if importlib.util.find_spec("torch") is None:
        print("oneDNN is left out: torch is not installed in this environment")
        libraries.remove("oneDNN")
    text = f"""
GFLOP/s of the direct method, medians of {arguments.rounds} rounds in turns: forward, input gradient and
weight gradient. A product of 2048x2048 matrices in NumPy reaches {peak():.0f} GFLOP/s. The
kernels are those for {cornu.config.native().instruction_set}. Written by `python benchmarks/kernels.py`.
"""
    report("Kernels", text, *rows_of(libraries, "float32", arguments.rounds))
    how = "multiplied in pairs" if cornu.config.native().multiplies_bfloat16 else "as float32"
    text = f"""
The same where all operands and results are bfloat16, as with `mixed_bfloat16`; on this processor they are
{how}, except in the weight gradient and where the number of channels is odd. Written by
`python benchmarks/kernels.py`.
"""
    libraries.remove("XLA")
    report("Kernels in bfloat16", text, *rows_of(libraries, "bfloat16", arguments.rounds))


if __name__ == "__main__" and not is_child(measure):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
