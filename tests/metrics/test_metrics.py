"""Every metric against real Keras: values, state, weights, configurations, tracing."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu.metrics

rng = np.random.default_rng(0)


def batches(make):
    return [make() for _ in range(3)]


def softmax(x):
    return np.asarray(jax.nn.softmax(x)).astype("float32")


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def bits(*shape):
    return rng.integers(0, 2, shape).astype("float32")


def one_hot(classes):
    return np.eye(4, dtype="float32")[classes]


# What a metric is fed with: three batches of targets and predictions.
DATA = {
    "numbers": batches(lambda: (normal(6, 4), normal(6, 4))),
    "positive": batches(lambda: (np.abs(normal(6, 4)), np.abs(normal(6, 4)) + 0.1)),
    "column": batches(lambda: (normal(6), normal(6, 1))),
    "bits": batches(lambda: (bits(6, 4), rng.uniform(size=(6, 4)).astype("float32"))),
    "flat bits": batches(lambda: (bits(6), rng.uniform(size=6).astype("float32"))),
    "bit column": batches(lambda: (bits(6), rng.uniform(size=(6, 1)).astype("float32"))),
    "logits": batches(lambda: (bits(6, 4), normal(6, 4))),
    "signs": batches(lambda: (2 * bits(6, 4) - 1, normal(6, 4))),
    "one-hot": batches(lambda: (one_hot(rng.integers(0, 4, 6)), softmax(normal(6, 4)))),
    "one-hot logits": batches(lambda: (one_hot(rng.integers(0, 4, 6)), normal(6, 4))),
    "labels": batches(lambda: (rng.integers(0, 4, 6), softmax(normal(6, 4)))),
    "label column": batches(lambda: (rng.integers(0, 4, (6, 1)), softmax(normal(6, 4)))),
    "label logits": batches(lambda: (rng.integers(0, 4, 6), normal(6, 4))),
    "sequences": batches(lambda: (rng.integers(0, 4, (6, 3)), softmax(normal(6, 3, 4)))),
    "one-hot sequences": batches(
        lambda: (one_hot(rng.integers(0, 4, (6, 3))), softmax(normal(6, 3, 4)))
    ),
    "classes": batches(lambda: (rng.integers(0, 4, 6), rng.integers(0, 4, 6))),
    "equal": batches(lambda: (rng.integers(0, 2, (6, 1)), rng.integers(0, 2, (6, 1)))),
    "ranking": batches(lambda: (rng.integers(0, 4, 6), rng.permuted([[0, 1, 2, 3]] * 6, axis=1))),
}
THRESHOLDS = [0.7, 0.0, 0.35, 1.0]
CASES = [
    ("Accuracy", {}, "equal"),
    ("BinaryAccuracy", {}, "bits"),
    ("BinaryAccuracy", {"threshold": 0.0}, "logits"),
    ("BinaryAccuracy", {}, "bit column"),
    ("CategoricalAccuracy", {}, "one-hot"),
    ("CategoricalAccuracy", {}, "one-hot sequences"),
    ("SparseCategoricalAccuracy", {}, "labels"),
    ("SparseCategoricalAccuracy", {}, "label column"),
    ("SparseCategoricalAccuracy", {}, "sequences"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one-hot"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one-hot sequences"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "labels"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "label column"),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, "sequences"),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "ranking"),
    ("MeanSquaredError", {}, "numbers"),
    ("MeanSquaredError", {}, "column"),
    ("RootMeanSquaredError", {}, "numbers"),
    ("RootMeanSquaredError", {}, "column"),
    ("MeanAbsoluteError", {}, "numbers"),
    ("MeanAbsolutePercentageError", {}, "numbers"),
    ("MeanSquaredLogarithmicError", {}, "positive"),
    ("LogCoshError", {}, "numbers"),
    ("CosineSimilarity", {}, "numbers"),
    ("R2Score", {}, "numbers"),
    ("R2Score", {}, "column"),
    ("R2Score", {"class_aggregation": None}, "numbers"),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "numbers"),
    ("R2Score", {"num_regressors": 3}, "numbers"),
    ("PearsonCorrelation", {}, "numbers"),
    ("ConcordanceCorrelation", {}, "numbers"),
    ("Hinge", {}, "signs"),
    ("SquaredHinge", {}, "logits"),
    ("CategoricalHinge", {}, "one-hot logits"),
    ("KLDivergence", {}, "one-hot"),
    ("Poisson", {}, "positive"),
    ("BinaryCrossentropy", {}, "bits"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "logits"),
    ("CategoricalCrossentropy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one-hot logits"),
    ("SparseCategoricalCrossentropy", {}, "sequences"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "label logits"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, "labels"),
    ("TruePositives", {}, "bits"),
    ("TrueNegatives", {"thresholds": 0.3}, "flat bits"),
    ("FalsePositives", {"thresholds": THRESHOLDS}, "bits"),
    ("FalseNegatives", {"thresholds": [0.0, 0.5, 1.0]}, "bit column"),
    ("Precision", {}, "bits"),
    ("Precision", {"thresholds": THRESHOLDS}, "bit column"),
    ("Precision", {"top_k": 2}, "one-hot"),
    ("Precision", {"top_k": 2, "class_id": 1, "thresholds": 0.3}, "one-hot"),
    ("Recall", {}, "flat bits"),
    ("Recall", {"class_id": 2, "thresholds": [0.2, 0.5]}, "bits"),
    ("Recall", {"top_k": 3}, "one-hot"),
    ("SensitivityAtSpecificity", {"specificity": 0.5}, "bits"),
    ("SensitivityAtSpecificity", {"specificity": 0.5, "num_thresholds": 1}, "bits"),
    ("SpecificityAtSensitivity", {"sensitivity": 0.4, "num_thresholds": 7}, "flat bits"),
    ("PrecisionAtRecall", {"recall": 0.6, "class_id": 1}, "bits"),
    ("RecallAtPrecision", {"precision": 0.5}, "bit column"),
    ("RecallAtPrecision", {"precision": 0.5}, "logits"),
    ("AUC", {}, "bits"),
    ("AUC", {}, "bit column"),
    ("AUC", {"curve": "PR"}, "bits"),
    ("AUC", {"curve": "PRGAIN", "summation_method": "minoring"}, "bits"),
    ("AUC", {"curve": "PR", "summation_method": "majoring", "num_thresholds": 9}, "bits"),
    ("AUC", {"thresholds": [0.7, 0.2, 0.3]}, "bits"),
    ("AUC", {"thresholds": [0.7, 0.2, 0.3]}, "logits"),
    ("AUC", {"from_logits": True}, "logits"),
    ("AUC", {"multi_label": True, "num_labels": 4}, "bits"),
    ("AUC", {"multi_label": True, "curve": "PR", "thresholds": [0.2, 0.6]}, "bits"),
    ("AUC", {"label_weights": np.array([1.0, 2.0, 0.5, 0.0], "float32")}, "bits"),
    (
        "AUC",
        {"label_weights": np.array([1.0, 2.0, 0.5, 0.0], "float32"), "multi_label": True},
        "bits",
    ),
    ("FBetaScore", {"beta": 2.0}, "one-hot"),
    ("FBetaScore", {"beta": 0.5, "average": "weighted", "threshold": 0.4}, "bits"),
    ("F1Score", {"average": "micro"}, "one-hot"),
    ("F1Score", {"average": "macro", "threshold": 0.5}, "bits"),
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, "classes"),
    ("IoU", {"num_classes": 3, "target_class_ids": [1], "dtype": "float32"}, "classes"),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, "flat bits"),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 1}, "classes"),
    ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False}, "labels"),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [0, 3]}, "one-hot"),
    ("OneHotMeanIoU", {"num_classes": 4}, "one-hot"),
]
IDS = [f"{name}-{kwargs}-{data}" for name, kwargs, data in CASES]
cases = pytest.mark.parametrize("name, kwargs, data", CASES, ids=IDS)
# Keras leaves these out of its own configurations, and so loses them.
NOT_IN_KERAS_CONFIG = {"CosineSimilarity": {"axis"}}


def pair(name, kwargs):
    kwargs = {"name": "m", **kwargs}
    return getattr(cornu.metrics, name)(**kwargs), getattr(keras.metrics, name)(**kwargs)


def weights_for(name, weighted):
    if not weighted:
        return [None] * 3
    if "IoU" in name:
        return [rng.integers(0, 4, 6) for _ in range(3)]
    return [rng.uniform(0.1, 2, 6).astype("float32") * (rng.uniform(size=6) > 0.2) for _ in "abc"]


def assert_same_state(ours, theirs):
    assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        assert mine.dtype == other.dtype
        # Keras subtracts counts from totals, so its zeros are only nearly so.
        np.testing.assert_allclose(
            mine.numpy(), np.asarray(other), rtol=2e-6, atol=1e-5, err_msg=mine.path
        )


# Keras itself asks JAX for int64 when it counts classes.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@cases
def test_values_and_state_are_keras(name, kwargs, data, weighted):
    ours, theirs = pair(name, kwargs)
    for (y_true, y_pred), weight in zip(DATA[data], weights_for(name, weighted), strict=True):
        ours.update_state(y_true, y_pred, weight)
        theirs.update_state(y_true, y_pred, sample_weight=weight)
        result, expected = ours.result(), theirs.result()
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(result, expected, rtol=5e-6, atol=1e-6)
    assert_same_state(ours, theirs)
    ours.reset_state()
    theirs.reset_state()
    assert_same_state(ours, theirs)
    np.testing.assert_allclose(ours(*DATA[data][0]), theirs(*DATA[data][0]), rtol=5e-6, atol=1e-6)


@cases
def test_config_round_trip(name, kwargs, data):
    ours, theirs = pair(name, kwargs)
    config = ours.get_config()
    assert isinstance(ours, cornu.metrics.Metric)
    expected = theirs.get_config()
    more = NOT_IN_KERAS_CONFIG.get(name, set()) | (set(config) & {"from_sorted_ids"})
    assert config.keys() - more == expected.keys() - more
    for key in expected:
        if key != "label_weights":
            assert config[key] == expected[key], key
    y_true, y_pred = DATA[data][0]
    described = cornu.metrics.serialize(ours)
    copies = (type(ours).from_config(config), cornu.metrics.deserialize(described))
    for twin in (*copies, pickle.loads(pickle.dumps(ours))):
        assert type(twin) is type(ours)
        assert twin.get_config() == config
        np.testing.assert_array_equal(twin(y_true, y_pred), ours(y_true, y_pred))
        ours.reset_state()


# One of each class, and each way of counting thresholds.
TRACED = list({(c[0], c[2]): c for c in CASES}.values())


@pytest.mark.parametrize("name, kwargs, data", TRACED, ids=[f"{c[0]}-{c[2]}" for c in TRACED])
def test_updates_and_results_can_be_traced(name, kwargs, data):
    metric, _ = pair(name, kwargs)
    y_true, y_pred = DATA[data][0]
    weight = weights_for(name, True)[0]
    metric.update_state(y_true, y_pred, weight)
    expected = metric.result()
    state = metric.stateless_reset_state()
    assert all(not np.any(value) for value in state)

    def step(state, *batch):
        state = metric.stateless_update_state(state, *batch)
        return metric.stateless_result(state), state

    with jax.numpy_rank_promotion("raise"):
        result, state = jax.jit(step)(state, y_true, y_pred, weight)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    for value, variable in zip(state, metric.variables, strict=True):
        assert (value.shape, value.dtype) == (variable.shape, variable.dtype)


def test_every_metric_is_tested():
    tested = {case[0] for case in CASES} | {"Mean", "Sum", "MeanMetricWrapper", "Metric"}
    public = {n for n in dir(keras.metrics) if n[0] != "_"}
    assert public == set(cornu.metrics.__all__)
    assert {n for n in public if n[0].isupper()} == tested


@pytest.mark.parametrize("name", [n for n in dir(keras.metrics) if n[0] != "_"])
def test_arguments_are_keras(name):
    def arguments(obj):
        return [(p.name, p.default) for p in inspect.signature(obj).parameters.values()]

    assert arguments(getattr(cornu.metrics, name)) == arguments(getattr(keras.metrics, name))


FUNCTIONS = [
    ("binary_accuracy", {"threshold": 0.4}, "bit column"),
    ("categorical_accuracy", {}, "one-hot sequences"),
    ("sparse_categorical_accuracy", {}, "label column"),
    ("sparse_categorical_accuracy", {}, "sequences"),
    ("top_k_categorical_accuracy", {"k": 2}, "one-hot sequences"),
    ("sparse_top_k_categorical_accuracy", {"k": 2}, "label column"),
    ("sparse_top_k_categorical_accuracy", {"k": 2, "from_sorted_ids": True}, "ranking"),
    ("pearson_correlation", {"axis": 0}, "numbers"),
    ("concordance_correlation", {"axis": 0}, "numbers"),
]


@pytest.mark.parametrize("name, kwargs, data", FUNCTIONS)
def test_functions_are_keras(name, kwargs, data):
    y_true, y_pred = DATA[data][0]
    ours = getattr(cornu.metrics, name)(y_true, y_pred, **kwargs)
    theirs = getattr(keras.metrics, name)(y_true, y_pred, **kwargs)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-6)


def test_top_k_with_nan_and_ties_is_keras():
    y_pred = np.array([[0.1, np.nan, 0.3], [np.nan, 0.2, 0.1], [0.4, 0.4, 0.4]], "float32")
    for labels in ([1, 1, 2], [0, 2, 0]):
        for k in (1, 2):
            ours = cornu.metrics.sparse_top_k_categorical_accuracy(labels, y_pred, k)
            theirs = keras.metrics.sparse_top_k_categorical_accuracy(labels, y_pred, k)
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("thresholds", [0.5, [0.0, 0.5, 1.0], [0.9, 0.1]])
def test_predictions_on_and_outside_thresholds_are_keras(thresholds):
    y_true = np.array([0, 1, 1, 0, 1, 0, 1], "float32")
    y_pred = np.array([0, 0, 0.5, 0.5, 1, 1.5, -0.5], "float32")
    for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives"):
        ours, theirs = pair(name, {"thresholds": thresholds})
        np.testing.assert_array_equal(ours(y_true, y_pred), theirs(y_true, y_pred))


def test_nan_predictions_mean_no():
    ours, theirs = pair("FalseNegatives", {"thresholds": [0.2, 0.6]})
    y_pred = np.array([np.nan, 0.4], "float32")
    np.testing.assert_array_equal(ours([1, 1], y_pred), theirs([1, 1], y_pred))


def test_auc_of_edge_predictions_is_keras():
    ours, theirs = pair("AUC", {})
    y_true, y_pred = [0, 1, 0, 1, 1], np.array([0, 0, 1, 1, 0.4], "float32")
    np.testing.assert_allclose(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-6)


def test_automatic_names_are_keras():
    keras.utils.clear_session()
    names = ["Precision", "AUC", "Precision", "MeanIoU", "TruePositives", "Precision", "Mean"]
    kwargs = {"MeanIoU": {"num_classes": 2}}
    ours = [getattr(cornu.metrics, n)(**kwargs.get(n, {})) for n in names]
    theirs = [getattr(keras.metrics, n)(**kwargs.get(n, {})) for n in names]
    assert [m.name for m in ours] == [m.name for m in theirs]
    paths = [[v.path for v in m.variables] for m in ours]
    assert paths == [[v.path for v in m.variables] for m in theirs]


@pytest.mark.parametrize(
    "alias",
    [
        *(
            "mse",
            "MSE",
            "mae",
            "MAPE",
            "msle",
            "bce",
            "BCE",
            "accuracy",
            "Accuracy",
            "cosine_similarity",
        ),
        *(
            "binary_accuracy",
            "sparse_top_k_categorical_accuracy",
            "kl_divergence",
            "BinaryCrossentropy",
        ),
        *("auc", "f1_score", "r2_score", "root_mean_squared_error", "precision_at_recall", "mean"),
    ],
)
def test_names_mean_what_they_mean_in_keras(alias):
    kwargs = {"precision_at_recall": {"recall": 0.5}}.get(alias)
    if kwargs:
        with pytest.raises(TypeError, match="recall"):
            cornu.metrics.get(alias)
        return
    try:
        theirs = keras.metrics.get(alias)
    except ValueError:
        theirs = {"auc": keras.metrics.AUC}[alias]()
    ours = cornu.metrics.get(alias)
    assert type(ours).__name__ == type(theirs).__name__
    assert ours._direction == getattr(theirs, "_direction", None)


def test_get():
    assert cornu.metrics.get(None) is None
    metric = cornu.metrics.Mean()
    assert cornu.metrics.get(metric) is metric
    config = {"class_name": "BinaryAccuracy", "config": {"threshold": 0.25}}
    assert cornu.metrics.get(config).threshold == 0.25
    # A function without a class stays a function, and so does one of your own.
    assert cornu.metrics.get("huber") is cornu.metrics.huber

    def mse(y_true, y_pred):
        return y_pred

    with cornu.utils.custom_object_scope({"mse": mse}):
        assert cornu.metrics.get("mse") is mse
    with pytest.raises(
        ValueError, match=r"Unknown metric: 'binary_acuracy'\. Did you mean 'binary_a"
    ):
        cornu.metrics.get("binary_acuracy")


def test_half_precision_state_is_kept_in_full():
    for dtype in ("float16", "mixed_bfloat16"):
        ours, theirs = pair("Precision", {"dtype": dtype})
        assert ours.dtype == theirs.dtype
        assert_same_state(ours, theirs)


def test_large_batches_do_not_need_memory_for_every_threshold():
    step = jax.jit(cornu.metrics.AUC().stateless_update_state)
    batch = jax.ShapeDtypeStruct((100_000,), jnp.float32)
    state = [jax.ShapeDtypeStruct((200,), jnp.float32)] * 4
    memory = step.lower(state, batch, batch).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 200 * 100_000 * 4 / 8
