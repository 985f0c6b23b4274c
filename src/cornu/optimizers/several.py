"""Several optimizers for one model, each for some of its weights."""

import re
from collections.abc import MutableMapping

from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.optimizers.base import Optimizer
from cornu.optimizers.loss_scaling import LossScaleOptimizer


def _check(optimizer, what: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise ValueError(f"{what} must be an optimizer of Cornu. Received: {optimizer!r}")
    if isinstance(optimizer, LossScaleOptimizer | MultiOptimizer):
        kind = type(optimizer).__name__
        raise ValueError(
            f"{what} cannot be a {kind}. A LossScaleOptimizer goes around the MultiOptimizer; one "
            "MultiOptimizer takes all optimizers."
        )


@registry.register("optimizer", "OptimizerMap", module="keras.optimizers")
class OptimizerMap(Configurable, MutableMapping):
    """Which optimizer a weight belongs to, by its path.

    A key is a path, or a regular expression that matches a whole path, as `"encoder/.*"`. A weight
    whose path is no key and matches none belongs to the default.

    Args:
        default_optimizer: for all other weights.
        optimizer_map: dict from keys to optimizers.

    Raises TypeError if an argument is of another type; ValueError if a key is set twice, if a value is no
    optimizer of one kind, and, when it is asked, if a path matches several keys.

    Source: Keras: OptimizerMap.

    >>> import cornu
    >>> by_path = cornu.optimizers.OptimizerMap(cornu.optimizers.SGD())
    >>> by_path["encoder/.*"] = cornu.optimizers.Adam()
    >>> [type(by_path[f"{part}/dense/kernel"]).__name__ for part in ("encoder", "decoder")]
    ['Adam', 'SGD']
    """

    def __init__(self, default_optimizer, optimizer_map=None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(
                f"`default_optimizer` must be an optimizer of Cornu. Received: {default_optimizer!r}"
            )
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"`optimizer_map` must be a dictionary. Received: {optimizer_map!r}")
        _check(default_optimizer, "`default_optimizer`")
        self.default_optimizer = default_optimizer
        self.optimizer_map: dict[str, Optimizer] = {}
        for key, optimizer in (optimizer_map or {}).items():
            self[key] = optimizer

    def __getitem__(self, key):
        if key in self.optimizer_map:
            return self.optimizer_map[key]
        matching = [pattern for pattern in self.optimizer_map if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            raise ValueError(
                f"Multiple optimizers are assigned to the variable {key}: it matches "
                f"{', '.join(map(repr, matching))}."
            )
        return self.optimizer_map[matching[0]] if matching else self.default_optimizer

    def __setitem__(self, key, optimizer):
        if not isinstance(key, str):
            raise ValueError(f"A key must be a string. Received: {key!r}")
        if key in self.optimizer_map:
            raise ValueError(
                f"{key!r} is in the OptimizerMap already, with {self.optimizer_map[key].name}. Delete it "
                "first, or use another key."
            )
        _check(optimizer, f"The optimizer of {key!r}")
        self.optimizer_map[key] = optimizer

    def __delitem__(self, key):
        del self.optimizer_map[key]

    def __iter__(self):
        return iter(self.optimizer_map)

    def __len__(self):
        return len(self.optimizer_map)

    def __call__(self, variable):
        return self[variable.path]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make one from what `get_config()` returned; `custom_objects` names classes of your own."""
        with registry.custom_object_scope(custom_objects):
            return super().from_config(config)


@registry.register("optimizer", "MultiOptimizer", module="keras.optimizers")
class MultiOptimizer(Optimizer):
    """An optimizer that leaves each weight to one of several.

    Each has its own learning rate, decay and averages; callbacks that change the learning rate change all.
    `iterations` counts the steps of all together.

    Args:
        optimizer_map: an `OptimizerMap`, or a function of a variable that returns its optimizer.
        loss_scale_factor: as for `Optimizer`; in place of that of each optimizer.
        name: default: the class' name in snake case.

    Raises ValueError, once it is built, if a variable's optimizer is none, or one that changes the loss or
    is made of several itself.

    Source: Keras: MultiOptimizer.

    >>> import cornu
    >>> sgd, adam = cornu.optimizers.SGD(0.1), cornu.optimizers.Adam(0.001)
    >>> optimizer = cornu.optimizers.MultiOptimizer(
    ...     cornu.optimizers.OptimizerMap(sgd, {"embedding/.*": adam})
    ... )
    >>> [type(each).__name__ for each in optimizer.optimizers]
    ['Adam', 'SGD']
    """

    def __init__(self, optimizer_map, loss_scale_factor=None, name=None):
        if not callable(optimizer_map):
            raise TypeError(
                "`optimizer_map` must be an `OptimizerMap`, or a function of a variable. Received: "
                f"{optimizer_map!r}"
            )
        self._optimizers: list[Optimizer] = []
        super().__init__(learning_rate=0.0, loss_scale_factor=loss_scale_factor, name=name)
        self.optimizer_map = optimizer_map
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in [
                *optimizer_map.optimizer_map.values(),
                optimizer_map.default_optimizer,
            ]:
                self._add(optimizer)

    def _add(self, optimizer) -> int:
        """The number of an optimizer, which is added if it is new."""
        for number, known in enumerate(self._optimizers):
            if known is optimizer:
                return number
        optimizer.loss_scale_factor = self.loss_scale_factor
        self._optimizers.append(optimizer)
        return len(self._optimizers) - 1

    def _config_names(self):
        return ["optimizer_map", "loss_scale_factor", "name"]

    def get_config(self):
        config = super().get_config()
        config.pop("learning_rate")
        return config

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that the weights belong to."""
        return list(self._optimizers)

    @property
    def _parts(self):
        return self.optimizers

    @property
    def settings(self):
        return [*super().settings, *(each for part in self._optimizers for each in part.settings)]

    @property
    def loss_scale_factor(self):
        """The factor of the loss, which is that of each of its optimizers."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value):
        self._loss_scale_factor = value
        for optimizer in self._optimizers:
            optimizer.loss_scale_factor = value

    @property
    def learning_rate(self):
        """There is none: each of the `optimizers` has its own."""
        raise AttributeError(
            "A MultiOptimizer has no learning rate of its own. Each of its `optimizers` has one."
        )

    @learning_rate.setter
    def learning_rate(self, value):
        raise AttributeError(
            "A MultiOptimizer has no learning rate of its own. Set that of each of its `optimizers`."
        )

    def _make_state(self, variables):
        owned: list[list] = [[] for _ in self._optimizers]
        self._owners = []
        for variable in variables:
            optimizer = self.optimizer_map(variable)
            _check(optimizer, f"The optimizer of {variable.path}")
            number = self._add(optimizer)
            owned += [[] for _ in self._optimizers[len(owned) :]]
            owned[number].append(variable)
            self._owners.append(number)
        for optimizer, own in zip(self._optimizers, owned, strict=True):
            if own:
                optimizer.build(own)
        super()._make_state(variables)

    @property
    def variables(self):
        return [*self._variables, *(v for part in self._optimizers for v in part.variables)]

    def _shared_out(self, variables) -> list[list]:
        """For each optimizer, the places in `variables` of those that belong to it."""
        places: list[list] = [[] for _ in self._optimizers]
        for place, variable in enumerate(variables):
            places[self._owners[self._get_variable_index(variable)]].append(place)
        return places

    def apply(self, grads, trainable_variables=None):
        grads = list(grads)
        if not grads:
            return
        variables = self._known_variables(grads, trainable_variables)
        for optimizer, places in zip(self._optimizers, self._shared_out(variables), strict=True):
            # A part of the model that got no gradients is no mistake here: another part did.
            if any(grads[place] is not None for place in places):
                optimizer.apply(
                    [grads[place] for place in places], [variables[place] for place in places]
                )
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list):
        var_list = list(var_list)
        for optimizer, places in zip(self._optimizers, self._shared_out(var_list), strict=True):
            optimizer.finalize_variable_values([var_list[place] for place in places])
