import copy
import json

import keras
import numpy as np
import pytest

import cornu
from cornu import layers
from cornu.core import registry

RANDOM = np.random.RandomState(0)
STEPS = RANDOM.randn(3, 4, 5).astype("float32")
CLIPS = RANDOM.randn(2, 3, 4, 5, 2).astype("float32")


@registry.register_keras_serializable("wrappers")
def scaled(x, factor=2.0):
    return x * factor


def unregistered(x):
    return x + 1


def pair(inner, arguments=None, wrapper="TimeDistributed", **more):
    """The same wrapped layer here and in Keras, built on STEPS."""
    made = []
    for library in (layers, keras.layers):
        layer = getattr(library, inner)(**(arguments or {}))
        made.append(getattr(library, wrapper)(layer, **more))
    return made


def share_weights(ours, theirs):
    weights = [RANDOM.uniform(0.2, 1, w.shape).astype("float32") for w in theirs.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "inner, arguments",
    [
        ("Dense", {"units": 3}),
        ("BatchNormalization", {"momentum": 0.5}),
        ("Dropout", {"rate": 0.5, "seed": 2}),
        ("LayerNormalization", {}),
    ],
)
def test_time_distributed(inner, arguments, training):
    ours, theirs = pair(inner, arguments)
    ours(STEPS), theirs(STEPS)
    share_weights(ours, theirs)
    np.testing.assert_allclose(
        ours(STEPS, training=training), theirs(STEPS, training=training), rtol=1e-5, atol=1e-6
    )
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other), rtol=1e-5, atol=1e-6)


def centered(k):
    inputs = k.Input((5,))
    return k.Model(inputs, inputs - k.ops.mean(inputs, axis=0))


def with_loss(k):
    class WithLoss(k.layers.Layer):
        def call(self, inputs):
            self.add_loss(k.ops.mean(inputs**2))
            return inputs

    return WithLoss()


@pytest.mark.parametrize(
    "inner, losses",
    [
        (centered, 0),
        (with_loss, 4),
        (lambda k: k.layers.Lambda(lambda x: x - x[:1]), 0),
        (lambda k: k.layers.Softmax(axis=0), 0),
        (lambda k: k.Sequential([k.Input(batch_shape=(3, 5)), k.layers.ReLU()]), 0),
        (lambda k: k.Sequential([k.layers.ReLU(activity_regularizer="l2")]), 4),
        (lambda k: k.Sequential([k.layers.ActivityRegularization(l1=0.1)]), 4),
        (lambda k: k.Sequential([k.Input((5,)), k.layers.ReLU()]), 0),
    ],
)
def test_time_distributed_calls_that_see_the_batch(inner, losses):
    ours, theirs = (k.layers.TimeDistributed(inner(k)) for k in (cornu, keras))
    np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-5)
    assert len(ours.losses) == losses


def test_time_distributed_images():
    ours, theirs = pair("Flatten")
    np.testing.assert_array_equal(ours(CLIPS), theirs(CLIPS))
    assert ours.compute_output_shape((None, 3, 4, 5, 2)) == (None, 3, 40)
    assert ours(layers.Input((None, 4, 5, 2))).shape == (None, None, 40)


def test_time_distributed_mask():
    mask = np.ones(STEPS.shape, bool)
    mask[:, :, 2:] = False
    mask[:, 1, :] = True
    ours, theirs = pair("Softmax")
    np.testing.assert_allclose(
        ours(STEPS, mask=mask), theirs(STEPS, mask=mask), rtol=1e-6, atol=1e-7
    )
    with pytest.raises(ValueError, match=r"Expected mask shape prefix: \(3, 4\)"):
        ours(STEPS, mask=mask[:2])


def test_time_distributed_bad_input():
    for argument in (3, "Dense", None):
        with pytest.raises(ValueError, match="TimeDistributed should be given a `keras"):
            layers.TimeDistributed(argument)
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        layers.TimeDistributed(layers.Dense(3))(np.ones((2, 3)))


@pytest.mark.parametrize(
    "inner, arguments, x",
    [
        ("Dense", {"units": 3}, STEPS),
        ("Embedding", {"input_dim": 6, "output_dim": 3}, np.array([[1.0, 5.0]], "float32")),
    ],
)
@pytest.mark.parametrize("power_iterations", [1, 5])
def test_spectral_normalization(inner, arguments, x, power_iterations):
    ours, theirs = pair(
        inner, arguments, "SpectralNormalization", power_iterations=power_iterations
    )
    ours(x), theirs(x)
    share_weights(ours, theirs)
    for training in (False, True, True, False):
        np.testing.assert_allclose(
            ours(x, training=training), theirs(x, training=training), rtol=1e-5, atol=1e-6
        )
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), np.asarray(other), rtol=1e-5, atol=1e-6)


def test_spectral_norm_becomes_one():
    layer = layers.SpectralNormalization(layers.Dense(3), power_iterations=30)
    layer(STEPS, training=True)
    assert np.linalg.svd(layer.kernel.numpy())[1].max() == pytest.approx(1, rel=1e-4)


def test_normalized_weights():
    ours, theirs = pair("Dense", {"units": 3}, "SpectralNormalization")
    ours(STEPS), theirs(STEPS)
    share_weights(ours, theirs)
    for own, other in zip(ours.normalized_weights(), theirs.normalized_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5)


def test_spectral_normalization_of_nothing():
    layer = layers.SpectralNormalization(layers.Dense(3, kernel_initializer="zeros"))
    assert np.isfinite(layer(STEPS, training=True)).all()


def test_spectral_normalization_bad_input():
    with pytest.raises(ValueError, match="`power_iterations` should be greater than zero"):
        layers.SpectralNormalization(layers.Dense(2), power_iterations=0)
    with pytest.raises(ValueError, match="no attribute 'kernel' nor 'embeddings'"):
        layers.SpectralNormalization(layers.ReLU())(STEPS)


@pytest.mark.parametrize("inner, arguments, wrapper", [("Dense", {"units": 3}, "TimeDistributed")])
def test_config_is_keras(inner, arguments, wrapper):
    ours, theirs = pair(inner, {**arguments, "name": "inner"}, wrapper, name="outer")
    assert ours.get_config() == theirs.get_config()


def test_lambda():
    np.testing.assert_array_equal(layers.Lambda(lambda x: x**2)(STEPS), STEPS**2)
    layer = layers.Lambda(scaled, arguments={"factor": 3.0})
    np.testing.assert_array_equal(layer(STEPS), STEPS * np.float32(3))
    assert layers.Lambda(lambda x: x[:, 0])(layers.Input((4, 5))).shape == (None, 5)


def test_lambda_of_a_builtin():
    assert layers.Lambda(max)([3.0, 1.0]) == 3.0


def test_lambda_gets_training_and_mask():
    seen = []

    def function(x, training=None, mask=None):
        seen.append((training, mask))
        return x

    masked = layers.Masking()(STEPS)
    layers.Lambda(function, mask=lambda inputs, mask: mask)(masked, training=True)
    training, mask = seen[-1]
    assert training is True and mask.shape == (3, 4)


def test_lambda_in_files():
    layer = layers.Lambda(scaled, arguments={"factor": 3.0}, output_shape=(4, 5), name="triple")
    described = json.loads(json.dumps(layers.serialize(layer)))
    assert described["config"]["function"]["registered_name"] == "wrappers>scaled"
    np.testing.assert_array_equal(layers.deserialize(described)(STEPS), layer(STEPS))


def test_lambda_by_custom_object():
    described = layers.serialize(layers.Lambda(unregistered))
    with pytest.raises(ValueError, match="'unregistered', which is not registered"):
        layers.deserialize(copy.deepcopy(described))
    again = layers.deserialize(described, custom_objects={"unregistered": unregistered})
    assert again.function is unregistered
    config = described["config"]
    again = layers.Lambda.from_config(config, custom_objects={"unregistered": unregistered})
    assert again.function is unregistered


@pytest.mark.parametrize("argument", ["function", "output_shape", "mask"])
def test_a_python_lambda_cannot_be_described(argument):
    layer = layers.Lambda(**{"function": scaled, argument: lambda *inputs: inputs[0]})
    with pytest.raises(ValueError, match=f"`{argument}` is a Python lambda.*register_keras_seri"):
        layer.get_config()


@pytest.mark.parametrize("argument", ["function", "output_shape", "mask"])
def test_code_in_a_file_is_refused(argument):
    """What Keras writes for a lambda, made to run a command if anybody unpacked it."""
    keras_config = keras.layers.Lambda(lambda x: x).get_config()["function"]
    for hostile in (
        keras_config,
        {"class_name": "__lambda__", "config": {"code": "AAAA", "defaults": None, "closure": None}},
        {"class_name": "type", "config": "Popen", "module": "subprocess"},
    ):
        config = {"function": {"class_name": "function", "config": "scaled"}, argument: hostile}
        config["function"].setdefault("registered_name", "wrappers>scaled")
        with pytest.raises(ValueError, match="Only the name of a registered function is accepted"):
            layers.Lambda.from_config(config)


@pytest.mark.parametrize(
    "name", ["system", "os.system", "eval", "Dense", "load_model", "__import__"]
)
def test_only_registered_functions_are_found(name):
    for description in (
        name,
        {"module": "os", "class_name": "function", "config": name, "registered_name": name},
    ):
        with pytest.raises(ValueError, match="not registered"):
            layers.Lambda.from_config({"function": description})


def test_lambda_needs_a_function():
    with pytest.raises(ValueError, match="`function` must be callable"):
        layers.Lambda(3)
