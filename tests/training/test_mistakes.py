"""Each mistake gives one clear error before any computing."""

import contextlib

import jax.numpy as jnp
import keras as real_keras
import numpy as np
import pandas
import pytest

import cornu as keras
from cornu import layers
from cornu.training import checks

random = np.random.RandomState(0)
X = random.rand(20, 8, 8, 1).astype("float32")
LABELS = random.randint(0, 3, 20)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def model(loss="categorical_crossentropy", units=3, **compile):
    made = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(units, activation="softmax")]
    )
    made.compile("adam", loss, **compile)
    return made


def with_nan():
    x = X.copy()
    x[7, 2, 3, 0] = np.nan
    return x


@pytest.mark.parametrize(
    "loss, x, y, message",
    [
        (
            "categorical_crossentropy",
            X,
            ONE_HOT[:19],
            r"same number of samples.\n'x' sizes: 20\n'y'",
        ),
        ("categorical_crossentropy", X, LABELS, "needs one-hot labels.*sparse_categorical_cross"),
        ("sparse_categorical_crossentropy", X, ONE_HOT, r"needs integer labels .*y.argmax\(-1\)"),
        ("sparse_categorical_crossentropy", X, LABELS + 1, "label 3, but the model has 3 outputs"),
        (
            "sparse_categorical_crossentropy",
            X,
            LABELS - 1,
            r"label -1, but the model has 3 outputs.*ignore_class=-1\).*from 0: y \+ 1",
        ),
        (
            keras.losses.sparse_categorical_crossentropy,
            X,
            [1000, 2000] * 10,
            r"label 2000, .* only 2 different labels: .*np.unique\(y, return_inverse=True\)",
        ),
        (
            keras.losses.SparseCategoricalCrossentropy(ignore_class=-1, name="own name"),
            X,
            np.arange(20) - 1,
            "label 18, .*Give the last layer 19 units",
        ),
        ("sparse_categorical_crossentropy", X, LABELS + 0.5, r"label \d\.5, .* integers"),
        (
            "binary_crossentropy",
            X,
            LABELS,
            r"\(None,\), output.shape=\(None, 3\).*each of the 3 outputs.*the layer 'dense'",
        ),
        ("BinaryFocalCrossentropy", X, LABELS[:, None], "each of the 3 outputs"),
        ("bce", X, 2 * ONE_HOT.astype(int), r"label 2, .*\(y == 2\)"),
        (
            "categorical_crossentropy",
            with_nan(),
            ONE_HOT,
            "`x` holds NaN .* in 1 of 20 .* index 7",
        ),
        ("categorical_crossentropy", X[:0], ONE_HOT[:0], "hold no samples"),
        (
            "categorical_crossentropy",
            X[:, :7],
            ONE_HOT,
            r"expected shape=\(None, 8, 8, 1\), found shape=\(None, 7, 8, 1\)",
        ),
        (
            "categorical_crossentropy",
            X,
            np.eye(4)[LABELS],
            r"target.shape=\(None, 4\), output.shape=\(None, 3\)",
        ),
        (
            "categorical_crossentropy",
            [X[0], X[1], X[2, :5]],
            ONE_HOT[:3],
            r"(?s)'x' sizes: 8, 8, 5\n.*If `x` is a list of samples, make one array of it: np.stack\(x\)",
        ),
        ("categorical_crossentropy", X, None, "no `y` was passed"),
        ("categorical_crossentropy", [X, X], ONE_HOT, r"expects 1 input\(s\)"),
        ("categorical_crossentropy", np.array(["a", "b"], object), LABELS[:2], "hold text"),
        (
            "sparse_categorical_crossentropy",
            X,
            np.array(["cat", "dog"] * 10),
            r"`y`: the data hold text .*classes, y = np.unique\(y, return_inverse=True\)",
        ),
        (
            "categorical_crossentropy",
            pandas.DataFrame({"size": [1.0], "name": ["a"], 3: ["b"]}),
            ONE_HOT[:1],
            r"`x`: .*the columns \['name', '3'\].*pandas.get_dummies",
        ),
        ("categorical_crossentropy", X[0], ONE_HOT[:8], r"for one example pass x\[None\]"),
    ],
)
def test_data_that_do_not_fit(loss, x, y, message):
    made = model(loss)
    before = made.get_weights()
    with pytest.raises(ValueError, match=message):
        made.fit(x, y, verbose=0)
    for old, new in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_labels_of_the_steps_of_a_sequence():
    """They have as many axes as labels of samples in a column, which do not fit such a model."""
    steps = np.random.RandomState(0).rand(6, 4, 2).astype("float32")
    labels = np.arange(24).reshape(6, 4) % 3
    histories = []
    for k in (keras, real_keras):
        made = k.Sequential(
            [k.Input((None, 2)), k.layers.Dense(3, "softmax", kernel_initializer="ones")]
        )
        made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        histories.append(made.fit(steps, labels, verbose=0, shuffle=False).history)
    for name, values in histories[1].items():
        assert histories[0][name] == pytest.approx(values, rel=1e-6)
    for wrong in (labels[:, 0], labels[:, :1]):
        made = keras.Sequential([keras.Input((4, 2)), layers.Dense(3, "softmax")])
        made.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises(
            ValueError, match=r"a class at each position.*one class for each sample"
        ):
            made.fit(steps, wrong, verbose=0)


@pytest.mark.parametrize("kind", [jnp.asarray, list, pandas.Series], ids=["jax", "list", "series"])
def test_checks_see_every_kind_of_array(kind):
    rows = X.reshape(20, 64)
    made = keras.Sequential([keras.Input((64,)), layers.Dense(3, activation="softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="label 5, but the model has 3 outputs"):
        made.fit(rows, kind(LABELS * 0 + 5), verbose=0)
    bad = with_nan().reshape(20, 64)
    wide = pandas.DataFrame(bad) if kind is pandas.Series else kind(bad.tolist())
    with pytest.raises(ValueError, match=r"NaN .* in 1 of 20 .* index 7"):
        made.fit(jnp.asarray(bad) if kind is jnp.asarray else wide, LABELS, verbose=0)


def rows_of(bad, where):
    parts = {"x": np.ones((6, 3), "float32"), "y": np.ones(6, "float32")}
    parts["sample_weight"] = np.ones(6, "float32")
    parts[where].reshape(6, -1)[4, 0] = bad
    return parts


def linear_model(loss="mse", *first):
    made = keras.Sequential([keras.Input((3,)), *first, layers.Dense(1, use_bias=False)])
    made.compile(keras.optimizers.SGD(0.1), loss)
    return made


def known_only(y_true, y_pred):
    known = jnp.isfinite(y_true)
    return jnp.where(known, jnp.where(known, y_true, 0) - y_pred, 0) ** 2


@pytest.mark.parametrize("bad, what", [(np.nan, "NaN"), (-np.inf, "infinity")])
@pytest.mark.parametrize("where", ["x", "y", "sample_weight"])
def test_what_is_not_finite_is_found_before_its_step(bad, what, where):
    parts = rows_of(bad, where)
    made = linear_model()
    before = made.get_weights()[0]

    def stream():
        yield tuple(part[:4] for part in parts.values())
        yield tuple(part[4:] for part in parts.values())

    message = f"`{where}` holds {what}.* in 1 of"
    with pytest.raises(ValueError, match=f"{message} 6 samples, the first at index 4"):
        made.fit(**parts, verbose=0)
    with pytest.raises(ValueError, match=message):
        made.train_on_batch(**parts)
    np.testing.assert_array_equal(made.get_weights()[0], before)
    with pytest.raises(ValueError, match=f"{message} 2 samples of batch 1, the first at index 0"):
        made.fit(stream(), verbose=0)
    assert int(made.optimizer.iterations) == 1 and np.isfinite(made.get_weights()[0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_a_loss_of_the_users_leaves_out(bad):
    parts = rows_of(bad, "y")

    class Own(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return known_only(y_true, y_pred[:, 0])

    class OwnStep(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return known_only(y, y_pred[:, 0]).mean()

    by_method = OwnStep([keras.Input((3,)), layers.Dense(1, use_bias=False)])
    by_method.compile(keras.optimizers.SGD(0.1), "mse")
    by_object = linear_model(Own())
    by_function = linear_model(lambda y_true, y_pred: known_only(y_true, y_pred[:, 0]))
    for made in (by_object,) if bad == np.inf else (by_function, by_method):
        kernel = made.get_weights()[0]
        made.fit(parts["x"], parts["y"], verbose=0)
        # Five of six samples count: the derivative of their squared errors' sum, divided by six.
        expected = kernel - 0.1 * 5 / 6 * 2 * (kernel.sum() - 1)
        np.testing.assert_allclose(made.get_weights()[0], expected, rtol=1e-5)
        made.fit(iter([(parts["x"], parts["y"])]), verbose=0)
        assert int(made.optimizer.iterations) == 2 and np.isfinite(made.get_weights()[0]).all()


def test_a_loss_of_the_users_whose_derivative_is_not_finite():
    def wrong(y_true, y_pred):
        return jnp.where(jnp.isnan(y_true), 0, (y_true - y_pred) ** 2)

    made = linear_model(wrong)
    with pytest.raises(
        ValueError, match=r"`y` holds NaN.*although the loss is your own.*jnp.where"
    ):
        made.fit(*list(rows_of(np.nan, "y").values())[:2], verbose=0)


def test_inputs_that_a_layer_of_the_users_fills():
    made = linear_model("mse", layers.Lambda(jnp.nan_to_num))
    made.fit(**rows_of(np.nan, "x"), verbose=0)
    assert np.isfinite(made.get_weights()[0]).all() and int(made.optimizer.iterations) == 1
    # The sum of these is not finite.
    assert checks._not_finite(np.full(4, 3e38, "float32")) is None


def test_labels_are_checked_wherever_they_come_from():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = (layers.Dense(n, activation="softmax") for n in (3, 4))

        def call(self, x):
            return {"a": self.a(x), "b": self.b(x)}

    x = np.ones((4, 2), "float32")
    good = {"a": np.arange(4) % 3, "b": np.arange(4)}
    made = Own()
    made.compile("sgd", "sparse_categorical_crossentropy")
    made.fit(x, good, verbose=0)
    bad = {**good, "a": good["b"]}
    for act in (
        lambda: made.fit(x, bad, verbose=0),
        lambda: made.fit(iter([(x, bad)]), verbose=0),
        lambda: made.evaluate(x, bad, verbose=0),
        lambda: made.train_on_batch(x, bad),
        lambda: made.test_on_batch(x, bad),
    ):
        with pytest.raises(
            ValueError, match="label 3 for the output 'a', but the model has 3 outp"
        ):
            act()
    assert int(made.optimizer.iterations) == 1


def test_data_that_run_out_are_not_read_twice():
    made = model()
    with pytest.warns(UserWarning, match="ran out of data after 3 of 5 batches"):
        assert made.predict(X, batch_size=8, steps=5, verbose=0).shape == (20, 3)
    with pytest.warns(UserWarning, match="ran out of data after 3 of 5 batches"):
        result = made.evaluate(X, ONE_HOT, batch_size=8, steps=5, verbose=0)
    assert result == pytest.approx(made.evaluate(X, ONE_HOT, verbose=0), rel=1e-5)


def test_single_batches_of_lists():
    made = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    made.compile("sgd", "mse")
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    expected = made.predict_on_batch(np.array(rows))
    np.testing.assert_array_equal(made.predict_on_batch(rows), expected)
    assert made.train_on_batch(rows, [0.0, 1.0]) > 0


def test_a_message_has_none_for_an_unknown_size():
    def wrong(x):
        raise ValueError(f"conv2d_7 got {x.shape}: {x.shape[0] // 2} of 3 rows")

    with pytest.raises(ValueError, match=r"conv2d_7 got \(None, 5\): None of 3 rows"):
        layers.Lambda(wrong)(keras.Input((5,)))


def test_a_message_keeps_the_name_of_a_layer_that_is_made_in_the_call():
    def wrong(x):
        raise ValueError(f"{layers.Dense(3).name} got {x.shape}")

    with pytest.raises(ValueError, match=r"dense(_\d+)? got \(96, 5\)"):
        layers.Lambda(wrong)(keras.Input((5,)))


def test_epochs_are_integers():
    with pytest.raises(ValueError, match=r"`epochs` must be an integer\. Received: epochs='3'"):
        model().fit(X, ONE_HOT, epochs="3", verbose=0)


def test_compile_and_fit_in_the_wrong_order_or_with_wrong_names():
    made = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"must call `compile\(\)` before calling `fit\(\)`"):
        made.fit(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match=r"Unknown loss: 'msee'. Did you mean 'mse'"):
        made.compile("adam", "msee")
    with pytest.raises(ValueError, match=r"Unknown optimizer: 'adan'. Did you mean 'Adam'"):
        made.compile("adan", "mse")
    with pytest.raises(ValueError, match=r"write metrics="):
        made.compile("adam", "mse", ["accuracy"])
    with pytest.raises(ValueError, match="steps_per_execution"):
        made.compile("adam", "mse", steps_per_execution=0)
    made.compile("adam", "mse", metrics=["acuracy"])
    with pytest.raises(ValueError, match=r"Unknown metric: 'acuracy'"):
        made.fit(np.zeros((2, 3)), np.zeros(2))


def test_weights_of_another_model():
    made = model()
    with pytest.raises(ValueError, match="weight list of length 1, but the layer was expecting 2"):
        made.set_weights([np.zeros((64, 3))])
    with pytest.raises(ValueError, match=r"\(64, 3\) is not compatible with provided .* \(3, 64\)"):
        made.set_weights([np.zeros((3, 64)), np.zeros(3)])


def test_names_of_outputs():
    inputs = keras.Input((3,))
    made = keras.Model(
        inputs, [layers.Dense(1, name="a")(inputs), layers.Dense(1, name="b")(inputs)]
    )
    with pytest.raises(ValueError, match="key 'c' does not correspond to any model output"):
        made.compile("adam", {"a": "mse", "c": "mse"})
    made.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"has 2 outputs .* but `y` is one array"):
        made.fit(np.zeros((4, 3)), np.zeros((4, 1)), verbose=0)


def test_a_dataset_that_runs_dry():
    def batches():
        for _ in range(3):
            yield X[:4], ONE_HOT[:4]

    made = model()
    with pytest.warns(UserWarning, match="ran out of data after 3 of 5 batches"):
        made.fit(batches(), steps_per_epoch=5, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="yielded no batch"):
        model().fit(iter(()), verbose=0)
    with pytest.raises(ValueError, match="`y` should not be passed"):
        made.fit(batches(), ONE_HOT, verbose=0)


@pytest.mark.parametrize(
    "loss, y, units, shown",
    [
        ("mse", (4,), 4, r"\('n',\) and the outputs \('n', 4\)"),
        ("mae", (4, 1), 3, r"\('n', 1\) and the outputs \('n', 3\)"),
        ("mse", (4, 3), 1, r"\('n', 3\) and the outputs \('n', 1\)"),
        ("mae", (4, 1, 1), 1, None),
        ("mse", (4,), 1, None),
        (lambda y_true, y_pred: (y_true[:, None] - y_pred) ** 2, (4,), 3, None),
    ],
)
def test_a_loss_that_broadcasts_trains_with_a_warning(loss, y, units, shown):
    made = keras.Sequential([keras.Input((2,)), layers.Dense(units)])
    made.compile("sgd", loss)
    x, targets = random.rand(4, 2).astype("float32"), random.rand(*y).astype("float32")
    outputs = np.asarray(made(x))
    aligned = targets
    if not isinstance(loss, str):
        aligned = targets[:, None]
    elif len(y) != 2 and units == 1:
        aligned = targets.reshape(4, 1)
    expected = np.abs(outputs - aligned) ** (1 if loss == "mae" else 2)
    with pytest.warns(UserWarning, match=shown) if shown else contextlib.nullcontext():
        value = made.fit(x, targets, shuffle=False, verbose=0).history["loss"][0]
    assert value == pytest.approx(expected.mean(), rel=1e-5)


def test_shapes_that_are_often_mistaken():
    def images(*shape):
        return keras.Sequential([keras.Input(shape), layers.Flatten()])

    for made, x, message in (
        (
            images(8, 8, 3),
            X[..., 0],
            r"The last axis is missing.*np.repeat\(x\[..., None\], 3, -1\)",
        ),
        (images(8, 8, 3), np.zeros((2, 3, 8, 8)), r"channels come last: np.moveaxis\(x, 1, -1\)"),
        (
            images(20, 4),
            np.zeros((20, 4)),
            r"x\[None\].*`Input` is without the batch: Input\(\(4,\)\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            made.predict(x, verbose=0)
    # The size is that of the data, and not one that these were filled up to.
    with pytest.raises(
        ValueError, match=r"found shape=\(9, 8, 3\)\. .*for one example pass x\[None\]"
    ):
        images(9, 8, 3).predict(np.zeros((9, 8, 3)), verbose=0)
    made = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3),
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )
    made.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"\(None, 6, 6, 3\).*Put a Flatten .*of the layer 'last'"):
        made.fit(X, LABELS, verbose=0)


def test_validation_data_are_looked_at_before_training():
    made = model("sparse_categorical_crossentropy")
    for data, message in (
        (X, r"holds no targets: .*validation_data=\(x_val, y_val\)"),
        ((X[:, :7], LABELS), r"expected shape=\(None, 8, 8, 1\), found shape=\(None, 7, 8, 1\)"),
        ((X, LABELS + 1), r"`validation_data` holds the label 3"),
    ):
        with pytest.raises(ValueError, match=message):
            made.fit(X, LABELS, validation_data=data, verbose=0)
    assert int(made.optimizer.iterations) == 0


def test_what_is_no_layer_and_what_returns_nothing():
    class Forgets(keras.Model):
        def call(self, x):
            layers.Flatten()(x)

    made = Forgets()
    made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"\(Forgets\) returned None .* end with `return"):
        made.fit(X, ONE_HOT, verbose=0)
    for wrong, message in (
        ([layers.Dense], r"Make one of the class: Dense\("),
        ([[layers.Dense(3)]], r"Sequential\(\[\*layers\]\)"),
        ([jnp.tanh], r"Lambda\(function\)"),
    ):
        with pytest.raises(ValueError, match=message):
            keras.Sequential(wrong)
    with pytest.raises(ValueError, match=r"several layers come in a list: \[a, b\]"):
        keras.Sequential(layers.Dense(3), layers.Dense(3))
    with pytest.raises(ValueError, match=r"shape='4' \(a string\)"):
        keras.Input("4")
    with pytest.raises(ValueError, match=r"`epochs` must be an integer of at least 0"):
        model().fit(X, ONE_HOT, epochs=-1, verbose=0)
    with pytest.raises(ValueError, match="`class_weight` of the class 1 must be a number: nan"):
        model().fit(X, ONE_HOT, class_weight={1: np.nan}, verbose=0)


def small(loss="mse", **compile):
    made = keras.Sequential([keras.Input((2,)), layers.Dense(2, activation="softmax")])
    made.compile("sgd", loss, **compile)
    return made


PAIRS = [(X[:4, 0, :2, 0], ONE_HOT[:4, :2])] * 2


@pytest.mark.parametrize(
    "work, message",
    [
        (lambda: small(jit_compile="yes"), "`jit_compile` must be True, False or 'auto'"),
        (lambda: small(None, loss_weights=[1.0]), "`loss_weights` needs a `loss`"),
        (lambda: small().fit(*PAIRS[0], shuffle="no"), "`shuffle` must be True, False or 'batch'"),
        (
            lambda: small().fit(*PAIRS[0], validation_freq=0),
            "`validation_freq` to be a list or int, 1",
        ),
        (lambda: small(None).fit(*PAIRS[0], verbose=0), "No loss to compute"),
    ],
)
def test_arguments_that_cannot_have_an_effect_are_refused(work, message):
    with pytest.raises(ValueError, match=message):
        work()


@pytest.mark.parametrize(
    "work, message",
    [
        (lambda: small(jit_compile=True, run_eagerly=True), "`jit_compile=True` has no effect"),
        (lambda: small().fit(iter(PAIRS), batch_size=2, verbose=0), "`batch_size` has no effect"),
        (
            lambda: small().evaluate(iter(PAIRS), batch_size=2, verbose=0),
            "`batch_size` has no effect",
        ),
        (
            lambda: small().predict(iter(PAIRS), batch_size=2, verbose=0),
            "`batch_size` has no effect",
        ),
        (lambda: small().fit(*PAIRS[0], validation_steps=2, verbose=0), "no `validation_data`"),
    ],
)
def test_arguments_without_an_effect_are_named(work, message):
    with pytest.warns(UserWarning, match=message):
        work()


def test_a_batch_size_for_arrays_is_none_for_a_stream_beside_them():
    history = small().fit(*PAIRS[0], batch_size=2, validation_data=iter(PAIRS), verbose=0).history
    assert len(history["val_loss"]) == 1


def test_metrics_are_evaluated_without_a_loss():
    made, (x, y) = small(None, metrics=["mae"]), PAIRS[0]
    expected = [0.0, np.abs(np.asarray(made(x)) - y).mean()]
    assert made.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_a_cross_entropy_by_the_shapes():
    x, y = PAIRS[0]
    named = ("categorical_crossentropy", y), ("sparse_categorical_crossentropy", y.argmax(1))
    for name, targets in named:
        made = small("crossentropy")
        value = made.evaluate(x, targets, verbose=0)
        made.compile("sgd", name)
        assert value == pytest.approx(made.evaluate(x, targets, verbose=0), rel=1e-6)


@pytest.mark.parametrize("verbose", ["yes", 3, None])
def test_what_is_printed_is_one_of_three(verbose):
    made = model()
    for work in (
        lambda: made.fit(X, ONE_HOT, verbose=verbose),
        lambda: made.evaluate(X, ONE_HOT, verbose=verbose),
        lambda: made.predict(X, verbose=verbose),
    ):
        with pytest.raises(ValueError, match=f"`verbose` must be .* verbose={verbose!r}"):
            work()
    made.fit(X, ONE_HOT, verbose=False)


def test_no_epoch_is_no_training():
    made = model()
    before = made.get_weights()
    assert made.fit(X, ONE_HOT, epochs=0, verbose=0).history == {}
    np.testing.assert_array_equal(made.get_weights()[0], before[0])


@pytest.mark.parametrize("kind", ["train", "test", "predict"])
def test_overriding_compiled_functions_is_an_error_that_names_the_step(kind):
    def make(self, force=False):
        raise AssertionError

    name = f"make_{kind}_function"
    made = type("Own", (keras.Sequential,), {name: make})([keras.Input((3,)), layers.Dense(1)])
    made.compile("sgd", "mse")
    x, y = np.ones((4, 3)), np.ones((4, 1))
    work = {
        "train": lambda: made.fit(x, y, verbose=0),
        "test": lambda: made.evaluate(x, y, verbose=0),
        "predict": lambda: made.predict(x, verbose=0),
    }
    with pytest.raises(TypeError, match=rf"`Own\.{name}` would never .* `{kind}_step\("):
        work[kind]()
