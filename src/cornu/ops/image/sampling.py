"""Images whose pixels are taken from other places: moved, turned, distorted."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from cornu.core.operation import operation
from cornu.core.random import draw_seed
from cornu.ops.image.layout import check_rank, on_batch

_ORDERS = {"nearest": 0, "bilinear": 1}
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


def _check(interpolation, fill_mode) -> None:
    for name, value, known in (
        ("interpolation", interpolation, tuple(_ORDERS)),
        ("fill_mode", fill_mode, _FILL_MODES),
    ):
        if value not in known:
            raise ValueError(
                f"Invalid value for argument `{name}`. Expected of one {known}. "
                f"Received: {name}={value}"
            )


@operation
def map_coordinates(inputs, coordinates, order, fill_mode="constant", fill_value=0):
    """The values of an array at positions that may lie between its elements.

    Args:
        inputs: an array.
        coordinates: `(rank of inputs, …)`: for each axis, where along it.
        order: 0 for the nearest element, 1 for the linear interpolation between neighbours.
        fill_mode: what lies outside: `"constant"` (k k k k | a b c d | k k k k, with
            k = `fill_value`), `"nearest"` (a a a a | a b c d | d d d d), `"wrap"`
            (a b c d | a b c d | a b c d), `"mirror"` (c d c b | a b c d | c b a b) or `"reflect"`
            (d c b a | a b c d | d c b a).
        fill_value: see `fill_mode`.

    The result has the inputs' dtype; integers are rounded.

    Source: jax.scipy.ndimage.map_coordinates.

    >>> from cornu import ops
    >>> ops.image.map_coordinates([0.0, 10.0, 20.0], [[0.5, 1.75, 4.0]], order=1).tolist()
    [5.0, 17.5, 0.0]
    """
    from jax.scipy.ndimage import map_coordinates as look_up

    inputs = jnp.asarray(inputs)
    coordinates = jnp.stack([jnp.asarray(c) for c in coordinates])
    if coordinates.shape[0] != inputs.ndim:
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. Received inputs "
            f"with shape: {inputs.shape} and coordinate leading dim of {coordinates.shape[0]}"
        )
    if coordinates.ndim < 2:
        raise ValueError(
            "Invalid coordinates rank: expected at least rank 2. "
            f"Received input with shape: {coordinates.shape}"
        )
    if fill_mode not in _FILL_MODES:
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Expected one of {_FILL_MODES}. "
            f"Received: fill_mode={fill_mode}"
        )
    if order not in (0, 1):
        raise ValueError(
            f"Invalid value for argument `order`. Expected one of [0, 1]. Received: order={order}"
        )
    return look_up(inputs, coordinates, order, fill_mode, fill_value)


def sample(images, rows, columns, interpolation="bilinear", fill_mode="constant", fill_value=0.0):
    """The pixels of a batch with channels last at other places, `(batch, rows, columns)` of each."""
    from jax.scipy.ndimage import map_coordinates as look_up

    one: Any = functools.partial(
        look_up, order=_ORDERS[interpolation], mode=fill_mode, cval=fill_value
    )
    places = jnp.stack([rows, columns], axis=1)
    return jax.vmap(jax.vmap(one, in_axes=(-1, None), out_axes=-1))(images, places)


def _grid(rows: int, columns: int):
    """The rows, `(1, rows, 1)`, and the columns, `(1, 1, columns)`."""
    y, x = jnp.arange(rows, dtype="float32"), jnp.arange(columns, dtype="float32")
    return y[None, :, None], x[None, None]


def projected(images, transform, interpolation, fill_mode, fill_value):
    """A batch with channels last, each pixel from where its `transform` says: see `affine_transform`."""
    rows, columns = images.shape[1:3]
    y, x = _grid(rows, columns)
    transform = jnp.broadcast_to(transform, (len(images), 8)).astype("float32")
    a0, a1, a2, b0, b1, b2, c0, c1 = (t[:, None, None] for t in transform.T)
    scale = c0 * x + c1 * y + 1
    return sample(
        images,
        (b0 * x + b1 * y + b2) / scale,
        (a0 * x + a1 * y + a2) / scale,
        interpolation,
        fill_mode,
        fill_value,
    )


@operation
def affine_transform(
    images,
    transform,
    interpolation="bilinear",
    fill_mode="constant",
    fill_value=0,
    data_format=None,
):
    """Images, or one, whose pixels are moved by a linear map.

    The pixel at column x and row y is taken from column `(a0 x + a1 y + a2) / k` and row
    `(b0 x + b1 y + b2) / k`, with `k = c0 x + c1 y + 1`.

    Args:
        images: one image or a batch of them.
        transform: `[a0, a1, a2, b0, b1, b2, c0, c1]`, for all images or for each.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode, fill_value: as in `map_coordinates`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Source: Keras: affine_transform. Keras 3.15 on JAX does something else with `c0` and `c1` unless they
    are zero; this follows its page.

    >>> from cornu import ops
    >>> image = ops.reshape(ops.arange(4.0), (2, 2, 1))
    >>> ops.image.affine_transform(image, [1, 0, 1, 0, 1, 0, 0, 0])[..., 0].tolist()
    [[1.0, 0.0], [3.0, 0.0]]
    """
    _check(interpolation, fill_mode)
    images, transform = jnp.asarray(images), jnp.asarray(transform)
    check_rank(images)
    if transform.ndim not in (1, 2) or transform.shape[-1] != 8:
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of "
            f"transforms), of 8 numbers. Received input with shape: transform.shape={transform.shape}"
        )
    return on_batch(
        lambda batch: projected(batch, transform, interpolation, fill_mode, fill_value),
        images,
        data_format,
    )


def homography(start_points, end_points):
    """The 8 numbers of the projection that takes each of 4 end points (x, y) to its start point."""
    (x, y), (u, v) = (jnp.moveaxis(points, -1, 0) for points in (end_points, start_points))
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)
    rows = [
        jnp.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1),
        jnp.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1),
    ]
    matrix, target = jnp.concatenate(rows, -2), jnp.concatenate([u, v], -1)
    return jnp.linalg.solve(matrix, target[..., None])[..., 0]


@operation
def perspective_transform(
    images,
    start_points,
    end_points,
    interpolation="bilinear",
    fill_value=0,
    data_format=None,
):
    """Images, or one, seen from elsewhere: four points come to lie at four others.

    Args:
        images: one image or a batch of them.
        start_points: `(4, 2)`, or `(batch, 4, 2)`: column and row of four points of an image.
        end_points: where these are to lie.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: value of what lies outside.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    >>> from cornu import ops
    >>> corners = [[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 3.0]]
    >>> image = ops.reshape(ops.arange(16.0), (4, 4, 1))
    >>> moved = [[1.0, 0.0], [4.0, 0.0], [1.0, 3.0], [4.0, 3.0]]
    >>> ops.image.perspective_transform(image, corners, moved)[0, :, 0].round().tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    _check(interpolation, "constant")
    images = jnp.asarray(images)
    check_rank(images)
    points = []
    for name, value in (("start_points", start_points), ("end_points", end_points)):
        value = jnp.asarray(value, "float32")
        if value.shape[-2:] != (4, 2) or value.ndim not in (2, 3):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                f"Received shape: {value.shape}"
            )
        points.append(value)
    if points[0].shape != points[1].shape:
        raise ValueError(
            "start_points and end_points must have the same shape. Received start_points.shape="
            f"{points[0].shape}, end_points.shape={points[1].shape}"
        )
    transform = homography(*points)
    return on_batch(
        lambda batch: projected(batch, transform, interpolation, "constant", fill_value),
        images,
        data_format,
    )


def _banded(size: int, sigma, taps):
    """The matrix that blurs `size` numbers by a Gaussian of so many taps, with zeros outside."""
    distance = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size)[None])

    def weights(steps):
        near = jnp.exp(-0.5 * (steps.astype("float32") / sigma) ** 2)
        return jnp.where(steps <= taps // 2, near, 0)

    # All taps count, those that lie outside, too. A traced sigma is known to be less than the size.
    reach = size if isinstance(sigma, jax.core.Tracer) else int(3 * sigma) + 1
    half = jnp.arange(1, 3 * reach + 1)
    return weights(distance) / (1 + 2 * jnp.sum(weights(half)))


def displacements(key, shape: tuple, alpha, sigma):
    """Random moves of each pixel, down and right, alike for neighbours: see `elastic_transform`."""
    rows, columns = shape[1:]
    taps = jnp.floor(6 * sigma).astype("int32") | 1
    down, right = (
        jnp.einsum(
            "byx,iy,jx->bij",
            jax.random.normal(k, shape, "float32") * sigma,
            _banded(rows, sigma, taps),
            _banded(columns, sigma, taps),
            precision="highest",
        )
        * alpha
        for k in (jax.random.fold_in(key, 1), key)
    )
    return down, right


@operation
def elastic_transform(
    images,
    alpha=20.0,
    sigma=5.0,
    interpolation="bilinear",
    fill_mode="reflect",
    fill_value=0.0,
    seed=None,
    data_format=None,
):
    """Images, or one, distorted as if they were drawn on rubber.

    Each pixel is taken from a place that lies off by random numbers of a normal distribution with
    standard deviation `sigma`, blurred by a Gaussian of the same `sigma` and multiplied by `alpha`.

    Args:
        images: one image or a batch of them.
        alpha: strength.
        sigma: how far, in pixels, neighbours move alike.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_mode, fill_value: as in `map_coordinates`.
        seed: an integer, a `SeedGenerator` or None.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Source: Simard et al. 2003, "Best practices for convolutional neural networks". The moves to the
    right are those of Keras for the same seed; the moves down are drawn independently, whereas in Keras
    3.15 they are the same numbers again, so that pixels move along diagonals only.

    >>> from cornu import ops
    >>> ops.image.elastic_transform(ops.ones((2, 8, 8, 3)), seed=1).shape
    (2, 8, 8, 3)
    """
    _check(interpolation, fill_mode)
    images = jnp.asarray(images)
    check_rank(images)
    key, alpha, sigma = draw_seed(seed), jnp.asarray(alpha), jnp.asarray(sigma)

    def distorted(batch):
        return warped(batch, key, alpha, sigma, interpolation, fill_mode, fill_value)

    return on_batch(distorted, images, data_format)


def warped(images, key, alpha, sigma, interpolation, fill_mode, fill_value):
    """A batch with channels last, distorted: see `elastic_transform`."""
    rows, columns = images.shape[1:3]
    down, right = displacements(key, images.shape[:3], alpha, sigma)
    y, x = _grid(rows, columns)
    return sample(images, y + down, x + right, interpolation, fill_mode, fill_value)
