"""What all optimizers share: the learning rate, clipping, decay, averages and accumulation."""

import functools
import inspect
import re
import warnings
from typing import TypeVar

import jax
import jax.numpy as jnp

from cornu.core import naming, registry
from cornu.core.variable import Variable, functional
from cornu.optimizers import transforms
from cornu.optimizers.state import OptimizerState, value_of

_Class = TypeVar("_Class", bound=type)


def registered(cls: _Class, before: str = "kwargs") -> _Class:
    """Class decorator: an optimizer of Keras.

    Its constructor takes the arguments of `Optimizer`, too: by position after its own, or `before` one of
    them.
    """
    constructor = cls.__dict__["__init__"]
    own = list(inspect.signature(constructor).parameters.values())
    names = {parameter.name for parameter in own}
    shared = [
        parameter
        for name, parameter in inspect.signature(Optimizer.__init__).parameters.items()
        if name not in names
    ]
    place = next(i for i, parameter in enumerate(own) if parameter.name == before)
    parameters = [*own[:place], *shared, *own[place:]]
    positional = [parameter.name for parameter in parameters[1:-1]]

    @functools.wraps(constructor)
    def __init__(self, *args, **kwargs):
        given = dict(zip(positional, args, strict=False))
        if len(args) > len(positional):
            raise TypeError(
                f"{cls.__name__} takes at most {len(positional)} arguments. Received {len(args)}."
            )
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{cls.__name__} got several values for argument '{min(twice)}'.")
        constructor(self, **given, **kwargs)

    __init__.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    cls.__init__ = __init__  # type: ignore[misc]
    return registry.register("optimizer", cls.__name__, module="keras.optimizers")(cls)


class Optimizer(OptimizerState):
    """A rule that changes weights so that the loss becomes smaller.

    Args:
        learning_rate: a number, a `LearningRateSchedule`, or a callable without arguments.
        weight_decay: each step also moves weights towards zero by `weight_decay * learning_rate`.
        clipnorm: largest length of each gradient.
        clipvalue: largest size of each number in a gradient.
        global_clipnorm: largest length of all gradients together.
        use_ema: whether to keep an exponential moving average of the weights, which replaces them
            at the end of training.
        ema_momentum: share of the old average in the new one.
        ema_overwrite_frequency: replace the weights by their average every so many steps.
        loss_scale_factor: the loss is multiplied, and the gradients are divided, by this number.
        gradient_accumulation_steps: change weights only every so many steps, by the mean gradient.
        name: default: the class' name in snake case.

    A subclass names what it keeps for each weight in `slots()` and computes in `update(…)`; or, as
    in Keras, it overrides `build` and `update_step`.

    Source: Keras: Optimizers.

    >>> import cornu, jax.numpy as jnp
    >>> w = cornu.Variable([1.0, 2.0])
    >>> cornu.optimizers.SGD(learning_rate=0.5).apply([jnp.array([1.0, 1.0])], [w])
    >>> w.numpy().tolist()
    [0.5, 1.5]
    """

    def __init__(
        self,
        learning_rate=0.001,
        weight_decay=None,
        clipnorm=None,
        clipvalue=None,
        global_clipnorm=None,
        use_ema=False,
        ema_momentum=0.99,
        ema_overwrite_frequency=None,
        loss_scale_factor=None,
        gradient_accumulation_steps=None,
        name=None,
        **kwargs,
    ):
        if "lr" in kwargs:
            warnings.warn(
                "The argument `lr` is an old spelling; use `learning_rate` instead.", stacklevel=4
            )
            learning_rate = kwargs.pop("lr")
        if kwargs.pop("decay", None):
            warnings.warn(
                "Argument `decay` is no longer supported and will be ignored. Use a schedule: "
                "learning_rate=optimizers.schedules.InverseTimeDecay(…).",
                stacklevel=4,
            )
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError(
                "`gradient_accumulation_steps` must be an integer >= 2. Received: "
                f"gradient_accumulation_steps={gradient_accumulation_steps}"
            )
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(
                f"`ema_momentum` must be in the range [0, 1]. Received: ema_momentum={ema_momentum}"
            )
        if use_ema and ema_overwrite_frequency is not None and ema_overwrite_frequency < 1:
            raise ValueError(
                "`ema_overwrite_frequency` must be an integer >= 1 or None. Received: "
                f"ema_overwrite_frequency={ema_overwrite_frequency}"
            )
        if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        self.name = name or naming.auto_name(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self._excluded: list = []
        self._excluded_names: re.Pattern | None = None
        self._begin(learning_rate)

    @property
    def _parts(self) -> list["Optimizer"]:
        """The optimizers that change weights: itself, or those that it is made of."""
        return [self]

    @property
    def settings(self) -> list:
        """What a compiled step has as constants: a step that was made for others is compiled anew."""
        own = vars(self)
        found = [own["_learning_rate"]]
        for name, value in own.items():
            if isinstance(value, Optimizer):
                found += value.settings
            elif name != "built" and not name.startswith("_"):
                found.append(value)
        return found

    # ---- a step

    def update(self, value, gradient, slots: dict, learning_rate, step):
        """The new value of a weight, and the new slots.

        Args:
            value, gradient: arrays of one shape.
            slots: arrays by name.
            learning_rate: scalar.
            step: number of this update, from 1, as a float.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `update`.")

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Change one weight."""
        index = self._get_variable_index(variable)
        kept = {name: store[index] for name, store in self._slots.items()}
        dtype = variable.dtype
        value, slots = self.update(
            variable.value,
            jnp.asarray(gradient, dtype),
            {name: slot.value for name, slot in kept.items()},
            jnp.asarray(value_of(learning_rate), dtype),
            (value_of(self.iterations) + 1).astype(dtype),
        )
        self.assign(variable, value)
        for name, slot in kept.items():
            self.assign(slot, slots[name])

    def assign(self, variable, value) -> None:
        """`variable = value`. Each weight and slot that a step changes goes through here."""
        variable.assign(value)

    def assign_add(self, variable, value) -> None:
        """`variable += value`."""
        variable.assign_add(value)

    def assign_sub(self, variable, value) -> None:
        """`variable -= value`."""
        variable.assign_sub(value)

    def apply_gradients(self, grads_and_vars):
        """Change weights by gradients, given as pairs."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(list(grads), list(variables))
        return self._iterations

    def apply(self, grads, trainable_variables=None) -> None:
        """Change weights by gradients.

        Raises ValueError if there is no gradient at all, or the optimizer belongs to other weights.
        """
        grads = transforms.dense(grads)
        if not grads:
            return
        trainable_variables = self._known_variables(grads, trainable_variables)
        grads, variables = self._without_gradients_missing(grads, trainable_variables)
        for gradient, variable in zip(grads, variables, strict=True):
            if variable.overwrite_with_gradient:
                self._overwrite(variable, gradient)
        kept = [not v.overwrite_with_gradient for v in variables]
        grads = [g for g, keep in zip(grads, kept, strict=True) if keep]
        variables = [v for v, keep in zip(variables, kept, strict=True) if keep]
        if self.loss_scale_factor is not None:
            grads = [g / self.loss_scale_factor for g in grads]
        if grads and self.gradient_accumulation_steps:
            self._accumulate_or_update(grads, variables)
        elif grads:
            self._update_all(grads, variables)
        if self.use_ema:
            self._update_averages()
        for variable in variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
        self._iterations.assign_add(1)

    def _overwrite(self, variable, gradient) -> None:
        """Put a gradient in a variable's place: of several steps that count as one, the largest numbers."""
        if self.gradient_accumulation_steps:
            accumulator = self._accumulators[self._get_variable_index(variable)]
            largest = jnp.maximum(gradient, accumulator.value)
            due = (self._iterations.value + 1) % self.gradient_accumulation_steps == 0
            accumulator.assign(jnp.where(due, jnp.zeros_like(largest), largest))
            gradient = jnp.where(due, largest, variable.value)
        variable.assign(gradient)

    def _known_variables(self, grads, trainable_variables) -> list:
        """The weights that belong to the gradients; the optimizer's state is made for them if need be."""
        if trainable_variables is None:
            if not self.built:
                raise ValueError(
                    "When passing `grads` without `variables`, the optimizer must already be built "
                    "on a list of variables. Call `optimizer.build(trainable_variables)` first."
                )
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        if len(grads) != len(trainable_variables):
            raise ValueError(
                f"Received {len(grads)} gradients for {len(trainable_variables)} trainable variables."
            )
        if not self.built:
            self.build(trainable_variables)
        for variable in trainable_variables:
            if id(variable) not in self._index:
                raise ValueError(
                    f"Unknown variable: {variable.path}. This optimizer can only be called for the "
                    "variables it was originally built with. When working with a new set of "
                    "variables, you should recreate a new optimizer instance."
                )
        return trainable_variables

    def _update_all(self, grads, variables) -> None:
        grads = self._clip_gradients(grads)
        rate = self.learning_rate
        self._apply_weight_decay(variables)
        self._before_updates()
        for gradient, variable in zip(grads, variables, strict=True):
            self.update_step(gradient, variable, rate)

    def _before_updates(self) -> None:
        """Change state that all weights share."""

    def _accumulate_or_update(self, grads, variables) -> None:
        steps = self.gradient_accumulation_steps
        accumulators = [self._accumulators[self._get_variable_index(v)] for v in variables]
        sums = [g + a.value for g, a in zip(grads, accumulators, strict=True)]
        state = variables + [v for v in self._variables if v is not self._iterations]

        def update():
            self._update_all([total / steps for total in sums], variables)
            for accumulator in accumulators:
                accumulator.assign(jnp.zeros_like(accumulator.value))

        def accumulate():
            for accumulator, total in zip(accumulators, sums, strict=True):
                accumulator.assign(total)

        due = (self._iterations.value + 1) % steps == 0
        values = [v.value for v in state]
        new = jax.lax.cond(
            due,
            lambda values: functional(update, state)(values)[1],
            lambda values: functional(accumulate, state)(values)[1],
            values,
        )
        for variable, value in zip(state, new, strict=True):
            variable.assign(value)

    def _without_gradients_missing(self, grads, variables):
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if not pairs:
            raise ValueError("No gradients provided for any variable.")
        missing = [v.path for g, v in zip(grads, variables, strict=True) if g is None]
        if missing:
            warnings.warn(
                f"Gradients do not exist for variables {missing} when minimizing the loss. If using "
                "`model.compile()`, did you forget to provide a `loss` argument?",
                stacklevel=3,
            )
        return [g for g, _ in pairs], [v for _, v in pairs]

    def _clip_gradients(self, grads):
        if self.clipnorm:
            return [transforms.clip_by_norm(g, self.clipnorm) for g in grads]
        if self.clipvalue:
            return [jnp.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.global_clipnorm:
            return transforms.clip_by_global_norm(grads, self.global_clipnorm)
        return grads

    # ---- weight decay

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Name weights that weight decay leaves alone, before the optimizer is built.

        Args:
            var_list: the weights themselves.
            var_names: regular expressions that match names of weights.
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay()` can only be configured before the optimizer is built."
            )
        self._excluded = list(var_list or [])
        self._excluded_names = re.compile("|".join(var_names)) if var_names else None

    def _use_weight_decay(self, variable) -> bool:
        if any(variable is each for each in self._excluded):
            return False
        return not (self._excluded_names and self._excluded_names.search(variable.name))

    def _weight_decay_of(self, variable):
        return self.weight_decay

    def _apply_weight_decay(self, variables) -> None:
        rate = self.learning_rate
        for variable in variables:
            decay = self._weight_decay_of(variable)
            if decay is not None and self._use_weight_decay(variable):
                variable.assign(transforms.decayed(variable.value, decay, value_of(rate)))

    # ---- averages of weights

    def _update_averages(self) -> None:
        iterations = value_of(self.iterations)
        for variable, average in zip(self._trainable_variables, self._averages, strict=True):
            if average is not None:
                momentum = (iterations != 0).astype(variable.dtype) * self.ema_momentum
                average.assign(transforms.averaged(average.value, variable.value, momentum))
        if self.ema_overwrite_frequency:
            due = (iterations + 1) % self.ema_overwrite_frequency == 0
            for variable, average in zip(self._trainable_variables, self._averages, strict=True):
                if average is not None:
                    variable.assign(jnp.where(due, average.value, variable.value))

    def _overwrite_model_variables_with_average_value(self, trainable_variables) -> None:
        for variable in trainable_variables:
            average = self._averages[self._get_variable_index(variable)]
            if average is not None:
                variable.assign(jnp.array(average.value))

    def finalize_variable_values(self, var_list) -> None:
        """At the end of training: replace weights by their average, if there is one."""
        if self.use_ema and self.built:
            self._overwrite_model_variables_with_average_value(var_list)

    # ---- pure forms

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """A step as a pure function of values.

        Args:
            optimizer_variables: values of `variables`.
            grads: the gradients.
            trainable_variables: values of the weights that the optimizer was built with.

        Returns:
            the new values: `(trainable_variables, optimizer_variables)`.
        """
        if not self.built:
            raise ValueError(
                f"To call `stateless_apply`, {type(self).__name__} must be built (i.e. its "
                "variables must have been created). You can build it via "
                "`optimizer.build(trainable_variables)`."
            )
        own, weights = self.variables, self._trainable_variables
        for given, expected, what in (
            (optimizer_variables, own, "optimizer_variables"),
            (trainable_variables, weights, "trainable_variables"),
        ):
            if len(given) != len(expected):
                raise ValueError(
                    f"Argument `{what}` must be a list of tensors corresponding 1:1 to the "
                    f"optimizer's. Received list with length {len(given)}, but expected "
                    f"{len(expected)}."
                )
        run = functional(lambda: self.apply(grads, weights), weights + own)
        _, new = run([*trainable_variables, *optimizer_variables])
        return new[: len(weights)], new[len(weights) :]

    def scale_loss(self, loss):
        """The loss times `loss_scale_factor`, if there is one."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        """Make an optimizer from what `get_config()` returned.

        `custom_objects` names classes and functions of your own.
        """
        with registry.custom_object_scope(custom_objects):
            return super().from_config(config)

    def get_config(self) -> dict:
        config = super().get_config()
        rate = self._learning_rate
        config["learning_rate"] = (
            float(rate.numpy()) if isinstance(rate, Variable) else registry.serialize(rate)
        )
        return config
