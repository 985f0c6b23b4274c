"""Every loss against real Keras: values, gradients, reductions, weights, masks, configurations."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu.losses
from cornu.core import masking

rng = np.random.default_rng(0)
NUMBERS = rng.normal(size=(4, 5)).astype("float32"), rng.normal(size=(4, 5)).astype("float32")
POSITIVE = tuple(np.abs(a) + 0.1 for a in NUMBERS)
PROBABILITIES = np.asarray(jax.nn.softmax(NUMBERS[1]))
ONE_HOT = np.eye(5, dtype="float32")[[0, 3, 3, 1]]
LABELS = np.array([0, 3, 3, 1])
BITS = (NUMBERS[0] > 0).astype("float32")
UNITS = NUMBERS[1] / np.linalg.norm(NUMBERS[1], axis=1, keepdims=True)
SIGMOIDS = np.asarray(jax.nn.sigmoid(NUMBERS[1]))

CASES = [
    ("MeanSquaredError", {}, *NUMBERS),
    ("MeanAbsoluteError", {}, *NUMBERS),
    ("MeanAbsolutePercentageError", {}, *NUMBERS),
    ("MeanSquaredLogarithmicError", {}, *POSITIVE),
    ("CosineSimilarity", {}, *NUMBERS),
    ("CosineSimilarity", {"axis": 0}, *NUMBERS),
    ("Huber", {}, *NUMBERS),
    ("Huber", {"delta": 0.3}, *NUMBERS),
    ("LogCosh", {}, *NUMBERS),
    ("KLDivergence", {}, ONE_HOT, PROBABILITIES),
    ("Poisson", {}, *POSITIVE),
    ("Hinge", {}, BITS, NUMBERS[1]),
    ("Hinge", {}, 2 * BITS - 1, NUMBERS[1]),
    ("SquaredHinge", {}, BITS, NUMBERS[1]),
    ("CategoricalHinge", {}, ONE_HOT, NUMBERS[1]),
    ("BinaryCrossentropy", {}, BITS, SIGMOIDS),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, BITS, NUMBERS[1]),
    ("BinaryCrossentropy", {"axis": 0}, BITS, SIGMOIDS),
    ("BinaryFocalCrossentropy", {}, BITS, SIGMOIDS),
    (
        "BinaryFocalCrossentropy",
        {"apply_class_balancing": True, "from_logits": True, "gamma": 1.5},
        BITS,
        NUMBERS[1],
    ),
    ("CategoricalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, NUMBERS[1]),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, ONE_HOT, PROBABILITIES),
    ("CategoricalFocalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalFocalCrossentropy", {"from_logits": True}, ONE_HOT, NUMBERS[1]),
    ("SparseCategoricalCrossentropy", {}, LABELS, PROBABILITIES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS[:, None], NUMBERS[1]),
    ("SparseCategoricalCrossentropy", {"ignore_class": 3}, LABELS, PROBABILITIES),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, LABELS, PROBABILITIES),
    ("Dice", {}, BITS, SIGMOIDS),
    ("Dice", {"axis": -1}, BITS, SIGMOIDS),
    ("Tversky", {"alpha": 0.3, "beta": 0.8, "axis": -1}, BITS, SIGMOIDS),
    ("Circle", {}, LABELS, UNITS),
    ("Circle", {"gamma": 5.0, "remove_diagonal": False}, LABELS, UNITS),
]
IDS = [f"{name}-{kwargs}" for name, kwargs, *_ in CASES]


def gradients(ours, theirs, y_true, y_pred):
    """By the predictions, each computed by one program."""
    return [jax.jit(jax.grad(lambda p, f=f: jnp.sum(f(y_true, p))))(y_pred) for f in (ours, theirs)]


@pytest.mark.parametrize("name, kwargs, y_true, y_pred", CASES, ids=IDS)
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", None, "mean_with_sample_weight"]
)
def test_values_and_gradients_are_keras(name, kwargs, y_true, y_pred, reduction):
    ours = getattr(cornu.losses, name)(**kwargs, reduction=reduction)
    theirs = getattr(keras.losses, name)(**kwargs, reduction=reduction)
    expected = theirs(y_true, y_pred)
    np.testing.assert_allclose(ours(y_true, y_pred), expected, rtol=2e-6, atol=1e-7)
    gradient, expected = gradients(ours, theirs, y_true, jnp.asarray(y_pred))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    if np.ndim(theirs(y_true, y_pred)) == 1 or reduction is not None:
        per_sample = np.shape(getattr(keras.losses, name)(**kwargs, reduction=None)(y_true, y_pred))
        if per_sample == (4,):
            weights = np.array([0.5, 2.0, 0.0, 1.0], "float32")
            np.testing.assert_allclose(
                ours(y_true, y_pred, weights), theirs(y_true, y_pred, weights), rtol=2e-6, atol=1e-7
            )


def test_every_loss_is_tested():
    tested = {case[0] for case in CASES} | {"CTC", "Loss"}
    public = {n for n in dir(keras.losses) if n[0].isupper()}
    assert public <= set(dir(cornu.losses))
    assert public == tested


@pytest.mark.parametrize("name, kwargs, y_true, y_pred", CASES, ids=IDS)
def test_config_round_trip(name, kwargs, y_true, y_pred):
    ours = getattr(cornu.losses, name)(**kwargs, reduction="sum")
    theirs = getattr(keras.losses, name)(**kwargs, reduction="sum").get_config()
    config = ours.get_config()
    assert config.items() >= theirs.items()
    twin = type(ours).from_config(config)
    assert twin.get_config() == config
    np.testing.assert_array_equal(twin(y_true, y_pred), ours(y_true, y_pred))
    described = cornu.losses.serialize(ours)
    assert cornu.losses.deserialize(described).get_config() == config


def test_functions_and_aliases_are_keras():
    for name in dir(keras.losses):
        if name.islower() and name[0] != "_" and name not in ("get", "serialize", "deserialize"):
            assert callable(getattr(cornu.losses, name)), name
    for alias in ("mse", "MAE", "bce", "kld", "mape", "msle", "mean_squared_error", "hinge"):
        ours, theirs = cornu.losses.get(alias), keras.losses.get(alias)
        assert ours.__name__ == theirs.__name__
    assert isinstance(cornu.losses.get("MeanSquaredError"), cornu.losses.MeanSquaredError)
    with pytest.raises(ValueError, match=r"Unknown loss: 'categorical_crossentrpy'. Did you mean"):
        cornu.losses.get("categorical_crossentrpy")


def test_ctc_is_keras():
    # The last one has a blank among its labels, which is one like the others.
    y_true = np.array([[1, 2, 2], [3, 0, 0], [1, 0, 4]])
    y_pred = rng.normal(size=(3, 7, 5)).astype("float32")
    ours, theirs = cornu.losses.CTC(reduction=None), keras.losses.CTC(reduction=None)
    np.testing.assert_allclose(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-5)
    gradient, expected = gradients(ours, theirs, y_true, y_pred)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_masks_and_weights_of_sequences_are_keras(reduction, weighted):
    y_true, y_pred = (rng.normal(size=(2, 3, 4)).astype("float32") for _ in range(2))
    mask = np.array([[True, True, False], [True, False, False]])
    weights = np.array([[1.0], [3.0]], "float32") if weighted else None
    ours = jnp.asarray(y_pred)
    masking.set_mask(ours, mask)
    theirs = keras.ops.convert_to_tensor(y_pred)
    theirs._keras_mask = keras.ops.convert_to_tensor(mask)
    np.testing.assert_allclose(
        cornu.losses.MeanSquaredError(reduction=reduction)(y_true, ours, weights),
        keras.losses.MeanSquaredError(reduction=reduction)(y_true, theirs, weights),
        rtol=1e-6,
    )


def test_half_precision_is_computed_in_full():
    y_true, y_pred = (a.astype("float16") for a in NUMBERS)
    loss = cornu.losses.MeanSquaredError()(y_true, y_pred)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, keras.losses.MeanSquaredError()(y_true, y_pred), rtol=1e-6)
    # One that is asked for is that of the result.
    for dtype in ("bfloat16", cornu.DTypePolicy("mixed_float16")):
        half = cornu.losses.MeanSquaredError(dtype=dtype)
        assert half(y_true, y_pred).dtype == half.dtype in ("bfloat16", "float16")
    with pytest.raises(AttributeError):
        half.dtype = "float32"


@pytest.mark.parametrize("axis", [-1, 0])
def test_derivatives_of_cross_entropy_are_those_of_its_formula(axis):
    """In every direction and order, also where a probability is cut."""
    y_pred = PROBABILITIES.copy()
    y_pred[0] = [0, 1, 0, 0, 0]
    y_pred[1] = [0, 0.5, 0.25, 2, 1]  # they need not have the sum one

    def formula(y_true, y_pred):
        share = y_pred / jnp.sum(y_pred, axis=axis, keepdims=True)
        return -jnp.sum(y_true * jnp.log(jnp.clip(share, 1e-7, 1 - 1e-7)), axis=axis)

    def ours(y_true, y_pred):
        return cornu.losses.categorical_crossentropy(y_true, y_pred, axis=axis)

    def score(function):
        return lambda *operands: jnp.sum(jnp.sin(function(*operands)))

    operands = ONE_HOT + 0.1, y_pred
    for derive in (
        lambda f: f,
        lambda f: jax.grad(score(f), (0, 1)),
        lambda f: jax.grad(score(f), 1),
        lambda f: jax.jacfwd(f, (0, 1)),
        lambda f: jax.jacfwd(jax.grad(score(f), 1), (0, 1)),
    ):
        mine, other = (jax.jit(derive(f))(*operands) for f in (ours, formula))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mine, other
        )


def test_labels_that_do_not_fit_say_what_to_use():
    with pytest.raises(ValueError, match=r"must have the same shape.*sparse_categorical_crossent"):
        cornu.losses.categorical_crossentropy(LABELS, PROBABILITIES)
    with pytest.raises(ValueError, match=r"target.ndim \+ 1.*'categorical_crossentropy'"):
        cornu.losses.sparse_categorical_crossentropy(ONE_HOT, PROBABILITIES)
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        cornu.losses.MeanSquaredError(reduction="average")
