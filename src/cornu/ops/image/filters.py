"""Filters over the neighbours of each pixel, and what compares images by them."""

import jax.numpy as jnp
import numpy as np

from cornu.core.dtype import is_float
from cornu.core.operation import operation
from cornu.ops.convolution import depthwise_conv
from cornu.ops.core import saturate_cast
from cornu.ops.image.layout import check_rank, on_batch, spatial_axes


def _bell(size: int, sigma, dtype):
    """A Gaussian of so many taps, whose sum is 1."""
    x = jnp.arange(size, dtype=dtype) - (size - 1) / 2
    taps = jnp.exp(-0.5 * (x / sigma) ** 2)
    return taps / jnp.sum(taps)


def _separable(images, rows, columns, padding):
    """A batch with channels last, filtered along its rows and along its columns."""
    channels = images.shape[-1]
    for taps, shape in ((rows, (-1, 1)), (columns, (1, -1))):
        kernel = jnp.tile(taps.reshape(*shape, 1, 1), (1, 1, channels, 1))
        images = depthwise_conv(images, kernel, padding=padding)
    return images


@operation
def gaussian_blur(images, kernel_size=(3, 3), sigma=(1.0, 1.0), data_format=None):
    """Each pixel becomes an average of its neighbours, weighted by a Gaussian; zeros lie outside.

    Args:
        images: one image or a batch of them.
        kernel_size: taps in the direction of x (columns) and of y (rows).
        sigma: standard deviations in the same directions, in pixels.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    The result has the images' dtype; integers are rounded. (In Keras 3.15, integers give zeros, and
    without a `data_format` the channels are taken to be first, whatever the default is.)

    >>> from cornu import ops
    >>> image = ops.eye(3)[..., None]
    >>> ops.image.gaussian_blur(image)[1, 1, 0].round(3).item()
    0.3540000021457672
    """
    images = jnp.asarray(images)
    check_rank(images)
    dtype = images.dtype
    floats = images if is_float(dtype) else images.astype("float32")
    sigma = jnp.asarray(sigma, floats.dtype)
    across, down = (_bell(n, s, floats.dtype) for n, s in zip(kernel_size, sigma, strict=True))
    blurred = on_batch(lambda x: _separable(x, down, across, "same"), floats, data_format)
    return blurred if blurred.dtype == dtype else saturate_cast(jnp.round(blurred), dtype)


@operation
def sobel_edges(images, data_format=None):
    """How fast the values change downwards and to the right, along a new last axis of size 2.

    Three rows, or columns, are averaged with the weights 1, 2, 1; zeros lie outside of the images. Of
    integers the result is float32. (In Keras 3.15, negative weights of bytes wrap around.)

    >>> from cornu import ops
    >>> image = ops.tile(ops.arange(5.0)[:, None, None], (1, 5, 1))
    >>> ops.image.sobel_edges(image)[2, 2, 0].tolist()
    [8.0, 0.0]
    """
    images = jnp.asarray(images)
    check_rank(images)
    images = images if is_float(images.dtype) else images.astype("float32")
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = jnp.asarray(np.stack([across.T, across], -1)[:, :, None], images.dtype)

    def one(direction):
        def filtered(batch):
            kernel = jnp.tile(kernels[..., direction : direction + 1], (1, 1, batch.shape[-1], 1))
            return depthwise_conv(batch, kernel, padding="same")

        return on_batch(filtered, images, data_format)

    return jnp.stack([one(0), one(1)], -1)


@operation
def ssim(
    image1,
    image2,
    max_val=1.0,
    filter_size=11,
    filter_sigma=1.5,
    k1=0.01,
    k2=0.03,
    data_format=None,
):
    """Structural similarity of two images, or of the pairs of two batches: 1 for equal ones.

    With means, variances and covariance under a Gaussian window, averaged over its positions and the
    channels: `(2 m1 m2 + c1) (2 cov + c2) / ((m1² + m2² + c1) (v1 + v2 + c2))`, where
    `c1 = (k1 max_val)²` and `c2 = (k2 max_val)²`.

    Args:
        image1, image2: two images or two batches.
        max_val: how far the lowest and highest possible values are apart.
        filter_size, filter_sigma: taps and standard deviation of the Gaussian, in both directions.
        k1, k2: see the formula.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Raises:
        ValueError: the images are smaller than the window, or are no images.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity".

    >>> from cornu import ops
    >>> image = ops.ones((16, 16, 3)) * 0.5
    >>> float(ops.image.ssim(image, image))
    1.0
    """
    image1, image2 = jnp.asarray(image1), jnp.asarray(image2)
    check_rank(image1, "image1")
    check_rank(image2, "image2")
    if image1.shape != image2.shape:
        raise ValueError(
            "`image1` and `image2` must have one shape. "
            f"Received: image1.shape={image1.shape}, image2.shape={image2.shape}"
        )
    if min(image1.shape[axis] for axis in spatial_axes(image1, data_format)) < filter_size:
        raise ValueError(
            f"The images are smaller than the window of {filter_size} x {filter_size} pixels: "
            f"image1.shape={image1.shape}. Pass a smaller `filter_size`."
        )
    dtype = image1.dtype
    compute = dtype if is_float(dtype) else jnp.dtype("float32")
    image1, image2 = image1.astype(compute), image2.astype(compute)
    bell = _bell(filter_size, filter_sigma, compute)
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2

    def mean(values):
        return on_batch(lambda x: _separable(x, bell, bell, "valid"), values, data_format)

    mean1, mean2 = mean(image1), mean(image2)
    variance1 = mean(image1 * image1) - mean1 * mean1
    variance2 = mean(image2 * image2) - mean2 * mean2
    covariance = mean(image1 * image2) - mean1 * mean2
    similarity = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    similarity /= (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    return jnp.mean(similarity, axis=(-3, -2, -1)).astype(dtype)
