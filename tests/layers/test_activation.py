import numpy as np
import pytest
from oracle import compare_with_keras

from cornu import layers

X = np.random.RandomState(0).uniform(-3, 3, (3, 4, 5)).astype("float32")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Activation", {"activation": "gelu"}),
        ("Activation", {"activation": None}),
        ("ELU", {"alpha": 0.4}),
        ("Identity", {}),
        ("LeakyReLU", {}),
        ("PReLU", {}),
        ("PReLU", {"shared_axes": [1], "alpha_regularizer": "l2", "alpha_constraint": "non_neg"}),
        ("PReLU", {"shared_axes": 2}),
        ("ReLU", {}),
        ("ReLU", {"max_value": 2.0, "negative_slope": 0.1, "threshold": 0.5}),
        ("Softmax", {}),
        ("Softmax", {"axis": 1}),
        ("Softmax", {"axis": [1, 2]}),
    ],
)
def test_like_keras(name, arguments):
    compare_with_keras(name, arguments, X)


@pytest.mark.parametrize("name", ["ELU", "PReLU", "Softmax"])
def test_half_precision(name):
    # Two ways to sum exponentials differ in the last of bfloat16's 8 bits.
    compare_with_keras(name, {"dtype": "mixed_bfloat16"}, X, rtol=1e-2, atol=1e-2)


def test_softmax_mask():
    import keras

    mask = np.random.RandomState(1).uniform(size=X.shape) > 0.4
    mask[0, 0] = False
    for given in (mask, mask.astype("float32"), mask[:1, :, :1]):
        ours, theirs = layers.Softmax()(X, mask=given), keras.layers.Softmax()(X, mask=given)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    half = layers.Softmax(dtype="float16")(X, mask=mask)
    assert np.isfinite(half).all()
    with pytest.raises(ValueError, match="must be broadcastable to `inputs`"):
        layers.Softmax()(X, mask=np.ones((3, 4, 4), bool))


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("LeakyReLU", {"negative_slope": -1}, "cannot be None or negative"),
        ("LeakyReLU", {"negative_slope": None}, "cannot be None or negative"),
        ("ReLU", {"max_value": -1.0}, "max_value of a ReLU layer cannot be a negative value"),
        ("ReLU", {"negative_slope": -1.0}, "negative_slope of a ReLU layer cannot be None or"),
        ("ReLU", {"threshold": None}, "threshold of a ReLU layer cannot be None or a negative"),
        ("Activation", {"activation": "softmaxx"}, "Unknown activation.*'softmax'"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)


def test_old_name_of_the_slope():
    with pytest.warns(UserWarning, match="`alpha` is deprecated"):
        assert layers.LeakyReLU(alpha=0.2).negative_slope == 0.2


def test_prelu_needs_sizes():
    with pytest.raises(ValueError, match=r"Found None in \(None, None, 5\).*`shared_axes`"):
        layers.PReLU()(layers.Input((None, 5)))
    with pytest.raises(ValueError, match="`shared_axes` must lie between 1 and 2"):
        layers.PReLU(shared_axes=[3])(X)
    layer = layers.PReLU()
    layer(X)
    with pytest.raises(ValueError, match="expected axis 1"):
        layer(X[:, :2])


def _halved(x):
    return x[..., :2] > 0


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("activation", ["relu", "softmax", "glu", None, _halved])
def test_the_symbolic_output_is_like_the_real_one(activation, dtype):
    layer = layers.Activation(activation, dtype=dtype)
    symbolic, real = layer(layers.Input((4, 6))), layer(X[:, :, [0, 1, 2, 3, 4, 4]])
    assert symbolic.shape[1:] == real.shape[1:]
    assert symbolic.dtype == real.dtype
    assert layer.compute_output_shape((None, 4, 6)) == (None, *real.shape[1:])


def test_a_subclass_with_its_own_call_has_its_own_shape():
    class First(layers.Activation):
        def call(self, inputs):
            return super().call(inputs)[..., :1]

    assert First("relu")(layers.Input((4, 6))).shape == (None, 4, 1)
