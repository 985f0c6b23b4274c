"""Operations that move elements: reshapes, slices, padding, gathering."""

from cornu.saving.onnx.builder import Builder, Unsupported, Value, converts


@converts("reshape", "squeeze", "expand_dims")
def _reshape(b: Builder, e, x):
    return b.reshaped(b.text(x), e.sizes)


@converts("broadcast_in_dim")
def _broadcast(b: Builder, e, x):
    ones = [(1, 1)] * len(e.sizes)
    for axis, size in zip(e.params["broadcast_dimensions"], x.sizes, strict=True):
        ones[axis] = size
    name = b.text(x) if ones == list(x.sizes) else b.reshaped(b.text(x), ones)
    return Value(name, e.sizes, x.dtype, small=ones != list(e.sizes))


@converts("transpose")
def _transpose(b: Builder, e, x):
    return b.node("Transpose", b.text(x), perm=list(e.params["permutation"]))


@converts("concatenate")
def _concatenate(b: Builder, e, *xs):
    return b.node("Concat", *map(b.text, xs), axis=e.params["dimension"])


@converts("slice")
def _slice(b: Builder, e, x):
    starts, ends, axes, steps = [], [], [], []
    strides = e.params["strides"] or (1,) * len(x.sizes)
    for axis, (size, result) in enumerate(zip(x.sizes, e.sizes, strict=True)):
        if size == result:
            continue
        if size[0] != size[1]:
            raise Unsupported("a part of the examples")
        starts.append(e.params["start_indices"][axis])
        ends.append(e.params["limit_indices"][axis])
        axes.append(axis)
        steps.append(strides[axis])
    if not axes:
        return b.text(x)
    return b.node("Slice", b.text(x), *map(b.integers, (starts, ends, axes, steps)))


@converts("rev")
def _rev(b: Builder, e, x):
    axes = e.params["dimensions"]
    many = len(axes)
    parts = ([-1] * many, [-(2**62)] * many, axes, [-1] * many)
    return b.node("Slice", b.text(x), *map(b.integers, parts))


@converts("pad")
def _pad(b: Builder, e, x, value):
    before, after, between = zip(*e.params["padding_config"], strict=True)
    if any(between):
        raise Unsupported("padding between the elements")
    # Negative amounts cut off, which ONNX allows as well.
    return b.node("Pad", b.text(x), b.integers([*before, *after]), b.text(value), mode="constant")


@converts("gather")
def _gather(b: Builder, e, x, indices):
    numbers, taken = e.params["dimension_numbers"], e.params["slice_sizes"]
    axes = numbers.start_index_map
    rank, own = len(x.sizes), len(indices.sizes) - 1
    wanted = [1 if axis in axes else size for axis, (size, _) in enumerate(x.sizes)]
    offsets = tuple(range(axes[0])) + tuple(range(axes[0] + own, rank - 1 + own)) if axes else ()
    plain = (
        len(axes) == 1
        and numbers.collapsed_slice_dims == axes
        and not numbers.operand_batching_dims
    )
    if not plain or list(taken) != wanted or numbers.offset_dims != offsets:
        raise Unsupported("gathering of more than whole entries along one axis")
    which = b.reshaped(b.text(indices), indices.sizes[:-1])
    return b.node("Gather", b.text(x), which, axis=axes[0])
