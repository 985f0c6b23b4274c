import jax.numpy as jnp
import keras
import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers

RANDOM = np.random.RandomState(0)
IMAGES = (RANDOM.randn(4, 6, 8, 4) * 3 + 5).astype("float32")
STEPS = (RANDOM.randn(4, 5, 6) * 3 + 5).astype("float32")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("LayerNormalization", {"axis": 1, "epsilon": 1e-5}),
        ("LayerNormalization", {"axis": [1, -1], "center": False}),
        ("LayerNormalization", {"axis": (2, 3), "scale": False, "beta_regularizer": "l2"}),
        ("GroupNormalization", {"groups": 2}),
        ("GroupNormalization", {"groups": 3, "axis": 1, "center": False}),
        ("GroupNormalization", {"groups": 4, "axis": -2, "scale": False}),
        ("RMSNormalization", {}),
        ("RMSNormalization", {"axis": [-2, -1], "epsilon": 1e-3}),
        ("UnitNormalization", {"axis": [1, 2]}),
    ],
)
def test_like_keras(name, arguments):
    compare_with_keras(name, arguments, IMAGES, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("LayerNormalization", {}),
        ("GroupNormalization", {"groups": 2}),
        ("RMSNormalization", {}),
    ],
)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_in_single(name, arguments, dtype):
    """Exactly like Keras, so no step may be done in the narrow format."""
    arguments = {**arguments, "dtype": dtype}
    ours, theirs = getattr(layers, name)(**arguments), getattr(keras.layers, name)(**arguments)
    for training in (True, False):
        mine, other = ours(IMAGES, training=training), theirs(IMAGES, training=training)
        assert mine.dtype == other.dtype == ours.compute_dtype
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), np.asarray(other))


def in_double(x, training, epsilon=1e-3):
    """Batch normalization by its formula, with averages of zero and variances of one before."""
    x = np.asarray(x).astype("float64")
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    moving = 0.01 * mean, 0.99 + 0.01 * variance
    if not training:
        mean, variance, moving = 0.0, 1.0, (0.0 * mean, 0.0 * mean + 1)
    return (x - mean) / np.sqrt(variance + epsilon), moving


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_in_double(dtype, training):
    """In half precision, too, all is computed in single: only the result is rounded."""
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    ours, theirs = (module.BatchNormalization(dtype=policy) for module in (layers, keras.layers))
    x = jnp.asarray(IMAGES).astype(dtype)
    expected, moving = in_double(x, training)
    errors = []
    for layer in (ours, theirs):
        result = layer(x, training=training)
        assert result.dtype == dtype
        rounding = np.abs(expected) * float(jnp.finfo(dtype).eps) / 2
        errors.append((np.abs(np.asarray(result).astype("float64") - expected) - rounding).max())
        for mine, other in zip(layer.weights[2:], moving, strict=True):
            np.testing.assert_allclose(np.asarray(mine), other, rtol=1e-6)
    assert errors[0] <= max(errors[1], 1e-6)


def test_instance_normalization():
    ours, theirs = layers.GroupNormalization(-1), keras.layers.GroupNormalization(-1)
    np.testing.assert_allclose(ours(IMAGES), theirs(IMAGES), rtol=1e-6, atol=1e-6)


def test_deprecated_rms_scaling():
    with pytest.warns(UserWarning, match="rms_scaling"):
        ours = layers.LayerNormalization(rms_scaling=True)
    with pytest.warns(UserWarning, match="rms_scaling"):
        theirs = keras.layers.LayerNormalization(rms_scaling=True)
        expected = theirs(IMAGES)
    np.testing.assert_allclose(ours(IMAGES), expected, rtol=1e-6)
    assert ours.beta is None


def test_rms_scale_belongs_to_its_axis():
    layer = layers.RMSNormalization(axis=1, epsilon=0.0)
    layer.build(STEPS.shape)
    layer.scale.assign(np.arange(5.0))
    expected = STEPS / np.sqrt((STEPS**2).mean(1, keepdims=True)) * np.arange(5.0)[:, None]
    np.testing.assert_allclose(layer(STEPS), expected, rtol=1e-5)


def test_unit_length_of_nothing():
    assert layers.UnitNormalization()(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"axis": 1, "momentum": 0.5, "epsilon": 1e-5},
        {"center": False, "scale": False},
        {"gamma_regularizer": "l2", "beta_constraint": "non_neg", "name": "norm"},
        {"renorm": True},
        {
            "renorm": True,
            "renorm_clipping": {"rmax": 1.5, "rmin": 0.2, "dmax": 0.3},
            "scale": False,
        },
    ],
    ids=["plain", "axis", "bare", "regularized", "renorm", "clipped"],
)
def test_batch_normalization(arguments, training):
    compare_with_keras(
        "BatchNormalization", arguments, IMAGES - 5, training=training, rtol=1e-5, atol=1e-5
    )


def test_moving_averages_follow():
    ours, theirs = layers.BatchNormalization(), keras.layers.BatchNormalization()
    for step in range(3):
        ours(IMAGES * step, training=True)
        theirs(IMAGES * step, training=True)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other), rtol=1e-6)


def test_frozen_means_inference():
    layer = layers.BatchNormalization()
    layer(IMAGES, training=True)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(IMAGES, training=True), layer(IMAGES, training=False))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_masked_steps_do_not_count():
    x = STEPS.copy()
    x[:, 3:] = 0.0
    ours, theirs = layers.BatchNormalization(), keras.layers.BatchNormalization()
    mine = ours(layers.Masking()(x), training=True)
    other = theirs(keras.layers.Masking()(x), training=True)
    np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.moving_mean.numpy(), np.asarray(theirs.moving_mean), rtol=1e-6)
    np.testing.assert_allclose(
        ours.moving_variance.numpy(), np.asarray(theirs.moving_variance), rtol=1e-6
    )
    with pytest.raises(ValueError, match="one dimension less than the inputs"):
        ours(STEPS, mask=np.ones((4,), bool))


@pytest.mark.parametrize(
    "layer, error, message",
    [
        (lambda: layers.BatchNormalization(axis=4)(IMAGES), ValueError, "axis 4 is out of bounds"),
        (lambda: layers.LayerNormalization(axis=-5)(IMAGES), ValueError, "axis -5 is out of bou"),
        (lambda: layers.GroupNormalization(2, axis=4)(IMAGES), ValueError, "axis 4 is out of bou"),
        (lambda: layers.RMSNormalization(axis=[1, 4])(IMAGES), ValueError, "axis 4 is out of bou"),
        (lambda: layers.UnitNormalization(axis=9)(IMAGES), ValueError, "axis 9 is out of bounds"),
        (lambda: layers.UnitNormalization(axis="x"), TypeError, "expected an int or a list/tuple"),
        (lambda: layers.LayerNormalization(axis=1.0), TypeError, "expected an int or a list/tuple"),
        (lambda: layers.GroupNormalization(0), ValueError, "invalid value for argument `groups`"),
        (lambda: layers.GroupNormalization(3)(IMAGES), ValueError, "must be a multiple of the"),
        (
            lambda: layers.GroupNormalization(8)(IMAGES),
            ValueError,
            "cannot be more than the number of channels",
        ),
        (
            lambda: layers.BatchNormalization()(layers.Input((4, None))),
            ValueError,
            "must have a defined dimension",
        ),
        (
            lambda: layers.BatchNormalization(renorm=True, renorm_clipping={"max": 1}),
            ValueError,
            "invalid keys for `renorm_clipping`",
        ),
        (
            lambda: layers.BatchNormalization(renorm=True, renorm_clipping={"rmax": 1, "rmin": 2}),
            ValueError,
            "rmax should be greater than rmin",
        ),
        (
            lambda: layers.BatchNormalization(renorm=True, renorm_clipping={"dmax": -1}),
            ValueError,
            "dmax should be non-negative",
        ),
    ],
)
def test_bad_input(layer, error, message):
    with pytest.raises(error, match=message):
        layer()


def test_other_number_of_channels():
    layer = layers.BatchNormalization()
    layer(IMAGES)
    with pytest.raises(ValueError, match="expected axis -1"):
        layer(IMAGES[..., :2])
