"""A model's run forward and back: what each layer took and made, and how the loss changes with it."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.core.variable import Variable, functional
from cornu.explain.observe import INPUT, Call, as_batch, calls, input_number
from cornu.training.step import loss_of, unlisted_counts

# The gradient of a loss that does not depend on it.
_NONE = jax.dtypes.float0


@dataclass
class Run:
    """A batch went through a model, and the loss came back.

    Attributes:
        model: the model.
        found: the calls of its layers.
        inputs, y, sample_weight: the batch.
        loss: the loss.
        gradients: of each call whose output is a float array, the derivative of the loss by it.
        by_inputs: the same of the model's inputs, a list; None for integers.
        by_weights: the same of trainable weights, by their identity.
    """

    model: Any
    found: list[Call]
    inputs: Any
    y: Any
    sample_weight: Any
    loss: float
    gradients: dict[int, jax.Array]
    by_inputs: list
    by_weights: dict[int, jax.Array]

    @property
    def whole(self) -> Call:
        """The call of the model itself."""
        return self.found[-1]

    def readers(self, number: int) -> list[tuple[int, int]]:
        """Which calls read the output of a call, each with the index among what it was given.

        `INPUT` for `number` asks who reads the model's first input.
        """
        found = [
            (reader, source)
            for reader, call in enumerate(self.found[:-1])
            for source, maker in enumerate(call.makers)
            if maker == number
            and (number != INPUT or input_number(self.found, call.sources[source]) == 0)
        ]
        # Who holds layers that read it does not read it another time.
        return [
            (reader, source)
            for reader, source in found
            if self.found[reader].is_whole or not self._is_read_within(reader, found)
        ]

    def maker_of(self, number: int) -> int:
        """The call that has made what a call returned: of a model, one of its layers."""
        if number == INPUT or number in self.gradients:
            return number
        outputs = self.found[number].outputs
        made = [n for n in self.gradients if n < number and self.found[n].outputs is outputs]
        return max(made, default=number)

    def _is_read_within(self, holder: int, found: list) -> bool:
        inner = {id(layer) for layer in self.found[holder].operation._flatten_layers()}
        return any(
            other < holder and id(self.found[other].operation) in inner for other, _ in found
        )

    def is_output(self, number: int) -> list[int]:
        """Which of the model's outputs the output of a call is, by their indices."""
        return [
            i
            for i, leaf in enumerate(jax.tree.leaves(self.whole.outputs))
            # A layer that does nothing hands on what it was given.
            if number
            == max((n for n in self.gradients if self.found[n].outputs is leaf), default=None)
        ]


def run(model, x, y, sample_weight=None) -> Run:
    """Run a batch forward, as in `evaluate`, and the loss back; the model is left as it is.

    Args:
        model: a compiled model.
        x: a batch, or one example if the model's input shape is known.
        y, sample_weight: for the batch or the example.

    Raises ValueError if the model is not compiled.
    """
    model._need_compiled("explain.gradient")
    inputs, y, sample_weight = as_batches(model, x, y, sample_weight)
    prepared(model, inputs, y, sample_weight)
    inputs = jax.tree.map(jnp.asarray, inputs)
    found = calls(model, inputs)
    trainable, others = model._state_variables()
    counts = model.metrics_variables
    rest = unlisted_counts(model, "predict", counts, model._structure().metrics)
    state = list(itertools.chain(trainable, others, counts, rest))
    result, by_weights, gradients, by_inputs = derivatives(
        model,
        found,
        inputs,
        lambda inputs, y_pred: loss_of(model, inputs, y, y_pred, sample_weight, False),
        state,
        [v.value for v in state],
        len(trainable),
    )
    return Run(
        model,
        found,
        inputs,
        y,
        sample_weight,
        float(result),
        gradients,
        [None if g.dtype == _NONE else g for g in jax.tree.leaves(by_inputs)],
        {id(v): g for v, g in zip(trainable, by_weights, strict=True)},
    )


def derivatives(
    model, found, inputs, measure, state, values, trained: int, training: bool = False
) -> tuple:
    """The loss, and its derivatives by weights, by the calls' outputs, and by inputs. It may be compiled.

    Args:
        model: the model.
        found: its calls for these inputs.
        inputs: a batch.
        measure: `(inputs, outputs)` to the loss.
        state, values: the variables that are read or assigned meanwhile, and what they hold.
        trained: of how many of these, from the first on, the derivative is taken.
        training: whether layers do what they do in training.

    Returns:
        the loss; a list; a dict by the calls' numbers; and inputs' derivatives in their structure.
    """
    chosen = set(_with_outputs_of_their_own(found))

    def loss(trained_values, added, inputs):
        number = itertools.count()

        def replace(call):
            n = next(number)
            return call.outputs + added[n] if n in chosen else call.outputs

        def forward():
            return measure(inputs, calls(model, inputs, replace, training)[-1].outputs)

        return functional(forward, state)([*trained_values, *values[trained:]])[0]

    zeros = {n: jnp.zeros_like(found[n].outputs) for n in chosen}
    differentiate = jax.value_and_grad(loss, argnums=(0, 1, 2), allow_int=True)
    result, (by_weights, gradients, by_inputs) = differentiate(values[:trained], zeros, inputs)
    for n in chosen:
        gradients[n] = gradients[n] + _by_activity(found[n])
    return result, by_weights, gradients, by_inputs


def as_batches(model, x, y, sample_weight) -> tuple:
    """Inputs, targets and weights as batches: if the input is one example, so are the others."""
    x = _in_arrays(x)
    inputs = as_batch(model, x)
    alone = np.ndim(jax.tree.leaves(inputs)[0]) > np.ndim(jax.tree.leaves(x)[0])
    targets, sample_weight = (
        jax.tree.map(lambda a: np.asarray(a)[None] if alone else np.asarray(a), _in_arrays(given))
        for given in (y, sample_weight)
    )
    count = len(jax.tree.leaves(inputs)[0])
    for name, given in (("y", targets), ("sample_weight", sample_weight)):
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(given)}
        if lengths - {(count,)}:
            raise ValueError(
                f"`x` holds {count} examples, and `{name}` arrays of the shapes "
                f"{[np.shape(leaf) for leaf in jax.tree.leaves(given)]}."
            )
    return inputs, targets, sample_weight


def _in_arrays(given):
    """Lists of numbers as one array; what holds arrays stays as it is."""
    is_numbers = isinstance(given, list | tuple) and not any(
        np.ndim(leaf) or isinstance(leaf, str) for leaf in jax.tree.leaves(given)
    )
    return np.asarray(given) if is_numbers and jax.tree.leaves(given) else given


def prepared(model, inputs, y, sample_weight) -> None:
    """Build what is still missing, such as the resolved losses, and count nothing."""
    before = [(v, v.value) for v in model.metrics_variables]
    model.test_on_batch(inputs, y, sample_weight)
    model.reset_metrics()
    for variable, value in before:
        variable.assign(value)


def _with_outputs_of_their_own(found: list[Call]) -> Iterable[int]:
    """The numbers of calls that have made one array of floats, and not by the layers within them."""
    made: set[int] = set()
    for number, call in enumerate(found[:-1]):
        outputs = call.outputs
        is_own = call.is_whole or id(outputs) not in made
        if is_own and isinstance(outputs, jax.Array) and is_float(outputs.dtype):
            yield number
        made.update(id(leaf) for leaf in jax.tree.leaves(outputs))


def _by_activity(call: Call):
    """What a layer's own penalty of its output adds to the derivative by it."""
    regularizer = getattr(call.operation, "activity_regularizer", None)
    if regularizer is None or not isinstance(call.operation, Layer):
        return 0
    size = max(call.outputs.shape[0], 1)
    return jax.grad(lambda a: jnp.sum(regularizer(a.astype(jnp.float32))) / size)(call.outputs)


def variable_of(layer, weight: str) -> Variable:
    """A layer's own weight by its name, or by its path where several have the name.

    Raises ValueError if it has none of that name, or several.
    """
    value = getattr(layer, weight, None)
    if isinstance(value, Variable):
        return value
    found = [v for v in layer.variables if weight in (v.name, v.path)]
    if len(found) == 1:
        return found[0]
    which = f"The layer '{layer.name}' ({type(layer).__name__}) has"
    if found:
        paths = ", ".join(repr(v.path) for v in found)
        raise ValueError(f"{which} {len(found)} weights {weight!r}. Give one of {paths}.")
    names = dict.fromkeys(v.name for v in layer.variables)
    raise ValueError(
        f"{which} no weight {weight!r}, but {', '.join(map(repr, names)) or 'none at all'}."
    )
