"""How one step of training moves one weight: `update`."""

import math
import weakref
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.explain.backward.moves import Sheet, moved, single
from cornu.explain.backward.parts import OfWeight
from cornu.explain.backward.run import as_batches, variable_of
from cornu.explain.backward.uses import floats
from cornu.explain.backward.weights import number_of
from cornu.explain.observe import call_of, shapes_of_calls
from cornu.explain.terms.base import Step, exact, show
from cornu.optimizers import LossScaleOptimizer, MultiOptimizer
from cornu.optimizers.state import value_of
from cornu.training import model_steps, step
from cornu.training.compiled_step import CompiledStep


@dataclass(repr=False)
class Update(OfWeight):
    """How a step of training moves one weight. `print` shows it, step by step.

    Attributes:
        layer, kind: the layer.
        weight, index: which of its weights, and which number of that.
        optimizer: the optimizer's class.
        before: the number before the step.
        gradient: how the loss changes with it, in training.
        steps: what was done with the gradient; the last step's value is the result.
        expected: what the model itself makes of the number.
    """

    optimizer: str
    before: float
    gradient: float
    steps: list[Step]
    expected: float

    @property
    def result(self) -> float:
        """The number after the step, by the arithmetic."""
        return self.steps[-1].value

    def __repr__(self) -> str:
        return f"<Update of {self.name}: {exact(self.before)} → {exact(self.result)}>"

    def __str__(self) -> str:
        width = max(len(step.name) for step in self.steps)
        lines = [
            f"  {step.name:<{width}} = {step.formula}"
            + ("" if step.formula == show(step.value) else f" = {_shown(step)}")
            for step in self.steps
        ]
        return "\n".join(
            [
                f"{self.name} of {self.layer} ({self.kind}), a step of {self.optimizer}: "
                f"{exact(self.before)} → {exact(self.result)}",
                *lines,
                f"the model says {exact(self.expected)}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain numbers, for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "weight": self.weight,
            "index": list(self.index),
            "optimizer": self.optimizer,
            "before": self.before,
            "gradient": self.gradient,
            "steps": [step._asdict() for step in self.steps],
            "result": self.result,
            "expected": self.expected,
        }

    def table(self):
        """The steps as a table, for `rich.print`."""
        from rich.table import Table

        table = Table(title=str(self).splitlines()[0])
        for name in ("step", "formula", "value"):
            table.add_column(name, overflow="fold")
        for each in self.steps:
            table.add_row(each.name, each.formula, _shown(each))
        return table


def _shown(step: Step) -> str:
    return exact(step.value) if step.name.startswith("weight") else show(step.value)


def update(model, x, y, layer, index, *, weight="kernel", sample_weight=None) -> Update:
    """How `train_on_batch(x, y)` would move one weight, and why; the model is left as it is.

    The gradient is that of training: with dropout, and normalization by the batch. Then comes the
    optimizer's rule, with its numbers put in: loss scale, accumulation, clipping, decay, momentum, the
    learning rate, averages and constraints, as far as they are in use. The arithmetic is in float64, and
    compared with what the model's own step makes of the weight.

    Args:
        model: a compiled model. Its optimizer's state is made if it was not there.
        x, y, sample_weight: a batch, or one example if the model's input shape is known.
        layer: a layer, its name, or its index in `model.layers`.
        index: which number of the weight.
        weight: which weight, as for `weight_gradient`.

    Returns:
        an `Update`: `print` it, `.table()` it, or read its `steps`.

    Raises ValueError if the model is not compiled, if there is no such layer, weight or number, or if it is
    not trained; NotImplementedError for an optimizer whose rule is not known; ArithmeticError if the model
    makes something else of the weight than the rule, as an own `train_step` may.

    >>> import cornu, numpy as np
    >>> model = cornu.Sequential([cornu.Input((1,)), cornu.layers.Dense(1, name="out")])
    >>> model.set_weights([np.array([[2.0]]), np.zeros(1)])
    >>> model.compile(cornu.optimizers.SGD(0.1, momentum=0.9), "mse")
    >>> print(cornu.explain.update(model, np.array([[1.0]]), np.array([[5.0]]), "out", (0, 0)))
    kernel[0, 0] of out (Dense), a step of SGD: 2 → 2.6
      gradient = -6
      velocity = 0.9 × 0 - 0.1 × -6 = 0.6
      weight   = 2 + 0.6 = 2.6
    the model says 2.6
    """
    model._need_compiled("explain.update")
    inputs, y, sample_weight = as_batches(model, x, y, sample_weight)
    batch = model._batch_of("train", inputs, y, sample_weight)
    layer = call_of(shapes_of_calls(model, inputs), model, layer).operation
    variable = variable_of(layer, weight)
    index = number_of(variable, layer, weight, index)
    trained = model._state_variables()[0]
    place = next((i for i, each in enumerate(trained) if each is variable), None)
    if place is None:
        raise ValueError(
            f"The weight {weight!r} of '{layer.name}' is not trained: it is frozen, or counted."
        )
    own = model_steps.compiled_step(model, "train")
    after = own.tried(batch)[1][place]
    expected = variable.value if after is None else after
    gradients = _gradients(model, own, batch)
    sheet = Sheet(index)
    before = floats(variable.value)
    result = _stepped(model.optimizer, sheet, trained, place, gradients)
    made = Update(
        layer.name,
        type(layer).__name__,
        weight,
        index,
        type(model.optimizer).__name__,
        float(before[index]),
        float(gradients[place][index]),
        sheet.steps,
        float(floats(expected)[index]),
    )
    _check(made, float(result[index]), variable)
    return made


# For each step of training, the one that gives gradients in place of weights.
_of_gradients: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _gradients(model, own: CompiledStep, batch) -> list[np.ndarray]:
    """What the step gives the optimizer for each trained weight."""
    if own not in _of_gradients:
        # The step must not keep itself alive.
        model_of = weakref.ref(model)

        def in_place_of_weights(state, data):
            found, (_, _, others, metrics) = step.gradients(model_of(), state, data)
            return {}, (found, others, state[2], metrics)

        _of_gradients[own] = own.with_method(in_place_of_weights)
    return [floats(found) for found in _of_gradients[own].tried(batch)[1]]


def _check(made: Update, result: float, variable) -> None:
    """Raise ArithmeticError if the two results differ by more than rounding explains."""
    epsilon = float(jnp.finfo(variable.dtype).eps)
    scale = max(abs(made.before), abs(result), abs(made.expected))
    # Powers and roots in single precision.
    tolerance = 4 * epsilon * scale + 2e-4 * abs(result - made.before) + 1e-30
    if abs(result - made.expected) <= tolerance:
        return
    if math.isnan(result) and math.isnan(made.expected):
        return
    raise ArithmeticError(
        f"A step makes {made.expected!r} of {made.name} of "
        f"'{made.layer}', but the rule of {made.optimizer} gives {result!r}. Has the model a `train_step` "
        "of its own, or the optimizer another rule?"
    )


def _stepped(optimizer, sheet: Sheet, trained: list, place: int, gradients: list):
    """The weight after a step of the optimizer."""
    variable = trained[place]
    before, of = floats(variable.value), sheet.of
    gradient = gradients[place]
    sheet.note("gradient", of(gradient), gradient)
    if isinstance(optimizer, LossScaleOptimizer):
        scale = float(optimizer.dynamic_scale.value)
        gradients = [g / scale for g in gradients]
        text = f"{of(gradient)} / {of(scale)}, as the loss was multiplied with that"
        gradient = sheet.note("gradient, unscaled", text, gradients[place])
        if not all(np.isfinite(g).all() for g in gradients):
            return sheet.note(
                "weight", "not all gradients are finite: the step is left out", before
            )
        optimizer = optimizer.inner_optimizer
    if isinstance(optimizer, MultiOptimizer):
        owners = [optimizer._owners[optimizer._get_variable_index(v)] for v in trained]
        kept = [i for i, owner in enumerate(owners) if owner == owners[place]]
        optimizer = optimizer.optimizers[owners[place]]
        trained, gradients = [trained[i] for i in kept], [gradients[i] for i in kept]
        place = kept.index(place)
        sheet.note("optimizer", f"{type(optimizer).__name__} has this weight", gradient)
    if optimizer.loss_scale_factor is not None:
        factor = single(optimizer.loss_scale_factor)
        gradients = [g / factor for g in gradients]
        gradient = sheet.note(
            "gradient, unscaled", f"{of(gradient)} / {of(factor)}", gradients[place]
        )
    value, is_due = before, True
    if optimizer.gradient_accumulation_steps:
        gradients, is_due = _accumulated(optimizer, sheet, trained, place, gradients)
    if is_due:
        value = _moved(optimizer, sheet, trained, place, gradients)
    else:
        sheet.note("weight", "stays, as the gradients are still being added up", value)
    if optimizer.use_ema:
        value = _averaged(optimizer, sheet, variable, value)
    if variable.constraint is not None:
        name = type(variable.constraint).__name__
        value = floats(variable.constraint(jnp.asarray(value, variable.dtype)))
        sheet.note("weight", f"what the constraint {name} makes of it", value)
    return value


def _accumulated(optimizer, sheet: Sheet, trained, place, gradients):
    """The mean gradient of several steps, and whether this is the last of them."""
    count, of = optimizer.gradient_accumulation_steps, sheet.of
    sums = [
        g + floats(optimizer._accumulators[optimizer._get_variable_index(v)].value)
        for g, v in zip(gradients, trained, strict=True)
    ]
    gradient, total = gradients[place], sums[place]
    text = f"{of(total - gradient)} + {of(gradient)}"
    sheet.note("sum of gradients", text, total)
    is_due = (int(optimizer._iterations.value) + 1) % count == 0
    if is_due:
        sheet.note("mean gradient", f"{of(total)} / {count}", total / count)
    return [each / count for each in sums], is_due


def _moved(optimizer, sheet: Sheet, trained, place, gradients):
    """The weight after clipping, decay and the optimizer's rule."""
    of, variable = sheet.of, trained[place]
    gradient = _clipped(optimizer, sheet, gradients, place)
    value = floats(variable.value)
    rate = float(value_of(optimizer.learning_rate))
    decay = optimizer._weight_decay_of(variable)
    if decay is not None and optimizer._use_weight_decay(variable):
        text = f"{of(value)} - {of(value)} × {of(decay)} × {of(rate)}"
        value = sheet.note("weight, decayed", text, value - value * single(decay) * rate)
    slots = _slots_of(optimizer, variable)
    # All of these count from the first step.
    number = int(value_of(optimizer.iterations)) + 1
    return moved(optimizer, sheet, value, gradient, slots, rate, number)


def _slots_of(optimizer, variable) -> dict[str, np.ndarray]:
    number = optimizer._get_variable_index(variable)
    stores = dict(optimizer._slots)
    for name in ("momentum", "velocity"):
        # Muon keeps a velocity for some weights only.
        own = getattr(optimizer, "_momentums" if name == "momentum" else "_velocities", None)
        if own is not None and own[number] is not None:
            stores[name] = own
    return {name: floats(store[number].value) for name, store in stores.items()}


def _clipped(optimizer, sheet: Sheet, gradients, place):
    of, gradient = sheet.of, gradients[place]
    if optimizer.clipnorm:
        most, length = single(optimizer.clipnorm), float(np.sqrt((gradient**2).sum()))
        text = f"{of(gradient)} × {of(most)} / max({of(length)}, {of(most)}), by the length of all"
        return sheet.note("gradient, clipped", text, gradient * most / max(length, most))
    if optimizer.clipvalue:
        most = single(optimizer.clipvalue)
        text = f"{of(gradient)}, between -{of(most)} and {of(most)}"
        return sheet.note("gradient, clipped", text, np.clip(gradient, -most, most))
    if optimizer.global_clipnorm:
        most = single(optimizer.global_clipnorm)
        length = float(np.sqrt(sum((g**2).sum() for g in gradients)))
        text = f"{of(gradient)} × {of(most)} / max({of(length)}, {of(most)}), by the length of all weights'"
        return sheet.note("gradient, clipped", text, gradient * most / max(length, most))
    return gradient


def _averaged(optimizer, sheet: Sheet, variable, value):
    """The weight, unless its average takes its place in this step."""
    average = optimizer._averages[optimizer._get_variable_index(variable)]
    frequency = optimizer.ema_overwrite_frequency
    steps = int(value_of(optimizer.iterations))
    if average is None or not frequency or (steps + 1) % frequency:
        return value
    share = single(optimizer.ema_momentum) if steps else 0.0
    old, of = floats(average.value), sheet.of
    text = f"its average: {of(share)} × {of(old)} + {of(1 - share)} × {of(value)}"
    return sheet.note("weight", text, share * old + (1 - share) * value)
