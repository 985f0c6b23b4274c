"""Layers that move elements and change none."""

import math

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer


@registry.register("layer", module="keras.layers")
class Flatten(Layer):
    """All axes but the batch become one.

    Args:
        data_format: `"channels_last"` (the default) or `"channels_first"`, whose channels are moved
            to the end first, so that weights behind the layer mean the same for both.

    Shapes: (batch, n, m, …) -> (batch, n * m * …); (batch,) -> (batch, 1).

    Source: Keras: Flatten layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Flatten()(jnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    _keeps_zeros = True

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs):
        if self.data_format == "channels_first" and inputs.ndim > 1:
            inputs = jnp.moveaxis(inputs, 1, -1)
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))


@registry.register("layer", module="keras.layers")
class Reshape(Layer):
    """The elements of each example in another shape.

    Args:
        target_shape: sizes without the batch; one may be -1 and is then worked out.

    Shapes: (batch, …) -> (batch, *target_shape).

    Source: Keras: Reshape layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Reshape((-1, 2))(jnp.ones((5, 12))).shape
    (5, 6, 2)
    """

    _keeps_zeros = True

    def __init__(self, target_shape, **kwargs):
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)
        if any(not isinstance(n, int | np.integer) or n < -1 for n in self.target_shape):
            raise ValueError(
                "Each dimension in `target_shape` must be a non-negative integer, or `-1` for a "
                f"single unknown dimension. Received: target_shape={target_shape}."
            )
        if self.target_shape.count(-1) > 1:
            raise ValueError(
                "There must be at most one unknown dimension (-1) in `target_shape`. Received: "
                f"target_shape={target_shape}."
            )

    def compute_output_shape(self, input_shape):
        batch, *sizes = input_shape
        target = self.target_shape
        if None in sizes:
            return (batch, *(None if n == -1 else n for n in target))
        size, known = math.prod(sizes), math.prod(n for n in target if n != -1)
        fits = size == known if -1 not in target else known and size % known == 0
        if not fits:
            raise ValueError(
                f"Layer '{self.name}': the total size of the tensor must be unchanged, but {size} "
                f"elements do not fit into target_shape={target}. Received: "
                f"input_shape={tuple(input_shape)}"
            )
        return (batch, *(size // known if n == -1 else n for n in target))

    def compute_output_spec(self, inputs):
        spec = super().compute_output_spec
        if None not in inputs.shape[1:]:
            return spec(inputs)
        return type(inputs)(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def call(self, inputs):
        return inputs.reshape(self.compute_output_shape(inputs.shape))


@registry.register("layer", module="keras.layers")
class Permute(Layer):
    """The axes in another order.

    Args:
        dims: numbers of the input's axes in the new order, from 1; the batch stays first.

    Source: Keras: Permute layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Permute((2, 1))(jnp.ones((5, 10, 64))).shape
    (5, 64, 10)
    """

    _keeps_zeros = True

    def __init__(self, dims, **kwargs):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                "Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` "
                f"must be consecutive and start from 1. Received dims={dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs):
        return jnp.transpose(inputs, (0, *self.dims))


@registry.register("layer", module="keras.layers")
class RepeatVector(Layer):
    """The input, n times over.

    Args:
        n: number of repetitions.

    Shapes: (batch, features) -> (batch, n, features).

    Source: Keras: RepeatVector layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RepeatVector(3)(jnp.ones((2, 32))).shape
    (2, 3, 32)
    """

    def __init__(self, n, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(n, int) or isinstance(n, bool):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        if n <= 0:
            raise ValueError(f"Argument `n` should be a positive integer. Received: n={n}")
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs):
        return jnp.broadcast_to(inputs[:, None], (inputs.shape[0], self.n, inputs.shape[1]))
