import keras
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers

RANDOM = np.random.RandomState(0)
STEPS = RANDOM.randn(3, 5, 4).astype("float32")
IMAGES = RANDOM.randn(3, 5, 4, 6).astype("float32")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Dropout", {"rate": 0.3}),
        ("Dropout", {"rate": 0.3, "noise_shape": (None, 1, None)}),
        ("Dropout", {"rate": 0.3, "noise_shape": [3, 1, 1]}),
        ("Dropout", {"rate": 0}),
        ("Dropout", {"rate": 1}),
        ("AlphaDropout", {"rate": 0.3}),
        ("AlphaDropout", {"rate": 0.3, "noise_shape": (None, 1, None)}),
        ("GaussianDropout", {"rate": 0.3}),
        ("GaussianNoise", {"stddev": 0.3}),
        ("GaussianNoise", {"stddev": 0}),
    ],
)
def test_same_noise_as_keras(name, arguments, training):
    compare_with_keras(name, {"seed": 7, **arguments}, STEPS, training=training)


@pytest.mark.parametrize("name", ["Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"])
def test_same_noise_in_half_precision(name):
    arguments = {"stddev" if name == "GaussianNoise" else "rate": 0.3}
    arguments |= {"seed": 7, "dtype": "mixed_bfloat16"}
    ours = getattr(layers, name)(**arguments)(STEPS, training=True)
    theirs = getattr(keras.layers, name)(**arguments)(STEPS, training=True)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    "name, arguments, inputs",
    [
        ("SpatialDropout1D", {}, STEPS),
        ("SpatialDropout2D", {}, IMAGES),
        ("SpatialDropout2D", {"data_format": "channels_first"}, IMAGES),
        ("SpatialDropout3D", {}, IMAGES[None]),
        ("SpatialDropout3D", {"data_format": "channels_first"}, IMAGES[None]),
    ],
)
def test_spatial_dropout(name, arguments, inputs):
    arguments = {"rate": 0.5, "seed": 7, "name": "drop", **arguments}
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    np.testing.assert_array_equal(ours(inputs, training=True), theirs(inputs, training=True))
    np.testing.assert_array_equal(ours(inputs), inputs)
    # Keras writes the format of its weights, and so loses the policy.
    mine, other = ours.get_config(), theirs.get_config()
    assert {**mine, "dtype": None} == {**other, "dtype": None}
    assert keras.layers.deserialize(keras.layers.serialize(theirs)).get_config() == other
    reread = getattr(keras.layers, name).from_config(mine)
    assert reread.get_config() == other


def test_each_call_draws_anew_and_compiled_runs_go_on():
    ours, theirs = layers.Dropout(0.5, seed=3), keras.layers.Dropout(0.5, seed=3)
    seen = []
    for _ in range(3):
        mine = ours(STEPS, training=True)
        np.testing.assert_array_equal(mine, theirs(STEPS, training=True))
        seen.append(np.asarray(mine).tobytes())
    assert len(set(seen)) == 3
    np.testing.assert_array_equal(
        ours.seed_generator.state.numpy(), np.asarray(theirs.seed_generator.state)
    )


def test_no_seed_means_python_s_generator():
    import cornu.core.random

    draws = []
    for _ in range(2):
        cornu.core.random.set_random_seed(11)
        draws.append(np.asarray(layers.Dropout(0.5)(STEPS, training=True)))
    keras.utils.set_random_seed(11)
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], keras.layers.Dropout(0.5)(STEPS, training=True))


def test_rate_is_kept():
    """A tenth of a million elements: five standard deviations are less than 0.002."""
    x = np.ones((1000, 1000), "float32")
    output = np.asarray(layers.Dropout(0.1, seed=0)(x, training=True))
    assert abs((output == 0).mean() - 0.1) < 0.002
    assert abs(output.mean() - 1) < 0.002
    noisy = np.asarray(layers.GaussianDropout(0.2, seed=0)(x, training=True))
    assert abs(noisy.mean() - 1) < 0.003 and abs(noisy.var() - 0.25) < 0.003


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.RandomState(0).randn(1000, 1000).astype("float32")
    output = np.asarray(layers.AlphaDropout(0.2, seed=0)(x, training=True))
    assert abs(output.mean()) < 0.01 and abs(output.var() - 1) < 0.01


@pytest.mark.parametrize("rate", [-0.1, 1.5, "half", None])
@pytest.mark.parametrize(
    "name", ["Dropout", "AlphaDropout", "GaussianDropout", "SpatialDropout2D", "GaussianNoise"]
)
def test_rate_out_of_range(name, rate):
    with pytest.raises(ValueError, match="Expected a float value between 0 and 1"):
        getattr(layers, name)(rate)


@pytest.mark.parametrize("name", ["AlphaDropout", "GaussianDropout"])
def test_rate_of_one_is_infinite_noise(name):
    with pytest.raises(ValueError, match="between 0 and 1 and less than 1"):
        getattr(layers, name)(1.0)


@pytest.mark.parametrize("noise_shape", ["ab", 3, (2, 0), (1.5, 2), (-1, None)])
def test_bad_noise_shape(noise_shape):
    with pytest.raises(ValueError, match="argument `noise_shape`"):
        layers.Dropout(0.5, noise_shape=noise_shape)


def test_noise_shape_of_other_rank():
    for name in ("Dropout", "AlphaDropout"):
        with pytest.raises(ValueError, match="one size, or None, for each axis of the inputs"):
            getattr(layers, name)(0.5, noise_shape=(3, 1))(STEPS, training=True)


@pytest.mark.parametrize("name, ndim", [("1D", 3), ("2D", 4), ("3D", 5)])
def test_spatial_dropout_wrong_rank(name, ndim):
    with pytest.raises(ValueError, match=f"expected ndim={ndim}, found ndim=2"):
        getattr(layers, f"SpatialDropout{name}")(0.5)(np.ones((2, 3)))


def test_activity_regularization():
    compare_with_keras("ActivityRegularization", {"l1": 0.25, "l2": 0.5}, STEPS)
    ours = layers.ActivityRegularization(0.25, 0.5)
    theirs = keras.layers.ActivityRegularization(0.25, 0.5)
    ours(STEPS), theirs(STEPS)
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-6)
