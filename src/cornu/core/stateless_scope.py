"""Values in place of variables' own, for code that computes without changing anything."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from cornu.core.variable import Scope, Variable, running_scopes


class StatelessScope:
    """Within, variables have the values that are given, and what is assigned to them is kept here.

    Args:
        state_mapping: pairs of variables and values.
        collect_losses: whether to keep what layers add to the loss, in `losses`.
        initialize_variables: must be True: variables have values from the start.

    Raises ValueError if a value does not fit its variable.

    Source: Keras: StatelessScope.

    >>> import cornu
    >>> counter = cornu.Variable(0, name="counter")
    >>> with cornu.StatelessScope([(counter, 5)]) as scope:
    ...     _ = counter.assign_add(2)
    >>> int(scope.get_current_value(counter)), int(counter)
    (7, 0)
    """

    def __init__(
        self,
        state_mapping: Iterable[tuple[Variable, Any]] | None = None,
        collect_losses: bool = False,
        initialize_variables: bool = True,
    ):
        if not initialize_variables:
            raise ValueError(
                "Leave `initialize_variables=True`: variables have values from the start."
            )
        variables, values = [], []
        for variable, value in state_mapping or ():
            if not isinstance(variable, Variable):
                raise ValueError(
                    "Invalid reference variable in StatelessScope: all keys in argument `mapping` must be "
                    f"Variable instances. Received instead: {variable}"
                )
            value = value.value if isinstance(value, Variable) else value
            value = jnp.asarray(value, variable.dtype)
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    "Invalid variable value in StatelessScope: all values in argument `mapping` must be "
                    "tensors with a shape that matches the corresponding variable shape. For variable "
                    f"{variable.path!r} of shape {variable.shape}, received a value of shape {value.shape}."
                )
            variables.append(variable)
            values.append(value)
        self.collect_losses = collect_losses
        self._scope = Scope(variables, values, takes_all=True)

    def __enter__(self):
        running_scopes().append(self._scope)
        return self

    def __exit__(self, *error):
        running_scopes().remove(self._scope)

    @property
    def losses(self) -> list:
        """What layers have added to the loss, if that is collected."""
        return [loss for _, loss in self._scope.losses] if self.collect_losses else []

    def add_loss(self, loss) -> None:
        """Add to `losses`."""
        self._scope.losses.append((None, loss))

    def add_update(self, update) -> None:
        """Set the value of a variable, both given as a pair."""
        variable, value = update
        self._scope.values[id(variable)] = jnp.asarray(value)

    def get_current_value(self, variable):
        """The value of a variable in this scope, None if it has none."""
        return self._scope.values.get(id(variable))
