"""Adaptive pooling, beside Keras' layers."""

import jax
import keras
import numpy as np
import pytest
from oracle import compare_with_keras

import cornu
from cornu import explain, layers

random = np.random.RandomState(0)
SIZES = {1: (7,), 2: (7, 6), 3: (5, 4, 3)}
every_rank = pytest.mark.parametrize("rank", [1, 2, 3])
both = pytest.mark.parametrize("kind", ["Average", "Max"])


def batch(rank, data_format="channels_last"):
    # Few different numbers, so that several in a window are the largest.
    x = np.random.RandomState(1).randint(0, 4, (2, *SIZES[rank], 3)).astype("float32")
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


@both
@every_rank
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("output_size", ["three", "each"])
def test_like_keras(kind, rank, data_format, output_size):
    size = {"three": 3, "each": (2, 9, 1)[:rank]}[output_size]
    arguments = {"output_size": size, "data_format": data_format}
    compare_with_keras(
        f"Adaptive{kind}Pooling{rank}D", arguments, batch(rank, data_format), rtol=1e-5
    )


@both
@every_rank
def test_own_size_changes_nothing(kind, rank):
    """In Keras 3.15, whose divisions round, some of these are NaN or the numbers beside them."""
    layer = getattr(layers, f"Adaptive{kind}Pooling{rank}D")(SIZES[rank])
    np.testing.assert_array_equal(layer(batch(rank)), batch(rank))


@both
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16"])
def test_formats(kind, dtype):
    arguments = {"output_size": (3, 3), "dtype": dtype}
    compare_with_keras(f"Adaptive{kind}Pooling2D", arguments, batch(2), rtol=2e-2, atol=2e-2)


@both
def test_windows(kind):
    """Window i of m reads from floor(i * n / m) to ceil((i + 1) * n / m)."""
    x = random.randn(1, 7, 1).astype("float32")
    reduce = np.mean if kind == "Average" else np.max
    for size in (1, 2, 3, 5, 7, 9):
        windows = [x[:, i * 7 // size : -(-(i + 1) * 7 // size)] for i in range(size)]
        expected = np.stack([reduce(window, axis=1) for window in windows], axis=1)
        output = getattr(layers, f"Adaptive{kind}Pooling1D")(size)(x)
        np.testing.assert_allclose(output, expected, rtol=1e-6, atol=1e-7)


@both
def test_infinity_and_nan_stay_in_their_windows(kind):
    x = np.zeros((1, 7, 1), "float32")
    x[0, 0], x[0, 6] = np.inf, np.nan
    output = np.ravel(getattr(layers, f"Adaptive{kind}Pooling1D")(3)(x))
    np.testing.assert_array_equal(output, [np.inf, 0, np.nan])


@both
def test_sizes_of_the_input_may_be_unknown(kind):
    layer = getattr(layers, f"Adaptive{kind}Pooling2D")((3, 2))
    inputs = layers.Input((None, None, 3))
    assert layer(inputs).shape == (None, 3, 2, 3)
    model = cornu.Model(inputs, layer(inputs))
    for size in (4, 7):
        assert model.predict(np.ones((2, size, 5, 3)), verbose=0).shape == (2, 3, 2, 3)


@both
def test_training_like_keras(kind):
    losses = []
    x, y = random.rand(8, 7, 6, 2).astype("float32"), random.randint(0, 3, 8)
    for k in (cornu, keras):
        k.utils.set_random_seed(2)
        pool = getattr(k.layers, f"Adaptive{kind}Pooling2D")((3, 4))
        model = k.Sequential(
            [
                k.Input((7, 6, 2)),
                k.layers.Conv2D(3, 2, activation="relu"),
                pool,
                k.layers.Flatten(),
                k.layers.Dense(3, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        losses.append(model.fit(x, y, batch_size=4, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize(
    "size, error",
    [((2, 2, 2), TypeError), ("2", TypeError), (0, ValueError), ((2, -1), ValueError)],
)
def test_bad_output_size(size, error):
    with pytest.raises(error, match="`output_size`"):
        layers.AdaptiveMaxPooling2D(size)


def test_bad_inputs():
    with pytest.raises(ValueError, match="rank 3, 4 or 5"):
        cornu.ops.adaptive_max_pool(np.ones((2, 3)), 2)
    with pytest.raises(ValueError, match="nothing"):
        layers.AdaptiveMaxPooling1D(2)(np.ones((2, 0, 3)))
    with pytest.raises(ValueError, match="ndim"):
        layers.AdaptiveMaxPooling2D(2)(np.ones((2, 4, 3)))


@both
def test_operations(kind):
    name = f"adaptive_{kind.lower()}_pool"
    for data_format in (None, "channels_first"):
        mine, theirs = (
            getattr(k.ops, name)(batch(2), (3, 2), data_format=data_format) for k in (cornu, keras)
        )
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert getattr(cornu.ops, name)(layers.Input((7, 6, 3)), 3).shape == (None, 3, 3, 3)


@both
def test_explained(kind):
    """A value is the mean, or the largest, of what its window holds, and that is its receptive field."""
    x = random.rand(1, 7, 6, 2).astype("float32")
    inputs = layers.Input((7, 6, 2))
    pool = getattr(layers, f"Adaptive{kind}Pooling2D")((3, 4))
    model = cornu.Model(inputs, pool(inputs))
    window = explain.window(model, x, -1, position=(1, 2), channel=1)
    reduce = np.mean if kind == "Average" else np.max
    seen = x[0, 2:5, 3:5, 1]
    np.testing.assert_allclose(window.result, reduce(seen), rtol=1e-6)
    np.testing.assert_allclose(window.expected, window.result, rtol=1e-6)
    np.testing.assert_array_equal(window.patch, seen[..., None])
    assert window.terms.origin == (2, 3)
    field = explain.receptive_field(model).window(pool.name, (1, 2))
    assert field == (slice(2, 5), slice(3, 5))
    print(window)


def test_derivatives_of_the_mean_are_its_weights():
    gradient = jax.grad(lambda x: cornu.ops.adaptive_average_pool(x, 3)[0, 1, 0])(
        np.ones((1, 7, 1))
    )
    np.testing.assert_allclose(np.ravel(gradient), [0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0], rtol=1e-6)
