"""Random changes of pixels by their neighbours."""

import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.layers.augmentation.base import (
    RandomImageLayer,
    chosen,
    factor_range,
    for_each,
    pair_of_values,
    uniform,
)
from cornu.ops.convolution import depthwise_conv
from cornu.ops.image.filters import gaussian_blur


@registry.register("layer", module="keras.layers")
class RandomGaussianBlur(RandomImageLayer):
    """Blurs some images: see `cornu.ops.image.gaussian_blur`.

    Args:
        factor: with which probability, or a pair to draw it from for each image; between 0 and 1.
        kernel_size: taps, an odd number, or two: in the direction of x (columns) and of y (rows).
        sigma: largest standard deviation of the Gaussian, or a pair (least, most), from 0 to 1; one is
            drawn for x and one for y, for all images.
        value_range: lowest and highest value of a pixel.
        data_format, seed: as in all random image layers.

    Source: Keras: RandomGaussianBlur layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomGaussianBlur(kernel_size=5, seed=0)(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        factor=1.0,
        kernel_size=3,
        sigma=1.0,
        value_range=(0, 255),
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        if (
            not isinstance(sizes, list | tuple)
            or len(sizes) != 2
            or any(not isinstance(n, int) or n < 1 or n % 2 == 0 for n in sizes)
        ):
            raise ValueError(
                "kernel_size must be an odd number, or a list of two of them. "
                f"Received: kernel_size={kernel_size!r}"
            )
        self.kernel_size = tuple(sizes)
        self.sigma = factor_range("sigma", sigma, low=0)
        self.value_range = pair_of_values(value_range)

    def _draw(self, seed, shape):
        applies = chosen(seed, shape[0], self.factor)
        # A Gaussian of width 0 would be 0 / 0.
        low, high = self.sigma
        sigma = uniform(seed, (2,), low, high, self._working_dtype) + 1e-6
        return {"should_apply_blur": applies, "blur_factor": sigma}

    def _change(self, images, transformation):
        blurred = gaussian_blur(
            images, self.kernel_size, transformation["blur_factor"], data_format="channels_last"
        )
        images = jnp.where(for_each(transformation["should_apply_blur"]), blurred, images)
        return jnp.clip(images, *self.value_range)


@registry.register("layer", module="keras.layers")
class RandomSharpness(RandomImageLayer):
    """Moves images towards a smooth form of theirs, or away from it, which sharpens edges.

    `x + (1 - 2 f) (smooth - x)`, then clipped: 0 is smooth, 0.5 changes nothing, 1 is sharp. The smooth
    image is the average of 3 x 3 pixels, of which the middle has the weight 5 / 13 and the others 1 / 13;
    zeros lie outside.

    Args:
        factor: largest f, or a pair (least, most) to draw it from; from 0 to 1.
        value_range: lowest and highest value of a pixel.
        data_format, seed: as in all random image layers.

    Source: Keras: RandomSharpness layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.RandomSharpness(0.5, seed=0)(jnp.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    _idle_draws = 1

    def __init__(self, factor, value_range=(0, 255), data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = factor_range("factor", factor, low=0)
        self.value_range = sorted(pair_of_values(value_range))

    def _draw(self, seed, shape):
        return {"factor": uniform(seed, shape[:1], *self.factor)}

    def _change(self, images, transformation):
        away = 1 - for_each(transformation["factor"] * 2).astype(images.dtype)
        weights = np.full((3, 3, 1, 1), 1 / 13, "float32")
        weights[1, 1] = 5 / 13
        kernel = jnp.tile(jnp.asarray(weights, images.dtype), (1, 1, images.shape[-1], 1))
        smooth = depthwise_conv(images, kernel, padding="same")
        return jnp.clip(images + away * (smooth - images), *self.value_range)
