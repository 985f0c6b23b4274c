"""The table, character by character, next to the one Keras prints for the same model."""

import keras
import numpy as np
import pytest

import cornu.layers
import cornu.models
from cornu.core import naming
from cornu.models.summary import print_summary
from cornu.utils import messages


def small(k, name=None):
    return k.models.Sequential(
        [
            k.layers.Input((8, 8, 1)),
            k.layers.Rescaling(0.5),
            k.layers.Flatten(),
            k.layers.Dense(10, activation="relu"),
            k.layers.BatchNormalization(),
            k.layers.Dropout(0.5),
            k.layers.Dense(3),
        ],
        name=name,
    )


def long_name(k):
    return k.models.Sequential(
        [k.layers.Input((4,)), k.layers.Dense(2, name="a_layer_[whose]_name_is_far_too_long")]
    )


def deferred(k):
    # Keras also calls some layers without weights unbuilt, as it happens, but not this one.
    return k.models.Sequential([k.layers.Dropout(0.5), k.layers.Dense(3)])


def deferred_and_built(k):
    model = deferred(k)
    model.build((None, 2, 3))
    return model


def chain(k):
    inputs = k.layers.Input((6,))
    x = k.layers.Dense(4)(inputs)
    return k.models.Model(inputs, k.layers.Dense(2)(x))


def middle_output(k):
    inputs = k.layers.Input((6,))
    x = k.layers.Dense(4)(inputs)
    return k.models.Model(inputs, [x, k.layers.Dense(2)(x)])


def branches(k):
    inputs = k.layers.Input((8, 8, 2))
    left = k.layers.Dense(4)(inputs)
    right = k.layers.Dense(4)(inputs)
    x = k.layers.Concatenate()([left, right])
    x = k.layers.Add()([x, k.layers.Dense(8)(x)])
    return k.models.Model(inputs, k.layers.Dense(2)(k.layers.Flatten()(x)))


def many_ends(k):
    first, second = k.layers.Input((4,), name="first"), k.layers.Input((4,), name="second")
    shared = k.layers.Dense(3, name="shared")
    a, b = shared(first), shared(second)
    outputs = [k.layers.Dense(1, name="one")(a), k.layers.Dense(2, name="two")(b)]
    return k.models.Model([first, second], outputs)


def shared_in_a_row(k):
    inputs = k.layers.Input((4,))
    twice = k.layers.Dense(4)
    return k.models.Model(inputs, twice(twice(inputs)))


def operators(k):
    inputs = k.layers.Input((4,))
    return k.models.Model(inputs, (inputs * 2 + 1) / inputs)


def nested(k):
    inputs = k.layers.Input((8, 8, 1))
    x = small(k, name="inner")(inputs)
    inner_input = k.layers.Input((3,))
    side = k.layers.Dense(3)(inner_input)
    functional = k.models.Model(inner_input, k.layers.Add()([inner_input, side]), name="residual")
    return k.models.Model(inputs, functional(x), name="outer")


def nested_in_a_list(k):
    return k.models.Sequential([small(k, name="inner"), k.layers.Dense(2)], name="outer")


def frozen(k):
    model = nested(k)
    model.get_layer("inner").trainable = False
    return model


def several_outputs_of_a_layer(k):
    class Halves(k.layers.Layer):
        def call(self, x):
            return x[:, :2], x[:, 2:]

    inputs = k.layers.Input((4,))
    return k.models.Model(inputs, Halves()(inputs))


def without_weights(k):
    return k.models.Sequential([k.layers.Input((2, 3)), k.layers.Flatten()])


def big(k):
    return k.models.Sequential([k.layers.Input((3000,)), k.layers.Dense(1000)])


def half_size_numbers(k):
    return k.models.Sequential([k.layers.Input((30,)), k.layers.Dense(10, dtype="float16")])


MODELS = [
    small,
    long_name,
    deferred,
    deferred_and_built,
    chain,
    middle_output,
    branches,
    many_ends,
    shared_in_a_row,
    operators,
    nested,
    nested_in_a_list,
    frozen,
    several_outputs_of_a_layer,
    without_weights,
    big,
    half_size_numbers,
]


def text_of(k, make, **arguments):
    # Names of layers count from the start.
    keras.utils.clear_session(free_memory=False)
    naming.reset_uids()
    texts = []
    model = make(k)
    if k is keras:
        model.summary(print_fn=texts.append, **arguments)
    else:
        print_summary(model, print_fn=texts.append, **arguments)
    (text,) = texts
    return text


def check(make, **arguments):
    ours = text_of(cornu, make, **arguments)
    assert ours == text_of(keras, make, **arguments)
    return ours


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_is_keras_table(make):
    check(make)


@pytest.mark.parametrize("make", [small, branches, nested, nested_in_a_list, frozen, deferred])
@pytest.mark.parametrize(
    "arguments",
    [
        {"expand_nested": True},
        {"show_trainable": True},
        {"expand_nested": True, "show_trainable": True},
        {"line_length": 60},
        {"line_length": 80, "show_trainable": True},
        {"line_length": 110},
    ],
    ids=str,
)
def test_arguments_do_what_they_do_in_keras(monkeypatch, make, arguments):
    # Keras cuts off what is wider than the terminal.
    monkeypatch.setenv("COLUMNS", "120" if "line_length" in arguments else "80")
    check(make, **arguments)


def test_nothing_is_cut_off(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    narrow = text_of(cornu, small, line_length=100)
    monkeypatch.setenv("COLUMNS", "120")
    assert narrow == text_of(cornu, small, line_length=100)


@pytest.mark.parametrize("columns", ["40", "120", "200"])
@pytest.mark.parametrize("make", [small, branches])
def test_fits_the_terminal(monkeypatch, make, columns):
    monkeypatch.setenv("COLUMNS", columns)
    check(make, show_trainable=True)


def test_positions(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    check(small, positions=[0.6, 0.8, 1.0])
    check(branches, positions=[0.2, 0.5, 0.7, 1.0], line_length=100)


@pytest.mark.parametrize(
    "layer_range", [("dense", "dropout"), ("dropout", "flatten"), ("dense.*", "dense.*")], ids=str
)
def test_layer_range(layer_range):
    text = check(small, layer_range=layer_range)
    assert "rescaling" not in text


def test_layer_range_of_a_graph():
    check(branches, layer_range=["dense_1", "add"])


def test_optimizer_params_appear_when_they_exist():
    def compiled(k, build):
        model = small(k)
        model.compile("adam", "mse")
        if build:
            model.optimizer.build(model.trainable_variables)
        return model

    unbuilt = check(lambda k: compiled(k, False))
    assert "Optimizer" not in unbuilt
    built = check(lambda k: compiled(k, True))
    assert " Optimizer params: " in built


@pytest.mark.parametrize("called", [True, False])
def test_subclassed_models(called):
    def make(k):
        class Mine(k.models.Model):
            def __init__(self):
                super().__init__(name="mine")
                # Keras does not know the shape of some layers without weights, and of others it
                # does not say that they are built: not of these.
                self.first = k.layers.Flatten() if called else k.layers.Dropout(0.5)
                self.dense = k.layers.Dense(3)

            def call(self, x):
                return self.dense(self.first(x))

        model = Mine()
        if called:
            model(np.zeros((2, 4), "float32"))
        return model

    text = check(make)
    assert ("(unbuilt)" in text) != called
    assert ("(2, 3)" in text) == called


def test_prints_plainly_where_output_is_no_terminal(capsys):
    print_summary(small(cornu))
    printed = capsys.readouterr().out
    assert printed == text_of(cornu, lambda k: small(k, name="sequential"))
    assert "\x1b" not in printed and "[bold]" not in printed
    assert 'Model: "sequential"' in printed
    assert " Total params: 723 (2.82 KB)\n" in printed


def test_prints_in_colour_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    keras.utils.clear_session(free_memory=False)
    print_summary(small(cornu))
    ours = capsys.readouterr().out
    small(keras).summary()
    assert ours == capsys.readouterr().out
    assert "\x1b[38;5;34m723" in ours


def test_goes_to_the_log_on_request(caplog, capsys):
    messages.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", logger="cornu"):
            print_summary(small(cornu))
    finally:
        messages.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert "Total params: 723" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"line_length": 10}, "Insufficient console width"),
        ({"layer_range": ["dense"]}, "must be a list or tuple of length 2"),
        ({"layer_range": ["dense", 3]}, "should contain string type only"),
        ({"layer_range": ["dense", "conv"]}, "do not match the layer names in the model"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        print_summary(small(cornu), **arguments)
