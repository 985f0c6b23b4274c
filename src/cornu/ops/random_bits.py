"""Random decisions: the bits of `jax.random`, which XLA takes long to compute on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp

from cornu.core.kernels import primitive


def _bernoulli(key, *, probability, shape):
    return jax.random.bernoulli(jax.random.wrap_key_data(key), probability, shape)


_decide = primitive(
    "bernoulli",
    lambda key, *, probability, shape: (shape, jnp.dtype(bool)),
    _bernoulli,
    lambda key, *, probability, shape: {"probability": probability},
    batched=(),
)


def bernoulli(key, probability: float, shape):
    """Booleans that are True with a probability, to the bit those of `jax.random.bernoulli`.

    Args:
        key: `uint32[2]`, as a `SeedGenerator` gives it.
    """
    config: Any = jax.config
    plain = (
        config.jax_default_prng_impl == "threefry2x32"
        and config.jax_threefry_partitionable
        and not config.jax_enable_x64
        and jnp.shape(key) == (2,)
    )
    if not plain:
        return jax.random.bernoulli(key, probability, shape)
    return _decide.bind(key, probability=float(probability), shape=tuple(shape))
