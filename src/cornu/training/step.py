"""A step as a pure function of a model's state. It is independent of compiling, signals and the loop."""

import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cornu.core.variable import Variable, functional, taking_out
from cornu.data.samples import unpack_x_y_sample_weight
from cornu.training.logs import as_logs


class State(NamedTuple):
    """What a step works on: variables, or their values, by purpose."""

    trainable: list
    non_trainable: list
    optimizer: list
    metrics: list
    # Those of metrics that a step may count with though it is not given them.
    unlisted: list

    def split(self, values) -> "State":
        """The values, split into lists of the same lengths."""
        rest = iter(values)
        return State(*(list(itertools.islice(rest, len(part))) for part in self))

    def listed(self, kind: str) -> tuple:
        """The lists that a step of this kind is given and returns."""
        return tuple(getattr(self, name) for name in LISTED[kind])


LISTED = {
    "train": ("trainable", "non_trainable", "optimizer", "metrics"),
    "test": ("trainable", "non_trainable", "metrics"),
    "predict": ("trainable", "non_trainable"),
}


# ---- the steps of a model that has none of its own


def train(model, state, data) -> tuple:
    """One step of training: the logs, and the new state."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    grads, (loss, y_pred, others, metric_values) = gradients(model, state, data)
    trainable, optimizer_values = model.optimizer.stateless_apply(state[2], grads, state[0])
    logs, metric_values = _count(model, metric_values, loss, x, y, y_pred, sample_weight)
    return logs, (trainable, others, optimizer_values, metric_values)


def gradients(model, state, data) -> tuple:
    """What a step of training gives the optimizer, and `(loss, y_pred, others, metrics)`."""
    trainable, others, optimizer_values, metric_values = state
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    run, put = taking_out(_loss_and_updates(model))

    def with_assigned(*args, **kwargs):
        (loss, updates), assigned = run(*args, **kwargs)
        return loss, (updates, assigned)

    gradient = jax.value_and_grad(with_assigned, has_aux=True)
    (_, (updates, assigned)), grads = gradient(
        trainable,
        others,
        metric_values,
        x,
        y,
        sample_weight,
        training=True,
        optimizer_variables=optimizer_values,
    )
    put(assigned)
    return grads, updates


def test(model, state, data) -> tuple:
    """One step of evaluation: the logs, and the new state."""
    trainable, others, metric_values = state
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    _, (loss, y_pred, others, metric_values) = _loss_and_updates(model)(
        trainable, others, metric_values, x, y, sample_weight, training=False
    )
    logs, metric_values = _count(model, metric_values, loss, x, y, y_pred, sample_weight)
    return logs, (trainable, others, metric_values)


def loss_and_updates(
    model, trainable, others, metric_values, x, y, sample_weight, training, optimizer_values
) -> tuple:
    """The loss that is differentiated, and `(loss, y_pred, others, metric_values)`."""
    trainable_variables, other_variables = model._state_variables()
    counts = model.metrics_variables
    # Counts of models within this one are no part of the state: they stay as they are.
    rest = unlisted_counts(model, "predict", counts, model._structure().metrics)

    def run():
        y_pred = model(x, training=training)
        return loss_of(model, x, y, y_pred, sample_weight, training), y_pred

    state = State(trainable_variables, other_variables, [], counts, rest)
    values = [*trainable, *others, *metric_values, *(v.value for v in rest)]
    (loss, y_pred), new = model._pure(run, list(itertools.chain(*state)))(values)
    new_state = state.split(new)
    unscaled = loss
    if training and model.optimizer is not None:
        scale = functional(model.optimizer.scale_loss, model.optimizer.variables)
        loss, _ = scale(optimizer_values, loss)
    return loss, (unscaled, y_pred, new_state.non_trainable, new_state.metrics)


def unlisted_counts(model, kind: str, listed: list, kept: list) -> list:
    """Metric variables that a step may update although its state does not list them.

    Those of `kept`, all metrics in the model's layers, are among them.
    """
    own = model._loss_trackers() if kind != "predict" else []
    if own and model._compiled_metrics is not None:
        own.append(model._compiled_metrics)
    ids = set(map(id, listed))
    found = [v for metric in (*own, *kept) for v in metric.variables]
    return list({id(v): v for v in found if id(v) not in ids}.values())


def loss_of(model, x, y, y_pred, sample_weight, training):
    """`model.compute_loss`, which may be overridden without `training`."""
    if takes(type(model).compute_loss, "training"):
        return model.compute_loss(x, y, y_pred, sample_weight, training=training)
    return model.compute_loss(x, y, y_pred, sample_weight)


def _loss_and_updates(model) -> Callable:
    """`compute_loss_and_updates`, unless it was overridden with the arguments of a user's step."""
    own = type(model).compute_loss_and_updates
    if all(takes(own, name) for name in ("metrics_variables", "sample_weight")):
        return model.compute_loss_and_updates

    def inherited(*values, training=False, optimizer_variables=None):
        values = *values, training, optimizer_variables
        return loss_and_updates(model, *values)

    return inherited


def _count(model, metric_values, loss, x, y, y_pred, sample_weight) -> tuple:
    def count():
        model._loss_tracker.update_state(loss, sample_weight=jax.tree.leaves(x)[0].shape[0])
        return model.compute_metrics(x, y, y_pred, sample_weight)

    return functional(count, model.metrics_variables)(metric_values)


def is_overridden(cls: type, name: str) -> bool:
    """Whether a model's class overrides a method."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    return owner is not None and not owner.__module__.startswith("cornu.training.")


def takes(method, name: str) -> bool:
    """Whether a method has a parameter of that name, or takes any."""
    parameters = inspect.signature(method).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


# ---- any step, which may be the user's


def run(
    method: Callable,
    kind: str,
    variables: State,
    outside: list[Variable],
    missed: Callable[[Variable], bool],
    values: list,
    outside_values: list,
    data: Any,
) -> tuple:
    """The results of a step, and the new values of all variables; None for an unchanged one.

    Whatever the step reads and assigns besides its state has the values of this moment, too.

    Args:
        method: `(state, data) -> (results, state)`.
        kind: `"train"`, `"test"` or `"predict"`.
        variables: those of the state.
        outside: others that the step reads or assigns.
        missed: called with each variable that is neither: see `core.variable.Scope`.
        values, outside_values: what the variables hold.
        data: a batch.
    """
    own = list(itertools.chain(*variables))
    before = [*values, *outside_values]
    pure = functional(method, [*own, *outside], missed=missed)
    returned, assigned = pure(before, variables.split(values).listed(kind), data)
    result, state = _checked(kind, returned, variables)
    returned_values = [*itertools.chain(*state)]
    returned_values += [None] * (len(before) - len(returned_values))
    new: list = []
    for variable, old, value, assigned_value in zip(
        [*own, *outside], before, returned_values, assigned, strict=True
    ):
        if value is None or value is old:
            value = assigned_value
        changes = value is not old or (kind == "train" and len(new) < len(values))
        new.append(_like(variable, value) if changes else None)
    return result, new


def _checked(kind: str, returned, variables: State) -> tuple:
    """Check what a step, perhaps a user's, returned: results, and the lists of its state."""
    name, lists = f"`{kind}_step`", LISTED[kind]
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        what = "outputs" if kind == "predict" else "logs"
        raise TypeError(f"{name} must return `({what}, state)`. Received: {returned!r}")
    result, state = returned
    expected = [len(part) for part in variables.listed(kind)]
    if kind == "predict":
        # Only variables that are not trainable may change; as in Keras, they may come alone.
        pair = len(state) == 2 and all(isinstance(part, list | tuple) for part in state)
        state = [[None] * expected[0], state[1] if pair else state]
    found = [len(part) if isinstance(part, list | tuple) else None for part in state]
    if found != expected:
        raise ValueError(
            f"{name} must return the state as it came, ({', '.join(lists)}), lists of "
            f"{expected} values. Received lists of {found} values."
        )
    return result if kind == "predict" else as_logs(result, name), state


def _like(variable, value):
    """What a step returned for a variable, in the variable's dtype."""
    value = getattr(value, "value", value) if isinstance(value, Variable) else jnp.asarray(value)
    if value.shape != variable.shape:
        raise ValueError(
            f"The step returned a value of shape {value.shape} for the variable {variable.path!r} of shape "
            f"{variable.shape}. A variable keeps its shape."
        )
    if value.dtype != variable.dtype or value.weak_type:
        value = jax.lax.convert_element_type(value, jnp.dtype(variable.dtype))
    return value


def refuse_untracked(variable: Variable, layer) -> None:
    """Raise RuntimeError for a weight that a layer uses and no search of the model has found."""
    raise RuntimeError(
        f"The weight {variable.path!r} (shape {variable.shape}) is used, but nothing that "
        f"'{layer.name}' is made of leads to it: it would be neither trained nor saved. "
        "Keep the layer that made it as an attribute, `self.block = …` in `__init__`; lists, "
        "tuples, sets, dicts, dataclasses and plain objects are looked into. A function's "
        "closure, a global variable, and an attribute of a class are not. If it shall stay "
        "as it is, set `trainable = False` on its layer."
    )
