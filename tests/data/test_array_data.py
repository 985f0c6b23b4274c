"""Arrays in memory, of every kind that `fit`, `evaluate` and `predict` take, beside Keras."""

import jax.experimental.sparse
import jax.numpy as jnp
import keras
import numpy as np
import pandas
import pytest
import scipy.sparse
from tiny import (
    LABELS,
    PARTS,
    TARGETS,
    WEIGHTS,
    Batches,
    Tensor,
    X,
    Y,
    check_same,
    history,
    network,
    two_inputs,
)

import cornu
from cornu.data import array_source, arrays
from cornu.data.adapt import adapt
from cornu.training.compiled_step import CompiledStep


def frame(values):
    return pandas.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])


# Some kinds Keras takes only as the array that they stand for.
KINDS = {
    "numpy": (X, Y),
    "jax": (jnp.asarray(X), jnp.asarray(Y)),
    "float64": (X.astype("float64"), Y.astype("float64")),
    "lists": (X.tolist(), Y.ravel().tolist()),
    "rows of tuples": ([*map(tuple, X)], [*Y.ravel()]),
    "frames": (frame(X), frame(Y)),
    "series": (frame(X), pandas.Series(Y.ravel())),
    "csr": (scipy.sparse.csr_matrix(X), Y),
    "coo": (scipy.sparse.coo_matrix(X), Y),
    "sparse jax": (jax.experimental.sparse.BCOO.fromdense(X), Y),
    "torch": (Tensor(X), Tensor(Y)),
    "in a list": ([X], [Y]),
    "in a tuple": ((X,), (Y,)),
    "one-dimensional": (X, Y.ravel()),
}


@pytest.mark.parametrize("x, y", KINDS.values(), ids=KINDS)
def test_kinds(x, y):
    mine, other = (
        history(k, *data, validation_split=0.3) for k, data in ((cornu, (x, y)), (keras, (X, Y)))
    )
    check_same(mine, other)
    model = network(cornu)
    np.testing.assert_allclose(
        model.predict(x, batch_size=8, verbose=0), model.predict_on_batch(X), rtol=1e-5
    )
    expected = network(keras).evaluate(X, Y, verbose=0)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16"])
def test_dtypes(dtype):
    x = (X * 4).astype(dtype)
    check_same(*(history(k, x, Y, shuffle=False) for k in (cornu, keras)))


def test_frames_of_several_formats():
    columns = {"a": X[:, 0] > 0.5, "b": (X[:, 1] * 9).astype(int), "c": X[:, 2]}
    x = pandas.DataFrame({**columns, "d": X[:, 3], "e": X[:, 4], "f": X[:, 5]})
    x = x.astype({"b": "Int64", "c": "Float32"})
    numbers = np.stack([*columns.values(), *X.T[3:]], axis=1).astype("float32")
    check_same(history(cornu, x, Y), history(cornu, numbers, Y))
    x.loc[3, "b"] = pandas.NA
    assert np.isnan(arrays.to_arrays(x)[0]).nonzero() == ([3], [1])


@pytest.mark.parametrize(
    "fit",
    [
        {"validation_split": 0.3, "sample_weight": pandas.Series(WEIGHTS)},
        {"sample_weight": WEIGHTS},
        {"sample_weight": WEIGHTS.tolist()},
        {"sample_weight": jnp.asarray(WEIGHTS)[:, None]},
        {"shuffle": False},
        {"shuffle": "batch"},
        {"steps_per_epoch": 1},
        {"steps_per_epoch": 3, "batch_size": None},
        {"batch_size": 1},
        {"batch_size": np.int64(22)},
        {"batch_size": 100},
        {"batch_size": None},
        {"validation_data": (X[:9], Y[:9], WEIGHTS[:9]), "validation_batch_size": 4},
        {"validation_data": (X[:9], Y[:9]), "validation_steps": 2, "validation_batch_size": 2},
        {"validation_data": [X[:9], Y[:9]], "validation_steps": 2, "batch_size": None},
    ],
    ids=lambda fit: " ".join(fit),
)
def test_options(fit):
    theirs = {k: np.asarray(v) if k == "sample_weight" else v for k, v in fit.items()}
    check_same(history(cornu, X, Y, **fit), history(keras, X, Y, **theirs))


def test_the_last_rows_are_for_validation():
    for x in (X, X.tolist(), frame(X).sample(frac=1, random_state=0).sort_index()):
        parts, weights = (x, {"y": pandas.Series(Y.ravel())}), None
        training, validation = arrays.train_validation_split(
            arrays.converted(*parts, weights), 0.25
        )
        np.testing.assert_array_equal(training[0], X[:16])
        np.testing.assert_array_equal(validation[0], X[16:])
        np.testing.assert_array_equal(validation[1]["y"], Y[16:])
        assert training[2] is validation[2] is None


@pytest.mark.parametrize("weights", [None, WEIGHTS, [WEIGHTS[:, None]]], ids=str)
@pytest.mark.parametrize(
    "y",
    [
        LABELS,
        jnp.asarray(LABELS),
        LABELS[:, None].astype("float32"),
        pandas.Series(LABELS),
        np.eye(3, dtype="float32")[LABELS],
        np.eye(3)[LABELS].tolist(),
        scipy.sparse.csr_matrix(np.eye(3)[LABELS]),
    ],
    ids="int jax column series one-hot lists sparse".split(),
)
def test_class_weight(y, weights):
    """Beside weights for each sample, which Keras does not allow, they are multiplied."""
    one_hot = getattr(y, "shape", np.shape(y))[-1] == 3
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    fit = {"class_weight": {1: 0.3, 2: 4.0}, "sample_weight": weights}
    mine = history(cornu, X, y, model=network(cornu, 3, "softmax", loss=loss), **fit)
    factors = np.array([1.0, 0.3, 4.0], "float32")[LABELS]
    fit = {"class_weight": fit["class_weight"]}
    if weights is not None:
        fit = {"sample_weight": factors * WEIGHTS}
    y = np.eye(3)[LABELS] if one_hot else LABELS
    other = history(keras, X, y, model=network(keras, 3, "softmax", loss=loss), **fit)
    check_same(mine, other)


def test_structures():
    mine, other = (two_inputs(k) for k in (cornu, keras))
    weights = {"first": WEIGHTS, "second": WEIGHTS[::-1]}
    fit = {"sample_weight": weights, "validation_split": 0.2}
    check_same(
        history(cornu, PARTS, TARGETS, model=mine, **fit),
        history(keras, PARTS, TARGETS, model=other, **fit),
    )
    expected = other.predict(PARTS, batch_size=8, verbose=0)
    lists = {"a": PARTS["a"].tolist(), "b": frame(PARTS["b"])}
    for x in (PARTS, lists):
        check_same(mine.predict(x, batch_size=8, verbose=0), expected)
    fit = {"shuffle": False}
    expected = history(keras, PARTS, TARGETS, model=other, **fit)
    check_same(history(cornu, lists, TARGETS, model=mine, **fit), expected)


@pytest.mark.parametrize("shuffle", [True, False, "batch"])
@pytest.mark.parametrize("steps", [None, 2])
def test_data_too_large_for_the_device_stay_where_they_are(monkeypatch, shuffle, steps):
    fit = {"shuffle": shuffle, "steps_per_epoch": steps}
    expected = history(cornu, X, Y, **fit)
    monkeypatch.setattr(array_source, "DEVICE_LIMIT_BYTES", 0)
    data = adapt(X, Y, batch_size=8)
    assert data.on_device is None and [len(x) for x, _ in data.batches()] == [8, 8, 6]
    check_same(history(cornu, X, Y, **fit), expected)


def test_arrays_are_put_on_the_device_once(monkeypatch):
    """What a step is given in Python are the numbers of its rows."""
    steps = []
    run = CompiledStep.__call__
    monkeypatch.setattr(
        CompiledStep, "__call__", lambda *args: steps.append(args[1:]) or run(*args)
    )
    history(cornu, X, Y, epochs=3)
    batches, sources = zip(*steps, strict=True)
    assert all(source is sources[0] for source in sources)
    assert isinstance(sources[0][0], jnp.ndarray) and sources[0][0].shape == X.shape
    batches = [rows for group in batches for rows in group]
    assert [rows.shape for rows in batches] == [(8,), (8,), (6,)] * 3
    orders = [np.concatenate(batches[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(order) == list(range(22)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_arrays_start_again_within_an_epoch():
    """Three batches for epochs of two steps: Keras stops; here the next pass follows."""

    def forever():
        while True:
            yield from Batches(X, Y)

    mine = history(cornu, X, Y, steps_per_epoch=2, epochs=3, shuffle=False)
    check_same(mine, history(keras, forever(), steps_per_epoch=2, epochs=3, shuffle=False))
    data = adapt(X, Y, None, 8, steps=5, repeat=False)
    assert [len(batch) for batch in data.batches()] == [8, 8, 6]


RAGGED = [[1.0, 2.0], [1.0]]


@pytest.mark.parametrize(
    "x, y, fit, message",
    [
        (X, Y[:20], {}, "same number of samples.\n'x' sizes: 22\n'y' sizes: 20"),
        ({"a": X, "b": X[:5]}, Y, {}, "same number of samples.\n'x' sizes: 22, 5\n'y' sizes: 22"),
        (X, {"c": Y, "d": Y[:1]}, {}, "'y' sizes: 22, 1"),
        (X, Y, {"sample_weight": WEIGHTS[:4]}, "'sample_weight' sizes: 4"),
        (X, Y[:21], {"validation_split": 0.2}, "'x' sizes: 22\n'y' sizes: 21"),
        (X, Y, {"validation_data": (X, Y[:2])}, "'x' sizes: 22\n'y' sizes: 2"),
        (X[:0], Y[:0], {}, "hold no samples"),
        (np.float32(3), None, {}, "hold no samples"),
        ([], [], {}, r"Cannot take data of type list \(\[\]\)"),
        (X.astype(object), Y, {}, "Python objects and not numbers"),
        (frame(X.astype(object)), Y, {}, "Python objects and not numbers"),
        (RAGGED, [1, 2], {}, "Python objects .* the same length"),
        ({"a": RAGGED}, [1, 2], {}, "Python objects .* the same length"),
        (X, ["a"] * 22, {}, "text or dates"),
        (np.array(["2001-01-01"] * 22, "datetime64[D]"), Y, {}, "text or dates"),
        (X, Batches(X, Y), {}, "Python objects"),
        (X, Y, {"batch_size": 0}, "`batch_size` must be at least 1.*batch_size=0"),
        (X, Y, {"batch_size": -3}, "`batch_size` must be at least 1"),
        (X, Y, {"batch_size": "a"}, "batch_size='a'"),
        (X, Y, {"batch_size": 2.0}, "batch_size=2.0"),
        (X, Y, {"steps_per_epoch": 0}, "`steps` must be at least 1"),
        (X, Y, {"validation_split": 1.5}, "`validation_split` must be between 0 and 1"),
        (X[:1], Y[:1], {"validation_split": 0.1}, "not sufficient to split"),
        (Batches(X, Y), None, {"validation_split": 0.2}, "only supported for arrays"),
        (3.0, None, {}, "Cannot take data of type float"),
        (None, None, {}, "Cannot take data of type NoneType"),
        ("photos", None, {}, "the data hold text, and no layer of its graph reads it"),
        ({"a": object()}, Y, {}, "Cannot take data of type dict"),
        (["a", "b"], Y, {}, "the data hold text, and no layer of its graph reads it"),
        (X, None, {"class_weight": {0: 1.0}}, "`class_weight` needs labels"),
        (X, LABELS, {"class_weight": np.ones(3)}, "`class_weight` must be a dict"),
        (X, [Y, Y], {"class_weight": {0: 1.0}}, "only supported for models with a single output"),
    ],
)
def test_mistakes(x, y, fit, message):
    model = network(cornu)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0, **fit)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_epochs_change_nothing():
    assert history(cornu, X, Y, epochs=0) == {}
