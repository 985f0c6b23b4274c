"""What a number is made of, map by map: the links between the page's columns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.explain.observe import INPUT, Call, native, predicted
from cornu.explain.terms import Terms, channels_last
from cornu.explain.window import explained
from cornu.layers.dense import Dense
from cornu.layers.merging import Add, Average, Maximum, Merge, Minimum, Multiply, Subtract

# Maps that a link is drawn from, the rest are one; and products that are drawn back on maps.
MOST_LINKS, MOST_PRODUCTS = 12, 16384


def links_in(
    found: list[Call],
    number: int,
    position,
    channel: int,
    shown: dict[int, int],
    terms: Terms | None = None,
) -> dict[str, Any]:
    """The links behind one number, as a page gets them.

    Args:
        found: the calls that were observed.
        number: which of them.
        position, channel: which number of its output.
        shown: for calls that a page shows the number of the layer there.
        terms: what the number is made of, where this is known already.

    Returns:
        what `links_of` gives, with the `layer` of each source; the products of a dense layer `on_maps`, and
        the `logits` of a softmax, or None.
    """
    call = found[number]
    told = links_of(call, position, channel, terms)
    for source, maker in zip(told["sources"], call.makers, strict=False):
        source["layer"] = "input" if maker == INPUT else shown.get(maker)
    on_maps = products_on_maps(found, call, channel)
    told["on_maps"] = None
    if on_maps is not None and on_maps["call"] in shown:
        told["on_maps"] = {
            "layer": shown[on_maps["call"]],
            "shape": on_maps["shape"],
            "products": np.moveaxis(on_maps["products"], -1, 0).ravel().tolist(),
        }
    told["logits"] = logits_of(call, position)
    return told


def links_of(call: Call, position, channel: int, terms: Terms | None = None) -> dict[str, Any]:
    """The parts of the sum behind one number, by the map that each comes from.

    Args:
        call: the layer's call that was observed.
        position, channel: which number of its output.
        terms: what it is made of, where this is known already.

    Returns:
        `sources`: for each of the call's sources its `maps`, those with the largest parts first: the
        number of the `map` and its `part` of the sum, with the position it comes from as `at` where it is
        a single one, and how many and how much the `others` are; `total`: the sum of all parts.

    Raises NotImplementedError for a layer whose arithmetic is not known; see `explain.window`.
    """
    if terms is None:
        terms = explained(call, position, channel).terms
    sources = [
        {**_largest(parts), "kind": kind} for kind, parts in _parts(call, position, channel, terms)
    ]
    return {"sources": sources, "total": float(sum(s["sum"] for s in sources))}


def _parts(call: Call, position, channel, terms: Terms) -> list[tuple[str, dict]]:
    """For each source of a call, what each map adds, and where it does so: `{map: (part, at)}`."""
    layer = call.operation
    if terms.origin:
        if terms.weights is None:
            return [("chosen", {terms.first_channel: (terms.steps[-1].value, None)})]
        sums = terms.products.reshape(-1, terms.products.shape[-1]).sum(0)
        return [("sum", {terms.first_channel + c: (float(s), None) for c, s in enumerate(sums)})]
    if isinstance(layer, Dense):
        at = list(position) or None
        return [("sum", {c: (float(p), at) for c, p in enumerate(terms.products)})]
    if isinstance(layer, Merge) and len(terms.values) == len(call.sources):
        kind = "sum" if isinstance(layer, Add | Average | Subtract) else "chosen"
        if isinstance(layer, Multiply):
            kind = "factor"
        if isinstance(layer, Add | Average | Subtract | Multiply | Maximum | Minimum):
            scale = [1.0] * len(terms.values)
            if isinstance(layer, Average):
                scale = [1 / len(scale)] * len(scale)
            if isinstance(layer, Subtract):
                scale[1] = -1.0
            return [
                (kind, {min(channel, _channels(source) - 1): (float(v) * s, list(position))})
                for v, s, source in zip(terms.values, scale, call.sources, strict=True)
            ]
    if len(call.sources) == 1 and call.sources[0].shape == call.outputs.shape:
        value = float(channels_last(layer, call.sources[0])[(0, *position, channel)])
        return [("same", {channel: (value, list(position))})]
    return [("sum", parts) for parts in _by_derivative(call, position, channel)]


def _channels(source) -> int:
    return source.shape[-1] if source.ndim > 1 else 1


def _by_derivative(call: Call, position, channel) -> list[dict]:
    """Of a layer that moves, joins or adds up numbers: which ones, by what it passes on of each."""
    layer = call.operation
    index = (0, *native(layer, call.outputs.ndim, (*position, channel)))
    leaves, structure = jax.tree.flatten(call.inputs)

    def at(arrays):
        outputs = predicted(layer, jax.tree.unflatten(structure, arrays))
        return jnp.asarray(outputs, jnp.float32)[index]

    arrays = [jnp.asarray(a, jnp.float32) for a in leaves]
    found = []
    for array, gradient in zip(arrays, jax.grad(at)(arrays), strict=True):
        values, used = channels_last(layer, array)[0], channels_last(layer, gradient)[0]
        parts: dict = {}
        if values.ndim:
            for c in np.unique(np.nonzero(used)[-1]):
                places = np.argwhere(used[..., c])
                where = places[0].tolist() if len(places) == 1 and values.ndim > 1 else None
                parts[int(c)] = (float((values[..., c] * used[..., c]).sum()), where)
        found.append(parts)
    return found


def _largest(parts: dict) -> dict[str, Any]:
    order = sorted(parts, key=lambda c: -abs(parts[c][0]))
    # NaN has no order; it is kept where it is.
    rest = [parts[c][0] for c in order[MOST_LINKS:]]
    return {
        "maps": [{"map": c, "part": parts[c][0], "at": parts[c][1]} for c in order[:MOST_LINKS]],
        "others": {"count": len(rest), "part": float(sum(rest))},
        "sum": float(sum(part for part, _ in parts.values())),
    }


def products_on_maps(found: list[Call], call: Call, channel: int) -> dict[str, Any] | None:
    """The products of a dense layer's unit, on the maps that were flattened before it.

    Returns:
        the `call` that made the maps, their shape, and the `products` in this shape as float32; None if
        the layer is not dense, or reads no maps.
    """
    if not isinstance(call.operation, Dense) or call.sources[0].ndim != 2:
        return None
    values = np.asarray(call.sources[0], np.float32)[0]
    maker = call.makers[0]
    while maker is not None and maker >= 0:
        made = found[maker]
        if made.outputs.ndim > 2:
            maps = channels_last(made.operation, made.outputs)[0].astype(np.float32)
            # Only if flattening has kept the order, as it is written; then a unit is a place.
            if values.size > MOST_PRODUCTS or not np.array_equal(maps.ravel(), values):
                return None
            kernel = np.asarray(jnp.asarray(call.operation.kernel.value, jnp.float32))
            products = (values * kernel[:, channel]).reshape(maps.shape)
            return {"call": maker, "shape": list(maps.shape), "products": products}
        if made.outputs.size != values.size or len(made.makers) != 1:
            return None
        maker = made.makers[0]
    return None


def logits_of(call: Call, position) -> list[float] | None:
    """What goes into a softmax at a position, for all classes; None if the layer has none."""
    layer = call.operation
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    if type(layer).__name__ == "Softmax":
        if layer.axis not in (-1, call.outputs.ndim - 1):
            return None
        return channels_last(layer, call.sources[0])[(0, *position)].tolist()
    if name != "softmax":
        return None
    values = channels_last(layer, call.sources[0])[(0, *position)]
    if not isinstance(layer, Dense):
        return values.tolist() if not getattr(layer, "weights", None) else None
    sums = values @ np.asarray(jnp.asarray(layer.kernel.value, jnp.float32), np.float64)
    if layer.bias is not None:
        sums = sums + np.asarray(jnp.asarray(layer.bias.value, jnp.float32), np.float64)
    return sums.tolist()
