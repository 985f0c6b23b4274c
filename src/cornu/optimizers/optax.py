"""Optax transformations as optimizers."""

import jax
import jax.numpy as jnp

from cornu.core.variable import Variable
from cornu.optimizers.base import Optimizer


def is_transformation(obj) -> bool:
    """Whether something looks like an Optax `GradientTransformation`."""
    return (
        isinstance(obj, tuple)
        and callable(getattr(obj, "init", None))
        and callable(getattr(obj, "update", None))
    )


class OptaxOptimizer(Optimizer):
    """An optimizer that applies an Optax `GradientTransformation`.

    `compile(optimizer=optax.adam(1e-3))` makes one. The transformation's learning rate is its own:
    `learning_rate` here is 1 and has no effect. Its state is kept in `variables`.

    Args:
        transformation: made by Optax, or anything else with `init` and `update`.
        name: default `optax_optimizer`.
    """

    def __init__(self, transformation, name=None, **kwargs):
        super().__init__(learning_rate=1.0, name=name, **kwargs)
        self.transformation = transformation

    def get_config(self):
        raise TypeError(
            "An Optax transformation is a function and cannot be written into a configuration. "
            "Compile the loaded model with it again."
        )

    def _make_state(self, variables):
        super()._make_state(variables)
        state = self.transformation.init([v.value for v in variables])
        leaves, self._structure = jax.tree.flatten(state)
        self._state: list[Variable] = [
            self.add_variable(
                jnp.shape(leaf),
                initializer=lambda shape, dtype, _leaf=leaf: jnp.asarray(_leaf, dtype),
                dtype=jnp.asarray(leaf).dtype.name,
                name=f"state_{i}",
            )
            for i, leaf in enumerate(leaves)
        ]

    def _update_all(self, grads, variables):
        if len(variables) != len(self._trainable_variables):
            given = {id(v): g for v, g in zip(variables, grads, strict=True)}
            grads = [given.get(id(v), jnp.zeros_like(v.value)) for v in self._trainable_variables]
        grads = self._clip_gradients(grads)
        values = [v.value for v in self._trainable_variables]
        state = jax.tree.unflatten(self._structure, [v.value for v in self._state])
        updates, state = self.transformation.update(grads, state, values)
        for variable, value, change in zip(self._trainable_variables, values, updates, strict=True):
            variable.assign(value + change)
        for variable, leaf in zip(self._state, jax.tree.leaves(state), strict=True):
            variable.assign(leaf)
