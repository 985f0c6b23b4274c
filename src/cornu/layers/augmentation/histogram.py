"""Contrast from the values that occur in an image: the same in each call, nothing is random."""

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.layers.augmentation.base import ImageLayer, pair_of_values, rescaled
from cornu.ops.core import saturate_cast


@registry.register("layer", module="keras.layers")
class AutoContrast(ImageLayer):
    """Stretches each channel of each image to the whole range of values, in training and inference.

    `(x - min) / (max - min)` of the range; a channel with one value stays as it is.

    Args:
        value_range: lowest and highest value of a pixel.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Images come out in the compute dtype.

    Source: Keras: AutoContrast layer. In Keras 3.15 it stretches the wrong axes of images with channels
    first.

    >>> import cornu, jax.numpy as jnp
    >>> image = jnp.array([[[[50.0], [100.0]]]])
    >>> cornu.layers.AutoContrast()(image).tolist()
    [[[[0.0], [255.0]]]]
    """

    def __init__(self, value_range=(0, 255), **kwargs):
        super().__init__(**kwargs)
        self.value_range = sorted(pair_of_values(value_range))

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images).astype(self._working_dtype)
        return self._finished(self._apply(self._change, images))

    def _change(self, images, transformation=None):
        pixels = rescaled(images, self.value_range, (0, 255))
        low = jnp.min(pixels, axis=(1, 2), keepdims=True)
        high = jnp.max(pixels, axis=(1, 2), keepdims=True)
        scale = 255.0 / jnp.where(high > low, high - low, 1)
        stretched = jnp.clip(pixels * scale - low * scale, 0.0, 255.0)
        return jnp.where(high > low, rescaled(stretched, (0, 255), self.value_range), images)


def _histograms(bins, size: int):
    """How often each number below `size` occurs in each row of integers `(rows, n)`."""

    def one(row):
        return jnp.zeros(size, "int32").at[row].add(1, mode="promise_in_bounds")

    return jax.vmap(one)(bins)


def _by_channel(images):
    """The pixels of each channel of each image of a batch as a row, and a function that undoes it."""
    batch, rows, columns, channels = images.shape
    rows_of_pixels = jnp.moveaxis(images, -1, 1).reshape(batch * channels, rows * columns)
    return rows_of_pixels, lambda pixels: jnp.moveaxis(
        pixels.reshape(batch, channels, rows, columns), 1, -1
    )


@registry.register("layer", module="keras.layers")
class Equalization(ImageLayer):
    """Spreads the values of each channel of each image so that each is about as frequent; in training.

    A value becomes the share of the pixels of its channel that are not greater.

    Args:
        value_range: lowest and highest value of a pixel.
        bins: how many values are told apart.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Images come out in the compute dtype.

    Source: Keras: Equalization layer. Here each image has its own histogram, as in the layer's
    namesakes elsewhere; in Keras 3.15 the images of a batch share one, and what becomes of an image
    depends on the others. An image alone comes out the same.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Equalization()(jnp.array([[[[10.0], [20.0], [30.0]]]]))[0, 0, :, 0].tolist()
    [0.0, 128.0, 255.0]
    """

    def __init__(self, value_range=(0, 255), bins=256, data_format=None, **kwargs):
        super().__init__(data_format=data_format, **kwargs)
        if not isinstance(bins, int) or bins < 1:
            raise ValueError(f"`bins` must be a positive integer. Received: bins={bins!r}")
        self.bins = bins
        self.value_range = sorted(pair_of_values(value_range))

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images).astype(self.compute_dtype)
        return self._apply(self._change, images) if training else images

    def _change(self, images, transformation=None):
        low, high = self.value_range
        scale = 255 / (high - low)
        pixels, back = _by_channel(images.astype("float32") * scale + (0 - low * scale))
        last = self.bins - 1
        counted = jnp.clip((pixels * last / 255).astype("int32"), 0, last)
        histograms = _histograms(counted, self.bins)
        below = jnp.cumsum(histograms, axis=-1)
        # All pixels up to the lowest value that occurs.
        first = jnp.take_along_axis(below, jnp.argmax(below > 0, -1, keepdims=True), -1)
        rest = below[:, -1:] - first
        shares = (
            (below - first).astype("float32")
            * 255
            / jnp.where(rest == 0, 1, rest).astype("float32")
        )
        table = jnp.clip(jnp.round(shares), 0, 255)
        looked_up = jnp.clip(pixels / 255.0 * last, 0, last).astype("int32")
        spread = jnp.take_along_axis(table, looked_up, -1)
        several = jnp.count_nonzero(histograms, axis=-1, keepdims=True) > 1
        scale = (high - low) / 255
        spread = jnp.where(several, spread, pixels) * scale + (low - 0 * scale)
        return back(spread).astype(images.dtype)


@registry.register("layer", module="keras.layers")
class ContrastLimitedAdaptiveHistogramEqualization(ImageLayer):
    """Equalizes the values of each tile of an image, and passes smoothly from tile to tile (CLAHE).

    Of each tile's histogram what exceeds a limit is spread over all values, so that noise in plain
    regions is not amplified. A pixel is looked up in the tables of the four tiles around it, and the
    results are interpolated. It does so in training and in inference.

    Args:
        value_range: lowest and highest value of a pixel.
        clip_limit: the limit, in multiples of the mean of a histogram; 0 for none.
        tile_grid_size: how many tiles, rows and columns of them.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Images keep their dtype; of integers, fractions are cut off, and booleans come out in the compute
    dtype.

    Source: Zuiderveld 1994, "Contrast limited adaptive histogram equalization". Keras:
    ContrastLimitedAdaptiveHistogramEqualization layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))
    >>> layer(jnp.arange(64, dtype="uint8").reshape(1, 8, 8, 1)).dtype
    dtype('uint8')
    """

    def __init__(
        self,
        value_range=(0, 255),
        clip_limit=4.0,
        tile_grid_size=(8, 8),
        data_format=None,
        **kwargs,
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.value_range = pair_of_values(value_range)
        self.clip_limit = clip_limit
        if len(tile_grid_size) != 2 or min(tile_grid_size) < 1:
            raise ValueError(
                "`tile_grid_size` must be two positive integers. "
                f"Received: tile_grid_size={tile_grid_size!r}"
            )
        self.tile_grid_size = tile_grid_size

    def _output_dtype(self, dtype):
        return self.compute_dtype if dtype == "bool" else dtype

    def transform_images(self, images, transformation=None, training=True):
        images = jnp.asarray(images)
        return self._apply(self._change, images.astype(self._output_dtype(images.dtype)))

    def _change(self, images, transformation=None):
        pixels = rescaled(images.astype("float32"), self.value_range, (0, 255))
        size = [images.shape[axis] for axis in (1, 2)]
        tile = [-(-n // tiles) for n, tiles in zip(size, self.tile_grid_size, strict=True)]
        margins = [
            (0, t * tiles - n) for n, t, tiles in zip(size, tile, self.tile_grid_size, strict=True)
        ]
        padded = jnp.pad(pixels, [(0, 0), *margins, (0, 0)], mode="symmetric")
        values = jnp.clip(padded, 0, 255).astype("int32")
        equalized = self._interpolated(self._tables(values, tile), values, tile)
        equalized = equalized[:, : size[0], : size[1]]
        return saturate_cast(rescaled(equalized, (0, 255), self.value_range), images.dtype)

    def _tables(self, values, tile):
        """What each of 256 values becomes, `(batch, rows of tiles, columns of tiles, channels, 256)`."""
        batch, _, _, channels = values.shape
        down, across = self.tile_grid_size
        tiles = values.reshape(batch, down, tile[0], across, tile[1], channels)
        tiles = tiles.transpose(0, 1, 3, 5, 2, 4).reshape(-1, tile[0] * tile[1])
        counts = _histograms(tiles, 256).astype("float32")
        if self.clip_limit > 0:
            kept = jnp.clip(counts, 0, self.clip_limit * (tile[0] * tile[1]) / 256.0)
            counts = kept + jnp.sum(counts - kept, axis=-1, keepdims=True) / 256.0
        below = jnp.cumsum(counts, axis=-1)
        first = jnp.min(below, axis=-1, keepdims=True)
        rest = tile[0] * tile[1] - first
        tables = jnp.clip((below - first) * 255.0 / jnp.where(rest == 0, 1, rest), 0, 255)
        return tables.reshape(batch, down, across, channels, 256)

    def _interpolated(self, tables, values, tile):
        def neighbours(size, tiles):
            """Before each pixel's tile centre and after it, and how far along between the two."""
            place = (jnp.arange(size * tiles, dtype="float32") - size / 2.0) / size
            before = jnp.floor(place)
            index = before.astype("int32")
            both = (jnp.clip(i, 0, tiles - 1)[:, None] for i in (index, index + 1))
            return *both, (place - before)[:, None]

        top, bottom, down = neighbours(tile[0], self.tile_grid_size[0])
        left, right, along = neighbours(tile[1], self.tile_grid_size[1])
        left, right, along = left.T, right.T, along.T[..., None]
        down = down[..., None]
        batch = jnp.arange(len(values))[:, None, None, None]
        channel = jnp.arange(values.shape[-1])

        def looked_up(row, column):
            where = (batch, row[..., None], column[..., None], channel, values)
            return tables.at[where].get(mode="promise_in_bounds")

        down, along = down[None], along[None]
        above = looked_up(top, left) * (1 - along) + looked_up(top, right) * along
        below = looked_up(bottom, left) * (1 - along) + looked_up(bottom, right) * along
        return above * (1 - down) + below * down
