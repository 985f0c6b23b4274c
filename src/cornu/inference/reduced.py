"""Convolutions of a program in fewer bits: its steps, with other kernels in their place."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from cornu.inference.program import BETWEEN, Buffer, Operand, Step

# As in kernels.h and reduced.h.
NUMBERS_OF_WINDOW = 25
NOTHING, CLAMP, POOL = range(3)
MOST_PRODUCTS = 1 << 15
# A bias is an integer, too. With it, a sum of products stays below 2**31.
MOST_BIAS = 2**29
# Fewer channels would leave vectors empty.
FEWEST_CHANNELS = 8

Constants = dict[Buffer, np.ndarray]


class Range(NamedTuple):
    """How numbers become bytes: `x` is `round(x / step) + zero`."""

    step: np.float32
    zero: int

    @property
    def per_step(self) -> np.float32:
        return np.float32(1) / self.step


class Convolution:
    """What a step of kind "prepared_convolution" says.

    Attributes:
        batch: examples, or positions of a dense layer.
        image, kernel: where they are.
        numbers_in: how many numbers the image has.
        low, high: bounds of the results.
    """

    def __init__(self, step: Step, constants: Constants):
        self.step = step
        self.window = step.numbers[:NUMBERS_OF_WINDOW]
        self.after = step.numbers[NUMBERS_OF_WINDOW]
        self.image, self.kernel = step.reads[:2]
        self.batch, *sizes = self.window[:4]
        self.channels_in, self.channels_out, self.groups = self.window[19:22]
        self.numbers_in = self.batch * math.prod(sizes) * self.channels_in
        weights = constants[self.kernel.buffer]
        self.weights = np.ascontiguousarray(weights, np.float32).reshape(-1, self.channels_out)
        if self.after == NOTHING:
            self.bias = np.zeros(self.channels_out, np.float32)
        else:
            self.bias = np.asarray(constants[step.reads[2].buffer], np.float32)
        bounds = struct.pack("<2I", *step.numbers[NUMBERS_OF_WINDOW + 1 :])
        self.low, self.high = {
            NOTHING: (-math.inf, math.inf),
            CLAMP: struct.unpack("<2f", bounds),
            POOL: (0.0, math.inf),
        }[self.after]

    @property
    def result(self) -> Operand:
        return self.step.writes[0]

    def pays(self, of_bytes: bool) -> bool:
        """Whether it is worth fewer bits, and the kernel can do it."""
        if self.channels_out // self.groups < FEWEST_CHANNELS:
            return False
        if of_bytes:
            return len(self.weights) <= MOST_PRODUCTS
        return self.groups == 1 or self.channels_in // self.groups % 2 == 0


def convolutions_of(steps: Sequence[Step], constants: Constants, of_bytes: bool) -> dict:
    """Those that are worth fewer bits, by the numbers of their steps."""
    found = {
        number: Convolution(step, constants)
        for number, step in enumerate(steps)
        if step.name == "prepared_convolution"
    }
    return {number: made for number, made in found.items() if made.pays(of_bytes)}


def in_bfloat16(steps: Sequence[Step], constants: Constants) -> tuple[list[Step], Constants]:
    """The same with weights, and the numbers that they meet, in bfloat16; sums are float32."""
    made, kept = list(steps), dict(constants)
    for number, conv in convolutions_of(steps, constants, of_bytes=False).items():
        weights = conv.weights.astype(ml_dtypes.bfloat16)
        operands = [_kept(kept, weights.view(np.uint16)), _kept(kept, conv.bias)]
        made[number] = _step(conv, operands, conv.low, conv.high)
    return made, _used(made, kept)


def in_bytes(
    steps: Sequence[Step], constants: Constants, ranges: Sequence[Range]
) -> tuple[list[Step], Constants]:
    """The same with weights and the numbers that they meet in eight bits; sums are integers.

    Args:
        ranges: of the image of each convolution that `convolutions_of` finds.
    """
    made, kept = list(steps), dict(constants)
    found = convolutions_of(steps, constants, of_bytes=True)
    if len(found) != len(ranges):
        raise ValueError("The programs for different numbers of examples differ.")
    range_of = dict(zip(found, ranges, strict=True))
    written = _written_as_bytes(steps, found)
    for number, conv in found.items():
        mine = range_of[number]
        weights, bias, scale = _quantized(conv, mine)
        low, high, follower = conv.low, conv.high, written.get(conv.result.buffer)
        zero_of_results = 0
        if follower is not None:
            theirs = range_of[follower]
            scale = (scale * theirs.per_step).astype(np.float32)
            low, high = low * float(theirs.per_step), high * float(theirs.per_step)
            zero_of_results = theirs.zero
        takes_bytes = conv.image.buffer in written
        operands = [_kept(kept, array) for array in (weights, bias, scale)]
        told = (mine.per_step, mine.zero, takes_bytes, follower is not None, zero_of_results)
        made[number] = _step(conv, operands, low, high, told)
    smaller = {
        buffer: Buffer(buffer.nbytes // 4 + found[follower].batch)
        for buffer, follower in written.items()
    }

    def elsewhere(operands):
        return [Operand(smaller.get(o.buffer, o.buffer), o.offset) for o in operands]

    made = [s._replace(reads=elsewhere(s.reads), writes=elsewhere(s.writes)) for s in made]
    return made, _used(made, kept)


def _written_as_bytes(steps: Sequence[Step], found: dict[int, Convolution]) -> dict[Buffer, int]:
    """What convolutions write for other ones alone, and the number of one of these."""
    writers = {conv.result.buffer: conv for conv in found.values()}
    readers: dict[Buffer, list[int]] = {}
    touched: dict[Buffer, int] = {}
    for number, step in enumerate(steps):
        for operand in step.reads:
            readers.setdefault(operand.buffer, []).append(number)
        for operand in step.writes:
            touched[operand.buffer] = touched.get(operand.buffer, 0) + 1
    written = {}
    for buffer, writer in writers.items():
        numbers = readers.get(buffer, [])
        if buffer.region != BETWEEN or touched[buffer] != 1 or not numbers:
            continue
        if all(
            n in found and found[n].image == (buffer, 0) and found[n].batch == writer.batch
            for n in numbers
        ):
            written[buffer] = numbers[0]
    return written


def _quantized(conv: Convolution, image: Range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights as bytes, the bias as integers, and what a sum counts, for each output channel."""
    if not (np.isfinite(conv.weights).all() and np.isfinite(conv.bias).all()):
        raise ValueError("Weights that are NaN or infinite have no eight bits.")
    step = np.float64(image.step)
    # The bias has to be an integer, too; where all weights are zero, it alone decides.
    largest = np.abs(conv.weights.astype(np.float64)).max(0) / 127
    per_weight = np.maximum(largest, np.abs(conv.bias.astype(np.float64)) / (step * MOST_BIAS))
    scale = (step * per_weight).astype(np.float32)
    usable = scale >= np.finfo(np.float32).tiny
    scale = np.where(usable, scale, np.float32(1))
    per_weight = np.where(usable, scale / step, 1.0)
    weights = np.clip(np.rint(conv.weights / per_weight), -127, 127).astype(np.int8)
    bias = np.rint(conv.bias / scale.astype(np.float64))
    bias -= float(image.zero) * weights.astype(np.float64).sum(0)
    return weights, bias.astype(np.int32), scale


def _step(conv: Convolution, weights: list[Operand], low, high, told=None) -> Step:
    per_step, zero, takes_bytes, gives_bytes, zero_of_results = told or (0.0, 0, False, False, 0)
    numbers = [
        *conv.window,
        int(told is not None),
        _bits(per_step),
        zero,
        int(takes_bytes),
        _bits(low),
        _bits(high),
        int(gives_bytes),
        zero_of_results,
    ]
    # Without the argmax, which is of no use here.
    return Step("reduced_convolution", numbers, [conv.image, *weights], conv.step.writes[:1])


def _kept(constants: Constants, array: np.ndarray) -> Operand:
    buffer = Buffer(array.nbytes)
    constants[buffer] = array
    return Operand(buffer)


def _used(steps: Sequence[Step], constants: Constants) -> Constants:
    used = {operand.buffer for step in steps for operand in step.reads}
    return {buffer: array for buffer, array in constants.items() if buffer in used}


def _bits(number: float) -> int:
    return struct.unpack("<I", struct.pack("<f", number))[0]


Rewriting = Callable[[list[Step], Constants], tuple[list[Step], Constants]]
