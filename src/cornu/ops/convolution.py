"""Convolution of every kind, each in one function, so that a native kernel can take its place.

Images are `(batch, *spatial, channels)`, or channels first with `data_format="channels_first"`;
kernels are always `(*window, channels_in / groups, channels_out)`. There is no flipping: what deep
learning calls convolution is cross-correlation.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from cornu.ops.windows import as_tuple, check_fits, output_sizes, padding_amounts, transposed_size


def _dimension_numbers(rank: int, data_format: str):
    spatial = tuple(range(2, rank + 2))
    if data_format == "channels_last":
        image = (0, rank + 1, *range(1, rank + 1))
    else:
        image = (0, 1, *spatial)
    return lax.ConvDimensionNumbers(image, (rank + 1, rank, *range(rank)), image)


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
    sizes = output_sizes(spatial, window, strides, padding, dilation_rate)
    check_fits("convolution", x.shape, spatial, window, sizes)
    amounts = padding_amounts(spatial, window, strides, padding, dilation_rate)
    kernel = kernel.astype(x.dtype)
    few = channels <= 4 and math.prod(kernel.shape[:-1]) <= 100
    if few and groups == 1 and data_format == "channels_last":
        return _conv_of_few_channels(x, kernel, strides, tuple(amounts), dilation_rate)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=amounts,
        rhs_dilation=dilation_rate,
        dimension_numbers=_dimension_numbers(rank, data_format),
        feature_group_count=groups,
    )


# With few input channels, as in a network's first layer, XLA's gradient by the kernel takes three
# times as long on a CPU as a product of matrices does, one row of which is all that a window sees.
# Here that product is the derivative by the kernel, and its transpose the gradient.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _conv_of_few_channels(x, kernel, strides, amounts, dilation_rate):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=amounts,
        rhs_dilation=dilation_rate,
        dimension_numbers=_dimension_numbers(x.ndim - 2, "channels_last"),
    )


def _conv_of_few_channels_jvp(strides, amounts, dilation_rate, primals, tangents):
    x, kernel = primals
    x_tangent, kernel_tangent = tangents
    convolve = functools.partial(
        _conv_of_few_channels, strides=strides, amounts=amounts, dilation_rate=dilation_rate
    )

    def product(x, kernel_tangent):
        rows = _windows(x, kernel.shape[:-2], strides, amounts, dilation_rate)
        result = rows.reshape(-1, rows.shape[-1]) @ kernel_tangent.reshape(rows.shape[-1], -1)
        return result.reshape(*rows.shape[:-1], -1)

    output = convolve(x, kernel)
    tangent = jnp.zeros_like(output)
    if not isinstance(x_tangent, SymbolicZero):
        tangent = tangent + convolve(x_tangent, kernel)
    if not isinstance(kernel_tangent, SymbolicZero):
        tangent = tangent + lax.platform_dependent(x, kernel_tangent, cpu=product, default=convolve)
    return output, tangent


_conv_of_few_channels.defjvp(_conv_of_few_channels_jvp, symbolic_zeros=True)


def _windows(x, window, strides, amounts, dilation_rate):
    """What each window sees: `(batch, *outputs, places * channels)`."""
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [(0, 0, 0), *((a, b, 0) for a, b in amounts), (0, 0, 0)])
    for axis in reversed(range(len(window))):
        width, stride, step = window[axis], strides[axis], dilation_rate[axis]
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
    """The transpose of a convolution: each number of the image places a kernel into the output.

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
    amounts = [
        _transposed_padding(n, w, s, d, padding, extra)
        for n, w, s, d, extra in zip(
            spatial,
            window,
            strides,
            dilation_rate,
            output_padding or (None,) * rank,
            strict=True,
        )
    ]
    flipped = jnp.swapaxes(jnp.flip(kernel, range(rank)), -1, -2)
    return lax.conv_general_dilated(
        x,
        flipped.astype(x.dtype),
        window_strides=(1,) * rank,
        padding=amounts,
        lhs_dilation=strides,
        rhs_dilation=dilation_rate,
        dimension_numbers=_dimension_numbers(rank, data_format),
    )


def _transposed_padding(size, window, stride, dilation, padding, extra) -> tuple[int, int]:
    """How far the spread-out image reaches beyond its ends."""
    reach = (window - 1) * dilation + 1
    output = transposed_size(size, window, stride, padding, extra, dilation)
    total = output - ((size - 1) * stride + 1) + reach - 1
    before = reach - 1 if padding == "valid" else min(-(-total // 2), reach - 1)
    return before, total - before
