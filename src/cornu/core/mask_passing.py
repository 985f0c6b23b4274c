"""Masks on their way through a layer: onto `call`'s arguments, and from its inputs to its outputs."""

import warnings

import jax

from cornu.core import masking
from cornu.core.call_arguments import accepts, holds_tensors, is_leaf
from cornu.core.symbolic import KerasTensor, any_symbolic, infer_outputs


def fill(layer, arguments: dict, kwargs: dict) -> None:
    """Pass the inputs' masks to a `call` that takes them.

    Of one input it is called `mask`; of several, that of `query`, say, is `query_mask`.
    """
    tensors = {name: value for name, value in arguments.items() if holds_tensors(value)}
    for name, value in tensors.items():
        parameter = "mask" if len(tensors) == 1 else f"{name}_mask"
        if accepts(layer, parameter) and kwargs.get(parameter) is None:
            mask = masks_on(value)
            if mask is not None:
                kwargs[parameter] = mask


def previous(arguments: dict, kwargs: dict):
    """The mask that `compute_mask` starts from: the one given, or that of the first input."""
    if kwargs.get("mask") is not None:
        return kwargs["mask"]
    return masks_on(next(iter(arguments.values()), None))


def pass_on(layer, arguments: dict, previous, outputs, is_overridden: bool) -> None:
    """Attach the masks from `compute_mask` to outputs that have none yet."""
    if not layer.supports_masking:
        if previous is not None:
            warnings.warn(
                f"Layer '{layer.name}' (of type {type(layer).__name__}) was passed an input with a "
                "mask attached to it. However, this layer does not support masking and will "
                "therefore destroy the mask information. Downstream layers will not see the mask."
            )
        return
    flat = [t for t in jax.tree.leaves(outputs) if isinstance(t, jax.Array | KerasTensor)]
    missing = [tensor for tensor in flat if masking.get_mask(tensor) is None]
    if not missing or not (is_overridden or previous is not None):
        return
    given = next(iter(arguments.values()), None), previous
    if is_overridden and any_symbolic(given, outputs):
        new = infer_outputs(layer.compute_mask, given)
    else:
        new = layer.compute_mask(*given)
    masks = jax.tree.leaves(new, is_leaf=lambda m: m is None)
    for tensor, mask in zip(flat, masks, strict=False):
        if mask is not None and masking.get_mask(tensor) is None:
            masking.set_mask(tensor, mask)


def masks_on(value):
    """The masks on a tensor, or on a structure of them; None if there is none."""
    masks = jax.tree.map(masking.get_mask, value, is_leaf=is_leaf)
    return masks if jax.tree.leaves(masks) else None
