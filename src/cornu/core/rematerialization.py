"""Computing again instead of remembering."""

from collections.abc import Callable

import jax


def remat(f: Callable) -> Callable:
    """A function whose intermediate results are computed again for its gradient, not kept in memory.

    It may call layers, but not such as change their variables, as batch normalization and dropout do in
    training.

    Source: Keras: remat; Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".

    >>> import cornu, jax
    >>> layer = cornu.layers.Dense(2)
    >>> layer.build((None, 3))
    >>> cheap = cornu.remat(layer)
    >>> cheap(jax.numpy.ones((4, 3))).shape
    (4, 2)
    """
    return jax.checkpoint(lambda *args, **kwargs: f(*args, **kwargs))
