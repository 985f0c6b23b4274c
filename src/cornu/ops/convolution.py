"""Convolution of every kind, each in one function, so that a native kernel can replace it.

Images are `(batch, *spatial, channels)`, or channels first with `data_format="channels_first"`;
kernels are always `(*window, channels_in / groups, channels_out)`. There is no flipping: what deep
learning calls convolution is cross-correlation.
"""

import functools
import math

import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from cornu.core.dtype import is_discrete
from cornu.core.kernels import Split, primitive, transpose
from cornu.ops.windows import Geometry, as_tuple, sliding, transposed


def _spatial(x, data_format: str):
    return x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]


def _channels(x, data_format: str) -> int:
    return x.shape[-1] if data_format == "channels_last" else x.shape[1]


def conv(
    x,
    kernel,
    strides=1,
    padding="valid",
    data_format="channels_last",
    dilation_rate=1,
    groups=1,
):
    """Slide the kernel over the image: each window times the kernel, summed.

    Args:
        x: `(batch, *spatial, channels_in)`.
        kernel: `(*window, channels_in / groups, channels_out)`.
        strides, dilation_rate: an integer, or one for each spatial axis.
        padding: `"valid"`, `"same"`, or `"causal"` (zeros only before).
        groups: number of groups of channels that see only each other.

    Raises ValueError if channels do not fit, or the window is larger than the image.
    """
    rank = x.ndim - 2
    strides = as_tuple(strides, rank, "strides")
    dilation_rate = as_tuple(dilation_rate, rank, "dilation_rate")
    padding = padding.lower()
    spatial, window = _spatial(x, data_format), kernel.shape[:rank]
    channels = _channels(x, data_format)
    if channels != kernel.shape[-2] * groups:
        raise ValueError(
            f"The number of input channels must be {kernel.shape[-2] * groups} for a kernel of shape "
            f"{tuple(kernel.shape)} and groups={groups}. Received: input shape {tuple(x.shape)}, "
            f"with {channels} channels."
        )
    geometry = sliding(spatial, window, strides, padding, dilation_rate, groups)
    geometry.check("convolution", x.shape)
    x, kernel = _of_one_format(x, kernel)
    convolve = _convolution if is_discrete(x.dtype) else convolution.bind
    return with_channels_last(lambda x: convolve(x, kernel, geometry=geometry), x, data_format)


def _of_one_format(x, kernel):
    """Image and kernel in the dtype that holds both; sums of small integers have 32 bits."""
    dtype = jnp.result_type(x, kernel)
    if is_discrete(dtype):
        dtype = jnp.promote_types(dtype, jnp.int32)
    return x.astype(dtype), kernel.astype(dtype)


# The geometry of an image of one position.
NOWHERE = Geometry((), (), (), (), ())


def dense(x, kernel):
    """`x @ kernel` for a matrix as the kernel; of rows, it is a convolution without spatial axes.

    Args:
        x: `(…, channels_in)`.
        kernel: `(channels_in, channels_out)`.
    """
    x = jnp.asarray(x)
    if x.ndim != 2:
        return x @ kernel
    dtype = jnp.result_type(x, kernel)
    return convolution.bind(x.astype(dtype), kernel.astype(dtype), geometry=NOWHERE)


def with_channels_last(function, x, data_format: str):
    """Call a function of images on channels last, whatever the data format of `x`."""
    if data_format == "channels_last":
        return function(x)
    return jnp.moveaxis(function(jnp.moveaxis(x, 1, -1)), -1, 1)


# ---- convolution and its two gradients, each of which is linear in both operands
#
# The gradients of each are the other two, so that derivatives of any order use these three.


def _convolution(image, kernel, *, geometry: Geometry):
    rank = len(geometry.size)
    if not rank:  # a dense layer
        return image @ kernel
    layout = (0, rank + 1, *range(1, rank + 1))
    return lax.conv_general_dilated(
        image,
        kernel,
        window_strides=geometry.strides,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(layout, (rank + 1, rank, *range(rank)), layout),
        feature_group_count=geometry.groups,
    )


def _result_of_convolution(image, kernel, *, geometry):
    return (image.shape[0], *geometry.output, kernel.shape[-1]), image.dtype


def _input_gradient(gradient, kernel, *, geometry: Geometry):
    convolve = functools.partial(_convolution, kernel=kernel, geometry=geometry)
    return transpose(convolve, gradient, *_image_of(gradient, kernel, geometry=geometry))


def _image_of(gradient, kernel, *, geometry):
    channels = kernel.shape[-2] * geometry.groups
    return (gradient.shape[0], *geometry.size, channels), gradient.dtype


# With more outputs, turning their gradient round takes longer than what it saves.
_FEW_UNITS = 32


def _weight_gradient(image, gradient, *, geometry: Geometry):
    shape, dtype = _kernel_of(image, gradient, geometry=geometry)

    def transposed(image, gradient):
        convolve = functools.partial(_convolution, image, geometry=geometry)
        return transpose(convolve, gradient, shape, dtype)

    # With few input channels, as in a network's first layer, XLA takes three times as long for this
    # on a CPU as for a product of matrices, one row of which is all that a window sees.
    def product(image, gradient):
        rows = _windows(image, geometry)
        rows = rows.reshape(-1, rows.shape[-1])
        return (rows.T @ gradient.reshape(-1, gradient.shape[-1])).reshape(shape)

    # Of a dense layer, it would turn round the wide inputs, not what few units give.
    def turned(image, gradient):
        # Without the barrier, XLA would turn back what is turned here.
        return lax.optimization_barrier(gradient.T @ image).T

    channels, units = image.shape[-1], gradient.shape[-1]
    if not geometry.size and units <= _FEW_UNITS < channels:
        on_cpu = turned
    elif channels <= 4 and math.prod(shape[:-1]) <= 100 and geometry.groups == 1:
        on_cpu = product
    else:
        return transposed(image, gradient)
    return lax.platform_dependent(image, gradient, cpu=on_cpu, default=transposed)


def _kernel_of(image, gradient, *, geometry):
    channels = image.shape[-1] // geometry.groups
    return (*geometry.window, channels, gradient.shape[-1]), image.dtype


convolution = primitive(
    "convolution",
    _result_of_convolution,
    _convolution,
    lambda image, kernel, *, geometry: geometry.attributes(
        image.shape[0], image.shape[-1], kernel.shape[-1]
    ),
    summed=lambda image, kernel, *, geometry: kernel.shape[-2],
)
input_gradient = primitive(
    "input_gradient",
    _image_of,
    _input_gradient,
    lambda gradient, kernel, *, geometry: geometry.attributes(
        gradient.shape[0], kernel.shape[-2] * geometry.groups, kernel.shape[-1]
    ),
    summed=lambda gradient, kernel, *, geometry: kernel.shape[-1] // geometry.groups,
)
weight_gradient = primitive(
    "weight_gradient",
    _kernel_of,
    _weight_gradient,
    lambda image, gradient, *, geometry: geometry.attributes(
        image.shape[0], image.shape[-1], gradient.shape[-1]
    ),
    batched=(),
    split=Split((0, 0), (None,)),
)
ad.defbilinear(
    convolution,
    lambda ct, image, kernel, **geometry: input_gradient.bind(ct, kernel, **geometry),
    lambda ct, image, kernel, **geometry: weight_gradient.bind(image, ct, **geometry),
)
ad.defbilinear(
    input_gradient,
    lambda ct, gradient, kernel, **geometry: convolution.bind(ct, kernel, **geometry),
    lambda ct, gradient, kernel, **geometry: weight_gradient.bind(ct, gradient, **geometry),
)
ad.defbilinear(
    weight_gradient,
    lambda ct, image, gradient, **geometry: input_gradient.bind(gradient, ct, **geometry),
    lambda ct, image, gradient, **geometry: convolution.bind(image, ct, **geometry),
)


def _windows(x, geometry: Geometry):
    """What each window sees: `(batch, *outputs, taps * channels)`."""
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [(0, 0, 0), *((a, b, 0) for a, b in geometry.padding), (0, 0, 0)])
    for axis in reversed(range(len(geometry.window))):
        width, stride, step = (
            of[axis] for of in (geometry.window, geometry.strides, geometry.dilation)
        )
        last = x.shape[axis + 1] - (width - 1) * step
        x = jnp.concatenate(
            [
                lax.slice_in_dim(x, i * step, last + i * step, stride, axis + 1)
                for i in range(width)
            ],
            axis=-1,
        )
    return x


def depthwise_conv(
    x, kernel, strides=1, padding="valid", data_format="channels_last", dilation_rate=1
):
    """Convolve each channel with kernels of its own.

    Args:
        x: `(batch, *spatial, channels_in)`.
        kernel: `(*window, channels_in, depth_multiplier)`.
        strides, padding, data_format, dilation_rate: as for `conv`.

    Returns an image of `channels_in * depth_multiplier` channels.
    """
    channels = _channels(x, data_format)
    if kernel.shape[-2] != channels:
        raise ValueError(
            f"The number of input channels must be {kernel.shape[-2]} for a depthwise kernel of "
            f"shape {tuple(kernel.shape)}. Received: input shape {tuple(x.shape)}."
        )
    kernel = jnp.reshape(kernel, (*kernel.shape[:-2], 1, math.prod(kernel.shape[-2:])))
    return conv(x, kernel, strides, padding, data_format, dilation_rate, groups=channels)


def separable_conv(
    x,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format="channels_last",
    dilation_rate=1,
):
    """A depthwise convolution, and then one of 1x1 that mixes the channels."""
    x = depthwise_conv(x, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, 1, "valid", data_format)


def conv_transpose(
    x,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format="channels_last",
    dilation_rate=1,
):
    """The transpose of a convolution: each pixel adds a kernel, times its value, to the output.

    Args:
        x: `(batch, *spatial, channels_in)`.
        kernel: `(*window, channels_out, channels_in)`.
        output_padding: how much larger the output is than the smallest possible; None chooses.
        strides, padding, data_format, dilation_rate: as for `conv`.
    """
    rank = x.ndim - 2
    strides = as_tuple(strides, rank, "strides")
    dilation_rate = as_tuple(dilation_rate, rank, "dilation_rate")
    padding = padding.lower()
    if output_padding is not None:
        output_padding = as_tuple(output_padding, rank, "output_padding", allow_zero=True)
    spatial, window = _spatial(x, data_format), kernel.shape[:rank]
    if _channels(x, data_format) != kernel.shape[-1]:
        raise ValueError(
            f"The number of input channels must be {kernel.shape[-1]} for a transposed kernel of "
            f"shape {tuple(kernel.shape)}. Received: input shape {tuple(x.shape)}."
        )
    # The image is to the result what an output gradient is to the input that a convolution saw.
    geometry = transposed(spatial, window, strides, padding, output_padding, dilation_rate)
    x, kernel = _of_one_format(x, kernel)
    if is_discrete(x.dtype):
        raise ValueError(
            "A transposed convolution works on floats. Received: an image and a kernel of integers. "
            "Convert one of them: x.astype('float32')."
        )
    return with_channels_last(
        lambda x: input_gradient.bind(x, kernel, geometry=geometry), x, data_format
    )
