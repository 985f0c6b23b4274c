"""`cornu.backend`: Keras' names beside Keras, Keras 2's beside NumPy."""

import itertools

import keras
import numpy as np
import pytest

import cornu
from cornu import backend as K

X = np.array([[1.0, -4.0], [2.5, 0.5]], "float32")
BATCH = np.arange(12, dtype="float32").reshape(2, 3, 2)
DTYPES = ["bool", "uint8", "int8", "int32", "float16", "bfloat16", "float32", int, float, None]


def test_names_of_keras():
    public = {name for name in dir(keras.backend) if not name.startswith("_")}
    assert public == set(K.__all__)


@pytest.mark.parametrize("pair", [*itertools.product(DTYPES, DTYPES)], ids=str)
def test_result_type(pair):
    assert K.result_type(*pair) == keras.backend.result_type(*pair)


def test_dtypes_and_names():
    assert K.result_type() == "float32"
    for dtype in ("uint8", "int32", "bool", "float16", "bfloat16"):
        for name in ("is_float_dtype", "is_int_dtype", "standardize_dtype"):
            assert getattr(K, name)(dtype) == getattr(keras.backend, name)(dtype)
    K.clear_session()
    assert [K.get_uid("layer"), K.get_uid("layer"), K.get_uid("other")] == [1, 2, 1]
    K.clear_session()
    assert K.get_uid("layer") == 1
    assert K.is_keras_tensor(cornu.Input((2,))) and not K.is_keras_tensor(X)


@pytest.mark.parametrize(
    "name, arguments, expected",
    [
        ("mean", (X, 1), X.mean(1)),
        ("sum", (X, -1, True), X.sum(-1, keepdims=True)),
        ("max", (X,), X.max()),
        ("pow", (X, 2), X**2),
        ("clip", (X, 0, 1), X.clip(0, 1)),
        ("flatten", (X,), X.ravel()),
        ("batch_flatten", (X[None],), X.reshape(1, 4)),
        ("permute_dimensions", (X, (1, 0)), X.T),
        ("reverse", (X, 0), X[::-1]),
        ("gather", (X, np.array([1])), X[1:]),
        ("dot", (X, X), X @ X),
        ("l2_normalize", (X, 0), X / np.linalg.norm(X, axis=0)),
        ("cast", (X, "int32"), X.astype("int32")),
        ("batch_dot", (X, X), (X * X).sum(1, keepdims=True)),
        ("batch_dot", (BATCH, BATCH, 2), BATCH @ BATCH.swapaxes(1, 2)),
        ("batch_dot", (BATCH, BATCH.swapaxes(1, 2)), BATCH @ BATCH.swapaxes(1, 2)),
        ("batch_dot", (BATCH, X, (2, 1)), (BATCH @ X[:, :, None])[..., 0]),
        ("conv1d", (BATCH, np.ones((1, 2, 4))), BATCH.sum(-1, keepdims=True).repeat(4, -1)),
        ("pool2d", (BATCH[..., None], (3, 2)), BATCH.max((1, 2)).reshape(2, 1, 1, 1)),
        ("repeat", (X, 3), X[:, None].repeat(3, 1)),
        ("repeat_elements", (X, 3, 1), X.repeat(3, 1)),
    ],
)
def test_functions_of_keras_2(name, arguments, expected):
    np.testing.assert_allclose(getattr(K, name)(*arguments), expected, rtol=1e-5)


def test_every_name_is_there():
    for name in (*K._SAME, *K._RENAMED, *K._CHANGED):
        assert callable(getattr(K, name))
    with pytest.raises(AttributeError, match=r"Look for it in cornu\.ops"):
        K.no_such_function  # noqa: B018


def test_values_and_shapes():
    v = K.variable(X, name="v")
    K.set_value(v, 2 * X)
    np.testing.assert_array_equal(K.get_value(v), 2 * X)
    assert (K.int_shape(v), K.ndim(v), K.count_params(v), K.dtype(v)) == ((2, 2), 2, 4, "float32")
    np.testing.assert_array_equal(K.eval(K.abs(v)), np.abs(2 * X))


@pytest.mark.parametrize("axes", [0, (1, 2), (0, 1)])
def test_axes_that_batch_dot_cannot_sum_over(axes):
    with pytest.raises(ValueError, match="`batch_dot` sums over an axis of each"):
        K.batch_dot(BATCH, BATCH, axes)


def test_random_numbers():
    cornu.utils.set_random_seed(1)
    today = cornu.random.normal((3,), 1.0, 2.0), cornu.random.uniform((3,), -1.0, 1.0)
    cornu.utils.set_random_seed(1)
    with pytest.warns(UserWarning, match="use `stddev` instead"):
        np.testing.assert_array_equal(K.random_normal((3,), mean=1.0, std=2.0), today[0])
    np.testing.assert_array_equal(K.random_uniform((3,), -1.0, 1.0), today[1])
    drawn = np.asarray(K.random_binomial((1000,), 0.3))
    assert set(drawn) == {0, 1} and 0.2 < drawn.mean() < 0.4


def test_old_order_of_axes():
    with pytest.warns(UserWarning, match=r"use `set_image_data_format\('channels_first'\)`"):
        K.set_image_dim_ordering("th")
    assert K.image_dim_ordering() == "th"
    cornu.config.set_image_data_format("channels_last")
    assert K.image_dim_ordering() == "tf"


def test_a_loss_of_a_classic_script():
    def loss(y_true, y_pred):
        return K.mean(K.square(y_pred - y_true), axis=-1) + K.epsilon()

    model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1)])
    model.compile("sgd", loss)
    assert np.isfinite(model.fit(X, X[:, :1], verbose=0).history["loss"]).all()
