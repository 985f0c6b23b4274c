"""Sums, means, masks, subclasses and errors of metrics."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cornu.metrics
from cornu.core import masking

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


SHAPES = [((), ()), ((4,), None), ((4,), (4,)), ((4,), (4, 1)), ((4,), ()), ((4, 1), (4,))]
SHAPES += [((4, 3), None), ((4, 3), (4,)), ((4, 3), (4, 1)), ((4, 3), (4, 3)), ((4, 3), ())]
SHAPES += [((4, 3, 2), None), ((4, 3, 2), (4,)), ((4, 3, 2), (4, 3)), ((4, 3, 2), (4, 3, 2))]


@pytest.mark.parametrize("shape, weight_shape", SHAPES)
@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_weights_are_broadcast_as_in_keras(name, shape, weight_shape):
    ours, theirs = getattr(cornu.metrics, name)(), getattr(keras.metrics, name)()
    for _ in range(2):
        weight = None if weight_shape is None else np.abs(normal(*weight_shape))
        values = normal(*shape)
        ours.update_state(values, weight)
        theirs.update_state(values, sample_weight=weight)
    np.testing.assert_allclose(ours.result(), theirs.result(), rtol=1e-6)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        assert mine.path == other.path
        np.testing.assert_allclose(mine.numpy(), np.asarray(other), rtol=1e-6)


def test_mean_of_nothing_is_zero():
    mean = cornu.metrics.Mean()
    assert float(mean.result()) == 0
    assert float(mean([3.0], sample_weight=[0.0])) == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["MeanSquaredError", "RootMeanSquaredError"])
def test_masks_of_predictions_are_honoured_as_in_keras(name, weighted):
    y_true, y_pred = normal(2, 3, 4), normal(2, 3, 4)
    mask = np.array([[True, True, False], [True, False, False]])
    weight = np.array([[1.0], [3.0]], "float32") if weighted else None
    ours = jnp.asarray(y_pred)
    masking.set_mask(ours, mask)
    theirs = keras.ops.convert_to_tensor(y_pred)
    theirs._keras_mask = keras.ops.convert_to_tensor(mask)
    np.testing.assert_allclose(
        getattr(cornu.metrics, name)()(y_true, ours, weight),
        getattr(keras.metrics, name)()(y_true, theirs, sample_weight=weight),
        rtol=1e-6,
    )


def test_a_weight_for_each_sample_goes_with_a_mask_of_positions():
    y_true, y_pred = normal(2, 3, 4), jnp.asarray(normal(2, 3, 4))
    mask, weight = np.array([[1, 1, 0], [1, 0, 0]], bool), np.array([1.0, 3.0])
    masking.set_mask(y_pred, mask)
    metric = cornu.metrics.MeanSquaredError()
    expected = np.average(np.mean((y_true - y_pred) ** 2, axis=-1), weights=mask * weight[:, None])
    np.testing.assert_allclose(metric(y_true, y_pred, weight), expected, rtol=1e-6)


def test_mean_of_a_function_is_keras():
    y_true, y_pred = normal(4, 3), normal(4, 3)
    ours = cornu.metrics.MeanMetricWrapper(cornu.losses.huber, name="h", delta=0.3)
    theirs = keras.metrics.MeanMetricWrapper(keras.losses.huber, name="h", delta=0.3)
    np.testing.assert_allclose(ours(y_true, y_pred), theirs(y_true, y_pred), rtol=1e-6)
    assert ours._direction == theirs._direction == "down"
    config = ours.get_config()
    assert {**config, "fn": None} == {**theirs.get_config(), "fn": None}
    for twin in (
        cornu.metrics.deserialize(cornu.metrics.serialize(ours)),
        cornu.metrics.MeanMetricWrapper.from_config(theirs.get_config()),
    ):
        assert twin.get_config() == config
        ours.reset_state()
        np.testing.assert_array_equal(twin(y_true, y_pred), ours(y_true, y_pred))
    assert cornu.metrics.MeanMetricWrapper(abs).name == keras.metrics.MeanMetricWrapper(abs).name


def make(module):
    """The same metric of one's own, written for either library."""

    class Spread(module.metrics.Metric):
        def __init__(self, name="spread/of", **kwargs):
            super().__init__(name=name, **kwargs)
            self.largest = self.add_variable((), "zeros", name="largest")
            self.parts = [module.metrics.Mean(name="inner")]
            self.seen = self.add_weight((2,), "ones", dtype="int32", name="seen")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.largest.assign(module.ops.max(y_pred) if module is keras else jnp.max(y_pred))
            self.parts[0].update_state(y_pred)
            self.seen.assign_add([1, 2])

        def result(self):
            return {"largest": self.largest.value, "mean": self.parts[0].result()}

    return Spread()


def test_metrics_of_ones_own_are_keras():
    ours, theirs = make(cornu), make(keras)
    y = normal(4, 3)
    result, expected = ours(y, y), theirs(y, y)
    assert result.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(result[key], value, rtol=1e-6)
    assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
    assert [v.dtype for v in ours.variables] == [v.dtype for v in theirs.variables]
    assert ours.get_config().items() >= theirs.get_config().items()
    old = [v.numpy() for v in ours.variables]
    new = ours.stateless_update_state(old, y, y)
    for mine, other in zip(new, theirs.stateless_update_state(old, y, y), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    np.testing.assert_array_equal(ours.seen.numpy(), old[1])
    ours.reset_state()
    assert not any(np.any(v.numpy()) for v in ours.variables)


def test_a_forgotten_super_call_is_explained():
    class Forgotten(cornu.metrics.Metric):
        def __init__(self):
            self.add_weight(name="x")

    with pytest.raises(RuntimeError, match=r"forgot to call `super\(\).__init__\(\)`.*Forgotten"):
        Forgotten()


def test_adjusted_r2_score_falls_back_with_a_warning():
    ours = cornu.metrics.R2Score(num_regressors=5)
    theirs = keras.metrics.R2Score(num_regressors=5)
    y_true, y_pred = normal(4, 1), normal(4, 1)
    with pytest.warns(UserWarning, match="Falling back to standard R2 score"):
        value = ours(y_true, y_pred)
    with pytest.warns(UserWarning):
        expected = theirs(y_true, y_pred)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_real_weights_of_counted_classes_are_a_warning():
    metric = cornu.metrics.MeanIoU(2)
    with pytest.warns(UserWarning, match="Pass dtype='float32'"):
        metric.update_state([0, 1], [0, 1], np.array([0.5, 1.0], "float32"))
    np.testing.assert_array_equal(metric.total_cm.numpy(), [[0, 0], [0, 1]])


MISTAKES = [
    (lambda m: m.Precision(thresholds=[0.5, 1.5]), r"Threshold values must be in \[0, 1\]"),
    (lambda m: m.AUC(num_thresholds=1), "`num_thresholds` must be an integer > 1"),
    (lambda m: m.AUC(num_labels=3), "`num_labels` is needed only when"),
    (lambda m: m.AUC(curve="RC"), "Invalid AUC curve value"),
    (lambda m: m.AUC(summation_method="sum"), "Invalid AUC summation method value"),
    (lambda m: m.PrecisionAtRecall(1.5), r"`recall` must be in the range \[0, 1\]"),
    (lambda m: m.RecallAtPrecision(0.5, num_thresholds=0), "`num_thresholds` must be an integer"),
    (lambda m: m.FBetaScore(average="all"), "Invalid `average` argument value"),
    (lambda m: m.FBetaScore(beta=1), "It should be a Python float"),
    (lambda m: m.FBetaScore(beta=-1.0), "It should be > 0"),
    (lambda m: m.FBetaScore(threshold=1), "It should be a Python float"),
    (lambda m: m.FBetaScore(threshold=1.5), "It should verify 0 < threshold <= 1"),
    (lambda m: m.FBetaScore()([0, 1], [0, 1]), "FBetaScore expects 2D inputs"),
    (lambda m: m.R2Score(class_aggregation="sum"), "argument `class_aggregation`"),
    (lambda m: m.R2Score(num_regressors=-1), "argument `num_regressors`"),
    (lambda m: m.R2Score()([0.0, 1.0], [0.0, 1.0]), "R2Score expects 2D inputs"),
    (lambda m: m.IoU(2, [2]), r"Target class id 2 is out of range, which is \[0, 2\)"),
    (lambda m: m.Recall(class_id=1)([0, 1], np.array([0.1, 0.9])), "must be a 2D array"),
    (
        lambda m: m.AUC(multi_label=True)(*np.zeros((2, 2, 3, 4))),
        "`y_pred` must have rank 2 when `multi_label=True`",
    ),
    (lambda m: m.Mean().stateless_result([]), "`metric_variables` must be a list of tensors"),
]


@pytest.mark.parametrize("mistake, message", MISTAKES, ids=[m[1] for m in MISTAKES])
@pytest.mark.parametrize("module", [cornu.metrics, keras.metrics], ids=["cornu", "keras"])
def test_mistakes_are_refused_with_keras_words(mistake, message, module):
    with pytest.raises(ValueError, match=message):
        mistake(module)


def test_labels_that_are_not_one_hot_say_what_to_do():
    with pytest.raises(ValueError, match=r"must have the same shape.*to_categorical"):
        cornu.metrics.Precision()([0, 2, 1], np.zeros((3, 4)))
