"""One image or a batch, channels last or first: what functions of images have in common."""

import jax.numpy as jnp

from cornu.core.dtype import standardize_data_format


def channel_axis(images, data_format) -> int:
    """Which axis holds the channels; raises ValueError unless this is an image or a batch of them."""
    check_rank(images)
    return -1 if standardize_data_format(data_format) == "channels_last" else -3


def check_rank(images, name="images") -> None:
    if images.ndim not in (3, 4):
        raise ValueError(
            f"Invalid {name} rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: {name}.shape={images.shape}"
        )


def spatial_axes(images, data_format) -> tuple[int, int]:
    """The axes of rows and columns."""
    return (-3, -2) if channel_axis(images, data_format) == -1 else (-2, -1)


def on_batch(function, images, data_format):
    """`function` of a batch with channels last, for images of any layout; the result has it again."""
    first = channel_axis(images, data_format) == -3
    batch = images[None] if images.ndim == 3 else images
    batch = function(jnp.moveaxis(batch, 1, -1) if first else batch)
    batch = jnp.moveaxis(batch, -1, 1) if first else batch
    return batch[0] if images.ndim == 3 else batch
