"""Learning rates that depend on the number of steps done. Source: Keras: Learning rate schedules."""

import math

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import Configurable


class LearningRateSchedule(Configurable):
    """A learning rate as a function of the step; a subclass defines `__call__(step)`."""

    def __call__(self, step):
        """The learning rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")


def _register(cls):
    return registry.register("schedule", cls.__name__, module="keras.optimizers.schedules")(cls)


def _float(step):
    return jnp.asarray(step, jnp.float32)


def _check_steps(name: str, steps) -> None:
    if steps <= 0:
        raise ValueError(f"Argument `{name}` must be > 0. Received: {name}={steps}")


@_register
class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate * decay_rate ^ (step / decay_steps)`.

    With `staircase` the exponent is rounded down.

    >>> import cornu
    >>> schedule = cornu.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    >>> round(float(schedule(20)), 4)
    0.025
    """

    def __init__(
        self,
        initial_learning_rate,
        decay_steps,
        decay_rate,
        staircase=False,
        name="ExponentialDecay",
    ):
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step):
        turns = _float(step) / self.decay_steps
        turns = jnp.floor(turns) if self.staircase else turns
        return self.initial_learning_rate * jnp.power(_float(self.decay_rate), turns)


@_register
class InverseTimeDecay(LearningRateSchedule):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`."""

    def __init__(
        self,
        initial_learning_rate,
        decay_steps,
        decay_rate,
        staircase=False,
        name="InverseTimeDecay",
    ):
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step):
        turns = _float(step) / self.decay_steps
        turns = jnp.floor(turns) if self.staircase else turns
        return self.initial_learning_rate / (1.0 + self.decay_rate * turns)


@_register
class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to and with step `boundaries[i]`, the last value after the last boundary."""

    def __init__(self, boundaries, values, name="PiecewiseConstant"):
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. Received: "
                f"boundaries={boundaries} of length {len(boundaries)}, and values={values} of "
                f"length {len(values)}."
            )
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step):
        passed = sum(jnp.asarray(step > boundary, jnp.int32) for boundary in self.boundaries)
        return jnp.asarray(self.values, jnp.float32)[passed]


@_register
class PolynomialDecay(LearningRateSchedule):
    """From the initial to the end learning rate in `decay_steps`, along a power.

    With `cycle` it starts again, over a longer time, instead of staying at the end.
    """

    def __init__(
        self,
        initial_learning_rate,
        decay_steps,
        end_learning_rate=0.0001,
        power=1.0,
        cycle=False,
        name="PolynomialDecay",
    ):
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power = end_learning_rate, power
        self.cycle, self.name = cycle, name

    def __call__(self, step):
        step, length = _float(step), _float(self.decay_steps)
        if self.cycle:
            length = length * jnp.where(step == 0, 1.0, jnp.ceil(step / self.decay_steps))
        else:
            step = jnp.minimum(step, length)
        left = jnp.power(1 - step / length, self.power)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * left + self.end_learning_rate


@_register
class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial learning rate to `alpha` times it, after a warm-up.

    Args:
        initial_learning_rate: the first rate.
        decay_steps: steps of the decay.
        alpha: the last rate over the one that the decay started from.
        warmup_target: rate at the end of the warm-up; None for no warm-up.
        warmup_steps: steps of the warm-up.

    Source: Loshchilov and Hutter 2017.
    """

    def __init__(
        self,
        initial_learning_rate,
        decay_steps,
        alpha=0.0,
        name="CosineDecay",
        warmup_target=None,
        warmup_steps=0,
    ):
        _check_steps("decay_steps", decay_steps)
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.alpha, self.name = alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def _decayed(self, step, start):
        cosine = 0.5 * (1.0 + jnp.cos(math.pi * step / self.decay_steps))
        return start * ((1 - self.alpha) * cosine + self.alpha)

    def __call__(self, step):
        step = _float(step)
        if self.warmup_target is None:
            return self._decayed(jnp.minimum(step, self.decay_steps), self.initial_learning_rate)
        step = jnp.minimum(step, self.decay_steps + self.warmup_steps)
        rise = self.warmup_target - self.initial_learning_rate
        warm = rise * step / max(self.warmup_steps, 1) + self.initial_learning_rate
        after = self._decayed(step - self.warmup_steps, self.warmup_target)
        return jnp.where(step < self.warmup_steps, warm, after)


@_register
class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decay that starts again, each time over `t_mul` as many steps and `m_mul` as high.

    Source: Loshchilov and Hutter 2017, "SGDR".
    """

    def __init__(
        self,
        initial_learning_rate,
        first_decay_steps,
        t_mul=2.0,
        m_mul=1.0,
        alpha=0.0,
        name="SGDRDecay",
    ):
        _check_steps("first_decay_steps", first_decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step):
        part = _float(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restarts = jnp.floor(part)
            part = part - restarts
        else:
            ratio = _float(self.t_mul)
            restarts = jnp.floor(jnp.log(1.0 - part * (1.0 - ratio)) / jnp.log(ratio))
            length = jnp.power(ratio, restarts)
            part = (part - (1.0 - length) / (1.0 - ratio)) / length
        height = jnp.power(_float(self.m_mul), restarts)
        cosine = 0.5 * height * (1.0 + jnp.cos(math.pi * part))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


def serialize(learning_rate_schedule):
    """The configuration of a schedule."""
    return registry.serialize(learning_rate_schedule)


def deserialize(config, custom_objects=None):
    """The schedule that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="schedule")
