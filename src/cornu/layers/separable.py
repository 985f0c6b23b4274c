"""Convolution channel by channel, alone and followed by a mixing of the channels."""

from cornu import activations
from cornu.core import registry
from cornu.layers import weight_arguments
from cornu.layers.convolution import Windowed, positive
from cornu.layers.spatial import split_shape
from cornu.ops import convolution as ops
from cornu.ops.windows import Geometry


class _BaseDepthwise(Windowed):
    """What depthwise and separable layers share: the depthwise kernel."""

    def _set_depthwise(
        self,
        depth_multiplier,
        activation,
        use_bias,
        depthwise_initializer,
        bias_initializer,
        depthwise_regularizer,
        bias_regularizer,
        depthwise_constraint,
        bias_constraint,
    ):
        self.depth_multiplier = positive(depth_multiplier, "depth_multiplier", self)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        weight_arguments.keep(self, locals(), "depthwise", "bias")

    def _add_depthwise_kernel(self, channels: int, name: str):
        return weight_arguments.add(
            self, "depthwise", (*self.kernel_size, channels, self.depth_multiplier), name=name
        )

    def _add_bias(self, channels: int):
        if not self.use_bias:
            return None
        return weight_arguments.add(self, "bias", (channels,))


class BaseDepthwiseConv(_BaseDepthwise):
    """A layer that convolves each channel with kernels of its own."""

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._set_depthwise(
            depth_multiplier,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            depthwise_constraint,
            bias_constraint,
        )

    def build(self, input_shape):
        channels = self._channels_in(input_shape)
        self.compute_output_shape(input_shape)
        self.kernel = self._add_depthwise_kernel(channels, "kernel")
        self.kernel.name = "kernel"
        self.bias = self._add_bias(channels * self.depth_multiplier)

    def call(self, inputs):
        outputs = ops.depthwise_conv(
            inputs,
            self.kernel.value,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
        )
        return self._finish(outputs)

    def _window(self, input_shape) -> Geometry:
        _, channels = split_shape(input_shape, self.data_format)
        return super()._window(input_shape)._replace(groups=channels)

    def _channels_out(self, channels):
        return None if channels is None else channels * self.depth_multiplier


@registry.register("layer", "DepthwiseConv1D", module="keras.layers")
class DepthwiseConv1D(BaseDepthwiseConv):
    """Convolution of each channel of a signal alone. Arguments: those of `DepthwiseConv2D`.

    >>> import cornu, numpy as np
    >>> cornu.layers.DepthwiseConv1D(3)(np.zeros((1, 10, 4))).shape
    (1, 8, 4)
    """

    rank = 1


@registry.register("layer", "DepthwiseConv2D", module="keras.layers")
class DepthwiseConv2D(BaseDepthwiseConv):
    """Convolution of each channel of an image alone, with `depth_multiplier` kernels for each.

    Args:
        kernel_size, strides, padding, data_format, dilation_rate: as for `Conv2D`.
        depth_multiplier: kernels, and so output channels, for each channel.
        activation, use_bias: as for `Conv2D`.
        depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer,
        activity_regularizer, depthwise_constraint, bias_constraint: as for `Conv2D`.

    Source: Keras: DepthwiseConv2D layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.DepthwiseConv2D(3, depth_multiplier=2)
    >>> layer(np.zeros((1, 8, 8, 4))).shape, layer.count_params()
    ((1, 6, 6, 8), 80)
    """

    rank = 2


class BaseSeparableConv(_BaseDepthwise):
    """A layer with a depthwise convolution, and one of 1x1 that mixes the channels."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        depth_multiplier=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        pointwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        pointwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        pointwise_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = positive(filters, "filters", self)
        self._set_window(kernel_size, strides, padding, data_format, dilation_rate)
        self._set_depthwise(
            depth_multiplier,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            depthwise_constraint,
            bias_constraint,
        )
        weight_arguments.keep(self, locals(), "pointwise")

    def build(self, input_shape):
        channels = self._channels_in(input_shape)
        self.compute_output_shape(input_shape)
        self.depthwise_kernel = self._add_depthwise_kernel(channels, "depthwise_kernel")
        self.pointwise_kernel = weight_arguments.add(
            self,
            "pointwise",
            (*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            name="pointwise_kernel",
        )
        self.bias = self._add_bias(self.filters)

    def call(self, inputs):
        outputs = ops.separable_conv(
            inputs,
            self.depthwise_kernel.value,
            self.pointwise_kernel.value,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
        )
        return self._finish(outputs)

    def _channels_out(self, channels):
        return self.filters


@registry.register("layer", "SeparableConv1D", "SeparableConvolution1D", module="keras.layers")
class SeparableConv1D(BaseSeparableConv):
    """Depthwise separable convolution of signals. Arguments: those of `SeparableConv2D`.

    >>> import cornu, numpy as np
    >>> cornu.layers.SeparableConv1D(5, 3)(np.zeros((1, 10, 4))).shape
    (1, 8, 5)
    """

    rank = 1
    _of_sequences = True


@registry.register("layer", "SeparableConv2D", "SeparableConvolution2D", module="keras.layers")
class SeparableConv2D(BaseSeparableConv):
    """Depthwise separable convolution of images: few weights and few multiplications.

    Args:
        filters: number of output channels.
        kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias: as for
            `Conv2D`.
        depth_multiplier: depthwise kernels for each channel.
        depthwise_initializer, pointwise_initializer, bias_initializer: initial values of the weights;
            regularizers and constraints likewise.

    Source: Chollet 2017, "Xception"; Keras: SeparableConv2D layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.SeparableConv2D(5, 3)
    >>> layer(np.zeros((1, 8, 8, 4))).shape, layer.count_params()
    ((1, 6, 6, 5), 61)
    """

    rank = 2
