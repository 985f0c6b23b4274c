"""Optimizers that follow the gradient, with momentum or only its sign."""

import jax.numpy as jnp

from cornu.optimizers.base import Optimizer, registered


@registered
class SGD(Optimizer):
    """Stochastic gradient descent: `w -= learning_rate * g`.

    With momentum: `v = momentum * v - learning_rate * g; w += v`, or with Nesterov's,
    `w += momentum * v - learning_rate * g`. The other arguments are those of `Optimizer`.

    Source: Keras: SGD; Sutskever et al. 2013.

    >>> import cornu
    >>> cornu.optimizers.SGD(0.1, momentum=0.9, nesterov=True).get_config()["momentum"]
    0.9
    """

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, **kwargs):
        super().__init__(learning_rate, **kwargs)
        if not isinstance(momentum, int | float) or not 0 <= momentum <= 1:
            raise ValueError(
                f"`momentum` must be a float between [0, 1]. Received: momentum={momentum}"
            )
        self.momentum, self.nesterov = momentum, nesterov

    def slots(self):
        return {"momentum": 0.0} if self.momentum else {}

    def update(self, value, gradient, slots, learning_rate, step):
        if not self.momentum:
            return value - gradient * learning_rate, slots
        velocity = slots["momentum"] * self.momentum - gradient * learning_rate
        move = velocity * self.momentum - gradient * learning_rate if self.nesterov else velocity
        return value + move, {"momentum": velocity}


@registered
class Lion(Optimizer):
    """`w -= learning_rate * sign(beta_1 * m + (1 - beta_1) * g)` (Chen et al. 2023)."""

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.99, **kwargs):
        super().__init__(learning_rate, **kwargs)
        if beta_1 <= 0 or beta_1 > 1:
            raise ValueError(
                "Argument `beta_1` must be in the (0, 1] range. Otherwise, the optimizer "
                f"degenerates to SignSGD. Received: beta_1={beta_1}."
            )
        self.beta_1, self.beta_2 = beta_1, beta_2

    def slots(self):
        return {"momentum": 0.0}

    def update(self, value, gradient, slots, learning_rate, step):
        m = slots["momentum"]
        direction = jnp.sign(m * self.beta_1 + gradient * (1.0 - self.beta_1))
        new = m * self.beta_2 + gradient * (1.0 - self.beta_2)
        return value - learning_rate * direction, {"momentum": new}


@registered
class Ftrl(Optimizer):
    """Follow the regularized leader, for sparse weights (McMahan et al. 2013).

    Args:
        learning_rate: as for `Optimizer`.
        learning_rate_power: how the rate falls with the sum of squares; at most 0.
        initial_accumulator_value: what the sum of squares starts from.
        l1_regularization_strength, l2_regularization_strength: penalties.
        l2_shrinkage_regularization_strength: a penalty on the size of the weights themselves.
        beta: the paper's beta.
    """

    def __init__(
        self,
        learning_rate=0.001,
        learning_rate_power=-0.5,
        initial_accumulator_value=0.1,
        l1_regularization_strength=0.0,
        l2_regularization_strength=0.0,
        l2_shrinkage_regularization_strength=0.0,
        beta=0.0,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        if learning_rate_power > 0.0:
            raise ValueError(
                "`learning_rate_power` needs to be negative or zero. Received: "
                f"learning_rate_power={learning_rate_power}."
            )
        for name, given in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if given < 0.0:
                raise ValueError(
                    f"`{name}` needs to be positive or zero. Received: {name}={given}."
                )
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta

    def slots(self):
        return {"accumulator": self.initial_accumulator_value, "linear": 0.0}

    def update(self, value, gradient, slots, learning_rate, step):
        power, l1 = -self.learning_rate_power, self.l1_regularization_strength
        l2 = self.l2_regularization_strength + self.beta / (2.0 * learning_rate)
        old = slots["accumulator"]
        new = old + jnp.square(gradient)
        pulled = gradient + 2 * self.l2_shrinkage_regularization_strength * value
        grown = (jnp.power(new, power) - jnp.power(old, power)) / learning_rate
        linear = slots["linear"] + pulled - grown * value
        quadratic = jnp.power(new, power) / learning_rate + 2 * l2
        value = (jnp.clip(linear, -l1, l1) - linear) / quadratic
        return value, {"accumulator": new, "linear": linear}
