"""`Weighted`: what has weights, and parts that have some: the base of layers and so of models."""

import itertools
from typing import Any

import numpy as np

from cornu.core import naming, registry, tracking
from cornu.core.call_arguments import as_tuple
from cornu.core.context import context
from cornu.core.dtype import is_float, standardize_dtype
from cornu.core.policies import DTypePolicy
from cornu.core.random import SeedGenerator
from cornu.core.tracking import Aside, Tracked, unique
from cornu.core.variable import Variable

_times = itertools.count(1)


class Weighted(Tracked):
    """Weights, in an object and in those that its attributes hold: what they are, and which are trained."""

    name: str
    built: bool
    dtype_policy: DTypePolicy
    _policy: DTypePolicy
    _trainable: bool
    # When that was set, by a count of all such settings; 0 if by the constructor.
    _trainable_since = 0
    _variables: list[Variable]
    _constructor_arguments: Aside[dict]
    _inbound_nodes: Aside[list]
    _outbound_nodes: Aside[list]
    _losses: Aside[list]
    _walk: Aside[list]

    def _check_initialized(self):
        if "_built" not in self.__dict__:
            raise RuntimeError(
                f"In layer {type(self).__name__}, you forgot to call `super().__init__()` as the "
                "first statement in the `__init__()` method."
            )

    @property
    def dtype(self) -> str:
        """The dtype that weights are kept in."""
        return self.variable_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype that weights are kept in."""
        return self._policy.variable_dtype

    def add_weight(
        self,
        *args,
        shape=None,
        initializer=None,
        dtype=None,
        trainable=True,
        autocast=True,
        regularizer=None,
        constraint=None,
        aggregation="none",
        overwrite_with_gradient=False,
        name=None,
    ) -> Variable:
        """Make a weight that belongs to this layer.

        Args:
            args: `shape`, `initializer` and `dtype` may be given by position.
            shape: sizes; () for a scalar.
            initializer: name, object or callable; default Glorot uniform, zeros for integers.
            dtype: default: the policy's variable dtype.
            trainable: whether an optimizer may change it.
            autocast: whether mixed precision reads it in the compute dtype.
            regularizer, constraint: names or callables.
            name: last part of its path.
        """
        self._check_initialized()
        if args:
            given = {"shape": shape, "initializer": initializer, "dtype": dtype}
            shape, initializer, dtype = self._by_position(args, given)
        if context.computing is self:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): you cannot add new elements of state in "
                "`call`: each call would make new weights, and none would be trained. Call `add_weight` in "
                "`__init__` or in `build`."
            )
        dtype = standardize_dtype(dtype or self.variable_dtype)
        if initializer is None:
            initializer = "glorot_uniform" if is_float(dtype) else "zeros"
        initializer = registry.get("initializer", initializer)
        with naming.name_scope(self.name, owner=self):
            weight = Variable(
                initializer,
                shape=as_tuple(shape if shape is not None else ()),
                dtype=dtype,
                trainable=trainable,
                autocast=autocast,
                aggregation=aggregation,
                name=name or "variable",
            )
        weight.regularizer = registry.get("regularizer", regularizer)
        weight.constraint = registry.get("constraint", constraint)
        weight.overwrite_with_gradient = overwrite_with_gradient
        weight.trainable = weight.trainable and self._trainable
        self._variables.append(weight)
        return weight

    def _by_position(self, args: tuple, given: dict[str, Any]) -> list:
        """The values of `given`, some of which `add_weight` got by position."""
        if isinstance(args[0], str):
            raise ValueError(
                f"Layer '{self.name}': `name` must be passed as a keyword argument. Use "
                f"add_weight(shape=…, name={args[0]!r})."
            )
        if len(args) > len(given):
            raise TypeError(
                f"add_weight() takes at most {len(given)} positional arguments: {', '.join(given)}. "
                f"Received: {len(args)}"
            )
        for name, value in zip(given, args, strict=False):
            if given[name] is not None:
                raise ValueError(
                    f"add_weight(): `{name}` was passed both positionally and as a keyword argument."
                )
            given[name] = value
        return list(given.values())

    def add_variable(
        self,
        shape,
        initializer,
        dtype=None,
        trainable=True,
        autocast=True,
        regularizer=None,
        constraint=None,
        name=None,
    ) -> Variable:
        """The same as `add_weight`."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=trainable,
            autocast=autocast,
            regularizer=regularizer,
            constraint=constraint,
            name=name,
        )

    def add_metric(self, *args, **kwargs):
        """Always raises NotImplementedError, as in Keras: it is a method of Keras 2."""
        raise NotImplementedError(
            "Layers have no `add_metric` any more. Give the metric to `compile(metrics=[…])`; or keep one "
            "as an attribute of the layer and call its `update_state` in `call`."
        )

    def _structure(self) -> tracking.Walk:
        """The same object until an attribute of this layer, or of a layer in it, is another.

        To search a model for its variables takes a millisecond, to see that nothing has changed
        much less: who needs the variables often keeps them as long as this stays the same.
        """
        # A list, so that the attribute itself stays the same.
        held = self.__dict__.setdefault("_walk", [None])
        if held[0] is None or not held[0].is_current():
            held[0] = tracking.Walk(self)
        return held[0]

    def _parts(self) -> list[Any]:
        """Layers, variables, seed generators and metrics kept in attributes, in order."""
        return tracking.parts(self)

    def _sublayers(self) -> list[Any]:
        return unique(m for m in self._parts() if isinstance(m, Weighted) and m is not self)

    def _flatten_layers(self) -> list[Any]:
        """This layer and all layers below it, each once, parents first."""
        found: dict[int, Weighted] = {}

        def visit(layer):
            if id(layer) not in found:
                found[id(layer)] = layer
                for sublayer in layer._sublayers():
                    visit(sublayer)

        visit(self)
        return list(found.values())

    def _own_weights(self) -> list[Variable]:
        own = unique(m for m in self._parts() if isinstance(m, Variable))
        # As in Keras, where a weight that is frozen later keeps its place.
        return sorted(own, key=lambda v: not v.was_made_trainable)

    @property
    def weights(self) -> list[Variable]:
        """All weights of this layer and the layers in it, each once."""
        return unique(w for layer in self._flatten_layers() for w in layer._own_weights())

    @property
    def variables(self) -> list[Variable]:
        """All weights, and the states of seed generators; those of metrics are `metrics_variables`."""
        return unique(v for layer in self._flatten_layers() for v in layer._own_variables())

    def _own_variables(self) -> list[Variable]:
        seeds = [m.state for m in self._parts() if isinstance(m, SeedGenerator)]
        return self._own_weights() + seeds

    def _own_metrics(self) -> list:
        return unique(
            m
            for m in self._parts()
            # A layer that counts what it sees, for a vocabulary say, is none.
            if hasattr(m, "update_state")
            and hasattr(m, "variables")
            and not isinstance(m, Weighted)
        )

    @property
    def metrics(self) -> list:
        """The metrics kept as attributes of this layer and the layers in it."""
        return unique(m for layer in self._flatten_layers() for m in layer._own_metrics())

    @property
    def metrics_variables(self) -> list[Variable]:
        """The variables of all metrics."""
        return unique(v for metric in self.metrics for v in metric.variables)

    def _trainable_ids(self) -> set[int]:
        """The weights that may train: a part of a frozen layer may have been unfrozen later."""
        ids: set[int] = set()
        seen: set[tuple] = set()

        def visit(layer, frozen_at):
            since = layer._trainable_since
            if layer._trainable:
                trains = since > frozen_at
            else:
                # Of a layer that was frozen, weights may have been unfrozen one by one.
                trains, frozen_at = since > 0, max(frozen_at, since)
            if (id(layer), frozen_at) in seen:
                return
            seen.add((id(layer), frozen_at))
            if trains:
                ids.update(id(w) for w in layer._own_weights() if w.trainable)
            for sublayer in layer._sublayers():
                visit(sublayer, frozen_at)

        if self._trainable:
            visit(self, -1)
        return ids

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that an optimizer may change."""
        ids = self._trainable_ids()
        return [w for w in self.weights if id(w) in ids]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that no optimizer changes: frozen ones, and statistics."""
        ids = self._trainable_ids()
        return [w for w in self.weights if id(w) not in ids]

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """`variables` without the trainable ones."""
        ids = self._trainable_ids()
        return [v for v in self.variables if id(v) not in ids]

    @property
    def trainable(self) -> bool:
        """Whether weights may change in training; setting it sets all layers within as well."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool):
        since = next(_times)
        for layer in self._flatten_layers():
            layer._trainable, layer._trainable_since = bool(value), since
            for weight in layer._own_weights():
                if layer._may_train(weight):
                    weight.trainable = bool(value)

    def _may_train(self, weight: Variable) -> bool:
        """Whether a weight of this layer is trained if the layer is."""
        return weight.was_made_trainable

    def count_params(self) -> int:
        """Number of elements in all weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't "
                f"built. You can build it manually via: `layer.build(input_shape)`."
            )
        return sum(w.size for w in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights) -> None:
        """Set all weights from a list of arrays in the order of `weights`.

        Raises ValueError, and changes nothing, if the number or a shape does not fit.
        """
        own = self.weights
        weights = list(weights)
        if len(own) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of "
                f"length {len(weights)}, but the layer was expecting {len(own)} weights"
                + (": " + ", ".join(f"{w.path} {w.shape}" for w in own) if own else "")
                + ("." if self.built else " (it is not built yet: call it, or `build`, first).")
            )
        for variable, value in zip(own, weights, strict=True):
            if tuple(np.shape(value)) != variable.shape:
                raise ValueError(
                    f"Layer {self.name} weight shape {variable.shape} is not compatible with "
                    f"provided weight shape {np.shape(value)} (for {variable.path})."
                )
        for variable, value in zip(own, weights, strict=True):
            variable.assign(value)

    def save_own_variables(self, store) -> None:
        """Put this layer's own weights (not those of layers in it) into a dict-like store."""
        for i, value in enumerate(self._saved_values()):
            store[str(i)] = value

    def load_own_variables(self, store) -> None:
        """Take this layer's own weights from a dict-like store."""
        own = self._saved_weights()
        if len(store.keys()) != len(own):
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables"
                + ("" if self.built else ", because it was never built,")
                + f" but received {len(store.keys())} variables during loading. "
                f"Expected: {[w.path for w in own]}"
            )
        for i, weight in enumerate(own):
            weight.assign(np.asarray(store[str(i)]))
        self._were_loaded()

    # What files hold of a layer's own weights: the variables, in order, and their values, which may be
    # others, and what is done when they have been read.

    def _saved_weights(self) -> list[Variable]:
        return self._own_weights()

    def _saved_values(self) -> list[np.ndarray]:
        return [w.numpy() for w in self._saved_weights()]

    def _were_loaded(self) -> None:
        pass
