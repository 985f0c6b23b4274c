"""What all metrics share: state that batches are counted into."""

import numpy as np

from cornu.core import naming, registry
from cornu.core.configurable import Configurable
from cornu.core.dtype import get_dtype_policy
from cornu.core.variable import Variable, functional


class Metric(Configurable):
    """A number about predictions that is counted batch by batch.

    Args:
        dtype: format of the state, `floatx()` by default.
        name: what it is called in logs; default: the class' name in snake case.

    A subclass makes its state with `add_weight`, counts a batch in `update_state`, and computes the
    value in `result`.

    Source: Keras: Metrics.

    >>> import cornu
    >>> accuracy = cornu.metrics.BinaryAccuracy()
    >>> accuracy.update_state([1, 0, 1, 1], [0.9, 0.2, 0.3, 0.8])
    >>> float(accuracy.result())
    0.75
    """

    def __init__(self, dtype=None, name=None):
        self.name = name or naming.auto_name(type(self).__name__)
        self._dtype_policy = get_dtype_policy(dtype)
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """Format of the state."""
        return self._dtype_policy.name if "mixed" not in self._dtype_policy.name else "float32"

    @property
    def variables(self) -> list[Variable]:
        """The state, that of metrics within this one included."""
        nested = [
            v
            for value in vars(self).values()
            for metric in (value if isinstance(value, list) else [value])
            if isinstance(metric, Metric)
            for v in metric.variables
        ]
        return [*self._variables, *nested]

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The same as `variables`."""
        return self.variables

    def add_variable(self, shape, initializer, dtype=None, aggregation="sum", name=None):
        """Make a variable that belongs to the state."""
        with naming.name_scope(self.name, owner=self):
            variable = Variable(
                registry.get("initializer", initializer),
                shape=shape,
                dtype=dtype or self.dtype,
                trainable=False,
                autocast=False,
                name=name,
            )
        self._variables.append(variable)
        return variable

    def add_weight(self, shape=(), initializer=None, dtype=None, name=None):
        """Make a variable that belongs to the state."""
        return self.add_variable(shape, initializer or "zeros", dtype, name=name)

    def update_state(self, *args, **kwargs):
        """Count a batch."""
        raise NotImplementedError(f"{type(self).__name__} does not define `update_state`.")

    def result(self):
        """The value so far."""
        raise NotImplementedError(f"{type(self).__name__} does not define `result`.")

    def reset_state(self) -> None:
        """Start again."""
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def __call__(self, *args, **kwargs):
        """Count a batch and return the value so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def stateless_update_state(self, metric_variables, *args, **kwargs):
        """The new state after a batch, as a pure function of the old one."""
        self._check(metric_variables)
        run = functional(lambda: self.update_state(*args, **kwargs), self.variables)
        return run(metric_variables)[1]

    def stateless_result(self, metric_variables):
        """The value as a pure function of the state."""
        self._check(metric_variables)
        return functional(self.result, self.variables)(metric_variables)[0]

    def stateless_reset_state(self):
        """The state to start from."""
        values = [v.value for v in self.variables]
        return functional(self.reset_state, self.variables)(values)[1]

    def _check(self, metric_variables):
        if len(metric_variables) != len(self.variables):
            raise ValueError(
                "Argument `metric_variables` must be a list of tensors corresponding 1:1 to "
                f"{type(self).__name__}().variables. Received list with length "
                f"{len(metric_variables)}, but expected {len(self.variables)} variables."
            )

    def _config_names(self) -> list[str]:
        return [name for name in super()._config_names() if name != "dtype"]

    def get_config(self) -> dict:
        return {**super().get_config(), "dtype": self.dtype}

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


registry.register("metric", "Metric", module="keras.metrics")(Metric)
