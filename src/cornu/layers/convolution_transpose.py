"""Transposed convolution: from small feature maps to large ones."""

import jax.numpy as jnp

from cornu.core import registry
from cornu.core.configurable import arguments_for
from cornu.layers.convolution import BaseConv
from cornu.layers.spatial import split_shape
from cornu.ops import convolution as ops
from cornu.ops.windows import Geometry, as_tuple, transposed


class BaseConvTranspose(BaseConv):
    """A layer in which each input position adds a kernel to the output.

    Args:
        filters: number of output channels.
        output_padding: how much larger the output is than the smallest that fits; None chooses.

    The other arguments are those of `Conv2D`.
    """

    _is_transposed = True

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        output_padding=None,
        data_format=None,
        dilation_rate=1,
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
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        if self.padding == "causal":
            raise ValueError(
                f"Layer '{self.name}': a transposed convolution has no padding='causal'."
            )
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = as_tuple(output_padding, self.rank, "output_padding", True)
            if any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
                raise ValueError(
                    f"Layer '{self.name}': strides {self.strides} must be greater than "
                    f"output_padding {self.output_padding}."
                )

    def _config_names(self):
        return [name for name in super()._config_names() if name != "groups"]

    def _kernel_shape(self, channels: int) -> tuple:
        return (*self.kernel_size, self.filters, channels)

    def convolution_op(self, inputs, kernel):
        """The transposed convolution alone, before bias and activation; may be overridden."""
        return ops.conv_transpose(
            inputs,
            jnp.asarray(kernel),
            self.strides,
            self.padding,
            self.output_padding,
            self.data_format,
            self.dilation_rate,
        )

    def _window(self, input_shape) -> Geometry:
        spatial, _ = split_shape(input_shape, self.data_format)
        return transposed(
            spatial,
            self.kernel_size,
            self.strides,
            self.padding,
            self.output_padding,
            self.dilation_rate,
        )


@registry.register("layer", "Conv1DTranspose", "Convolution1DTranspose", module="keras.layers")
class Conv1DTranspose(BaseConvTranspose):
    """Transposed convolution of signals. The arguments are those of `Conv2DTranspose`.

    >>> import cornu, numpy as np
    >>> cornu.layers.Conv1DTranspose(2, 3, strides=2)(np.zeros((1, 4, 1))).shape
    (1, 9, 2)
    """

    rank = 1


@registry.register("layer", "Conv2DTranspose", "Convolution2DTranspose", module="keras.layers")
class Conv2DTranspose(BaseConvTranspose):
    """Transposed convolution of images: makes them larger.

    Each input position adds the kernel, times its value, to the output; where they overlap they are summed.

    Args:
        filters: number of output channels.
        kernel_size, strides, padding, data_format, dilation_rate: as for `Conv2D`; strides are
            steps in the output.
        output_padding: how much larger the output is than the smallest that fits; None chooses, so
            that `"same"` gives `rows * stride`.
        activation, use_bias, and the initializers, regularizers and constraints: as for `Conv2D`.

    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic"; Keras: Conv2DTranspose.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.Conv2DTranspose(4, 3, strides=2, padding="same")
    >>> layer(np.zeros((1, 8, 8, 1))).shape
    (1, 16, 16, 4)
    """

    rank = 2


@registry.register("layer", "Conv3DTranspose", "Convolution3DTranspose", module="keras.layers")
class Conv3DTranspose(BaseConvTranspose):
    """Transposed convolution of volumes. The arguments are those of `Conv2DTranspose`.

    >>> import cornu, numpy as np
    >>> cornu.layers.Conv3DTranspose(2, 2, strides=2)(np.zeros((1, 3, 3, 3, 1))).shape
    (1, 6, 6, 6, 2)
    """

    rank = 3

    # As in Keras, `data_format` and `output_padding` are the other way round.
    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        output_padding=None,
        dilation_rate=1,
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
        given = arguments_for(BaseConvTranspose, locals())
        super().__init__(**given, **kwargs)
