"""Whether the last layers give what the losses expect: probabilities, or logits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from cornu import activations
from cornu.core.watching import watched
from cornu.training.checks import describe_loss

# What kind of values an activation gives, where that is certain.
_OF_ANY_SIGN = (
    "linear relu leaky_relu relu6 elu selu celu softsign silu hard_silu gelu tanh hard_tanh mish"
)
_KINDS: dict[Any, str] = {
    **{getattr(activations, name): "logits" for name in _OF_ANY_SIGN.split()},
    activations.softmax: "softmax",
    activations.sigmoid: "sigmoid",
}
# Layers that do not change values.
_PASSING = (
    "Flatten Reshape Permute Dropout Identity Cropping1D Cropping2D UpSampling1D UpSampling2D"
)
_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}
# Each loss with the activation that makes probabilities for it.
_WANTED = {
    "binary_crossentropy": "sigmoid",
    "binary_focal_crossentropy": "sigmoid",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
    "categorical_focal_crossentropy": "softmax",
    "categorical_generalized_cross_entropy": "softmax",
}


class Origin(NamedTuple):
    """The layer that an output comes from, and what its activation gives: one of `_KINDS`, or None."""

    layer: Any
    activation: str
    kind: str | None


def call_with_origins(model, x) -> tuple[Any, list[Origin | None]]:
    """The outputs of a model, and the origin of each, if known."""
    made: dict[int, tuple] = {}
    # Kept alive, so that no other array gets the `id` of a known one.
    kept: list = []

    def note(operation, given, arguments, outputs):
        argument = next(iter(arguments.values()), None)
        # Whoever returns what came in has not made it.
        for output in (leaf for leaf in jax.tree.leaves(outputs) if leaf is not argument):
            # The innermost layer is the first that gives it.
            made.setdefault(id(output), (operation, argument))
            kept.append(output)
        return outputs

    with watched(note):
        outputs = model(x)
    return outputs, [_origin(output, made) for output in jax.tree.leaves(outputs)]


def _origin(output, made: dict) -> Origin | None:
    operation, argument = made.get(id(output), (None, None))
    while operation is not None:
        name = type(operation).__name__
        if name == "FunctionOperation":
            function = getattr(activations, operation.function_name, None)
            return Origin(operation, operation.function_name, _KINDS.get(function))
        if not type(operation).__module__.startswith("cornu.layers."):
            return None
        if name in _PASSING.split():
            operation, argument = made.get(id(argument), (None, None))
            continue
        if name == "TimeDistributed":
            operation = operation.layer
            name = type(operation).__name__
        function = getattr(operation, "activation", None)
        if name in _ACTIVATIONS:
            function = getattr(activations, _ACTIVATIONS[name])
        elif function is None and not hasattr(operation, "use_bias"):
            return None
        function = function or activations.linear
        return Origin(operation, getattr(function, "__name__", ""), _KINDS.get(function))
    return None


@contextmanager
def naming_outputs(origins: list[Origin | None]) -> Iterator[None]:
    """Within, an error about outputs names the layers that these come from."""
    try:
        yield
    except ValueError as error:
        names = [f"'{origin.layer.name}'" for origin in origins if origin is not None]
        if names and error.args == (str(error),) and not hasattr(error, "_cornu_layer"):
            layers = "layer" if len(names) == 1 else "layers"
            error.args = (f"{error} (The output is that of the {layers} {', '.join(names)}.)",)
        raise


def warn_of_activations(terms: list, outputs, origins: list[Origin | None]) -> None:
    """Warn where a cross-entropy mistakes logits for probabilities or the reverse."""
    leaves = jax.tree.leaves(outputs)
    for term in terms:
        loss, output = term.loss, leaves[term.output]
        origin = origins[term.output] if term.output < len(origins) else None
        name, arguments = describe_loss(loss)
        if origin is not None and origin.kind == "softmax" and output.shape[-1:] == (1,):
            warnings.warn(
                f"The last layer '{origin.layer.name}' has one unit and a softmax, which is 1 whatever "
                "comes in. For yes or no use activation='sigmoid' with loss='binary_crossentropy', or as "
                "many units as classes.",
                stacklevel=4,
            )
            continue
        if origin is None or origin.kind is None or name not in _WANTED:
            continue
        wanted, from_logits = _WANTED[name], bool(arguments.get("from_logits"))
        what = f"The last layer '{origin.layer.name}' ends with {origin.activation}"
        if from_logits and origin.kind != "logits":
            warnings.warn(
                f"{what}, and the loss {name} with from_logits=True applies {wanted} once more, so "
                "training would go wrong. Leave out one of the two: from_logits=True of the loss, or the "
                "activation of the layer.",
                stacklevel=4,
            )
        elif not from_logits and origin.kind == "logits":
            cls = type(loss).__name__
            if cls == "LossFunctionWrapper":
                cls = "".join(part.capitalize() for part in name.split("_"))
            other = (
                f", or let the loss do it: loss=losses.{cls}(from_logits=True)"
                if "from_logits" in arguments or type(loss).__name__ == "LossFunctionWrapper"
                else ""
            )
            warnings.warn(
                f"{what}, which does not give probabilities, and the loss {name} expects them, so "
                f"training would go wrong. End the layer with activation='{wanted}'{other}.",
                stacklevel=4,
            )
