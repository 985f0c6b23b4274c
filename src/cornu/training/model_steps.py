"""Which step a model takes, on which variables, and its compiled form."""

import inspect
from collections.abc import Callable

from cornu.core import placement
from cornu.training.compiled_step import CompiledStep
from cornu.training.step import State, is_overridden, unlisted_counts


def compiled_step(model, kind: str, force=False) -> CompiledStep:
    """The compiled step for one kind of work: made once, and again if the state changed.

    Variables go to where the distribution in force wants them.
    """
    found = _compiled_step(model, kind, force)
    if placement.distribution() is not None:
        found.place()
    return found


def _compiled_step(model, kind: str, force: bool) -> CompiledStep:
    structure = model._structure()
    known = None if force else model._functions.get(kind)
    trains = kind == "train" and model.optimizer is not None
    # What the structure does not tell of.
    counts = model.metrics_variables if kind != "predict" else []
    rest = [
        model.optimizer.variables if trains else [],
        counts,
        unlisted_counts(model, kind, counts, structure.metrics),
    ]
    settings = [structure.settings, model.optimizer.settings if trains else []]
    if known is not None and not known.was_made_for(settings):
        known = None
    if known is not None and known.structure is structure and known.holds(rest, 2):
        return known
    state = State(*model._state_variables(), *rest)
    if known is not None and known.holds(state):
        known.structure, known.examples_are_alone = structure, None
        return known
    compiles = model.jit_compile and not model.run_eagerly
    method = step_method(model, kind)
    made = CompiledStep(method, kind, state, compiles, model._turn, model._flatten_layers)
    made.settings = settings
    model._functions[kind] = made
    # It is itself a part of the model by now.
    made.structure = model._structure()
    return made


def has_own_step(model, kind: str) -> bool:
    """Whether the user has written the step."""
    name = f"{kind}_step"
    return name in model.__dict__ or is_overridden(type(model), name)


def step_method(model, kind: str) -> Callable:
    """The step of one kind.

    Raises TypeError if it does not take a state: so they are written for TensorFlow and PyTorch. And if the
    user has written what makes a compiled function of it, as nothing calls that.
    """
    maker = f"make_{kind}_function"
    if is_overridden(type(model), maker):
        raise TypeError(
            f"`{type(model).__name__}.{maker}` would never be called: Cornu compiles steps itself. "
            f"Override `{kind}_step(self, state, data)` instead, as for Keras on JAX."
        )
    step = getattr(model, f"{kind}_step")
    try:
        inspect.signature(step).bind(None, None)
    except TypeError:
        raise TypeError(
            _HOW_TO_STEP[kind].format(cls=type(model).__name__, signature=inspect.signature(step))
        ) from None
    return step


# What a step has to look like, for who has written another.
_HOW_TO_STEP = {
    kind: (
        f"`{{cls}}.{kind}_step{{signature}}` does not take a state. As with Keras on JAX, a step is a pure "
        "function: it gets the values of all variables, and returns the new ones. Write it so:\n\n"
        f"    def {kind}_step(self, state, data):\n        {names} = state\n{body}"
    )
    for kind, names, body in (
        (
            "train",
            "trainable, others, optimizer, metrics",
            """        x, y = data

        def loss_of(trainable, others):
            y_pred, others = self.stateless_call(trainable, others, x, training=True)
            return self.compute_loss(x, y, y_pred), others

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = gradient(trainable, others)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return {{"loss": loss}}, (trainable, others, optimizer, metrics)""",
        ),
        (
            "test",
            "trainable, others, metrics",
            """        x, y = data
        y_pred, others = self.stateless_call(trainable, others, x, training=False)
        return {{"loss": self.compute_loss(x, y, y_pred)}}, (trainable, others, metrics)""",
        ),
        (
            "predict",
            "trainable, others",
            """        outputs, others = self.stateless_call(trainable, others, data, training=False)
        return outputs, others""",
        ),
    )
}
