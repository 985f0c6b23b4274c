"""Randomness that can be repeated: every random number comes from a seed and a counter."""

import random as python_random

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.core.naming import auto_name, name_scope
from cornu.core.tracking import Tracked
from cornu.core.variable import Variable, is_thrown_away

# How many seeds were drawn from Python's generator, to tell others' draws from these.
num_default_seeds = 0

FRESH_NUMBERS = (
    "Draw random numbers from a generator that the layer keeps: in `__init__` "
    "self.seed_generator = cornu.random.SeedGenerator(0), and in `call` "
    "cornu.random.normal(shape, seed=self.seed_generator)."
)


class UnseededError(RuntimeError):
    """A random function without a seed was used in a step that is compiled."""


def make_default_seed() -> int:
    """A seed from Python's own generator, which `set_random_seed` controls."""
    global num_default_seeds
    num_default_seeds += 1
    return python_random.randint(1, int(1e9))


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and Cornu's randomness, so that a script's run can be repeated.

    With the same seed a script draws the same initial weights, dropout masks and shuffling as it
    does in Keras on JAX.

    Source: Keras: set_random_seed.

    >>> import cornu
    >>> cornu.utils.set_random_seed(0)
    """
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise ValueError(
            f"Expected `seed` argument to be an integer. Received: seed={seed} "
            f"(of type {type(seed)})"
        )
    python_random.seed(int(seed))
    np.random.seed(int(seed))
    _shared.clear()


class SeedGenerator(Configurable, Tracked):
    """A source of random keys: a variable `[seed, counter]` whose counter grows with each use.

    Args:
        seed: an integer; None draws one from Python's generator.

    Kept as an attribute of a layer, its state belongs to the layer, so that compiled and resumed
    runs draw the same numbers as plain ones.

    Source: Keras: SeedGenerator.

    >>> import cornu, jax
    >>> seeds = cornu.random.SeedGenerator(7)
    >>> x = jax.random.normal(seeds.next(), (2,))
    >>> seeds.state.numpy().tolist()
    [7, 1]
    """

    def __init__(self, seed=None, name=None):
        if seed is None:
            seed = make_default_seed()
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
            raise ValueError(f"Argument `seed` must be an integer. Received: seed={seed}")
        if seed < 0:
            raise ValueError(f"Argument `seed` must not be negative. Received: seed={seed}")
        self.seed = int(seed)
        self.name = name or auto_name(type(self).__name__)
        with name_scope(self.name, owner=self):
            self.state = Variable(
                np.array([self.seed & 0xFFFFFFFF, 0], np.uint32),
                dtype="uint32",
                trainable=False,
                autocast=False,
                name="seed_generator_state",
            )

    def next(self, ordered=True) -> jax.Array:
        """A fresh key, `uint32[2]`, for the functions of `jax.random`.

        The counter grows by one; with `ordered=False`, both values jump, as those of Keras'
        global generator do.
        """
        key = self.state.value
        if ordered:
            self.state.assign(key + np.array([0, 1], np.uint32))
        else:
            self.state.assign((key + 1) * 5387 % 933199)
        return key

    def get_config(self) -> dict:
        return {"seed": self.seed}

    def save_own_variables(self, store) -> None:
        """Put the state into a dict-like store."""
        store["0"] = self.state.numpy()

    def load_own_variables(self, store) -> None:
        """Take the state from a dict-like store."""
        self.state.assign(store["0"])


registry.register("seed_generator", "SeedGenerator", module="keras.random")(SeedGenerator)

_shared: dict[str, SeedGenerator] = {}


def shared_seed_generator() -> SeedGenerator:
    """The generator of random functions that are given no seed."""
    if "generator" not in _shared:
        _shared["generator"] = SeedGenerator(make_default_seed(), name="shared_seed_generator")
    return _shared["generator"]


def shared_state() -> Variable | None:
    """The state of that generator; None as long as nothing has drawn from it."""
    return _shared["generator"].state if _shared else None


def restore_shared_state(value) -> None:
    """Put back what `shared_state` held."""
    if value is None:
        _shared.clear()
    else:
        shared_seed_generator().state.assign(value)


class Keys:
    """Fresh keys from one key, where no variable may be assigned: in the branches and loops of JAX."""

    def __init__(self, key: jax.Array):
        self._key = key

    def next(self) -> jax.Array:
        """A fresh key."""
        self._key, key = jax.random.split(self._key)
        return key


def draw_seed(seed=None) -> jax.Array:
    """A key from an integer (always the same), a `SeedGenerator` (a fresh one) or None (fresh)."""
    if isinstance(seed, SeedGenerator | Keys):
        return seed.next()
    if seed is None:
        # No step returns the new state of the shared generator; where shapes are inferred, none is kept.
        if isinstance(jnp.zeros(()), jax.core.Tracer) and not is_thrown_away():
            raise UnseededError(
                "A random function without a seed is used while the step is compiled: its values "
                f"would be constants. {FRESH_NUMBERS}"
            )
        return shared_seed_generator().next(ordered=False)
    if isinstance(seed, (int, np.integer)):
        return jnp.asarray(np.array([int(seed) & 0xFFFFFFFF, 0], np.uint32))
    if isinstance(seed, jax.Array):
        return seed
    raise ValueError(
        "Argument `seed` must be either an integer or an instance of `SeedGenerator`. "
        f"Received: seed={seed} (of type {type(seed)})"
    )
