"""Random numbers from seeds: an integer gives the same values every time, a `SeedGenerator` new ones."""

import jax
import jax.numpy as jnp

from cornu.core.dtype import as_array, standardize_dtype
from cornu.core.random import SeedGenerator, draw_seed
from cornu.ops.random_bits import bernoulli


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers of a normal distribution.

    >>> import cornu
    >>> cornu.random.normal((2, 3), seed=1).shape
    (2, 3)
    """
    dtype = standardize_dtype(dtype)
    return jax.random.normal(draw_seed(seed), shape, dtype) * stddev + mean


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers of a normal distribution, none farther than two standard deviations from the mean."""
    dtype = standardize_dtype(dtype)
    sample = jax.random.truncated_normal(draw_seed(seed), -2.0, 2.0, shape, dtype)
    return sample * stddev + mean


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Numbers spread evenly over `[minval, maxval)`.

    >>> import cornu
    >>> bool((cornu.random.uniform((5,), seed=1) < 1).all())
    True
    """
    dtype = standardize_dtype(dtype)
    return jax.random.uniform(draw_seed(seed), shape, dtype, minval=minval, maxval=maxval)


def randint(shape, minval, maxval, dtype="int32", seed=None):
    """Integers spread evenly over `[minval, maxval)`."""
    dtype = standardize_dtype(dtype or "int32")
    return jax.random.randint(draw_seed(seed), shape, minval, maxval, dtype)


def categorical(logits, num_samples, dtype="int32", seed=None):
    """Classes drawn with the probabilities `softmax(logits)`, `num_samples` for each row."""
    logits = as_array(logits)
    if logits.ndim != 2:
        raise ValueError(
            "`logits` should be a 2-D tensor with shape [batch_size, num_classes]. Received: "
            f"logits.shape={logits.shape}"
        )
    shape = (logits.shape[0], num_samples)
    drawn = jax.random.categorical(draw_seed(seed), logits[:, :, None], axis=1, shape=shape)
    return drawn.astype(dtype)


def gamma(shape, alpha, dtype=None, seed=None):
    """Numbers from the gamma distribution with shape parameter `alpha` and rate 1."""
    dtype = standardize_dtype(dtype)
    return jax.random.gamma(draw_seed(seed), as_array(alpha), shape, dtype)


def beta(shape, alpha, beta, dtype=None, seed=None):
    """Numbers from the beta distribution, between 0 and 1."""
    dtype = standardize_dtype(dtype)
    alpha, beta = as_array(alpha), as_array(beta)
    return jax.random.beta(draw_seed(seed), alpha, beta, shape, dtype)


def binomial(shape, counts, probabilities, dtype=None, seed=None):
    """How many of `counts` trials succeed, each with the given probability."""
    dtype = standardize_dtype(dtype)
    counts, probabilities = as_array(counts), as_array(probabilities)
    return jax.random.binomial(draw_seed(seed), counts, probabilities, shape, dtype)


def shuffle(x, axis=0, seed=None):
    """The same entries in another order along an axis; what belongs to one entry stays together."""
    return jax.random.permutation(draw_seed(seed), as_array(x), axis)


def dropout(inputs, rate, noise_shape=None, seed=None):
    """Each number set to zero with probability `rate`, the others divided by `1 - rate`.

    Numbers along axes where `noise_shape` is 1 are dropped together; None there means the input's.
    """
    inputs = as_array(inputs)
    if rate == 0:
        return inputs
    if rate == 1:
        return jnp.zeros_like(inputs)
    sizes = inputs.shape if noise_shape is None else noise_shape
    if len(sizes) > inputs.ndim:
        raise ValueError(
            "`noise_shape` must not have more axes than the inputs. Received: "
            f"noise_shape={noise_shape} and inputs of shape {inputs.shape}"
        )
    shape = [inputs.shape[i] if size is None else size for i, size in enumerate(sizes)]
    keep = bernoulli(draw_seed(seed), 1 - rate, shape)
    return jnp.where(keep, inputs / (1 - rate), 0)


__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]
