"""What weights must obey after each step. Source: Keras: Layer weight constraints."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.core.dtype import epsilon


class Constraint(Configurable):
    """A projection: called on a weight's array, it returns the nearest allowed one."""

    def __call__(self, w):
        """The allowed array for `w`: `w` itself, unless a subclass overrides it."""
        return w


def _norm(w, axis):
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=axis, keepdims=True))


@registry.register("constraint", "MaxNorm", "max_norm", module="keras.constraints")
class MaxNorm(Constraint):
    """Vectors along `axis` no longer than `max_value` (Srivastava et al. 2014)."""

    def __init__(self, max_value=2, axis=0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w):
        w = jnp.asarray(w)
        norms = _norm(w, self.axis)
        return w * (jnp.clip(norms, 0, self.max_value) / (epsilon() + norms))


@registry.register("constraint", "NonNeg", "non_neg", module="keras.constraints")
class NonNeg(Constraint):
    """No negative number.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.constraints.NonNeg()(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __call__(self, w):
        return jnp.maximum(jnp.asarray(w), 0)


@registry.register("constraint", "UnitNorm", "unit_norm", module="keras.constraints")
class UnitNorm(Constraint):
    """Vectors along `axis` of length one."""

    def __init__(self, axis=0):
        self.axis = axis

    def __call__(self, w):
        w = jnp.asarray(w)
        return w / (epsilon() + _norm(w, self.axis))


@registry.register("constraint", "MinMaxNorm", "min_max_norm", module="keras.constraints")
class MinMaxNorm(Constraint):
    """Vectors along `axis` with a length between two bounds, approached at a `rate` per step."""

    def __init__(self, min_value=0.0, max_value=1.0, rate=1.0, axis=0):
        self.min_value, self.max_value = min_value, max_value
        self.rate, self.axis = rate, axis

    def __call__(self, w):
        w = jnp.asarray(w)
        norms = _norm(w, self.axis)
        wanted = self.rate * jnp.clip(norms, self.min_value, self.max_value)
        return w * ((wanted + (1 - self.rate) * norms) / (epsilon() + norms))


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm


def get(identifier):
    """The constraint that a name, configuration or callable means; None stays None."""
    return registry.get("constraint", identifier)


def serialize(constraint):
    """The configuration of a constraint."""
    return registry.serialize(constraint)


def deserialize(config, custom_objects=None):
    """The constraint that `serialize` described."""
    return registry.deserialize(config, custom_objects, kind="constraint")
