"""Arguments by the names of Keras 1 and 2: the same object, and one warning that shows today's call."""

import warnings

import numpy as np
import pytest

import cornu
from cornu import callbacks, constraints, layers, regularizers
from cornu.alias import old_names

L2 = regularizers.L2(0.1)
# An old call, and how it is written today.
CALLS = {
    "Dense": (
        {
            "output_dim": 3,
            "init": "he_normal",
            "activation": "relu",
            "W_regularizer": L2,
            "bias": False,
        },
        {
            "units": 3,
            "kernel_initializer": "he_normal",
            "activation": "relu",
            "kernel_regularizer": L2,
            "use_bias": False,
        },
        (2, 4),
    ),
    "Conv1D": (
        {"nb_filter": 3, "filter_length": 2, "subsample_length": 2, "b_constraint": "non_neg"},
        {"filters": 3, "kernel_size": 2, "strides": 2, "bias_constraint": "non_neg"},
        (2, 6, 4),
    ),
    "Conv2D": (
        {
            "nb_col": 2,
            "nb_row": 3,
            "nb_filter": 3,
            "border_mode": "same",
            "subsample": (2, 2),
            "dim_ordering": "th",
        },
        {
            "filters": 3,
            "kernel_size": (3, 2),
            "padding": "same",
            "strides": (2, 2),
            "data_format": "channels_first",
        },
        (2, 4, 6, 5),
    ),
    "MaxPooling1D": (
        {"pool_length": 2, "stride": 1},
        {"pool_size": 2, "strides": 1},
        (2, 5, 3),
    ),
    "AveragePooling2D": (
        {"pool_size": (2, 2), "dim_ordering": "tf"},
        {"pool_size": (2, 2), "data_format": "channels_last"},
        (2, 4, 4, 3),
    ),
    "LSTM": (
        {
            "output_dim": 3,
            "inner_init": "orthogonal",
            "inner_activation": "hard_sigmoid",
            "forget_bias_init": "zero",
            "dropout_W": 0.2,
            "U_regularizer": L2,
            "consume_less": "gpu",
        },
        {
            "units": 3,
            "recurrent_initializer": "orthogonal",
            "recurrent_activation": "hard_sigmoid",
            "unit_forget_bias": False,
            "dropout": 0.2,
            "recurrent_regularizer": L2,
        },
        (2, 5, 4),
    ),
    "BatchNormalization": (
        {"mode": 0, "gamma_init": "ones"},
        {"gamma_initializer": "ones"},
        (2, 4),
    ),
    "Dropout": ({"p": 0.4}, {"rate": 0.4}, (2, 8)),
    "GaussianNoise": ({"sigma": 0.4}, {"stddev": 0.4}, (2, 8)),
    "UpSampling1D": ({"length": 3}, {"size": 3}, (2, 4, 3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_layer_is_that_of_todays_call(name):
    old, today, shape = CALLS[name]
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    outputs, layer = [], None
    for arguments in (today, old):
        cornu.utils.set_random_seed(3)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            layer = getattr(layers, name)(**arguments)
        outputs.append(np.asarray(layer(x, training=True)))
    np.testing.assert_array_equal(*outputs)
    assert [w.filename for w in warned] == [__file__]
    said = str(warned[0].message)
    assert all(word in said for word in (f"`{name}({next(iter(old))}=", *today, "old spelling"))
    assert type(layer) is getattr(layers, name)
    config = layer.get_config()
    assert not old.keys() - today.keys() & config.keys()
    assert type(layer).from_config(config).get_config() == config


def test_the_sides_of_a_window_one_by_one():
    with pytest.warns(UserWarning, match=r"use `Conv2D\(4, \(3, 2\), padding='same'\)` instead"):
        layer = layers.Convolution2D(4, 3, 2, border_mode="same")
    assert type(layer) is layers.Conv2D
    with pytest.warns(UserWarning, match=r"use `SeparableConv2D\(4, \(3, 2\)\)` instead"):
        layer = layers.SeparableConvolution2D(4, 3, 2)
    assert layer.kernel_size == (3, 2) and layer.strides == (1, 1)

    class Own(layers.Convolution2D):
        def __init__(self, filters, **kwargs):
            super().__init__(filters, 3, 2, border_mode="same", **kwargs)

    with pytest.warns(UserWarning, match="old spelling"):
        own = Own(4)
    assert (own.kernel_size, own.strides, own.padding) == ((3, 2), (1, 1), "same")
    assert own(np.ones((1, 4, 4, 1), "float32")).shape == (1, 4, 4, 4)


def test_a_function_that_makes_initial_values():
    x = np.ones((1, 2), "float32")
    for function in (lambda shape, name: np.full(shape, 3), lambda shape, dtype: np.full(shape, 3)):
        with pytest.warns(UserWarning, match="kernel_initializer=…"):
            layer = layers.Dense(2, init=function)
        np.testing.assert_array_equal(layer(x), [[6.0, 6.0]])


def test_models_and_what_layers_are_made_with():
    inputs = cornu.Input((3,))
    with pytest.warns(UserWarning, match=r"use `Model\(inputs=…, outputs=…\)` instead"):
        model = cornu.Model(input=inputs, output=layers.Dense(2)(inputs))
    assert type(model) is cornu.Model and model.output_shape == (None, 2)
    with pytest.warns(UserWarning, match=r"use `L2\(l2=0.3\)`"):
        assert regularizers.l2(l=0.3).l2 == 0.3
    with pytest.warns(UserWarning, match=r"use `MaxNorm\(max_value=3\)`"):
        assert constraints.max_norm(m=3).max_value == 3


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: layers.LSTM(2, input_dim=4), (None, None, 4)),
        (lambda: layers.GRU(2, input_dim=4, input_length=6), (None, 6, 4)),
        (lambda: layers.Conv1D(2, 3, input_dim=4), (None, None, 4)),
        (lambda: layers.Dense(2, input_dim=4), (None, 4)),
    ],
)
def test_the_size_of_the_input(make, shape):
    with pytest.warns(UserWarning, match="Do not pass an `input_shape`") as warned:
        first = make()
    assert [w.filename for w in warned] == [__file__]
    assert cornu.Sequential([first]).input_shape == shape


@pytest.mark.parametrize(
    "make, said",
    [
        (
            lambda: layers.Dense(3, output_dim=3),
            "`output_dim` is an old spelling of `units`, which",
        ),
        (lambda: layers.Dense(units=3, output_dim=3), "given as well"),
        (lambda: layers.Conv2D(3, 3, nb_row=3, nb_col=3), "`nb_row` is an old .* `kernel_size`"),
        (lambda: layers.Conv2D(3, 3, stride=1, subsample=2), "`subsample` is an old .* `strides`"),
        (lambda: layers.BatchNormalization(mode=1), "nothing does what `mode=1` did: channels"),
        (
            lambda: layers.LSTM(3, forget_bias_init="norm"),
            "`unit_forget_bias` must be True or False",
        ),
        (lambda: layers.Embedding(3, 2, dropout=0.5), "after the layer leaves out whole words"),
        (
            lambda: layers.Conv2D(2, 3)(np.ones((1, 1, 28, 28), "float32")),
            "If the channels come first, give data_format='channels_first'",
        ),
        (lambda: layers.Dense(3, p=0.5), r"\{'p': 0.5\}\. Known arguments: units"),
        (lambda: regularizers.L1L2(l=0.1), "unexpected keyword argument 'l'"),
        (
            lambda: callbacks.ModelCheckpoint("a.keras", period=2),
            "Give `save_freq`, .*=2 [*] steps",
        ),
        (
            lambda: cornu.utils.to_categorical([1], nb_classes=2, num_classes=2),
            "`nb_classes` is an old spelling of `num_classes`, which",
        ),
        (
            lambda: old_names.merge([1, 2], mode="join"),
            "mode='join'.* no counterpart",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is an old spelling")
def test_what_has_no_counterpart_is_refused(make, said):
    with pytest.raises((TypeError, ValueError), match=said):
        make()


def test_functions_and_callbacks():
    with pytest.warns(UserWarning, match="`nb_classes` is an old spelling; use `num_classes`"):
        assert cornu.utils.to_categorical([1], nb_classes=3).shape == (1, 3)
    with pytest.warns(UserWarning, match="`epsilon` is an old spelling; use `min_delta`"):
        assert callbacks.ReduceLROnPlateau(epsilon=0.5).min_delta == 0.5
    with pytest.warns(UserWarning, match="`period` .* without effect: 1 is the default"):
        callbacks.ModelCheckpoint("a.keras", period=1)
    a, b = np.ones((2, 3), "float32"), np.full((2, 3), 2, "float32")
    for mode, new, value in [("sum", "add", 3), ("mul", "multiply", 2), ("ave", "average", 1.5)]:
        with pytest.warns(UserWarning, match=f"use `keras.layers.{new}\\(…\\)` instead"):
            np.testing.assert_array_equal(
                old_names.merge([a, b], mode=mode), np.full((2, 3), value)
            )
    with pytest.warns(UserWarning, match=r"concatenate\(…, axis=0\)"):
        assert old_names.merge([a, b], "concat", concat_axis=0).shape == (4, 3)
    with pytest.warns(UserWarning, match=r"Lambda\(…\)"):
        np.testing.assert_array_equal(old_names.merge([a, b], mode=lambda both: both[1]), b)
    with pytest.warns(UserWarning, match=r"dot\(…, axes=1, normalize=True\)"):
        cosines = old_names.merge([a, b], mode="cos", dot_axes=1)
    np.testing.assert_allclose(cosines, np.ones((2, 1)), rtol=1e-6)


def test_arguments_of_the_users_own_are_left_alone():
    class Own(layers.Layer):
        def __init__(self, p=1, init="here", **kwargs):
            self.mode = kwargs.pop("mode", None)
            super().__init__(**kwargs)
            self.p, self.init = p, init

    own = Own(p=2, init="there", mode=3)
    assert (own.p, own.init, own.mode) == (2, "there", 3)

    class Wide(layers.Dense):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)

    with pytest.raises(ValueError, match="`init` is called `kernel_initializer` today"):
        Wide(3, init="zeros")
