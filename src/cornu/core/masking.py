"""Masks: which positions of a padded sequence count. A mask rides along with its tensor."""

import weakref

# Tracers take no attributes, so masks are kept beside the tensors and leave with them.
_masks: dict[int, tuple[weakref.ref, object]] = {}


def get_mask(tensor):
    """The mask that was attached to a tensor, or None."""
    entry = _masks.get(id(tensor))
    return entry[1] if entry is not None and entry[0]() is tensor else None


def set_mask(tensor, mask) -> None:
    """Attach a mask to a tensor; None takes it off."""
    key = id(tensor)
    if mask is None:
        _masks.pop(key, None)
    else:
        _masks[key] = (weakref.ref(tensor, lambda _: _masks.pop(key, None)), mask)
