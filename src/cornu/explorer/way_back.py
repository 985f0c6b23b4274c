"""The way back through a model, compiled: how the loss of one example changes with all numbers."""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.core.variable import Variable, functional
from cornu.explain.backward.run import Run, derivatives, variable_of
from cornu.explain.backward.weights import gradient_of
from cornu.explain.observe import Call, calls
from cornu.explorer.edits import Steps, Value
from cornu.losses import BinaryCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy
from cornu.training.step import loss_of, unlisted_counts

# Of a sum over places, the terms that are listed; and the places of an output that are summed up at all.
MOST_TERMS, MOST_PLACES = 12, 2**18


class Loss(NamedTuple):
    """A loss of one example.

    Attributes:
        form: of the target: a `"class"`, a class as `"shares"`, or `"numbers"`.
        is_own: whether the model was compiled with it.
        measure: `(x, y, outputs)` to a number.
    """

    form: str
    is_own: bool
    measure: Callable


class WayBack:
    """Losses and gradients of a model for one example and target; the model is left as it is.

    The loss is the model's own where it is compiled with one that takes a class or numbers as target, else
    the cross-entropy of classes (the binary one after a sigmoid), or the mean of squares.

    Args:
        model: a model with one input and one output.
        variables: its variables; questions give what they hold.
        found: its calls; the last one gives the output.
        num_classes: if the output is one number for each class.
        dtype: of its inputs.
    """

    def __init__(
        self, model, variables: list[Variable], found: list[Call], num_classes: int | None, dtype
    ):
        self.model, self.num_classes, self._dtype = model, num_classes, dtype
        known = {id(v) for v in variables}
        self._trained = [v for v in model._state_variables()[0] if id(v) in known]
        is_trained = {id(v) for v in self._trained}
        # Where in the questions' values those are that come first here.
        place = {id(v): n for n, v in enumerate(variables)}
        first = [place[id(v)] for v in self._trained]
        self._order = [*first, *(n for n, v in enumerate(variables) if id(v) not in is_trained)]
        self._variables = variables
        self._output = found[-1].outputs
        # The one that was called last, wherever the model lists it.
        self._last = next((call.operation for call in reversed(found) if call.is_whole), None)
        self.refusal = self._why_not()
        self._lock = threading.Lock()
        self._chosen: Loss | None = None
        self._rest: dict[bool, Any] = {}
        self._run = jax.jit(self._computed, static_argnames="training")
        self._lost = jax.jit(self._losses)
        self._stepped = jax.jit(self._moved)
        self._sloped = jax.jit(self._by_weights)

    # ---- what is asked

    def run(self, values, x, target: list[float]) -> Run:
        """A run forward and back: `explain.backward.run`, with weights as given.

        Args:
            values: of the variables.
            x: a batch of one example, as the model takes it.
            target: a class; or as many numbers as the output has, or one for all of them.
        """
        return self._both_ways(values, x, self.target(target), False)

    def trained_on(self, values, x, y) -> tuple[Run, list[float]]:
        """A run of a batch as in training, by the model's own loss; and each example's loss."""
        done = self._both_ways(values, x, y, True)
        return done, [float(v) for v in self._lost(values, x, y, done.whole.outputs)]

    def loss_on(self, values, x, y) -> float:
        """The loss of a batch, as in `evaluate`."""
        return float(jnp.mean(jnp.stack(self._lost(values, x, y, None))))

    def _both_ways(self, values, x, y, training: bool) -> Run:
        loss, by_weights, gradients, by_input, leaves = self._run(values, x, y, training=training)
        structure, is_array, others = self._rest[training]
        computed = iter(leaves)
        leaves = [next(computed) if a else o for a, o in zip(is_array, others, strict=True)]
        found = jax.tree.unflatten(structure, leaves)
        weights = {id(v): g for v, g in zip(self._trained, by_weights, strict=True)}
        return Run(self.model, found, x, y, None, float(loss), gradients, [by_input], weights)

    def stepped(self, values, x, steps: Steps) -> list:
        """The weights after steps of plain gradient descent: each minus the rate times its gradient."""
        y = self.target(steps.target)
        for _ in range(steps.steps):
            values = self._stepped(values, x, y, jnp.float32(steps.rate))
        return values

    def weight(
        self, values, x, target: list[float], layer: Layer, weight: str, index, rate: float
    ) -> dict[str, Any]:
        """How the loss changes with one weight, as a sum over places, and what a step makes of it."""
        done = self.run(values, x, target)
        call = next((call for call in done.found if call.operation is layer), None)
        if call is not None and np.size(call.outputs) > MOST_PLACES * max(
            call.outputs.shape[-1], 1
        ):
            raise ValueError(f"The output of '{layer.name}' has too many places to list their sum.")
        variable_of(layer, weight)
        made = functional(lambda: gradient_of(done, layer, index, weight), self._variables)(values)[
            0
        ]
        move = np.float32(rate) * np.float32(made.expected)
        return {
            "layer": made.layer,
            "kind": made.kind,
            "weight": weight,
            "index": list(made.index),
            "value": made.value,
            "loss": done.loss,
            "gradient": made.expected,
            "result": made.result,
            "rate": rate,
            "after": float(np.float32(made.value) - move),
            "parts": [_listed(part) for part in made.parts],
        }

    def slopes(self, values, x, classes) -> dict[str, np.ndarray]:
        """The mean derivative by each trained weight over a batch, by the weights' paths.

        Args:
            values: of the variables.
            x: a batch, as the model takes it.
            classes: its classes as integers `(n,)`.
        """
        found = self._sloped(values, x, self.targets(classes))
        return {
            v.path: np.asarray(g, np.float32) for v, g in zip(self._trained, found, strict=True)
        }

    def targets(self, y):
        """The targets of a batch as the loss takes them: classes, or a number for each example."""
        if self.num_classes is None:
            return jnp.asarray(y, jnp.float32).reshape(-1, *self._output.shape[1:])
        y = jnp.asarray(y, jnp.int32)
        return y if self._loss().form == "class" else jax.nn.one_hot(y, self.num_classes)

    def target(self, given: list[float]):
        """The target as the loss takes it. Raises ValueError if it does not fit the output."""
        if self.refusal:
            raise ValueError(self.refusal)
        form = self._loss().form
        if self.num_classes is None:
            shape = self._output.shape
            size = int(np.prod(shape))
            if len(given) not in (1, size):
                raise ValueError(f"Expected {size} numbers as target, or one for all of them.")
            return jnp.asarray(np.resize(given, shape), jnp.float32)
        number = given[0]
        if len(given) != 1 or number != int(number) or not 0 <= number < self.num_classes:
            raise ValueError(f"Expected a class from 0 to {self.num_classes - 1} as target.")
        chosen = jnp.asarray([int(number)], jnp.int32)
        return chosen if form == "class" else jax.nn.one_hot(chosen, self.num_classes)

    @property
    def has_own_loss(self) -> bool:
        """Whether the loss is the model's own."""
        return self._loss().is_own

    @property
    def loss_name(self) -> str:
        """What the loss is called."""
        if self._loss().is_own:
            terms = self.model._compiled_loss.terms
            return " + ".join(getattr(term.loss, "name", None) or "loss" for term in terms)
        if self.num_classes is None:
            return "mean_squared_error"
        return "binary cross-entropy" if self._ends_with("sigmoid") else "cross-entropy"

    # ---- what is compiled

    def _computed(self, values, x, y, training):
        state = self._state()
        given = self._in_order(values, state)
        found, _ = functional(lambda: calls(self.model, x, training=training), state)(given)
        measure = functools.partial(self._own, training=True) if training else self._loss().measure
        loss, by_weights, gradients, by_input = derivatives(
            self.model,
            found,
            x,
            lambda x, outputs: measure(x, y, outputs),
            state,
            given,
            len(self._trained),
            training,
        )
        leaves, structure = jax.tree.flatten(found)
        is_array = [isinstance(leaf, jax.Array) for leaf in leaves]
        others = [None if a else leaf for a, leaf in zip(is_array, leaves, strict=True)]
        self._rest[training] = structure, is_array, others
        if not is_float(self._dtype):
            by_input = None
        arrays = [leaf for a, leaf in zip(is_array, leaves, strict=True) if a]
        return loss, by_weights, gradients, by_input, arrays

    def _losses(self, values, x, y, outputs):
        """The loss of each example by itself; without outputs of the whole batch, as in `evaluate`."""
        state, is_training = self._state(), outputs is not None

        def measured():
            found = outputs if is_training else self.model(x, training=False)
            if not is_training:
                return [self._own(x, y, found)]
            parts = [slice(n, n + 1) for n in range(len(y))]
            return [self._own(x[p], y[p], found[p], training=True) for p in parts]

        return functional(measured, state)(self._in_order(values, state))[0]

    def _by_weights(self, values, x, y):
        state = self._state()
        given = self._in_order(values, state)
        measure = self._loss().measure

        def loss(trained):
            def forward():
                return measure(x, y, self.model(x, training=False))

            return functional(forward, state)([*trained, *given[len(self._trained) :]])[0]

        return jax.grad(loss)(given[: len(self._trained)])

    def _moved(self, values, x, y, rate):
        slopes = self._by_weights(values, x, y)
        after = list(values)
        for n, slope in zip(self._order, slopes, strict=False):
            moved = jnp.asarray(values[n], jnp.float32) - rate * jnp.asarray(slope, jnp.float32)
            after[n] = moved.astype(values[n].dtype)
        return after

    def _state(self) -> list[Variable]:
        """All that is read or assigned, the trained weights first."""
        model = self.model
        counts = [*model._state_variables()[1], *model.metrics_variables]
        counts += unlisted_counts(model, "predict", counts, model._structure().metrics)
        known = {id(v) for v in self._variables}
        others = {id(v): v for v in counts if id(v) not in known}
        return [*(self._variables[n] for n in self._order), *others.values()]

    def _in_order(self, values, state) -> list:
        # Nothing depends on what was counted, and training gives those arrays away.
        counts = [jnp.zeros(v.shape, v.dtype) for v in state[len(self._order) :]]
        return [*(values[n] for n in self._order), *counts]

    # ---- which loss

    def _why_not(self) -> str:
        if not hasattr(self._output, "shape"):
            return "The way back begins at one output; this model has several."
        if not is_float(self._output.dtype):
            return "The output is of integers, which have no gradient."
        if self.num_classes is None and int(np.prod(self._output.shape)) > 1024:
            return "The way back begins at classes or a few numbers; this model's answer is a map."
        if not self._trained:
            return "No weight of this model is trained."
        return ""

    def _loss(self) -> Loss:
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
            return self._chosen

    def _choose(self) -> Loss:
        model = self.model
        if getattr(model, "compiled", False) and model._compiled_loss is not None:
            names = str([getattr(t.loss, "name", t.loss) for t in model._compiled_loss.terms])
            forms = ["class", "shares"] if "sparse" in names else ["shares", "class"]
            for form in ["numbers"] if self.num_classes is None else forms:
                if self._takes(form):
                    return Loss(form, True, self._own)
        form = "class"
        measure: Callable = SparseCategoricalCrossentropy(from_logits=True)
        if self.num_classes is None:
            form, measure = "numbers", MeanSquaredError()
        elif self._ends_with("softmax"):
            measure = SparseCategoricalCrossentropy()
        elif self._ends_with("sigmoid"):
            # Each class for itself: the shares need not add up to 1.
            form, measure = "shares", BinaryCrossentropy()
        return Loss(form, False, lambda x, y, outputs: measure(y, outputs))

    def _own(self, x, y, outputs, training=False):
        return jnp.asarray(loss_of(self.model, x, y, outputs, None, training), jnp.float32)

    def _takes(self, form: str) -> bool:
        """Whether the model's loss makes a number of targets in this form."""
        state = self._state()
        shape = (1,) if form == "class" else self._output.shape
        y = jax.ShapeDtypeStruct(shape, jnp.int32 if form == "class" else jnp.float32)
        values = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in state]
        outputs = jax.ShapeDtypeStruct(self._output.shape, self._output.dtype)
        pure = functional(self._own, state)
        try:
            told = jax.eval_shape(lambda v, y, o: pure(v, None, y, o)[0], values, y, outputs)
        except Exception:
            # A loss of somebody's may want anything.
            return False
        return told.shape == ()

    def _ends_with(self, name: str) -> bool:
        """Whether the last layer's activation is the one of this name."""
        activation = getattr(self._last, "activation", None)
        return getattr(activation, "__name__", type(self._last).__name__.lower()) == name


def _listed(part) -> dict[str, Any]:
    """A sum over places, with its largest terms."""
    products = part.products
    order = np.argsort(-np.abs(products), kind="stable")[:MOST_TERMS]
    rest = float(products.sum() - products[order].sum())
    return {
        "layer": part.layer,
        "kind": part.kind,
        "says": part.says,
        "count": len(products),
        "sum": float(products.sum()),
        "rest": rest,
        "terms": [
            {
                "place": part.outputs[n].tolist(),
                "factor": float(part.factors[n]),
                "slope": None if part.slopes is None else float(part.slopes[n]),
                "gradient": float(part.gradients[n]),
                "product": float(products[n]),
            }
            for n in order
        ],
    }


def edited(values: list, variables: list, layer_of: Callable, edits: list[Value]) -> list:
    """Copies of weights with some numbers set.

    Args:
        values: of the variables.
        variables: the variables.
        layer_of: from a layer's number to the layer.
        edits: what is set.

    Raises ValueError if there is no such layer, weight or number.
    """
    changed: dict[int, np.ndarray] = {}
    for edit in edits:
        layer = layer_of(edit.layer)
        if not isinstance(layer, Layer):
            raise ValueError(f"What is number {edit.layer} has no weights.")
        variable = variable_of(layer, edit.weight)
        place = next((n for n, v in enumerate(variables) if v is variable), None)
        if place is None or not is_float(variable.dtype):
            raise ValueError(
                f"The weight {edit.weight!r} of '{layer.name}' cannot be changed here."
            )
        shape = values[place].shape
        good = len(edit.place) == len(shape) and all(
            i is None or i < n for i, n in zip(edit.place, shape, strict=True)
        )
        if not good:
            raise ValueError(
                f"The weight {edit.weight!r} of '{layer.name}' has the shape {tuple(shape)}. Received: "
                f"index={list(edit.place)}"
            )
        if place not in changed:
            changed[place] = np.array(values[place])
        where = tuple(slice(None) if i is None else i for i in edit.place)
        changed[place][where] = edit.value
    return [jnp.asarray(changed[n], v.dtype) if n in changed else v for n, v in enumerate(values)]
