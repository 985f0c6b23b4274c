"""Optimizers that look at a weight as a matrix."""

import functools
import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from cornu.core.variable import Variable
from cornu.optimizers.adaptive import Adam
from cornu.optimizers.base import Optimizer, registered


@registered
class Adafactor(Optimizer):
    """Adam that keeps only the sums of rows and columns of the squares (Shazeer and Stern 2018).

    Args:
        learning_rate: as for `Optimizer`, like all further arguments.
        beta_2_decay: power with which the averages slow down.
        epsilon_1: keeps squares positive.
        epsilon_2: smallest size of a weight.
        clip_threshold: largest root mean square of a step.
        relative_step: whether the rate falls with `1 / sqrt(t)` at least.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_2_decay=-0.8,
        epsilon_1=1e-30,
        epsilon_2=1e-3,
        clip_threshold=1.0,
        relative_step=True,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self.beta_2_decay = beta_2_decay
        self.epsilon_1, self.epsilon_2 = epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    def _make_state(self, variables):
        super()._make_state(variables)
        rows: list = []
        columns: list = []
        velocities: list = []
        for variable in variables:
            shape = variable.shape
            if variable.overwrite_with_gradient:
                rows.append(None)
                columns.append(None)
                velocities.append(None)
                continue
            # A vector has neither rows nor columns; the index is kept as in Keras' files.
            factored = len(shape) >= 2
            shapes = (shape[:-1], shape[:-2] + shape[-1:]) if factored else ((), ())
            for store, size in zip((rows, columns), shapes, strict=True):
                dtype = variable.dtype if factored else "int32"
                store.append(self.add_variable(size, dtype=dtype, name=variable.name))
            velocities.append(self.add_variable_from_reference(variable, "velocity"))
        self._slots = {"rows": rows, "columns": columns, "velocity": velocities}

    def update(self, value, gradient, slots, learning_rate, step):
        if isinstance(self._learning_rate, Variable) and self.relative_step:
            learning_rate = jnp.minimum(learning_rate, 1 / jnp.sqrt(step))
        rate = jnp.minimum(learning_rate, 1 / jnp.sqrt(step))
        alpha = jnp.maximum(self.epsilon_2, _root_mean_square(value)) * rate
        squares = jnp.square(gradient) + self.epsilon_1
        beta = 1 - jnp.power(step, self.beta_2_decay)
        new = dict(slots)
        if value.ndim >= 2:
            r = beta * slots["rows"] + (1 - beta) * jnp.mean(squares, axis=-1)
            c = beta * slots["columns"] + (1 - beta) * jnp.mean(squares, axis=-2)
            shares = r / jnp.mean(r, axis=-1, keepdims=True)
            new["rows"], new["columns"] = r, c
            new["velocity"] = shares[..., None] * c[..., None, :]
        else:
            new["velocity"] = beta * slots["velocity"] + (1 - beta) * squares
        move = gradient / jnp.sqrt(new["velocity"])
        move = move / jnp.maximum(1.0, _root_mean_square(move) / self.clip_threshold)
        return value - alpha * move, new


def _root_mean_square(x):
    return jnp.sqrt(jnp.mean(jnp.square(x)))


@functools.partial(registered, before="exclude_layers")
class Muon(Optimizer):
    """Momentum made orthogonal, for matrices; Adam with weight decay for all other weights.

    Args:
        learning_rate: as for `Optimizer`, like all arguments that are not named here.
        adam_beta_1, adam_beta_2, epsilon, adam_weight_decay: those of Adam.
        adam_lr_ratio: Adam's learning rate over Muon's.
        momentum, nesterov: those of the momentum.
        ns_steps: Newton-Schulz iterations.
        muon_a, muon_b, muon_c: their coefficients.
        rms_rate: factor that makes steps as large as Adam's, with `sqrt(max(shape))`; None leaves it out.
        exclude_layers: regular expressions: paths of weights that go to Adam.
        exclude_embeddings: whether embeddings go to Adam.

    Source: Jordan et al. 2024, "Muon"; Keras: Muon.
    """

    def __init__(
        self,
        learning_rate=0.001,
        adam_beta_1=0.9,
        adam_beta_2=0.999,
        adam_weight_decay=0.004,
        epsilon=1e-7,
        weight_decay=0.004,
        exclude_layers=None,
        exclude_embeddings=True,
        muon_a=3.4445,
        muon_b=-4.7750,
        muon_c=2.0315,
        adam_lr_ratio=1,
        momentum=0.95,
        ns_steps=5,
        nesterov=True,
        rms_rate=0.2,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.adam_beta_1, self.adam_beta_2 = adam_beta_1, adam_beta_2
        self.adam_weight_decay, self.epsilon = adam_weight_decay, epsilon
        self.exclude_layers = exclude_layers or []
        self.exclude_embeddings = exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.adam_lr_ratio, self.momentum = adam_lr_ratio, momentum
        self.ns_steps, self.nesterov, self.rms_rate = ns_steps, nesterov, rms_rate

    def _uses_adam(self, variable) -> bool:
        if len(variable.shape) != 2:
            return True
        if self.exclude_embeddings and "embedding" in variable.path.lower():
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def _make_state(self, variables):
        super()._make_state(variables)
        self._momentums: list = []
        self._velocities: list = []
        for variable in variables:
            skipped = variable.overwrite_with_gradient
            self._momentums.append(
                None if skipped else self.add_variable_from_reference(variable, "momentum")
            )
            self._velocities.append(
                self.add_variable_from_reference(variable, "velocity")
                if not skipped and self._uses_adam(variable)
                else None
            )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        rate = jnp.asarray(learning_rate, variable.dtype)
        if velocity is None:
            m = momentum.value + gradient + momentum.value * (self.momentum - 1)
            momentum.assign(m)
            direction = gradient + self.momentum * m if self.nesterov else m
            move = rate * self.zeropower_via_newtonschulz5(direction, self.ns_steps)
            variable.assign_sub(self.lr_adjust(move))
            return
        step = (jnp.asarray(self.iterations) + 1).astype(variable.dtype)
        adam: Any = _AdamRule(self.adam_beta_1, self.adam_beta_2, self.epsilon)
        slots = {"momentum": momentum.value, "velocity": velocity.value}
        value, slots = Adam.update(
            adam, variable.value, gradient, slots, rate * self.adam_lr_ratio, step
        )
        variable.assign(value)
        momentum.assign(slots["momentum"])
        velocity.assign(slots["velocity"])

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """The nearest matrix with orthogonal rows or columns, by Newton-Schulz iterations.

        Args:
            x: a matrix, or several: the last two axes count.
            steps: how many iterations.

        Raises ValueError if `x` has less than two axes.
        """
        x = jnp.asarray(x)
        if x.ndim < 2:
            raise ValueError(f"Muon takes matrices. Received: an array of shape {x.shape}.")
        tall = x.shape[-2] > x.shape[-1]
        x = self.transpose_last_axis(x) if tall else x
        x = x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=(-2, -1), keepdims=True)) + 1e-7)
        for _ in range(steps):
            gram = x @ self.transpose_last_axis(x)
            x = self.muon_a * x + (self.muon_b * gram + self.muon_c * gram @ gram) @ x
        return self.transpose_last_axis(x) if tall else x

    def transpose_last_axis(self, X):
        """A matrix, or several, with rows and columns exchanged."""
        return jnp.swapaxes(X, -1, -2)

    def lr_adjust(self, x):
        """A step of a matrix, made as large as one of Adam: `x * sqrt(max(x.shape)) * rms_rate`."""
        if self.rms_rate is None:
            return x
        return x * float(np.sqrt(max(x.shape))) * self.rms_rate

    def _weight_decay_of(self, variable):
        return self.adam_weight_decay if self._uses_adam(variable) else self.weight_decay


class _AdamRule:
    """The settings that `Adam.update` reads."""

    amsgrad = False

    def __init__(self, beta_1, beta_2, epsilon):
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
