"""Layers that take numbers to a common scale: `Rescaling` and `Normalization`."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import epsilon, image_data_format
from cornu.layers.preprocessing.data_layer import DataLayer


@registry.register("layer", module="keras.layers")
class Rescaling(DataLayer):
    """`inputs * scale + offset`, as floats: `Rescaling(1 / 255)` takes pixels to [0, 1].

    Args:
        scale: a number, or one for each channel.
        offset: a number, or one for each channel.

    Source: Keras: Rescaling layer.

    >>> import cornu, numpy as np
    >>> cornu.layers.Rescaling(1 / 127.5, offset=-1)(np.array([0, 255], "uint8")).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, scale, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self.supports_masking = True

    def call(self, inputs):
        scale, offset = (jnp.asarray(v, self.compute_dtype) for v in (self.scale, self.offset))
        if scale.ndim and image_data_format() == "channels_first":
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
        return inputs.astype(self.compute_dtype) * scale + offset


@registry.register("layer", module="keras.layers")
class Normalization(DataLayer):
    """`(inputs - mean) / sqrt(variance)`, with statistics of the data that `adapt` has seen.

    Args:
        axis: axis, or several, that keep a mean and variance for each index; None for one mean
            and one variance of everything.
        mean, variance: the statistics, to be used instead of `adapt`.
        invert: whether to undo the normalization instead.

    Source: Keras: Normalization layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.Normalization()
    >>> layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> layer(np.array([[1.0, 30.0]])).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, axis=-1, mean=None, variance=None, invert=False, **kwargs):
        super().__init__(**kwargs)
        if axis is None:
            axis = ()
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean, self.input_variance = mean, variance
        self.invert = invert
        self.supports_masking = True
        if (mean is None) != (variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. "
                f"Received: mean={mean} and variance={variance}"
            )
        if mean is not None:
            if np.shape(mean) != np.shape(variance):
                raise ValueError(
                    "When setting values directly, `mean` and `variance` must have the same shape. "
                    f"Received: mean shape {np.shape(mean)} and variance shape {np.shape(variance)}"
                )
            if np.ndim(mean) > len(self.axis):
                raise ValueError(
                    "The rank of `mean` must be less than or equal to the number of axes "
                    f"({len(self.axis)}). Received: mean shape {np.shape(mean)} for axis {self.axis}"
                )

    def build(self, input_shape):
        ndim = len(input_shape)
        if any(not -ndim <= axis < ndim for axis in self.axis):
            raise ValueError(
                f"Layer '{self.name}': all `axis` values must be in the range [-ndim, ndim). "
                f"Received inputs with ndim={ndim}, while axis={self.axis}"
            )
        self._kept = sorted(axis % ndim for axis in self.axis)
        for axis in self._kept:
            if input_shape[axis] is None:
                raise ValueError(
                    f"Layer '{self.name}': all `axis` values to be kept must have a known shape. "
                    f"Received axis={self.axis}, inputs.shape={input_shape}, with unknown axis at "
                    f"index {axis}"
                )
        self._shape = [n if i in self._kept else 1 for i, n in enumerate(input_shape)]
        if self.input_mean is None:
            shape = tuple(input_shape[i] for i in self._kept)
            self.adapt_mean = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(shape, "ones", trainable=False, name="variance")
            # Nothing reads it, but Keras keeps it in its files.
            self.count = self.add_weight((), "zeros", "int32", trainable=False, name="count")

    @property
    def mean(self):
        """The mean in use, in a shape that broadcasts to the inputs; None before the layer is built."""
        return self._statistic("adapt_mean", self.input_mean)

    @property
    def variance(self):
        """The variance in use, in a shape that broadcasts to the inputs."""
        return self._statistic("adapt_variance", self.input_variance)

    def _statistic(self, adapted: str, given):
        if not self.built:
            return None
        if given is None:
            return getattr(self, adapted).value.reshape(self._shape).astype(self.compute_dtype)
        given = jnp.asarray(given, self.compute_dtype)
        shape = [1] * len(self._shape)
        for axis, size in zip(reversed(self._kept), reversed(given.shape), strict=False):
            shape[axis] = size
        return jnp.broadcast_to(given.reshape(shape), self._shape)

    def adapt(self, data) -> None:
        """Take mean and variance from an array, or from batches: a list, a generator, a dataset.

        Of batches that are tuples the first entry is used. Earlier statistics are forgotten.
        """
        if self.input_mean is not None:
            raise ValueError(
                f"Layer '{self.name}' was given `mean` and `variance`, so it cannot `adapt`."
            )
        batches = _batches(data)
        first = next(batches, None)
        if first is None:
            raise ValueError(
                "adapt() received an empty iterable (no batches). Expected at least one batch. Pass "
                "a non-empty iterable of arrays, e.g. layer.adapt([x])."
            )
        if not self.built:
            self.build(first.shape)
        expected = {axis: self._shape[axis] for axis in self._kept}
        count, mean, variance = 0, 0.0, 0.0
        for batch in itertools.chain([first], batches):
            if batch.ndim != len(self._shape) or any(
                batch.shape[axis] != size for axis, size in expected.items()
            ):
                raise ValueError(
                    f"Layer '{self.name}' was built for data whose kept axes have the sizes "
                    f"{expected} out of {len(self._shape)} axes, but adapt() got an array of the "
                    f"incompatible shape {batch.shape}."
                )
            axes = tuple(i for i in range(batch.ndim) if i not in expected)
            batch = batch.astype(np.float64)
            added = math.prod(batch.shape[i] for i in axes)
            share = added / (count + added)
            batch_mean = batch.mean(axes)
            joint = mean * (1 - share) + batch_mean * share
            variance = (variance + (mean - joint) ** 2) * (1 - share) + (
                batch.var(axes) + (batch_mean - joint) ** 2
            ) * share
            count, mean = count + added, joint
        self.adapt_mean.assign(np.asarray(mean, np.float32))
        self.adapt_variance.assign(np.asarray(variance, np.float32))

    def finalize_state(self) -> None:
        """Nothing: `mean` and `variance` are read where the weights are. Keras keeps copies of them."""

    def call(self, inputs):
        inputs = inputs.astype(self.compute_dtype)
        deviation = jnp.maximum(jnp.sqrt(self.variance), epsilon())
        if self.invert:
            return self.mean + inputs * deviation
        return (inputs - self.mean) / deviation

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        given = {"mean": self.input_mean, "variance": self.input_variance}
        return {**super().get_config(), **{k: np.asarray(v).tolist() for k, v in given.items()}}

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n not in ("mean", "variance")]


def _batches(data):
    if isinstance(data, np.ndarray | jax.Array):
        yield np.asarray(data)
        return
    if not hasattr(data, "__iter__"):
        if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            raise TypeError(
                f"Unsupported data type: {type(data)}. `adapt` supports arrays, datasets, and "
                "iterables of batches (e.g. list, generator)."
            )
        data = map(data.__getitem__, range(len(data)))
    for batch in data:
        batch = batch[0] if isinstance(batch, tuple) else batch
        if getattr(batch, "shape", None) is None:
            raise TypeError(
                "adapt() expects an iterable that yields arrays or tensors with a `.shape` "
                f"attribute. Got an element of type {type(batch).__name__}; wrap a list of numbers "
                "with np.array."
            )
        yield np.asarray(batch)
