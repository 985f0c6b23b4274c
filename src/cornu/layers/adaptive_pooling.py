"""Adaptive pooling layers: outputs of one size, whatever the input's."""

import numpy as np

from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.dtype import standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers.spatial import join_shape, split_shape
from cornu.ops import adaptive_pooling as ops

_OPERATIONS = {"max": ops.adaptive_max_pool, "average": ops.adaptive_average_pool}


class BaseAdaptivePooling(Layer):
    """A layer that reduces each window of each channel to one number, as many as are asked for.

    Args:
        output_size: number of windows, an integer or one for each spatial axis.
        data_format: `"channels_last"` or `"channels_first"`.
    """

    rank: int
    operation: str

    def __init__(self, output_size, data_format=None, **kwargs):
        super().__init__(**kwargs)
        single = isinstance(output_size, int | np.integer)
        if not single and not (
            isinstance(output_size, list | tuple) and len(output_size) == self.rank
        ):
            raise TypeError(
                f"Layer '{self.name}': `output_size` must be an integer or a tuple of {self.rank}. "
                f"Received: {described('output_size', output_size)}"
            )
        sizes = (output_size,) * self.rank if single else tuple(output_size)
        if not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
            raise ValueError(
                f"Layer '{self.name}': `output_size` must be positive. Received: "
                f"{described('output_size', output_size)}"
            )
        self.output_size = tuple(int(size) for size in sizes)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return _OPERATIONS[self.operation](inputs, self.output_size, self.data_format)

    def compute_output_shape(self, input_shape):
        _, channels = split_shape(input_shape, self.data_format)
        return join_shape(input_shape[0], self.output_size, channels, self.data_format)


_MEANING = {"max": "The largest number", "average": "The mean"}
_INPUTS = {1: "a signal", 2: "an image", 3: "a volume"}
_CLASSES = {"max": "AdaptiveMaxPooling", "average": "AdaptiveAveragePooling"}


def _pooling(operation: str, rank: int):
    name = f"{_CLASSES[operation]}{rank}D"
    example = (1, *(5,) * rank, 3)
    result = (1, *(2,) * rank, 3)
    text = f"""{_MEANING[operation]} of each of `output_size` windows of each channel of {_INPUTS[rank]}.

    Along an axis of length n, window i of m reads the positions from `floor(i * n / m)` to
    `ceil((i + 1) * n / m)`, without the last; where n / m is not whole, windows overlap.

    Args:
        output_size: number of windows, an integer or one for each spatial axis.
        data_format: `"channels_last"` or `"channels_first"`.

    Source: Keras: {name} layer.

    >>> import cornu, numpy as np
    >>> cornu.layers.{name}(2)(np.ones({example})).shape
    {result}
    """
    members = {
        "rank": rank,
        "operation": operation,
        "_calculates": operation == "average",
        "__doc__": text,
        "__module__": __name__,
    }
    cls = type(name, (BaseAdaptivePooling,), members)
    return registry.register("layer", name, module="keras.layers")(cls)


AdaptiveMaxPooling1D, AdaptiveMaxPooling2D, AdaptiveMaxPooling3D = (
    _pooling("max", n) for n in (1, 2, 3)
)
AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D = (
    _pooling("average", n) for n in (1, 2, 3)
)
