"""Optimizers with a step size for each number, from the history of its gradients."""

import jax.numpy as jnp

from cornu.core.dtype import floatx
from cornu.ops.adam import adam, averages
from cornu.optimizers.base import Optimizer, registered


@registered
class Adam(Optimizer):
    """Adaptive moments: `w -= alpha * m / (sqrt(v) + epsilon)`.

    `m` and `v` are exponential averages of the gradient and its square, and
    `alpha = learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)`.

    Args:
        learning_rate: as for `Optimizer`, like all further arguments.
        beta_1, beta_2: share of the old averages in the new ones.
        epsilon: keeps the division finite.
        amsgrad: whether to divide by the largest `v` so far (Reddi et al. 2018).

    Source: Kingma and Ba 2015; Keras: Adam.

    >>> import cornu
    >>> cornu.optimizers.Adam(0.01).get_config()["beta_2"]
    0.999
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon, self.amsgrad = epsilon, amsgrad

    def slots(self):
        return {"momentum": 0.0, "velocity": 0.0}

    def _make_state(self, variables):
        super()._make_state(variables)
        if self.amsgrad:
            hats = self.add_optimizer_variables(variables, "velocity_hat")
            self._slots["velocity_hat"] = hats

    def update(self, value, gradient, slots, learning_rate, step):
        alpha = (
            learning_rate
            * jnp.sqrt(1 - _power(self.beta_2, step))
            / (1 - _power(self.beta_1, step))
        )
        m, v = slots["momentum"], slots["velocity"]
        shares = {"first": 1 - self.beta_1, "second": 1 - self.beta_2}
        if not self.amsgrad:
            value, m, v = adam(value, m, v, gradient, alpha, **shares, epsilon=self.epsilon)
            return value, {"momentum": m, "velocity": v}
        m, v = averages(m, v, gradient, **shares)
        most = jnp.maximum(slots["velocity_hat"], v)
        new = {"momentum": m, "velocity": v, "velocity_hat": most}
        return value - m * alpha / (jnp.sqrt(most) + self.epsilon), new


def _power(base, step):
    return jnp.power(jnp.asarray(base, step.dtype), step)


@registered
class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)."""

    def __init__(
        self,
        learning_rate=0.001,
        weight_decay=0.004,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        **kwargs,
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **kwargs
        )
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")


@registered
class Adamax(Optimizer):
    """Adam with the largest gradient instead of the mean square (Kingma and Ba 2015)."""

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self):
        return {"momentum": 0.0, "norm": 0.0}

    def update(self, value, gradient, slots, learning_rate, step):
        m = slots["momentum"] + (gradient - slots["momentum"]) * (1 - self.beta_1)
        u = jnp.maximum(self.beta_2 * slots["norm"], jnp.abs(gradient))
        scale = (1 - _power(self.beta_1, step)) * (u + self.epsilon)
        return value - learning_rate * m / scale, {"momentum": m, "norm": u}


@registered
class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2015)."""

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self):
        return {"momentum": 0.0, "velocity": 0.0}

    def _make_state(self, variables):
        super()._make_state(variables)
        dtype = variables[0].dtype if variables else floatx()
        self._product = self.add_variable((), "ones", dtype=dtype, name="product")

    def _schedule(self, step):
        return self.beta_1 * (1.0 - 0.5 * _power(0.96, step))

    def _before_updates(self):
        step = (jnp.asarray(self.iterations) + 1).astype(self._product.dtype)
        self._product.assign(self._product.value * self._schedule(step))

    def update(self, value, gradient, slots, learning_rate, step):
        now, following = self._schedule(step), self._schedule(step + 1)
        product = self._product.value.astype(value.dtype)
        m = slots["momentum"] + (gradient - slots["momentum"]) * (1 - self.beta_1)
        v = slots["velocity"]
        v = v + (jnp.square(gradient) - v) * (1 - self.beta_2)
        ahead = following * m / (1 - product * following) + (1 - now) * gradient / (1 - product)
        scale = jnp.sqrt(v / (1 - _power(self.beta_2, step))) + self.epsilon
        return value - ahead * learning_rate / scale, {"momentum": m, "velocity": v}


@registered
class Adagrad(Optimizer):
    """`w -= learning_rate * g / sqrt(sum of g^2 so far + epsilon)` (Duchi et al. 2011)."""

    def __init__(self, learning_rate=0.001, initial_accumulator_value=0.1, epsilon=1e-7, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def slots(self):
        return {"accumulator": self.initial_accumulator_value}

    def update(self, value, gradient, slots, learning_rate, step):
        total = slots["accumulator"] + jnp.square(gradient)
        move = learning_rate * gradient / jnp.sqrt(total + self.epsilon)
        return value - move, {"accumulator": total}


@registered
class Adadelta(Optimizer):
    """Steps of the size of earlier steps over that of the gradients (Zeiler 2012)."""

    def __init__(self, learning_rate=0.001, rho=0.95, epsilon=1e-7, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.epsilon = rho, epsilon

    def update_step(self, grad, variable, learning_rate):
        """Change one weight; the gradient has another name here, as in Keras."""
        super().update_step(grad, variable, learning_rate)

    def slots(self):
        return {"accumulated_grad": 0.0, "accumulated_delta_var": 0.0}

    def update(self, value, gradient, slots, learning_rate, step):
        rho = self.rho
        grads = rho * slots["accumulated_grad"] + (1 - rho) * jnp.square(gradient)
        moves = slots["accumulated_delta_var"]
        move = -jnp.sqrt(moves + self.epsilon) * gradient / jnp.sqrt(grads + self.epsilon)
        moves = rho * moves + (1 - rho) * jnp.square(move)
        new = {"accumulated_grad": grads, "accumulated_delta_var": moves}
        return value + learning_rate * move, new


@registered
class RMSprop(Optimizer):
    """`w -= learning_rate * g / sqrt(v + epsilon)`, `v` the average of squares (Hinton 2012).

    Args:
        learning_rate: as for `Optimizer`, like all further arguments.
        rho: share of the old average in the new one.
        momentum: share of the last move that is made again.
        epsilon: keeps the division finite.
        centered: whether to subtract the square of the mean gradient.
    """

    def __init__(
        self,
        learning_rate=0.001,
        rho=0.9,
        momentum=0.0,
        epsilon=1e-7,
        centered=False,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self.rho, self.momentum = rho, momentum
        self.epsilon, self.centered = epsilon, centered

    def slots(self):
        return {"velocity": 0.0}

    def _make_state(self, variables):
        super()._make_state(variables)
        # One kind after the other, as files of Keras have them.
        if self.momentum > 0:
            self._slots["momentum"] = self.add_optimizer_variables(variables, "momentum")
        if self.centered:
            averages = self.add_optimizer_variables(variables, "average_gradient")
            self._slots["average_gradient"] = averages

    def update(self, value, gradient, slots, learning_rate, step):
        rho = self.rho
        new = {"velocity": rho * slots["velocity"] + (1 - rho) * jnp.square(gradient)}
        scale = new["velocity"]
        if self.centered:
            mean = rho * slots["average_gradient"] + (1 - rho) * gradient
            new["average_gradient"] = mean
            scale = scale - jnp.square(mean)
        move = learning_rate * gradient / jnp.sqrt(scale + self.epsilon)
        if self.momentum > 0:
            move = new["momentum"] = self.momentum * slots["momentum"] + move
        return value - move, new


@registered
class Lamb(Optimizer):
    """Adam whose step is as long as the weight, for large batches (You et al. 2020)."""

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self):
        return {"momentum": 0.0, "velocity": 0.0}

    def update(self, value, gradient, slots, learning_rate, step):
        m, v = slots["momentum"], slots["velocity"]
        m = m + (gradient - m) * (1 - self.beta_1)
        v = v + (jnp.square(gradient) - v) * (1 - self.beta_2)
        scale = jnp.sqrt(v / (1.0 - _power(self.beta_2, step))) + self.epsilon
        move = m / (1.0 - _power(self.beta_1, step)) / scale
        size, length = (jnp.sqrt(jnp.sum(jnp.square(a))) for a in (value, move))
        ratio = jnp.where((size > 0) & (length > 0), size / length, 1.0)
        return value - ratio * learning_rate * move, {"momentum": m, "velocity": v}


@registered
class ScheduleFreeAdamW(Optimizer):
    """Adam that averages the weights instead of lowering the learning rate.

    With gradients at `y`, steps of Adam move `z`, and `x` is the mean of all `z` so far:
    `y = (1 - beta_1) z + beta_1 x`. The weights are `y`; the slot `momentum` is `z`.

    Args:
        learning_rate: as for `Optimizer`, like all further arguments.
        beta_1: share of the mean in what gradients are taken at.
        beta_2: share of the old average of squared gradients in the new one.
        epsilon: keeps the division finite.
        warmup_steps: over so many steps the learning rate grows to its value.

    Source: Defazio et al. 2024, "The Road Less Scheduled"; Keras: ScheduleFreeAdamW.

    >>> import cornu
    >>> cornu.optimizers.ScheduleFreeAdamW(warmup_steps=100).warmup_steps
    100
    """

    def __init__(
        self,
        learning_rate=0.0025,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        warmup_steps=0,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon, self.warmup_steps = epsilon, warmup_steps

    def slots(self):
        return {"momentum": 0.0, "velocity": 0.0}

    def _make_state(self, variables):
        super()._make_state(variables)
        for slot, variable in zip(self._slots["momentum"], variables, strict=True):
            if slot is not None:
                slot.assign(variable.value)

    def update(self, value, gradient, slots, learning_rate, step):
        if self.warmup_steps > 0:
            learning_rate = learning_rate * jnp.minimum(step / self.warmup_steps, 1)
        before = slots["momentum"]
        velocity = slots["velocity"]
        velocity = velocity + (jnp.square(gradient) - velocity) * (1 - self.beta_2)
        root = jnp.sqrt(velocity / (1 - _power(self.beta_2, step))) + self.epsilon
        momentum = before - learning_rate * gradient / root
        mean = (value - (1 - self.beta_1) * before) / self.beta_1
        mean = (1 - 1 / step) * mean + momentum / step
        value = (1 - self.beta_1) * momentum + self.beta_1 * mean
        return value, {"momentum": momentum, "velocity": velocity}
