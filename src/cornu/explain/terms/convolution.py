"""Terms of convolutions: the window that a kernel reads, and the kernel."""

import numpy as np

from cornu.explain.terms.base import SPATIAL, Terms, channels_last, weights_of
from cornu.explain.terms.dispatch import terms_of
from cornu.explain.terms.patch import patch_of
from cornu.explain.terms.steps import finished, sum_text
from cornu.layers.convolution import BaseConv
from cornu.layers.convolution_transpose import BaseConvTranspose
from cornu.layers.separable import BaseDepthwiseConv, BaseSeparableConv


@terms_of.register
def _(layer: BaseConv, inputs, index):
    *position, channel = index
    patch, kernel = patch_of(layer, inputs, position), weights_of(layer.kernel)
    group_size = kernel.shape[-2]
    grouped = patch.values.reshape(*layer.kernel_size, layer.groups, group_size)
    by_group = kernel.reshape(*kernel.shape[:-1], layer.groups, -1)
    sums = np.stack(
        [
            np.tensordot(grouped[..., g, :], by_group[..., g, :], layer.rank + 1)
            for g in range(layer.groups)
        ]
    ).ravel()
    first = channel // by_group.shape[-1] * group_size
    patch, weights = patch.channels(first, group_size), kernel[..., channel]
    text = sum_text(patch.values, weights)
    return patch.terms(weights, finished(layer, sums, channel, text))


@terms_of.register
def _(layer: BaseDepthwiseConv, inputs, index):
    *position, channel = index
    patch, kernel = patch_of(layer, inputs, position), weights_of(layer.kernel)
    sums = _depthwise_sums(patch.values, kernel)
    own, multiple = divmod(channel, layer.depth_multiplier)
    patch, weights = patch.channels(own, 1), kernel[..., own, multiple][..., None]
    text = sum_text(patch.values, weights)
    return patch.terms(weights, finished(layer, sums, channel, text))


def _depthwise_sums(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("nc,ncm->cm", values.reshape(-1, values.shape[-1]), _rows(kernel)).ravel()


def _rows(kernel: np.ndarray) -> np.ndarray:
    """A kernel with one axis for all of its taps."""
    return kernel.reshape(-1, *kernel.shape[-2:])


@terms_of.register
def _(layer: BaseSeparableConv, inputs, index):
    """Depthwise sums first, each of one channel, then a product with the weights that mix them."""
    *position, channel = index
    patch = patch_of(layer, inputs, position)
    depthwise, pointwise = weights_of(layer.depthwise_kernel), weights_of(layer.pointwise_kernel)
    mixing = pointwise.reshape(-1, pointwise.shape[-1])
    sums = _depthwise_sums(patch.values, depthwise)
    # Together: an input meets its depthwise weights, each times a weight that mixes.
    by_channel = mixing[:, channel].reshape(depthwise.shape[-2:])
    text = f"of the depthwise sums: {sum_text(sums, mixing[:, channel])}"
    steps = finished(layer, sums @ mixing, channel, text)
    return patch.terms((depthwise * by_channel).sum(-1), steps)


@terms_of.register
def _(layer: BaseConvTranspose, inputs, index):
    """Each input position adds a kernel to the output; those whose kernel covers this position count."""
    *position, channel = index
    x, kernel = channels_last(layer, inputs)[0], weights_of(layer.kernel)
    readers = layer.window(np.shape(inputs)).readers(position)
    positions = [[i for i, _ in axis] for axis in readers]
    taps = [[k for _, k in axis] for axis in readers]
    values = x[np.ix_(*positions)]
    # (…, filters, channels in)
    used = kernel[np.ix_(*taps)]
    sums = np.einsum("nc,nfc->f", values.reshape(-1, x.shape[-1]), _rows(used))
    weights = used[..., channel, :]
    return Terms(
        values,
        weights,
        finished(layer, sums, channel, sum_text(values, weights)),
        (*SPATIAL[layer.rank], "channel"),
        origin=tuple(p[0] if p else 0 for p in positions),
        reach=tuple(p[1] - p[0] if len(p) > 1 else 1 for p in positions),
    )
