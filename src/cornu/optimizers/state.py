"""What an optimizer keeps: its learning rate, the number of its steps, and slots for each weight."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cornu.core import naming, placement, registry
from cornu.core.configurable import Configurable
from cornu.core.dtype import floatx
from cornu.core.notebook import as_table
from cornu.core.tracking import Tracked
from cornu.core.variable import Variable
from cornu.optimizers.schedules import LearningRateSchedule


class OptimizerState(Configurable, Tracked):
    """The variables of an optimizer; see `Optimizer` for what they are for."""

    name: str
    use_ema: bool
    gradient_accumulation_steps: int | None

    def _begin(self, learning_rate) -> None:
        """Make what every optimizer has."""
        self.built = False
        self._variables: list[Variable] = []
        self._trainable_variables: list[Variable] = []
        self._index: dict[int, int] = {}
        self._slots: dict[str, list] = {}
        self._iterations = self.add_variable((), dtype="int32", name="iteration")
        self._learning_rate: Any = learning_rate
        if not callable(learning_rate):
            if isinstance(learning_rate, bool) or not isinstance(
                learning_rate, int | float | np.number
            ):
                raise ValueError(
                    "Argument `learning_rate` should be float, or an instance of "
                    "LearningRateSchedule, or a callable that returns a float. Received instead: "
                    f"learning_rate={learning_rate!r}"
                )
            _check_rate(learning_rate)
            self._learning_rate = self._add_learning_rate(learning_rate)

    def _add_learning_rate(self, value) -> Variable:
        return self.add_variable(
            (),
            initializer=lambda shape, dtype: np.asarray(value, dtype),
            dtype=floatx(),
            name="learning_rate",
        )

    def __repr__(self) -> str:
        try:
            return (
                f"<{type(self).__name__} learning_rate={float(value_of(self.learning_rate)):.4g}>"
            )
        except (AttributeError, TypeError):
            # It has none, or is being traced.
            return f"<{type(self).__name__}>"

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{value:.7g}" if isinstance(value, float) else value)
            for name, value in self.get_config().items()
            if value is not None
        ]
        return as_table(type(self).__name__, ("setting", "value"), rows)

    @property
    def variables(self) -> list[Variable]:
        """The optimizer's state: steps done, learning rate, averages, and what it keeps for each
        weight.
        """
        return list(self._variables)

    @property
    def iterations(self):
        """Number of updates done."""
        if self.gradient_accumulation_steps:
            return self._iterations // self.gradient_accumulation_steps
        return self._iterations

    @property
    def learning_rate(self):
        """The current learning rate; may be set, unless it comes from a schedule."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            return rate(self._iterations.value)
        if isinstance(rate, Variable):
            return rate
        return rate()

    @learning_rate.setter
    def learning_rate(self, value):
        if isinstance(self._learning_rate, LearningRateSchedule) and not callable(value):
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its "
                "`learning_rate` constructor argument, hence its learning rate is not settable. "
                "If you need it to be settable, create the optimizer with a float."
            )
        if callable(value):
            # Variables are told apart by identity: `==` compares their values.
            self._variables = [v for v in self._variables if v is not self._learning_rate]
            self._learning_rate = value
            return
        _check_rate(value)
        if isinstance(self._learning_rate, Variable):
            self._learning_rate.assign(value)
        else:
            self._learning_rate = self._add_learning_rate(value)

    @property
    def lr(self):
        """The old spelling of `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, value):
        self.learning_rate = value

    def add_variable(
        self, shape, initializer="zeros", dtype=None, aggregation="none", layout=None, name=None
    ):
        """Make a variable that belongs to the optimizer's state; its arguments are those of `Variable`."""
        return self._add_variable(shape, initializer, dtype, aggregation, layout, name)

    def _add_variable(self, shape, initializer, dtype, aggregation, layout, name, weight=None):
        if isinstance(initializer, str):
            initializer = registry.get("initializer", initializer)
        with naming.name_scope(self.name, owner=self):
            variable = Variable(
                initializer,
                shape=shape,
                dtype=dtype,
                trainable=False,
                autocast=False,
                aggregation=aggregation,
                name=name,
                layout=layout,
            )
        if weight is not None:
            # It lies where the weight does, wherever that goes.
            variable._layout, variable._weight_path = weight._layout, weight.path
        self._variables.append(variable)
        return variable

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        """Make a variable of the shape and dtype of a weight."""
        weight = reference_variable
        name = f"{weight.path.replace('/', '_')}_{name or 'var'}"
        layout = placement.layout_of(weight)
        return self._add_variable(
            weight.shape, initializer, weight.dtype, "none", layout, name, weight
        )

    def add_optimizer_variables(self, trainable_variables, name, initializer="zeros"):
        """Make a variable for each weight, or several if there are several names."""
        names = [name] if isinstance(name, str) else list(name)
        single = isinstance(initializer, str) or not isinstance(initializer, list | tuple)
        initializers = [initializer] * len(names) if single else list(initializer)
        made: tuple[list, ...] = tuple([] for _ in names)
        for variable in trainable_variables:
            for store, slot, rule in zip(made, names, initializers, strict=True):
                skipped = variable.overwrite_with_gradient
                store.append(
                    None if skipped else self.add_variable_from_reference(variable, slot, rule)
                )
        return made[0] if isinstance(name, str) else made

    def build(
        self,
        variables: Sequence[Variable] | None = None,
        *,
        var_list: Sequence[Variable] | None = None,
    ) -> None:
        """Make the state for these weights. Called on the first step if not before.

        Args:
            variables: the weights.
            var_list: the same, as most of Keras' classes call it.
        """
        given = variables if var_list is None else var_list
        if given is None:
            raise TypeError(
                "`build` needs the weights, as in optimizer.build(model.trainable_variables)."
            )
        if not self.built:
            self._make_state(list(given))
            self.built = True

    def _make_state(self, variables: list[Variable]) -> None:
        if self.use_ema:
            self._averages = self.add_optimizer_variables(variables, "average")
        if self.gradient_accumulation_steps:
            self._accumulators = [
                self.add_variable_from_reference(v, "gradient_accumulator") for v in variables
            ]
        self._index = {id(v): i for i, v in enumerate(variables)}
        self._trainable_variables = variables
        slots = self.slots()
        if slots:
            rules = [
                (lambda shape, dtype, _v=start: np.full(shape, _v, dtype))
                for start in slots.values()
            ]
            stores = self.add_optimizer_variables(variables, list(slots), rules)
            self._slots = dict(zip(slots, stores, strict=True))

    def slots(self) -> dict[str, float]:
        """What is kept for each weight: names and first values."""
        return {}

    def _get_variable_index(self, variable) -> int:
        return self._index[id(variable)]

    def __setstate__(self, state):
        # A copy has weights of its own, which have other identities.
        self.__dict__.update(state)
        self._index = {id(v): i for i, v in enumerate(self._trainable_variables)}

    # ---- files

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all variables."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights) -> None:
        """Set all variables."""
        if not self.built:
            raise ValueError(
                "You are calling `set_weights()` on an optimizer that has not yet been built. "
                "Please call `optimizer.build(trainable_variables)` to create the optimizer "
                "weights before calling `set_weights()`."
            )
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def save_own_variables(self, store) -> None:
        """Put the state into a dict-like store."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store) -> None:
        """Take the state from a dict-like store."""
        if len(store.keys()) != len(self.variables):
            warnings.warn(
                f"Skipping variable loading for optimizer '{self.name}', because it has "
                f"{len(self.variables)} variables whereas the saved optimizer has "
                f"{len(store.keys())} variables.",
                stacklevel=2,
            )
            return
        for i, variable in enumerate(self.variables):
            variable.assign(np.asarray(store[str(i)]))


def value_of(variable_or_array):
    if isinstance(variable_or_array, Variable):
        return variable_or_array.value
    return variable_or_array


def _check_rate(value) -> None:
    value = value_of(value)
    if isinstance(value, jax.core.Tracer):
        return
    number = np.asarray(value)
    if number.dtype.kind in "iuf" and not (number >= 0).all():
        raise ValueError(
            f"`learning_rate` must be a number of at least 0. Received: learning_rate={value}"
        )
