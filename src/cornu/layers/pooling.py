"""Pooling layers: one number for each window, or for each whole feature map."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.dtype import standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers.spatial import Spatial, join_shape, split_shape
from cornu.ops import pooling as ops
from cornu.ops.windows import Geometry, as_tuple, sliding

_OPERATIONS = {"max": ops.max_pool, "average": ops.average_pool, "l2": ops.l2_pool}


class BasePooling(Spatial):
    """A layer that reduces each window of each channel to one number.

    Args:
        pool_size: size of the window, an integer or one for each axis.
        strides: steps of the window; None for the size of the window.
        padding: `"valid"` or `"same"`; padding itself is never chosen, and does not count in means.
        data_format: `"channels_last"` or `"channels_first"`.
    """

    operation: str

    def __init__(
        self, pool_size=2, strides=None, padding="valid", data_format=None, name=None, **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.pool_size = as_tuple(pool_size, self.rank, "pool_size")
        strides = self.pool_size if strides is None else strides
        self.strides = as_tuple(strides, self.rank, "strides")
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(
                f"The `padding` argument of layer '{self.name}' must be 'valid' or 'same'. "
                f"Received: padding={padding}"
            )
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        pool = _OPERATIONS[self.operation]
        return pool(inputs, self.pool_size, self.strides, self.padding, self.data_format)

    def _window(self, input_shape) -> Geometry:
        spatial, channels = split_shape(input_shape, self.data_format)
        geometry = sliding(spatial, self.pool_size, self.strides, self.padding, groups=channels)
        geometry.check(f"layer '{self.name}'", input_shape)
        return geometry


_MEANING = {
    "max": "The largest number",
    "average": "The mean",
    "l2": "The root of the sum of squares",
}
_INPUTS = {1: "a signal", 2: "an image", 3: "a volume"}
_CLASSES = {"max": "MaxPooling", "average": "AveragePooling", "l2": "L2Pooling"}
_SHORT = {"max": "MaxPool", "average": "AvgPool", "l2": "L2Pool"}


def _pooling(operation: str, rank: int):
    name = f"{_CLASSES[operation]}{rank}D"
    example = (1, *(4,) * rank, 3)
    result = (1, *(2,) * rank, 3)
    text = f"""{_MEANING[operation]} of each window of each channel of {_INPUTS[rank]}.

    Args:
        pool_size: size of the window, an integer or one for each axis.
        strides: steps of the window; None for the size of the window.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.

    Raises ValueError if the window is larger than the input. Source: Keras: {name} layer.

    >>> import cornu, numpy as np
    >>> cornu.layers.{name}(2)(np.ones({example})).shape
    {result}
    """
    cls = type(
        name,
        (BasePooling,),
        {
            "rank": rank,
            "operation": operation,
            "_calculates": operation != "max",
            "__doc__": text,
            "__module__": __name__,
        },
    )
    aliases = (name, f"{_SHORT[operation]}{rank}D")
    return registry.register("layer", *aliases, module="keras.layers")(cls)


MaxPooling1D, MaxPooling2D, MaxPooling3D = (_pooling("max", n) for n in (1, 2, 3))
AveragePooling1D, AveragePooling2D, AveragePooling3D = (_pooling("average", n) for n in (1, 2, 3))
L2Pooling1D, L2Pooling2D, L2Pooling3D = (_pooling("l2", n) for n in (1, 2, 3))


class BaseGlobalPooling(Layer):
    """A layer that reduces each channel to one number.

    Args:
        data_format: `"channels_last"` or `"channels_first"`.
        keepdims: whether to keep the spatial axes, with size one.
    """

    rank: int

    def __init__(self, data_format=None, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=self.rank + 2)

    @property
    def _axes(self) -> tuple:
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))

    def compute_output_shape(self, input_shape):
        _, channels = split_shape(input_shape, self.data_format)
        if not self.keepdims:
            return (input_shape[0], channels)
        return join_shape(input_shape[0], (1,) * self.rank, channels, self.data_format)


class BaseGlobalMaxPooling(BaseGlobalPooling):
    """The largest number of each channel."""

    def call(self, inputs):
        return jnp.max(inputs, axis=self._axes, keepdims=self.keepdims)


class BaseGlobalAveragePooling(BaseGlobalPooling):
    """The mean of each channel."""

    _calculates = True

    def call(self, inputs):
        return ops.global_average_pool(inputs, self.keepdims, self.data_format)


@registry.register("layer", "GlobalMaxPooling1D", "GlobalMaxPool1D", module="keras.layers")
class GlobalMaxPooling1D(BaseGlobalMaxPooling):
    """The largest number of each channel of a signal. Source: Keras: GlobalMaxPooling1D.

    >>> import cornu, numpy as np
    >>> cornu.layers.GlobalMaxPooling1D()(np.ones((2, 5, 3))).shape
    (2, 3)
    """

    rank = 1


@registry.register("layer", "GlobalMaxPooling2D", "GlobalMaxPool2D", module="keras.layers")
class GlobalMaxPooling2D(BaseGlobalMaxPooling):
    """The largest number of each feature map. Source: Keras: GlobalMaxPooling2D.

    >>> import cornu, numpy as np
    >>> cornu.layers.GlobalMaxPooling2D(keepdims=True)(np.ones((2, 5, 5, 3))).shape
    (2, 1, 1, 3)
    """

    rank = 2


@registry.register("layer", "GlobalMaxPooling3D", "GlobalMaxPool3D", module="keras.layers")
class GlobalMaxPooling3D(BaseGlobalMaxPooling):
    """The largest number of each channel of a volume. Source: Keras: GlobalMaxPooling3D."""

    rank = 3


@registry.register("layer", "GlobalAveragePooling1D", "GlobalAvgPool1D", module="keras.layers")
class GlobalAveragePooling1D(BaseGlobalAveragePooling):
    """The mean of each channel of a signal; positions that a mask leaves out do not count.

    Source: Keras: GlobalAveragePooling1D.

    >>> import cornu, numpy as np
    >>> cornu.layers.GlobalAveragePooling1D()(np.ones((2, 5, 3))).shape
    (2, 3)
    """

    rank = 1

    def __init__(self, data_format=None, keepdims=False, **kwargs):
        super().__init__(data_format=data_format, keepdims=keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is None:
            return super().call(inputs)
        axis = self._axes[0]
        mask = jnp.asarray(mask).astype(inputs.dtype)
        mask = jnp.expand_dims(mask, 2 if self.data_format == "channels_last" else 1)
        total = jnp.sum(inputs * mask, axis=axis, keepdims=self.keepdims)
        return total / jnp.sum(mask, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs, mask=None):
        return None


@registry.register("layer", "GlobalAveragePooling2D", "GlobalAvgPool2D", module="keras.layers")
class GlobalAveragePooling2D(BaseGlobalAveragePooling):
    """The mean of each feature map. Source: Lin et al. 2014; Keras: GlobalAveragePooling2D.

    >>> import cornu, numpy as np
    >>> cornu.layers.GlobalAveragePooling2D()(np.ones((2, 5, 5, 3))).shape
    (2, 3)
    """

    rank = 2


@registry.register("layer", "GlobalAveragePooling3D", "GlobalAvgPool3D", module="keras.layers")
class GlobalAveragePooling3D(BaseGlobalAveragePooling):
    """The mean of each channel of a volume. Source: Keras: GlobalAveragePooling3D."""

    rank = 3
