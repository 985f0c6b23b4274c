"""What all metrics share: state that batches are counted into."""

import jax.numpy as jnp
import numpy as np

from cornu.core import naming, registry, tracking
from cornu.core.configurable import Configurable
from cornu.core.dtype import floatx
from cornu.core.policies import get_policy
from cornu.core.tracking import Tracked
from cornu.core.variable import Variable, functional


def ratio(numerator, denominator):
    """The quotient, and 0 where the denominator is 0."""
    empty = denominator == 0
    return jnp.where(empty, 0, numerator / jnp.where(empty, 1, denominator))


class Metric(Configurable, Tracked):
    """A number about predictions that is counted batch by batch.

    Args:
        dtype: dtype to compute in, `floatx()` by default; of a policy, its compute dtype.
        name: what it is called in logs; default: the class' name in snake case, with a number if
            there was such a metric before.

    A subclass makes its state with `add_variable`, counts a batch in `update_state`, and computes the
    value in `result`. Variables and metrics that it keeps as attributes are part of its state.

    Built-in metrics share these arguments of `update_state`:
        y_true: targets.
        y_pred: predictions.
        sample_weight: how much each sample, or each of its positions, counts; 1 by default.

    Source: Keras: Metrics.

    >>> import cornu
    >>> accuracy = cornu.metrics.BinaryAccuracy()
    >>> accuracy.update_state([1, 0, 1, 1], [0.9, 0.2, 0.3, 0.8])
    >>> float(accuracy.result())
    0.75
    """

    # What is better, "up" or "down", for callbacks that watch a metric; None if unknown.
    _direction: str | None = None

    def __init__(self, dtype=None, name=None):
        self._variables: list[Variable] = []
        self.name = name or naming.auto_name(type(self).__name__)
        self._dtype = get_policy(dtype or floatx()).compute_dtype

    @property
    def dtype(self) -> str:
        """The dtype to compute in."""
        return self._dtype

    @property
    def variables(self) -> list[Variable]:
        """The state, that of metrics within this one behind its own."""
        parts = tracking.parts(self)
        found = [part for part in parts if isinstance(part, Variable)]
        for part in parts:
            if isinstance(part, Metric):
                found.extend(part.variables)
        return tracking.unique(found)

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The same as `variables`."""
        return self.variables

    def add_variable(self, shape, initializer, dtype=None, aggregation="sum", name=None):
        """Make a variable that belongs to the state; `dtype` is `floatx()` by default."""
        self._check_super_called()
        with naming.name_scope(self.name.replace("/", ">"), owner=self):
            variable = Variable(
                registry.get("initializer", initializer),
                shape=shape,
                dtype=dtype,
                trainable=False,
                autocast=False,
                aggregation=aggregation,
                name=name,
            )
        self._variables.append(variable)
        return variable

    def add_weight(self, shape=(), initializer=None, dtype=None, name=None):
        """The same as `add_variable`; zeros by default."""
        return self.add_variable(shape, initializer or "zeros", dtype, name=name)

    def update_state(self, *args, **kwargs):
        """Count a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define `update_state`.")

    def result(self):
        """The value so far: a scalar, or a dict of scalars by name."""
        raise NotImplementedError(f"{type(self).__name__} does not define `result`.")

    def reset_state(self) -> None:
        """Start again: the whole state becomes zero."""
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def __call__(self, *args, **kwargs):
        """Count a batch and return the value so far."""
        self._check_super_called()
        self.update_state(*args, **kwargs)
        return self.result()

    def stateless_update_state(self, metric_variables, *args, **kwargs):
        """The new state after a batch, as a pure function of the old one."""
        self._check_values(metric_variables)
        return functional(self.update_state, self.variables)(metric_variables, *args, **kwargs)[1]

    def stateless_result(self, metric_variables):
        """The value as a pure function of the state."""
        self._check_values(metric_variables)
        return functional(self.result, self.variables)(metric_variables)[0]

    def stateless_reset_state(self):
        """The state to start from."""
        values = [v.value for v in self.variables]
        return functional(self.reset_state, self.variables)(values)[1]

    def _check_values(self, metric_variables) -> None:
        if len(metric_variables) != len(self.variables):
            raise ValueError(
                "Argument `metric_variables` must be a list of tensors corresponding 1:1 to "
                f"{type(self).__name__}().variables. Received list with length "
                f"{len(metric_variables)}, but expected {len(self.variables)} variables."
            )

    def _check_super_called(self) -> None:
        if "_variables" not in vars(self):
            raise RuntimeError(
                "You forgot to call `super().__init__()` in the `__init__()` method of "
                f"{type(self).__name__}. Add it, as its first line."
            )

    def save_own_variables(self, store) -> None:
        """Put the state into a dict-like store."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store) -> None:
        """Take the state from a dict-like store."""
        for i, variable in enumerate(self.variables):
            variable.assign(np.asarray(store[str(i)]))

    def get_config(self) -> dict:
        return {**super().get_config(), "dtype": self.dtype}

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


registry.register("metric", "Metric", module="keras.metrics")(Metric)
