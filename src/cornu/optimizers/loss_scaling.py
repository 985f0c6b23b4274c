"""Gradients of float16 that neither vanish nor overflow."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.variable import functional
from cornu.optimizers import transforms
from cornu.optimizers.base import Optimizer

# Files of older versions of Keras have these, without an effect.
_WITHOUT_EFFECT = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "dynamic": True,
}


def _refuse_others(inner_optimizer, arguments: dict) -> None:
    """Raise ValueError for arguments that would have no effect."""
    if isinstance(inner_optimizer, LossScaleOptimizer):
        raise ValueError(
            "A LossScaleOptimizer cannot be the `inner_optimizer` of another: the loss would be "
            "scaled twice."
        )
    if unknown := [name for name in arguments if name not in _WITHOUT_EFFECT]:
        named = ", ".join(f"`{name}`" for name in unknown)
        raise ValueError(f"LossScaleOptimizer does not support arguments: {named}.")
    for name, value in arguments.items():
        if name == "dynamic" and not value:
            raise ValueError(
                "LossScaleOptimizer always adapts its factor. For a fixed one, set `loss_scale_factor` on "
                "the optimizer itself."
            )
        if value != _WITHOUT_EFFECT[name]:
            raise ValueError(
                f"LossScaleOptimizer does not support `{name}`. Instead, set `{name}` on the "
                "`inner_optimizer`."
            )


@registry.register("optimizer", "LossScaleOptimizer", module="keras.optimizers")
class LossScaleOptimizer(Optimizer):
    """An optimizer that multiplies the loss by a number that it adapts.

    The gradients are divided by it again. If they are not finite, the step is left out and the
    number halved; after `dynamic_growth_steps` good steps it is doubled.

    Args:
        inner_optimizer: what changes the weights.
        initial_scale: the first factor.
        dynamic_growth_steps: good steps before the factor is doubled.

    Raises ValueError for other arguments of optimizers, which `inner_optimizer` is made with, and for a
    `LossScaleOptimizer` within another.

    Source: Micikevicius et al. 2018; Keras: LossScaleOptimizer.
    """

    def __init__(
        self, inner_optimizer, initial_scale=2.0**15, dynamic_growth_steps=2000, name=None, **kwargs
    ):
        _refuse_others(inner_optimizer, kwargs)
        self.inner_optimizer = inner_optimizer
        super().__init__(learning_rate=0.0, name=name)
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None

    def _config_names(self):
        return ["inner_optimizer", "initial_scale", "dynamic_growth_steps", "name"]

    def get_config(self):
        config = super().get_config()
        config.pop("learning_rate")
        return config

    def _make_state(self, variables):
        self.step_counter = self.add_variable((), dtype="int32", name="step_counter")
        self.dynamic_scale = self.add_variable(
            (),
            initializer=lambda shape, dtype: jnp.asarray(self.initial_scale, dtype),
            dtype="float32",
            name="dynamic_scale",
        )
        self.inner_optimizer.build(variables)
        super()._make_state(variables)

    @property
    def _parts(self):
        return self.inner_optimizer._parts

    @property
    def variables(self):
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.inner_optimizer.learning_rate = value

    def scale_loss(self, loss):
        scale = self.dynamic_scale.value if self.built else self.initial_scale
        # In float32: a loss of 16 bits would overflow itself.
        return loss * jnp.asarray(scale, jnp.float32)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def check_finite(self, grads):
        """Whether no gradient holds infinity or NaN; those that are None do not count."""
        present = [g for g in grads if g is not None]
        return jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in present]))

    def apply(self, grads, trainable_variables=None):
        weights = self._trainable_variables if trainable_variables is None else trainable_variables
        weights = list(weights)
        if not self.built:
            self.build(weights)
        grads = transforms.dense(grads)
        finite = self.check_finite(grads)
        state = weights + self.variables

        def good():
            scale = self.dynamic_scale.value
            grown = self.step_counter.value == self.dynamic_growth_steps - 1
            self.step_counter.assign(jnp.where(grown, 0, self.step_counter.value + 1))
            self.dynamic_scale.assign(jnp.where(grown, scale * 2.0, scale))
            unscaled = [
                g if g is None or v.overwrite_with_gradient else g / scale
                for g, v in zip(grads, weights, strict=True)
            ]
            self.inner_optimizer.apply(unscaled, weights)

        def bad():
            self.step_counter.assign(0)
            self.dynamic_scale.assign(self.dynamic_scale.value * 0.5)

        new = jax.lax.cond(
            finite,
            lambda values: functional(good, state)(values)[1],
            lambda values: functional(bad, state)(values)[1],
            [v.value for v in state],
        )
        for variable, value in zip(state, new, strict=True):
            variable.assign(value)
