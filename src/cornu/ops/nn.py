"""Functions of neural networks.  Source: Keras: NN ops."""

import functools
import math
import operator
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from cornu import activations
from cornu.activations import (  # noqa: F401
    celu,
    elu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    swish,
    tanh_shrink,
    threshold,
)
from cornu.core import placement
from cornu.core.dtype import epsilon as default_epsilon
from cornu.core.dtype import (
    floatx,
    in_single,
    is_discrete,
    standardize_data_format,
    standardize_dtype,
)
from cornu.core.operation import operation
from cornu.ops import (
    adaptive_pooling,
    attention,
    convolution,
    cross_entropy,
    ctc,
    lengths,
    pooling,
    rearrangement,
)
from cornu.ops.normalization import moments_of_all
from cornu.ops.windows import sliding


@operation
def gelu(x, approximate=True):
    """`x * P(X <= x)` for a normal X; unlike in `activations`, by its tanh approximation as default."""
    return activations.gelu(x, approximate)


def _segment(name, meaning):
    reduce = getattr(jax.ops, name)

    def function(data, segment_ids, num_segments=None, sorted=False):
        data, segment_ids = jnp.asarray(data), jnp.asarray(segment_ids)
        if segment_ids.ndim != 1 or segment_ids.shape[0] != data.shape[0]:
            raise ValueError(
                "Argument `segment_ids` should be an 1-D vector, with one number for each row of `data`. "
                f"Received: segment_ids.shape={segment_ids.shape}, data.shape={data.shape}"
            )
        return reduce(data, segment_ids, num_segments, indices_are_sorted=sorted)

    function.__name__, function.__doc__ = name, f"The {meaning} of the rows with the same number."
    return operation(function)


segment_max = _segment("segment_max", "largest")
segment_min = _segment("segment_min", "smallest")
segment_prod = _segment("segment_prod", "product")
segment_sum = _segment("segment_sum", "sum")


@operation
def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """Convolution of one, two or three dimensions, as of the layers `Conv1D`, `Conv2D`, `Conv3D`.

    Channels of the input that the kernel lacks make groups.
    """
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    data_format = standardize_data_format(data_format)
    channels = inputs.shape[-1 if data_format == "channels_last" else 1]
    return convolution.conv(
        inputs,
        kernel,
        strides,
        padding,
        data_format,
        dilation_rate,
        groups=max(channels // kernel.shape[-2], 1),
    )


@operation
def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """Convolution of each channel by itself, as of the layer `DepthwiseConv2D`."""
    return convolution.depthwise_conv(
        jnp.asarray(inputs),
        jnp.asarray(kernel),
        strides,
        padding,
        standardize_data_format(data_format),
        dilation_rate,
    )


@operation
def separable_conv(
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    """Each channel by itself, then the channels mixed, as of the layer `SeparableConv2D`."""
    return convolution.separable_conv(
        jnp.asarray(inputs),
        jnp.asarray(depthwise_kernel),
        jnp.asarray(pointwise_kernel),
        strides,
        padding,
        standardize_data_format(data_format),
        dilation_rate,
    )


@operation
def conv_transpose(
    inputs,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format=None,
    dilation_rate=1,
):
    """The other way through a convolution, as of the layer `Conv2DTranspose`."""
    return convolution.conv_transpose(
        jnp.asarray(inputs),
        jnp.asarray(kernel),
        strides,
        padding,
        output_padding,
        standardize_data_format(data_format),
        dilation_rate,
    )


@operation
def max_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The largest number of each window."""
    return pooling.max_pool(
        inputs, pool_size, strides, padding, standardize_data_format(data_format)
    )


@operation
def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The mean of each window; padding does not count."""
    return pooling.average_pool(
        inputs, pool_size, strides, padding, standardize_data_format(data_format)
    )


@operation
def adaptive_max_pool(inputs, output_size, data_format=None):
    """The largest number of each window, of which there are `output_size` along each axis."""
    data_format = standardize_data_format(data_format)
    return adaptive_pooling.adaptive_max_pool(inputs, output_size, data_format)


@operation
def adaptive_average_pool(inputs, output_size, data_format=None):
    """The mean of each window, of which there are `output_size` along each axis."""
    data_format = standardize_data_format(data_format)
    return adaptive_pooling.adaptive_average_pool(inputs, output_size, data_format)


@operation
def one_hot(x, num_classes, axis=-1, dtype=None, sparse=False):
    """For each integer, zeros with a one at its index."""
    if sparse:
        raise ValueError("`sparse=True` is not supported: arrays are dense. Leave it False.")
    return jax.nn.one_hot(
        jnp.asarray(x), num_classes, axis=axis, dtype=standardize_dtype(dtype or "float32")
    )


@operation
def multi_hot(inputs, num_classes=None, axis=-1, dtype=None, sparse=False, **kwargs):
    """Zeros with ones at the indices of all integers of a row.

    The classes get an axis of their own at `axis`, and then, as in Keras, the second axis of what has
    more than two gives way: with `axis=-1` that of the integers.
    """
    num_classes = kwargs.pop("num_tokens", num_classes)
    if kwargs:
        raise TypeError(f"multi_hot has no arguments {list(kwargs)}.")
    inputs = jnp.asarray(inputs)
    if inputs.ndim < 2:
        return jnp.max(one_hot(inputs.reshape(-1), num_classes, dtype=dtype, sparse=sparse), axis=0)
    return jnp.max(one_hot(inputs, num_classes, axis=axis, dtype=dtype, sparse=sparse), axis=1)


@operation
def top_k(x, k, sorted=True):
    """The `k` largest values along the last axis, and their indices."""
    return tuple(jax.lax.top_k(jnp.asarray(x), k))


@operation
def in_top_k(targets, predictions, k):
    """Whether each target is among the `k` classes with the largest predictions.

    A target whose prediction is NaN is the last of all, as is one that is no class.
    """
    targets, predictions = jnp.asarray(targets), jnp.asarray(predictions)
    own = jnp.take_along_axis(predictions, targets[:, None], axis=-1)
    own = jnp.where(jnp.isnan(own), -jnp.inf, own)
    return jnp.sum(predictions > own, axis=-1) < k


@operation
def moments(x, axes, keepdims=False, synchronized=False):
    """The mean and the variance along axes.

    They are those of the whole array, however it is spread over devices. Within `jax.shard_map`, where each
    device has an array of its own, they are those of all only if `synchronized`. (Keras on JAX refuses it.)
    """
    x = jnp.asarray(x)
    if x.dtype != jnp.float16:
        found = jnp.mean(x, axes, keepdims=keepdims), jnp.var(x, axes, keepdims=keepdims)
        names = placement.shard_axes() if synchronized else ()
        return moments_of_all(names, *found) if names else found
    # A variance that float16 cannot hold is its largest number, as in Keras.
    precise = moments(x.astype("float32"), axes, keepdims, synchronized)
    largest = float(jnp.finfo("float16").max)
    return tuple(jnp.clip(each, -largest, largest).astype("float16") for each in precise)


@operation
def normalize(x, axis=-1, order=2, epsilon=None):
    """`x` divided by its norm along an axis, or along several."""
    x = jnp.asarray(x)
    epsilon = default_epsilon() if epsilon is None else epsilon
    # Of several axes `linalg.norm` takes matrices, and of order 2 their largest singular value.
    axis_order = None if order == 2 else order
    return x / jnp.maximum(lengths.norm(x, axis_order, axis), epsilon)


@operation
def batch_normalization(x, mean, variance, axis, offset=None, scale=None, epsilon=1e-3):
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with an entry for each channel."""
    x = jnp.asarray(x)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    mean, variance = jnp.reshape(mean, shape), jnp.reshape(variance, shape)
    factor = jax.lax.rsqrt(variance + epsilon)
    factor = factor if scale is None else factor * jnp.reshape(scale, shape)
    shift = -mean * factor if offset is None else jnp.reshape(offset, shape) - mean * factor
    return x * factor + shift


@operation
def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=None, **kwargs):
    """Mean 0 and variance 1 along axes, times gamma, plus beta; what has 16 bits is computed in 32.

    Args:
        x: floats; the result has their dtype. Integers become floats.
        gamma, beta: of the sizes of the axes, or whatever broadcasts to `x`.
        axis: one or several.
        epsilon: added to the variance; default: `config.epsilon()`.
        rms_scaling: old, by keyword only: leave the mean in, and `beta` out. `rms_normalization` also takes
            the squares' mean.
    """
    rms_scaling = kwargs.pop("rms_scaling", False)
    if kwargs:
        raise TypeError(f"layer_normalization has no argument {', '.join(map(repr, kwargs))}.")
    if rms_scaling:
        warnings.warn(
            "You passed `rms_scaling=True`, which is deprecated: it divides by the standard deviation, not "
            "by the root of the mean square. Use `ops.rms_normalization`.",
            stacklevel=3,
        )
    dtype, x = _in_single(x)
    axes = sorted(i % x.ndim for i in ([axis] if isinstance(axis, int) else axis))
    mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    shape = [size if i in axes else 1 for i, size in enumerate(x.shape)]

    def placed(weights):
        weights = jnp.asarray(weights, x.dtype)
        # One number for each index along the axes, wherever these are.
        at_the_end = weights.ndim == x.ndim or axes == [x.ndim - 1]
        return weights if at_the_end else weights.reshape(shape)

    x = x if rms_scaling else x - mean
    x = x * jax.lax.rsqrt(variance + (default_epsilon() if epsilon is None else epsilon))
    x = x if gamma is None else x * placed(gamma)
    return (x if beta is None or rms_scaling else x + placed(beta)).astype(dtype)


def _in_single(x):
    """The dtype of a result, and floats of at least 32 bits to compute it in."""
    x = pooling.as_floats(x)
    return x.dtype, x.astype(jnp.promote_types(x.dtype, jnp.float32))


@operation
def rms_normalization(x, scale=None, axis=-1, epsilon=None):
    """`x` divided by the root of the mean of its squares along axes, times a scale.

    `epsilon`, by default `config.epsilon()`, is added to that mean. The result has the dtype of `x`; what
    has 16 bits is computed in 32.
    """
    dtype, x = _in_single(x)
    squares = jnp.mean(jnp.square(x), axis, keepdims=True)
    x = x * jax.lax.rsqrt(squares + (default_epsilon() if epsilon is None else epsilon))
    return (x if scale is None else x * jnp.asarray(scale, x.dtype)).astype(dtype)


@operation
def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
    attn_logits_soft_cap=None,
):
    """`softmax(scale * query @ key + bias) @ value`: for each query, a mean of the values.

    Args:
        query, key, value: `(batch, positions, heads, features)` each; keys and values may have fewer
            heads, which several heads of the queries then share.
        bias: added to the products, `(batch, heads, queries, keys)` or what broadcasts to it.
        mask: of the same shape; where it is false, a query does not see a key.
        scale: default `1 / sqrt(features)`.
        is_causal: whether a query sees only keys at its own and earlier positions.
        flash_attention: whether to use cuDNN's fused kernel; None for where it can be used: in 16 bits, in
            programs for CUDA of a process that has a GPU with cuDNN. JAX lowers it nowhere else: what a
            process without one lowers for CUDA, and what `export` writes, has XLA's attention.
        attn_logits_soft_cap: only None: Keras, too, has it on a TPU alone.
    """
    if attn_logits_soft_cap is not None:
        raise ValueError(
            "`attn_logits_soft_cap` is not supported. Apply the cap to products of your own: "
            "ops.softmax(products / (1 + ops.abs(products) / cap)) @ value."
        )
    return attention.dot_product_attention(
        query, key, value, bias, mask, scale, is_causal, flash_attention
    )


@operation
def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """`cornu.losses.categorical_crossentropy` of each example, not averaged."""
    return cross_entropy.categorical(target, output, from_logits, axis=axis)


@operation
def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """`cornu.losses.sparse_categorical_crossentropy` of each example, not averaged."""
    return cross_entropy.sparse_categorical(target, output, from_logits, axis=axis)


@operation
def binary_crossentropy(target, output, from_logits=False):
    """`cornu.losses.binary_crossentropy` of each number, not averaged."""
    return cross_entropy.binary(jnp.asarray(target), jnp.asarray(output), from_logits)


@operation
def psnr(x1, x2, max_val):
    """Peak signal-to-noise ratio, `20 log10(max_val) - 10 log10(mean((x1 - x2)^2))`, in decibels."""
    error = jnp.mean(jnp.square(pooling.as_floats(x1) - pooling.as_floats(x2)))
    return 20 * jnp.log10(max_val) - 10 * jnp.log10(error)


@operation
def space_to_depth(x, block_size, data_format="channels_last"):
    """Blocks of an image as channels."""
    return _blocks(x, block_size, data_format, to_depth=True)


@operation
def depth_to_space(x, block_size, data_format="channels_last"):
    """Channels as blocks of an image."""
    return _blocks(x, block_size, data_format, to_depth=False)


def _blocks(x, n, data_format, to_depth):
    x = jnp.asarray(x)
    last = standardize_data_format(data_format) == "channels_last"
    x = x if last else jnp.moveaxis(x, 1, -1)
    batch, rows, columns, channels = x.shape
    if not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"`block_size` must be an integer of at least 2. Received: block_size={n}")
    if rows % n or columns % n if to_depth else channels % n**2:
        raise ValueError(
            f"The {'height and width' if to_depth else 'number of channels'} must be divisible by "
            f"{n if to_depth else n**2}, for block_size={n}. Received: height {rows}, width {columns}, "
            f"{channels} channels."
        )
    if to_depth:
        x = x.reshape(batch, rows // n, n, columns // n, n, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows // n, columns // n, -1)
    else:
        x = x.reshape(batch, rows, columns, n, n, channels // n**2)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * n, columns * n, -1)
    return x if last else jnp.moveaxis(x, -1, 1)


@operation
def polar(abs_, angle):
    """Complex numbers of given size and angle."""
    return jnp.asarray(abs_) * jnp.exp(1j * jnp.asarray(angle))


@operation
def cdist(x, y):
    """The distance of each row of `x`, (..., m, n), from each row of `y`, (..., k, n): (..., m, k).

    Of integers it is a float. Raises ValueError if the rows have no common length.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
        raise ValueError(
            "`cdist` takes two arrays of at least two axes with rows of one length. Received shapes: "
            f"{x.shape} and {y.shape}"
        )
    if is_discrete(jnp.promote_types(x.dtype, y.dtype)):
        # Unsigned integers would wrap where `y` is larger.
        x, y = x.astype(floatx()), y.astype(floatx())
    return lengths.norm(x[..., :, None, :] - y[..., None, :, :], axis=-1)[..., 0]


@operation
def view_as_complex(x):
    """Pairs along the last axis as complex numbers."""
    x = in_single(x)
    if x.ndim < 1 or x.shape[-1] != 2:
        raise ValueError(
            f"Last dimension of input must be size 2 (real and imaginary). Received shape: {x.shape}"
        )
    return jax.lax.complex(x[..., 0], x[..., 1])


@operation
def view_as_real(x):
    """Complex numbers as pairs along a new last axis."""
    x = jnp.asarray(x)
    return jnp.stack([x.real, x.imag], axis=-1)


@operation
def rearrange(tensor, pattern, **axes_lengths):
    """Axes moved, split and joined, as a pattern of their names says.

    Args:
        tensor: an array.
        pattern: such as `"b (h h2) w c -> b h w (h2 c)"`: axes in parentheses are one axis of the array.
        axes_lengths: sizes of axes that the array does not tell.

    >>> import cornu
    >>> cornu.ops.rearrange(cornu.ops.ones((2, 6, 3)), "a (b c) d -> a b (c d)", c=2).shape
    (2, 3, 6)
    """
    return rearrangement.rearrange(tensor, pattern, **axes_lengths)


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@operation
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of images as columns.

    Args:
        x: (batch, channels, height, width).
        kernel_size, dilation, padding, stride: of the windows; an integer or two.

    Returns:
        (batch, channels * window, windows).
    """
    x = jnp.asarray(x)
    patches = jax.lax.conv_general_dilated_patches(
        x,
        _pair(kernel_size),
        _pair(stride),
        [(amount, amount) for amount in _pair(padding)],
        rhs_dilation=_pair(dilation),
    )
    return patches.reshape(*patches.shape[:2], -1)


@operation
def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Images from columns, as `unfold` makes them: where windows overlap, their numbers are added.

    Args:
        x: (batch, channels * window, windows).
        output_size: (height, width).
        kernel_size, dilation, padding, stride: of the windows; an integer or two.

    Returns:
        (batch, channels, height, width).

    Raises ValueError if the columns are not those of such windows.
    """
    x = jnp.asarray(x)
    windows = sliding(
        _pair(output_size), _pair(kernel_size), _pair(stride), "valid", _pair(dilation)
    )._replace(padding=tuple((amount, amount) for amount in _pair(padding)))
    taps, positions = math.prod(windows.window), math.prod(windows.output)
    if x.ndim != 3 or x.shape[1] % taps or x.shape[2] != positions:
        raise ValueError(
            f"Windows of {windows.window} over {windows.size} make columns of shape (batch, channels * "
            f"{taps}, {positions}). Received shape: {x.shape}"
        )
    columns = x.reshape(x.shape[0], -1, *windows.window, *windows.output)

    def placed(tap):
        """The numbers that all windows have at one tap, where they belong in the image."""
        around = []
        for axis, i in enumerate(tap):
            start = i * windows.dilation[axis] - windows.padding[axis][0]
            step = windows.strides[axis]
            span = (windows.output[axis] - 1) * step + 1
            around.append((start, windows.size[axis] - start - span, step - 1))
        numbers = columns[:, :, *tap]
        return jax.lax.pad(numbers, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *around])

    return functools.reduce(operator.add, map(placed, np.ndindex(*windows.window)))


@operation
def ctc_loss(target, output, target_length, output_length, mask_index=0):
    """Minus the logarithm of the probability of labels without times, for each sequence.

    Args:
        target: (batch, labels), integers.
        output: (batch, steps, classes), logits.
        target_length, output_length: (batch,), how many labels and steps count.
        mask_index: the class for "no label".
    """
    return ctc.ctc_loss(
        jnp.asarray(target),
        in_single(output),
        jnp.asarray(target_length),
        jnp.asarray(output_length),
        mask_index,
    )


@operation
def ctc_decode(
    inputs,
    sequence_lengths,
    strategy="greedy",
    beam_width=100,
    top_paths=1,
    merge_repeated=True,
    mask_index=0,
):
    """The labels of sequences of logits, with the likeliest class at each step.

    Args:
        inputs: (batch, steps, classes), logits.
        sequence_lengths: (batch,), how many steps count.
        strategy: `"greedy"`. A beam search is refused.
        beam_width, top_paths: of a beam search.
        merge_repeated: whether the same class in successive steps is one label.
        mask_index: the class for "no label"; None for the last one.

    Returns:
        Labels (1, batch, steps), -1 behind the last one; and minus the sums of the logits, (batch, 1).
    """
    if strategy != "greedy":
        raise ValueError(
            f"Cornu decodes with strategy='greedy' only. Received: strategy={strategy!r}. For a beam "
            "search, give the logits to a library for it."
        )
    inputs = in_single(inputs)
    index = inputs.shape[-1] - 1 if mask_index is None else mask_index
    return ctc.ctc_greedy_decode(inputs, jnp.asarray(sequence_lengths), merge_repeated, index)
