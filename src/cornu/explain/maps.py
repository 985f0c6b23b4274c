"""Feature maps and filters, as data."""

import jax.numpy as jnp
import numpy as np

from cornu.core.layer import Layer
from cornu.explain.observe import as_batch, call_of, calls


def feature_maps(model, x, layer=None, call=0):
    """What a layer makes of a batch: its output; of all layers, if none is named.

    Args:
        model: any built model.
        x: a batch, or one example.
        layer: a layer, its name, or its index in `model.layers`.
        call: which call of the layer, if it is used several times.

    Returns:
        a NumPy array `(n, …)`; without `layer` a dict from the names of layers to such, in the order of the
        calls (a layer that is called again has `:1` after its name, and so on).

    Raises ValueError if there is no such layer.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((6, 6, 1)), cornu.layers.Conv2D(2, 3, name="conv")])
    >>> cornu.explain.feature_maps(model, np.ones((6, 6, 1)), "conv").shape
    (1, 4, 4, 2)
    """
    found = calls(model, as_batch(model, x))
    if layer is not None:
        return _array(call_of(found, model, layer, call).outputs)
    maps: dict = {}
    for each in found:
        if each.is_whole and isinstance(each.operation, Layer) and hasattr(each.outputs, "shape"):
            number = sum(1 for name in maps if name.partition(":")[0] == each.name)
            maps[each.name if not number else f"{each.name}:{number}"] = _array(each.outputs)
    return maps


def _array(values) -> np.ndarray:
    values = jnp.asarray(values)
    return np.asarray(values.astype(jnp.float32) if values.dtype == jnp.bfloat16 else values)


def filters(model, layer) -> np.ndarray:
    """The kernel of a convolution, one for each filter and each channel that it sees.

    Args:
        model: a built model.
        layer: a layer, its name, or its index in `model.layers`.

    Returns:
        a NumPy array `(*window, channels, filters)`; of a depthwise layer `(*window, 1, filters)`.

    Raises ValueError if the layer has no such kernel.
    """
    if not isinstance(layer, Layer):
        layer = model.get_layer(**{"index" if isinstance(layer, int) else "name": layer})
    kernel = getattr(layer, "kernel", getattr(layer, "depthwise_kernel", None))
    rank = getattr(layer, "rank", 0)
    if kernel is None or not rank:
        raise ValueError(
            f"The layer '{layer.name}' ({type(layer).__name__}) has no filters that slide, as a "
            "convolution has."
        )
    values = _array(kernel.value)
    if hasattr(layer, "depth_multiplier"):
        return values.reshape(*values.shape[:rank], 1, -1)
    if type(layer).__name__.endswith("Transpose"):
        return np.swapaxes(values, -1, -2)
    return values
