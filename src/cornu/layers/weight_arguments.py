"""Arguments about a weight, such as `kernel_initializer`: kept by the constructor, used by `build`."""

from cornu import constraints, initializers, regularizers
from cornu.core.layer import Layer
from cornu.core.variable import Variable

_KINDS = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


def keep(layer: Layer, given: dict, *weights: str) -> None:
    """Keep, as attributes of the same names, what a constructor's arguments say of weights.

    Args:
        given: the arguments by name: `locals()` in the constructor.
        weights: how their names begin, such as `"kernel"`.
    """
    for kind, meaning in _KINDS.items():
        for weight in weights:
            name = f"{weight}_{kind}"
            if name in given:
                setattr(layer, name, meaning(given[name]))


def kept(layer: Layer, *weights: str) -> dict:
    """What a layer has kept of weights, as arguments for another layer."""
    names = [f"{weight}_{kind}" for weight in weights for kind in _KINDS]
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def add(layer: Layer, weight: str, shape, **arguments) -> Variable:
    """Make a weight as the layer has kept it; `arguments` are more for `add_weight`, or others."""
    said = {kind: getattr(layer, f"{weight}_{kind}", None) for kind in _KINDS}
    return layer.add_weight(**{"name": weight, "shape": shape, **said, **arguments})
