"""Masks: which positions of a padded sequence count. A mask is attached to its tensor.

An array has it as its attribute `_keras_mask`, as in Keras.
"""

import contextlib
import weakref

import jax

# Tracers take no attributes, so their masks are kept beside them and leave with them.
_masks: dict[int, tuple[weakref.ref, object]] = {}


def get_mask(tensor):
    """The mask that was attached to a tensor, or None."""
    if not isinstance(tensor, jax.core.Tracer):
        return getattr(tensor, "_keras_mask", None)
    entry = _masks.get(id(tensor))
    return entry[1] if entry is not None and entry[0]() is tensor else None


def set_mask(tensor, mask) -> None:
    """Attach a mask to a tensor; None removes it."""
    if not isinstance(tensor, jax.core.Tracer):
        if mask is not None:
            tensor._keras_mask = mask
        elif hasattr(tensor, "_keras_mask"):
            del tensor._keras_mask
        return
    key = id(tensor)
    if mask is None:
        _masks.pop(key, None)
    else:
        _masks[key] = (weakref.ref(tensor, lambda _: _masks.pop(key, None)), mask)


@contextlib.contextmanager
def masked(tensors: list, masks: list):
    """Within, tensors have these masks (where that is not None); afterwards those from before."""
    pairs = [(t, m) for t, m in zip(tensors, masks, strict=True) if m is not None]
    before = [get_mask(tensor) for tensor, _ in pairs]
    try:
        for tensor, mask in pairs:
            set_mask(tensor, mask)
        yield
    finally:
        for (tensor, _), mask in zip(pairs, before, strict=True):
            set_mask(tensor, mask)


@contextlib.contextmanager
def unmasked(*tensors):
    """Within, tensors have no masks; afterwards they have them again."""
    before = [(tensor, get_mask(tensor)) for tensor in tensors]
    for tensor in tensors:
        set_mask(tensor, None)
    try:
        yield
    finally:
        for tensor, mask in before:
            if mask is not None:
                set_mask(tensor, mask)
