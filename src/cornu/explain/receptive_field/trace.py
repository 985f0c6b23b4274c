"""From a box of a layer's output back to the input, call by call."""

from cornu.explain.observe import INPUT, input_number, input_of, inputs_of, without_channels
from cornu.explain.receptive_field.gradient import boxes_by_gradient
from cornu.explain.receptive_field.rules import Box, boxes_by_rule, everything


def trace(
    found, number: int, box: Box, clips=False, which: int | None = None, memory: dict | None = None
) -> Box:
    """The box of the input that a box of a call's output depends on, along spatial axes.

    Without padding, if it `clips`; else as if what the layers see went on beyond their borders. `which`:
    of this input, with a guess where something is computed without a layer. `memory` keeps compiled
    gradients.
    """
    memory = {} if memory is None else memory
    boxes: dict[int, Box] = {number: box}
    # Nothing, until something is found.
    start, first = input_of(found) if which is None else inputs_of(found)[which]
    size = without_channels(start.shape[1:], first)
    root: Box = ((0, -1),) * len(size)
    for here in range(number, -1, -1):
        if here not in boxes:
            continue
        call, own = found[here], boxes.pop(here)
        shapes = [s.shape[1:] for s in call.sources]
        seen_of = boxes_by_rule(call.operation, own, shapes)
        if seen_of is None:
            seen_of = boxes_by_gradient(call, own, shapes, memory)
        for seen, maker, source in zip(seen_of, call.makers, call.sources, strict=True):
            shape = source.shape[1:]
            if clips:
                seen = tuple(
                    (max(a, 0), min(b, n - 1)) for (a, b), n in zip(seen, shape, strict=True)
                )
                if any(low > high for low, high in seen):
                    # Padding, and nothing else.
                    continue
            own_input = which is None or maker != INPUT or input_number(found, source) == which
            if maker is None and which is not None:
                maker = _likely_maker(found, here, shape, start.shape[1:])
            if maker is None:
                # Computed by the model without a layer, from whatever it likes.
                root = everything(size)
            elif maker != INPUT:
                boxes[maker] = _union(boxes[maker], seen) if maker in boxes else seen
            elif own_input and without_channels(shape, call.operation) == size:
                seen = without_channels(seen, call.operation)
                root = seen if root[:1] == ((0, -1),) else _union(root, seen)
    return root


def _likely_maker(found, here: int, shape, input_shape) -> int | None:
    """Of an array that was computed without a layer: the last output that has its size, or the input.

    Most of what a `call` computes between its layers does the same at every position.
    """
    for number in range(here - 1, -1, -1):
        outputs = found[number].outputs
        if found[number].is_whole and getattr(outputs, "shape", ())[1:-1] == shape[:-1]:
            return number
    return INPUT if input_shape[:-1] == shape[:-1] else None


def _union(a: Box, b: Box) -> Box:
    return tuple(
        (min(low, other_low), max(high, other_high))
        for (low, high), (other_low, other_high) in zip(a, b, strict=True)
    )
