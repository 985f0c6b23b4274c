"""Convolution layers: kernels that slide over signals, images and volumes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu import activations
from cornu.core import registry
from cornu.core.arguments import described
from cornu.core.dtype import standardize_data_format
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer
from cornu.layers import weight_arguments
from cornu.layers.low_rank import LowRank
from cornu.layers.spatial import Spatial, split_shape
from cornu.ops import convolution as ops
from cornu.ops.windows import Geometry, as_tuple, sliding

PADDINGS = ("valid", "same", "causal")


def positive(value, name: str, layer: Layer) -> int:
    """Check an argument that counts something."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a strictly positive value. Received "
            f"{described(name, value)} In layer '{layer.name}' it must be an integer."
        )
    return int(value)


class Windowed(Spatial):
    """What all convolutions share: the size of their window, strides, padding and data format.

    Args:
        kernel_size: size of the window, an integer or one for each axis.
        strides: steps of the window, an integer or one for each axis.
        padding: `"valid"` (none), `"same"` (zeros around, so that with strides of one the size stays)
            or, in one dimension, `"causal"` (zeros before, so that no output reads a later input).
        data_format: `"channels_last"` or `"channels_first"`; default: the configured one.
        dilation_rate: distance between kernel taps, an integer or one for each axis.
        activation: name or function, applied last.
        use_bias: whether to add a bias to each output channel.
        kernel_initializer, bias_initializer: initial values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights.
        activity_regularizer: penalty on the output.
        kernel_constraint, bias_constraint: constraints on the weights.
    """

    groups = 1
    _calculates = True

    def _set_window(self, kernel_size, strides, padding, data_format, dilation_rate):
        self.kernel_size = as_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = as_tuple(strides, self.rank, "strides")
        self.dilation_rate = as_tuple(dilation_rate, self.rank, "dilation_rate")
        self.data_format = standardize_data_format(data_format)
        self.padding = str(padding).lower()
        allowed = PADDINGS if self.rank == 1 else PADDINGS[:2]
        if self.padding not in allowed:
            raise ValueError(
                f"The `padding` argument of layer '{self.name}' must be one of {set(allowed)}. "
                f"Received: padding={padding}"
            )
        if self.padding == "causal" and self.data_format != "channels_last":
            raise ValueError("Causal padding is only supported with data_format='channels_last'.")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: "
                f"strides={self.strides} and dilation_rate={self.dilation_rate} in layer "
                f"'{self.name}'"
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2, max_ndim=self.rank + 2)

    def _channels_in(self, input_shape) -> int:
        """The number of channels, which from now on every input must have."""
        _, channels = split_shape(input_shape, self.data_format)
        if channels is None:
            raise ValueError(
                f"Layer '{self.name}': the channel dimension of the inputs should be defined, but "
                f"the input shape is {tuple(input_shape)}. Give `Input` the number of channels."
            )
        axis = -1 if self.data_format == "channels_last" else 1
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        return channels

    def _channel_axis_of(self, bias):
        """The bias with as many axes as the output."""
        if self.data_format == "channels_last":
            return jax.lax.broadcast_to_rank(bias, self.rank + 2)
        return bias.reshape((1, -1) + (1,) * self.rank)

    use_bias: bool
    bias: Any
    activation: Any

    def _finish(self, outputs):
        if self.use_bias:
            outputs = outputs + self._channel_axis_of(self.bias.value)
        return outputs if self.activation is None else self.activation(outputs)

    def _window(self, input_shape) -> Geometry:
        spatial, _ = split_shape(input_shape, self.data_format)
        geometry = sliding(
            spatial,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.groups,
        )
        geometry.check(f"layer '{self.name}'", input_shape)
        return geometry


class BaseConv(LowRank, Windowed):
    """A layer of convolution kernels.

    Args:
        filters: number of kernels, and so of output channels.
        groups: number of groups that the channels are split into, each with filters of its own.
        lora_rank, lora_alpha: low-rank adaptation from the start: see `enable_lora`.

    The other arguments are those of every layer with a window: see `Windowed`.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = positive(filters, "filters", self)
        self.groups = positive(groups, "groups", self)
        if filters % groups != 0:
            raise ValueError(
                "The number of filters must be evenly divisible by the number of groups. Received: "
                f"groups={groups}, filters={filters}, in layer '{self.name}'."
            )
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        weight_arguments.keep(self, locals(), "kernel", "bias")

    def _kernel_shape(self, channels: int) -> tuple:
        if channels % self.groups != 0:
            raise ValueError(
                "The number of input channels must be evenly divisible by the number of groups. "
                f"Received groups={self.groups}, but the input has {channels} channels, in layer "
                f"'{self.name}'."
            )
        return (*self.kernel_size, channels // self.groups, self.filters)

    def build(self, input_shape):
        channels = self._channels_in(input_shape)
        self.compute_output_shape(input_shape)
        self._add_main(self._kernel_shape(channels))
        self.bias = None
        if self.use_bias:
            self.bias = weight_arguments.add(self, "bias", (self.filters,))
        if self.lora_rank:
            self._add_adaptation()

    @property
    def kernel(self):
        """The weights: a variable or, with low-rank adaptation, the sum that the layer computes with."""
        return self._effective()

    @kernel.setter
    def kernel(self, variable):
        self._main_variable = variable

    def convolution_op(self, inputs, kernel):
        """The convolution alone, before bias and activation. Override it to change the kernel first,
        for instance: `return super().convolution_op(inputs, kernel / jnp.linalg.norm(kernel))`.
        """
        return ops.conv(
            inputs,
            jnp.asarray(kernel),
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
            self.groups,
        )

    def call(self, inputs):
        return self._finish(self.convolution_op(inputs, self._effective_value()))

    def _channels_out(self, channels):
        return self.filters


@registry.register("layer", "Conv1D", "Convolution1D", module="keras.layers")
class Conv1D(BaseConv):
    """Convolution of signals: `(batch, steps, channels)` to `(batch, new_steps, filters)`.

    `y[t, f] = bias[f] + sum over i, c of x[t * stride + i * dilation, c] * kernel[i, c, f]`.

    The arguments are those of `Conv2D`, with integers for the window; `padding` may also be
    `"causal"`. Source: Keras: Conv1D layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.Conv1D(2, 3)
    >>> layer(np.zeros((1, 10, 1))).shape
    (1, 8, 2)
    """

    rank = 1
    _of_sequences = True


@registry.register("layer", "Conv2D", "Convolution2D", module="keras.layers")
class Conv2D(BaseConv):
    """Convolution of images: `(batch, rows, columns, channels)` to `(…, filters)`.

    `y[r, c, f] = bias[f] + sum of x[r * s + i, c * s + j, k] * kernel[i, j, k, f]` over `i`, `j`, `k`.
    A window of 5x5 on 28x28 gives 24x24 numbers for each filter; there are
    `(5 * 5 * channels + 1) * filters` weights.

    Args:
        filters: number of kernels, and so of output channels.
        kernel_size: size of the window, an integer or `(rows, columns)`.
        strides: steps of the window.
        padding: `"valid"` (none) or `"same"` (zeros around).
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: distance between kernel taps.
        groups: number of groups that the channels are split into, each with filters of its own.
        activation: name or function, applied last.
        use_bias: whether to add a bias to each output channel.
        kernel_initializer, bias_initializer: initial values of the weights.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties.
        kernel_constraint, bias_constraint: constraints on the weights.
        lora_rank, lora_alpha: low-rank adaptation from the start: see `enable_lora`.

    Raises ValueError if a window is larger than the image, or the filters cannot be divided into
    the groups. Source: Keras: Conv2D layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.Conv2D(32, 5, activation="relu")
    >>> layer(np.zeros((1, 28, 28, 1))).shape, layer.count_params()
    ((1, 24, 24, 32), 832)
    """

    rank = 2


@registry.register("layer", "Conv3D", "Convolution3D", module="keras.layers")
class Conv3D(BaseConv):
    """Convolution of volumes: `(batch, depth, rows, columns, channels)` to `(…, filters)`.

    The arguments are those of `Conv2D`, with three integers for the window. Source: Keras: Conv3D.

    >>> import cornu, numpy as np
    >>> cornu.layers.Conv3D(2, 3, padding="same")(np.zeros((1, 4, 4, 4, 1))).shape
    (1, 4, 4, 4, 2)
    """

    rank = 3
